"""Boxes of points around molecules, parallel to the axes of their files."""

import dataclasses
import math

import numpy as np

from edjax import arguments


@dataclasses.dataclass(frozen=True)
class Box:
  """Points of a file's frame, whose coordinates are multiples of the spacing.

  Formats that count in steps, as CCP4 does, then hold the origin exactly.

  Attributes:
    start: of the first point along each axis, in spacings.
    shape: points along each axis.
    spacing: between neighbours, Å.
  """

  start: tuple[int, int, int]
  shape: tuple[int, int, int]
  spacing: float

  @property
  def origin_3(self) -> np.ndarray:
    """Coordinates of the first point, Å."""
    return np.array(self.start) * self.spacing


def around(coords_A3, spacing: float, margin: float) -> Box:
  """Returns the smallest box that holds atoms and a margin.

  Args:
    coords_A3: of one atom or more, Å.
    spacing: Å.
    margin: between the outermost atoms and the faces, or more, Å.

  Raises:
    ValueError: spacing is not above 0, margin is below 0, there is no atom, or
      one of these is not finite.
  """
  spacing = arguments.scalar('spacing', spacing)
  margin = arguments.scalar('margin', margin)
  if not (math.isfinite(spacing) and spacing > 0):
    raise ValueError(f'spacing must be above 0 Å, not {spacing}')
  if not (math.isfinite(margin) and margin >= 0):
    raise ValueError(f'margin must be 0 Å or more, not {margin}')
  coords_A3 = arguments.real('coords', coords_A3)
  arguments.check_shape('coords', coords_A3, ('A', 3))
  if not len(coords_A3) or not np.isfinite(coords_A3).all():
    raise ValueError('coords must be finite numbers of at least one atom')
  first_3 = np.floor((coords_A3.min(0) - margin) / spacing).astype(int)
  last_3 = np.ceil((coords_A3.max(0) + margin) / spacing).astype(int)
  return Box(
    start=tuple(first_3.tolist()),
    shape=tuple((last_3 - first_3 + 1).tolist()),
    spacing=spacing,
  )
