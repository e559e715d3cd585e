"""Cubic voxel grids around the origin of a molecule's frame."""

import dataclasses

import jax
import numpy as np

from edjax import arguments


@dataclasses.dataclass(frozen=True)
class Grid:
  """A cube of voxels centred on the origin; hashable, static under jit.

  Attributes:
    size: voxels along each edge.
    spacing: edge of a voxel, Å.
  """

  size: int
  spacing: float

  def __post_init__(self):
    size = arguments.whole('size', self.size)
    spacing = arguments.scalar('spacing', self.spacing)
    if size < 1:
      raise ValueError(f'size must be a whole number >= 1, not {size}')
    if not (np.isfinite(spacing) and spacing > 0):
      raise ValueError(f'spacing must be > 0 Å, not {spacing}')
    # Numbers of numpy, and 24.0 voxels, become those of Python.
    object.__setattr__(self, 'size', size)
    object.__setattr__(self, 'spacing', spacing)

  @property
  def extent(self) -> float:
    """Edge of the cube, Å."""
    return self.size * self.spacing

  @property
  def voxel_volume(self) -> float:
    """Volume of one voxel, Å^3."""
    return self.spacing**3

  def refine(self, supersample: int) -> 'Grid':
    """Returns the grid of sub-points: every voxel cut into supersample^3 cubes.

    The mean over a voxel's sub-points is `pool` of a field on this grid.

    Raises:
      ValueError: supersample is not a whole number >= 1.
    """
    supersample = arguments.whole('supersample', supersample)
    if supersample < 1:
      raise ValueError(
        f'supersample must be a whole number >= 1, not {supersample}'
      )
    return Grid(self.size * supersample, self.spacing / supersample)


def axis(grid: Grid) -> np.ndarray:
  """Coordinates of the voxel centres along one axis, Å.

  `(i - (n - 1)/2) * spacing`, in float64 on the host: they are constants.

  Returns:
    [X] (and the same for Y and Z).
  """
  return (np.arange(grid.size) - (grid.size - 1) / 2) * grid.spacing


def centres(grid: Grid) -> np.ndarray:
  """Returns voxel centres, x slowest.

  Returns:
    points_G3 in Å, G = size^3, float64.
  """
  x = axis(grid)
  return np.stack(np.meshgrid(x, x, x, indexing='ij'), -1).reshape(-1, 3)


def pool(values: jax.Array, supersample: int, axis: int = 0) -> jax.Array:
  """Means over the supersample^3 sub-points of each voxel.

  Args:
    values: field on `grid.refine(supersample)`, [sX, sY, sZ, ...].
    supersample: sub-points along each edge of a voxel.
    axis: the first of the three axes.

  Returns:
    Cell means, [X, Y, Z, ...].

  Raises:
    ValueError: an edge is not a multiple of supersample.
  """
  s = supersample
  edges = values.shape[axis : axis + 3]
  if any(n % s for n in edges):
    raise ValueError(f'grid {edges} is no multiple of {s}')
  if s == 1:
    return values
  # Whole slices are added along one axis after another: of a mean over axes of
  # blocks XLA makes a loop over single numbers on CPU.
  for i in range(axis, axis + 3):
    n = values.shape[i]
    values = sum(
      jax.lax.slice_in_dim(values, k, n, s, axis=i) for k in range(s)
    )
  return values / s**3
