"""Draws parity plots: predictions against true values."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Panel(NamedTuple):
  """One cloud of points.

  Attributes:
    title: above it.
    unit: of both axes.
    target_N: true values.
    prediction_N: predicted ones.
    colour: matplotlib's.
    marker: matplotlib's.
  """

  title: str
  unit: str
  target_N: np.ndarray
  prediction_N: np.ndarray
  colour: str = 'C0'
  marker: str = 'o'


def draw(panels: Sequence[Panel], title: str = '', shared: bool = False):
  """Returns matplotlib's figure of panels with the diagonal, three in a row.

  Args:
    panels: at least one.
    title: above all of them.
    shared: whether all panels have the same diagonal, and thus axes.
  """
  import matplotlib.figure  # no pyplot: nothing to display, no global state

  columns = min(3, len(panels))
  rows = -(-len(panels) // columns)
  figure = matplotlib.figure.Figure(
    figsize=(3.4 * columns, 3.6 * rows), layout='constrained'
  )
  axes = figure.subplots(rows, columns, squeeze=False).ravel()
  for axis in axes[len(panels) :]:
    axis.set_visible(False)
  everything = np.concatenate([x for p in panels for x in p[2:4]])
  for axis, panel in zip(axes, panels, strict=False):
    values = everything if shared else np.concatenate(panel[2:4])
    ends = values.min(), values.max()
    axis.plot(ends, ends, color='0.6', linewidth=1, zorder=0)
    axis.plot(
      panel.target_N, panel.prediction_N, panel.marker, color=panel.colour,
      markersize=3, alpha=0.5, markeredgewidth=0,
    )  # fmt: skip
    axis.set_title(panel.title, fontsize=10)
    axis.set_xlabel(f'target ({panel.unit})')
    axis.set_ylabel(f'prediction ({panel.unit})')
    axis.set_aspect('equal', adjustable='datalim')
    axis.locator_params(nbins=5)
  if title:
    figure.suptitle(title, fontsize=10, wrap=True)
  return figure
