"""Draws the figures of a report: charts side by side, in fixed styles."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edjax.study.report import markdown
from edjax.study.report.numbers import size_word


class Style(NamedTuple):
  """Style of a line: colour, marker and line style of matplotlib."""

  colour: str
  marker: str
  line: str | tuple = '-'


# Hues of Okabe and Ito 2008 ('Color Universal Design'), darkened to a contrast
# of 3 or more on white; every line has a marker of its own as well.
_BLUE, _RED, _GREEN = '#0072b2', '#c44e00', '#00805c'
_PURPLE, _BROWN, _GREY = '#a8508a', '#8f6400', '#555b61'

STYLES = {
  'atoms': Style(_RED, 'o'),
  'density': Style(_BLUE, 's'),
  'gradient': Style(_GREEN, 'D'),
  'shape': Style(_BROWN, '^'),
  'promolecule': Style(_PURPLE, 'v'),
  'deformation': Style(_BLUE, 'X', '--'),
  'charge': Style(_GREEN, 'H', '--'),
  'potential': Style(_PURPLE, '8', ':'),
  'valence': Style(_RED, 'P', '--'),
  'shape_one_radius': Style(_BROWN, '<', '--'),
  'density_gradient': Style(_GREEN, '*', '--'),
  'atoms_density': Style(_PURPLE, 'h', '--'),
  'homo_lumo': Style(_GREEN, '_', ':'),
  'density_homo_lumo': Style(_GREEN, 'x', '-.'),
  'atoms_bins': Style(_RED, '4', '-.'),
  'density_bins': Style(_BLUE, '3', '-.'),
  'promolecule_bins': Style(_PURPLE, '2', '-.'),
  'atoms_density_bins': Style(_PURPLE, '.', (0, (3, 1))),
  'noise': Style(_GREY, 'p', '--'),
  'density_noise': Style(_BLUE, '>', ':'),
}
_BASELINES = (
  Style(_GREY, 'd', ':'),
  Style(_GREY, '1', (0, (8, 3))),
  Style(_GREY, '+', '-.'),
  Style(_GREY, '|', (0, (8, 3, 1, 3))),
)


def style(name: str, number: int = 0) -> Style:
  """Returns the style of a representation by name, of a baseline by number.

  A baseline on an input, NAME:REPRESENTATION, has the style of the
  representation, but dotted.
  """
  _, _, representation = name.partition(':')
  if representation in STYLES:
    return STYLES[representation]._replace(line=':')
  return STYLES.get(name, _BASELINES[number % len(_BASELINES)])


class Series(NamedTuple):
  """A line.

  Attributes:
    label: for the legend.
    style: of the line.
    points: (x, y, low, high) each, low and high NaN without an interval; a line
      without points is not drawn.
  """

  label: str
  style: Style
  points: Sequence[tuple[float, float, float, float]]

  @classmethod
  def of_means(cls, label: str, style: Style, x, means) -> 'Series':
    """Returns the line of the means that have seeds, from left to right."""
    points = [
      (value, mean.value, mean.low, mean.high)
      for value, mean in zip(x, means, strict=True)
      if mean.seeds
    ]
    return cls(label, style, sorted(points))


class Chart(NamedTuple):
  """Lines over a logarithmic axis.

  Attributes:
    title: above it.
    y: label of the axis.
    series: the lines.
    x: label of the axis.
    log_y: whether the y axis is logarithmic; otherwise there is a line at 0.
    ticks: values of x that all lines share, whose points are drawn side by
      side; () where lines have different values.
  """

  title: str
  y: str
  series: Sequence[Series]
  x: str = 'labels used (training and validation)'
  log_y: bool = True
  ticks: Sequence[float] = ()


class Figure(NamedTuple):
  """A picture of a report: file name, alternative text, charts side by side."""

  name: str
  title: str
  charts: Sequence[Chart]

  @property
  def file(self) -> str:
    """Its path in the directory of the report."""
    return f'figures/{self.name}.png'

  def markdown(self) -> str:
    """Returns the image in Markdown, with the title as its alternative text."""
    return f'![{markdown.escape(self.title)}]({self.file})'

  def png(self) -> bytes:
    """Returns the picture as the bytes of a PNG file."""
    file = io.BytesIO()
    self.draw().savefig(file, dpi=130, format='png')
    return file.getvalue()

  def draw(self):
    """Returns matplotlib's figure: two charts in a row, with one legend."""
    import matplotlib.figure  # no pyplot: nothing to display, no global state

    count = len(self.charts)
    columns = min(2, count)
    rows = -(-count // columns)
    size = (6.4, 4.4) if count == 1 else (4.6 * columns, 3.2 * rows + 0.6)
    picture = matplotlib.figure.Figure(figsize=size, layout='constrained')
    lines = {}
    for place, chart in enumerate(self.charts, 1):
      axis = picture.add_subplot(rows, columns, place)
      _draw(axis, chart)
      for line, label in zip(*axis.get_legend_handles_labels(), strict=True):
        lines.setdefault(label, line)
    picture.legend(
      lines.values(), lines.keys(), loc='outside lower center',
      ncols=2 + columns, fontsize=8, frameon=False,
    )  # fmt: skip
    return picture


def _draw(axis, chart: Chart) -> None:
  lines = [series for series in chart.series if series.points]
  for i, series in enumerate(lines):
    x, y, low, high = np.transpose(series.points)
    if chart.ticks:
      x = x * 1.02 ** (i - (len(lines) - 1) / 2)
    # matplotlib leaves out intervals that are NaN.
    axis.errorbar(
      x, y, yerr=[y - low, high - y], label=series.label, linewidth=1.4,
      color=series.style.colour, marker=series.style.marker, markersize=5,
      linestyle=series.style.line, elinewidth=1, capsize=2,
    )  # fmt: skip
  axis.set_xscale('log')
  _label_ticks(axis.xaxis, *axis.get_xlim())
  if chart.ticks:
    axis.set_xticks(chart.ticks)
  if chart.log_y:
    axis.set_yscale('log')
    _label_ticks(axis.yaxis, *axis.get_ylim())
  else:
    axis.axhline(0, color='0.5', linewidth=1, zorder=0)
  axis.set_title(chart.title, fontsize=10, loc='left', wrap=True)
  axis.set_xlabel(chart.x)
  axis.set_ylabel(chart.y)
  axis.grid(color='0.9', linewidth=0.6)
  axis.set_axisbelow(True)
  axis.spines[['top', 'right']].set_visible(False)


def _label_ticks(side, low: float, high: float) -> None:
  """Puts round numbers, written out, on a logarithmic axis."""
  from matplotlib import ticker

  far = high > 5 * low  # at least two of 1, 2 and 5
  locator = ticker.LogLocator(subs=(1, 2, 5)) if far else ticker.AutoLocator()
  side.set_major_locator(locator)
  side.set_major_formatter(lambda value, _: size_word(value))
  side.set_minor_locator(ticker.NullLocator())
