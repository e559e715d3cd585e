"""A report's parts, and how they look as Markdown and pictures."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Style:
  """How a line looks.

  Attributes:
    light: colour on white.
    dark: colour on nearly black.
    marker: of matplotlib.
    symbol: the same of plotly.
    dash: of plotly; lines of inputs are solid unless inputs share a colour.
  """

  light: str
  dark: str
  marker: str
  symbol: str
  dash: str = 'solid'


# Hues of Okabe and Ito 2008 ('Color Universal Design'), darkened on white and
# lightened on black to a contrast of 3 or more; every line has a marker of its
# own as well.
_BLUE = '#0072b2', '#56b4e9'
_RED = '#c44e00', '#ff8a4c'
_GREEN = '#00805c', '#2fc79a'
_PURPLE = '#a8508a', '#e29bc5'
_BROWN = '#8f6400', '#e6b422'
_GREY = '#555b61', '#aab2ba'

STYLES = {
  'atoms': Style(*_RED, 'o', 'circle'),
  'density': Style(*_BLUE, 's', 'square'),
  'gradient': Style(*_GREEN, 'D', 'diamond'),
  'shape': Style(*_BROWN, '^', 'triangle-up'),
  'promolecule': Style(*_PURPLE, 'v', 'triangle-down'),
  'deformation': Style(*_BLUE, 'X', 'x', 'dash'),
  'valence': Style(*_RED, 'P', 'cross', 'dash'),
  'shape_one_radius': Style(*_BROWN, '<', 'triangle-left', 'dash'),
  'density_gradient': Style(*_GREEN, '*', 'star', 'dash'),
  'atoms_density': Style(*_PURPLE, 'h', 'hexagon', 'dash'),
  'noise': Style(*_GREY, 'p', 'pentagon', 'dash'),
  'density_noise': Style(*_BLUE, '>', 'triangle-right', 'dot'),
}
_BASELINES = (
  Style(*_GREY, 'd', 'diamond-tall', 'dot'),
  Style(*_GREY, '1', 'y-down-open', 'longdash'),
  Style(*_GREY, '+', 'cross-thin-open', 'dashdot'),
  Style(*_GREY, '|', 'line-ns-open', 'longdashdot'),
)
_DASHES = {
  'solid': '-', 'dash': '--', 'dot': ':', 'dashdot': '-.',
  'longdash': (0, (8, 3)), 'longdashdot': (0, (8, 3, 1, 3)),
}  # fmt: skip


def style(key: str, number: int = 0) -> Style:
  """Of an input by name; of anything else by number.

  NAME:INPUT, a baseline that sees an input, looks as that does, but dotted.
  """
  _, _, arm = key.partition(':')
  if arm in STYLES:
    of_input = STYLES[arm]
    symbol = f'{of_input.symbol}-open'
    return dataclasses.replace(of_input, symbol=symbol, dash='dot')
  return STYLES.get(key, _BASELINES[number % len(_BASELINES)])


@dataclasses.dataclass(frozen=True)
class Series:
  """A line or a cloud of points.

  Attributes:
    label: for the legend.
    style: how it looks.
    x: values.
    y: values.
    low: lower ends of intervals, NaN for none; () for none at all.
    high: upper ends.
    hidden: in interactive charts only shown when asked for.
  """

  label: str
  style: Style
  x: Sequence[float]
  y: Sequence[float]
  low: Sequence[float] = ()
  high: Sequence[float] = ()
  hidden: bool = False


@dataclasses.dataclass(frozen=True)
class Figure:
  """A chart.

  Attributes:
    name: of its file, without the extension.
    title: above it.
    words: what it shows, for those who do not see it.
    x: label of the axis.
    y: label of the axis.
    series: what is drawn.
    log_x: logarithmic axis.
    log_y: logarithmic axis.
    ticks: values named on the x axis; () for a choice of the library's.
    zero: a line at y = 0.
    parity: points only, on equal axes with the diagonal.
  """

  name: str
  title: str
  words: str
  x: str
  y: str
  series: Sequence[Series]
  log_x: bool = False
  log_y: bool = False
  ticks: Sequence[float] = ()
  zero: bool = False
  parity: bool = False


@dataclasses.dataclass(frozen=True)
class Overview:
  """Several charts of a report side by side, as one picture.

  Attributes:
    name: of its file, without the extension.
    words: what it shows, for those who do not see it.
    figures: names of the charts.
  """

  name: str
  words: str
  figures: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Table:
  """Cells of text.

  Attributes:
    caption: what it holds.
    head: columns.
    rows: cells; the first of a row names it.
  """

  caption: str
  head: Sequence[str]
  rows: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Finding:
  """A verdict in words.

  Attributes:
    name: of the hypothesis.
    word: 'supported', 'contradicted' or 'undecided'.
    where: 'at n = ...' and what is provisional about it.
    statement: the hypothesis.
    lines: of each target.
    table: every comparison, or None.
  """

  name: str
  word: str
  where: str
  statement: str
  lines: Sequence[str]
  table: Table | None = None


@dataclasses.dataclass(frozen=True)
class Listing:
  """Points under each other."""

  lines: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Section:
  """A heading with what is under it."""

  title: str
  parts: Sequence[str | Listing | Table | Figure | Finding | Overview]


@dataclasses.dataclass(frozen=True)
class Document:
  """A report.

  Attributes:
    title: heading.
    lead: sentences under it.
    sections: what follows.
  """

  title: str
  lead: Sequence[str]
  sections: Sequence[Section]

  def figures(self) -> list[Figure]:
    """All of them, in order."""
    return [p for s in self.sections for p in s.parts if isinstance(p, Figure)]

  def overviews(self) -> list[tuple[Overview, list[Figure]]]:
    """Each with its charts, where these are there."""
    by_name = {figure.name: figure for figure in self.figures()}
    return [
      (p, [by_name[name] for name in p.figures if name in by_name])
      for s in self.sections for p in s.parts if isinstance(p, Overview)
    ]  # fmt: skip


# Between thousands: narrow, and no place to break a line.
_SPACE = '\u202f'


def number(value: float | None, digits: int = 3) -> str:
  """Significant digits without an exponent; '-' for what is missing."""
  if value is None or math.isnan(value):
    return '-'
  if value == 0:
    return '0'
  # Rounded first: 99.96 is 100, not 100.0.
  value = float(f'{value:.{digits - 1}e}')
  places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
  return f'{value:,.{places}f}'.replace(',', _SPACE)


def spread(value: float, low: float, high: float, signed=False) -> str:
  """'1.23 (1.10 to 1.36)', as many decimals as the interval tells apart."""
  if math.isnan(value):
    return '-'
  if math.isnan(low):
    return f'{"+" if signed and value > 0 else ""}{number(value)}'
  # To a twentieth of the width or so.
  width = max(high - low, abs(value) * 1e-4, 1e-12)
  places = min(6, max(0, 1 - math.floor(math.log10(width))))
  sign = '+' if signed else ''
  cells = [f'{v:{sign},.{places}f}' for v in (value, low, high)]
  first, *ends = (c.replace(',', _SPACE).replace('-', '−') for c in cells)
  return f'{first} ({ends[0]} to {ends[1]})'


def size_word(value: float) -> str:
  """A number of labels."""
  return (
    f'{value:,.4g}'.replace(',', _SPACE)
    if value < 1e4
    else (f'{value:,.0f}'.replace(',', _SPACE))
  )


def markdown(document: Document, figures: str = 'figures') -> str:
  """The report for a terminal or a repository.

  Args:
    document: what it says.
    figures: folder of the pictures, as seen from the file.
  """
  lines = [f'# {document.title}', '']
  for sentence in document.lead:
    lines += [sentence, '']
  for section in document.sections:
    lines += [f'## {section.title}', '']
    for part in section.parts:
      lines += [*_markdown(part, figures), '']
  return '\n'.join(lines).rstrip() + '\n'


def _markdown(part, figures: str) -> list[str]:
  if isinstance(part, Table):
    cells = [part.head, *part.rows]
    rows = [f'| {" | ".join(_cell(c) for c in row)} |' for row in cells]
    rule = f'|---|{"---:|" * (len(part.head) - 1)}'
    caption = [f'**{part.caption}**', ''] if part.caption else []
    return [*caption, rows[0], rule, *rows[1:]]
  if isinstance(part, Figure):
    return [f'![{part.words}]({figures}/{part.name}.png)', '', part.title]
  if isinstance(part, Overview):
    return [f'![{part.words}]({figures}/{part.name}.png)']
  if isinstance(part, Finding):
    return [
      f'**{part.name}: {part.word}** {part.where}',
      '',
      f'*{part.statement}*',
      '',
      *(f'- {line}' for line in part.lines),
      *(['', *_markdown(part.table, figures)] if part.table else ()),
    ]
  if isinstance(part, Listing):
    return [f'- {line}' for line in part.lines]
  return [part]


def _cell(text: str) -> str:
  return text.replace('|', '\\|').replace('\n', ' ')


def log_ticks(low: float, high: float) -> list[float]:
  """Round numbers for a logarithmic axis, at least three where that can be.

  Args:
    low: least value, above 0.
    high: largest value.
  """
  low, high = low / 1.05, high * 1.05
  first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
  for steps in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
    values = [s * 10.0**e for e in range(first, last + 1) for s in steps]
    inside = [v for v in values if low <= v <= high]
    if len(inside) >= 3:
      return inside
  # Less than a factor of 1.5 or so: as on a linear axis.
  step = 10.0 ** math.floor(math.log10(high - low)) / 2
  return [k * step for k in range(math.ceil(low / step), int(high / step) + 1)]


def tick_word(value: float) -> str:
  """Of a round number."""
  return f'{value:.6g}' if value < 1e4 else size_word(value)


def draw(figure: Figure, path: pathlib.Path) -> None:
  """Writes a chart as PNG; clouds of points one beside the other."""
  import matplotlib.figure  # no pyplot: nothing to display, no global state

  path.parent.mkdir(parents=True, exist_ok=True)
  if figure.parity:
    picture = _parity_panels(figure)
  else:
    picture = matplotlib.figure.Figure(figsize=(6.4, 4.4), layout='constrained')
    _draw_lines(picture.subplots(), figure)
    if figure.series:
      picture.legend(
        loc='outside lower center', ncols=3, fontsize=8, frameon=False
      )
  _save(picture, path)


def draw_overview(figures: Sequence[Figure], path: pathlib.Path) -> None:
  """Writes charts of lines as one PNG, two in a row, with one legend."""
  import matplotlib.figure

  path.parent.mkdir(parents=True, exist_ok=True)
  columns = min(2, len(figures))
  rows = -(-len(figures) // columns)
  picture = matplotlib.figure.Figure(
    figsize=(4.6 * columns, 3.2 * rows + 0.6), layout='constrained'
  )
  axes = picture.subplots(rows, columns, squeeze=False).ravel()
  for axis, figure in zip(axes, figures, strict=False):
    _draw_lines(axis, figure)
    axis.set_title(figure.title.partition(':')[0], fontsize=10, loc='left')
  for axis in axes[len(figures) :]:
    axis.set_visible(False)
  shown = {}
  for axis in axes[: len(figures)]:
    for line, label in zip(*axis.get_legend_handles_labels(), strict=True):
      shown.setdefault(label, line)
  picture.legend(
    shown.values(), shown.keys(), loc='outside lower center', ncols=4,
    fontsize=8, frameon=False,
  )  # fmt: skip
  _save(picture, path)


def _save(picture, path: pathlib.Path) -> None:
  temporary = path.with_name(f'.{path.name}.{os.getpid()}')
  picture.savefig(temporary, dpi=130, format='png')
  temporary.replace(path)  # at once: others may be looking


def _draw_lines(axis, figure: Figure) -> None:
  import matplotlib.ticker

  for i, series in enumerate(figure.series):
    _draw_series(axis, figure, series, i)
  ends = {
    'x': [v for s in figure.series for v in s.x],
    'y': [v for s in figure.series for v in (*s.y, *s.low, *s.high)],
  }
  for name, on, side in (
    ('x', figure.log_x, axis.xaxis), ('y', figure.log_y, axis.yaxis),
  ):  # fmt: skip
    values = [v for v in ends[name] if v > 0]  # NaN is not
    if not on or not values:
      continue
    getattr(axis, f'set_{name}scale')('log')
    ticks = log_ticks(min(values), max(values))
    side.set_ticks(ticks, [tick_word(t) for t in ticks])
    side.set_minor_locator(matplotlib.ticker.NullLocator())
  if figure.ticks:
    axis.set_xticks(figure.ticks, [size_word(t) for t in figure.ticks])
  if figure.zero:
    axis.axhline(0, color='0.5', linewidth=1, zorder=0)
  axis.set_title(figure.title, fontsize=10, loc='left', wrap=True)
  axis.set_xlabel(figure.x)
  axis.set_ylabel(figure.y)
  _plain(axis)


def _parity_panels(figure: Figure):
  import matplotlib.figure

  columns = min(3, len(figure.series))
  rows = -(-len(figure.series) // columns)
  picture = matplotlib.figure.Figure(
    figsize=(2.9 * columns, 2.9 * rows + 0.5), layout='constrained'
  )
  axes = picture.subplots(
    rows, columns, squeeze=False, sharex=True, sharey=True
  ).ravel()
  values = [v for s in figure.series for v in (*s.x, *s.y)]
  ends = min(values), max(values)
  for axis in axes[len(figure.series) :]:
    axis.set_visible(False)
  for axis, series in zip(axes, figure.series, strict=False):
    look = series.style
    axis.plot(ends, ends, color='0.6', linewidth=1, zorder=0)
    axis.plot(
      series.x, series.y, look.marker, markersize=3, alpha=0.5,
      color=look.light, markeredgewidth=0.5,
    )  # fmt: skip
    axis.set_title(series.label, fontsize=9)
    axis.set_aspect('equal', adjustable='box')
    _plain(axis)
  picture.suptitle(figure.title, fontsize=10, wrap=True)
  picture.supxlabel(figure.x, fontsize=10)
  picture.supylabel(figure.y, fontsize=10)
  return picture


def _plain(axis) -> None:
  axis.grid(color='0.9', linewidth=0.6)
  axis.set_axisbelow(True)
  for side in ('top', 'right'):
    axis.spines[side].set_visible(False)


def dodge(figure: Figure, i: int) -> float:
  """Factor on x by which intervals at one size stand side by side."""
  if not figure.ticks:
    return 1.0
  return 1.02 ** (i - (len(figure.series) - 1) / 2)


def _draw_series(axis, figure, series, i) -> None:
  look = series.style
  options = {'color': look.light, 'marker': look.marker, 'label': series.label}
  x = [v * dodge(figure, i) for v in series.x]
  options |= {'linestyle': _DASHES[look.dash], 'markersize': 5}
  if not len(series.low):
    axis.plot(x, series.y, linewidth=1.4, **options)
    return
  ends = zip(series.y, series.low, series.high, strict=True)
  # matplotlib leaves out intervals that are NaN.
  below, above = zip(*((y - a, b - y) for y, a, b in ends), strict=True)
  axis.errorbar(
    x, series.y, yerr=[below, above], linewidth=1.4, elinewidth=1, capsize=2,
    **options,
  )  # fmt: skip
