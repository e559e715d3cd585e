"""Which basis functions count in which part of a grid.

The grid is cut into small boxes, tiles. In most of them most basis functions
are too small to be seen in the rounding of the density, and in many of them
all are. A function's largest value in a tile is bounded by the product of its
largest factors along x, y and z there.

`gto_tiled_cpu` computes what is left.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edjax import grid as grids
from edjax.grid import Grid
from edjax.kernels import gto_functions
from edjax.kernels.gto_functions import Rows
from edjax.kernels.numerics import HIGHEST

# Cost of a tile beside its points, in the same unit along one edge.
_EDGE_COST = 1.5
# Largest error of leaving out, in units of the rounding of the largest density;
# the bound is loose, the density changes by about an eighth of it.
_NEGLIGIBLE = 2.5


class Cut(NamedTuple):
  """The tiles of a grid; static.

  Attributes:
    voxels: of the grid along each edge.
    supersample: sub-points along an edge of a voxel.
    tiles: along each edge; the last one may stick out.
    edge: sub-points along the edge of a tile.
  """

  voxels: int
  supersample: int
  tiles: int
  edge: int


class Tiles(NamedTuple):
  """The tiles T, and the functions that count in them.

  Attributes:
    places_T3: their numbers along x, y and z.
    sizes_T: which size of `sizes` holds the functions that count; 0 is none.
    ranks_TK: number of functions that count among the first K, itself
      included.
    sizes: static.
  """

  places_T3: np.ndarray
  sizes_T: jax.Array
  ranks_TK: jax.Array
  sizes: tuple[int, ...]


def cut_of(grid: Grid, supersample: int, most: int) -> Cut:
  """Chooses tiles of whole voxels that stick out little and are not too small.

  Args:
    grid: the voxels.
    supersample: sub-points along an edge of a voxel.
    most: sub-points along the edge of a tile, at most, where a voxel has not
      more.
  """
  s = supersample
  n = grid.refine(s).size
  edges = range(s, max(most, s) + 1, s)
  edge = min(edges, key=lambda e: (math.ceil(n / e) * (e + _EDGE_COST), -e))
  return Cut(grid.size, s, math.ceil(n / edge), edge)


def tables(grid: Grid, cut: Cut, rows: Rows, derivative: bool = False) -> list:
  """Returns `gto_functions.lines` as [tiles, K, P, edge], for x, y and z.

  Args:
    grid: the voxels.
    cut: of the grid.
    rows: basis functions.
    derivative: with respect to the centre (per Å) instead.
  """
  fine = grid.refine(cut.supersample)
  # To the end of the last tile.
  steps = np.arange(cut.tiles * cut.edge) * fine.spacing
  lines = gto_functions.lines(grids.axis(fine)[0] + steps, rows, derivative)
  return [
    jnp.moveaxis(line.reshape(*line.shape[:2], cut.tiles, cut.edge), 2, 0)
    for line in lines
  ]


def screen(cut: Cut, rows: Rows, lines, sizes: tuple[int, ...]) -> Tiles:
  """Returns which functions count in which tile.

  Leaving out functions that reach w in a tile where all together reach W
  changes the density by at most about 2 w W (c is at most c_max, which
  cancels); the largest density is at least about that of one function.

  Args:
    cut: of the grid.
    rows: basis functions.
    lines: their `tables`.
    sizes: numbers of functions that a tile may have, beside none and all.
  """
  x_TKP, y_TKP, z_TKP = (jnp.max(jnp.abs(line), axis=3) for line in lines)
  reach_XYZK = sum(
    x_TKP[:, None, None, :, p]
    * y_TKP[None, :, None, :, p]
    * z_TKP[None, None, :, :, p]
    for p in range(x_TKP.shape[2])
  )
  reach_TK = jax.lax.stop_gradient(reach_XYZK.reshape(cut.tiles**3, -1))
  dtype = reach_TK.dtype
  limit = _NEGLIGIBLE * jnp.finfo(dtype).eps * jnp.max(reach_TK) ** 2
  together_T = jnp.sum(reach_TK, axis=1)
  # Not >: what is not a number must not be left out.
  counts_TK = ~(reach_TK * together_T[:, None] <= limit)
  k = len(rows.coords_K3)
  before_KK = jnp.asarray(np.triu(np.ones((k, k))), dtype)
  ranks_TK = jnp.dot(counts_TK.astype(dtype), before_KK, precision=HIGHEST)
  sizes = (0, *(size for size in sizes if size < k), k)
  room_N = jnp.asarray(sizes[:-1], dtype)
  too_small_TN = ranks_TK[:, -1:] > room_N[None, :]
  axis = np.arange(cut.tiles)
  places_3XYZ = np.stack(np.meshgrid(axis, axis, axis, indexing='ij'))
  return Tiles(
    places_3XYZ.reshape(3, -1).T.astype(np.int32),
    jnp.sum(too_small_TN, axis=1, dtype=jnp.int32),
    ranks_TK,
    sizes,
  )


def choice(forms: list, first) -> Callable:
  """Returns f(size, ...), which calls the form of a size; zeros for size 0.

  Args:
    forms: functions of the same arguments, of each size but 0; what they return
      has the same shapes.
    first: arguments, for these shapes.
  """
  shapes = jax.eval_shape(forms[-1], *first)

  def nothing(*_):
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

  return lambda size, *args: jax.lax.switch(size, [nothing, *forms], *args)


def assemble(cut: Cut, values_TXYZ) -> jax.Array:
  """Returns the grid [X, Y, Z] from its tiles.

  Args:
    cut: of the grid.
    values_TXYZ: means over the voxels of each tile.
  """
  t, e = cut.tiles, cut.edge // cut.supersample
  values = values_TXYZ.reshape(t, t, t, e, e, e).transpose(0, 3, 1, 4, 2, 5)
  n = cut.voxels
  return values.reshape((t * e,) * 3)[:n, :n, :n]
