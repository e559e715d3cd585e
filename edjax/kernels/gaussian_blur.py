"""Gaussian blur of fields that are known on grids."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from edjax.grid import Grid
from edjax.kernels.numerics import HIGHEST

# The kernel ends here, in standard deviations, as in scipy.ndimage.
_TRUNCATE = 4.0
# A few samples of a narrower kernel are no Gaussian any more: at 0.6 voxels
# their variance is 2 % too small, at 0.5 it is 14 %.
_MIN_WIDTH = 0.6


def margin(width: float, grid: Grid) -> int:
  """Counts the voxels around a grid that its blurred values depend on.

  Args:
    width: standard deviation of the blur, Å.
    grid: voxels.

  Raises:
    ValueError: the width is below 0.6 voxels.
  """
  if not (np.isfinite(width) and width >= _MIN_WIDTH * grid.spacing):
    raise ValueError(
      f'a blur of {width} Å is too narrow for voxels of {grid.spacing} Å: it '
      f'must be at least {_MIN_WIDTH} of them'
    )
  return int(_TRUNCATE * width / grid.spacing + 0.5)


def wider(width: float, grid: Grid) -> Grid:
  """Returns the grid with its margin on every side."""
  return Grid(grid.size + 2 * margin(width, grid), grid.spacing)


def gaussian(values: jax.Array, width: float, grid: Grid) -> jax.Array:
  """Convolves with a Gaussian of unit sum, one axis after the other.

  Args:
    values: on `wider(width, grid)`, [X + 2m, Y + 2m, Z + 2m, ...].
    width: standard deviation, Å.
    grid: voxels of the result.

  Returns:
    [X, Y, Z, ...].
  """
  m = margin(width, grid)
  offsets = np.arange(-m, m + 1) * grid.spacing / width
  kernel = np.exp(-0.5 * offsets**2)
  rows = np.zeros((grid.size, grid.size + 2 * m))
  for i in range(grid.size):
    rows[i, i : i + 2 * m + 1] = kernel / kernel.sum()
  rows = jnp.asarray(rows, values.dtype)
  # The axis that is reduced goes to the end of the three, three times.
  for _ in range(3):
    values = jnp.einsum('ia,abc...->bci...', rows, values, precision=HIGHEST)
  return values


def blurred(field: Callable, width: float) -> Callable:
  """Returns the blurred form of a field: f(mol, grid, supersample).

  The field is evaluated on a wider grid, so that what lies outside of the
  grid is blurred into it. The derivatives are those of the blurred field.

  Args:
    field: f(mol, grid, supersample) -> [X, Y, Z, ...].
    width: standard deviation, Å; 0 returns the field itself.
  """
  if width == 0:
    return field

  def f(mol, grid, supersample=1):
    values = field(mol, wider(width, grid), supersample)
    return gaussian(values, width, grid)

  return f
