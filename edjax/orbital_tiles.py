"""sum_O psi_O^2 on a grid, tile by tile: the fast path of a CPU.

The grid is cut into small boxes. In most of them most basis functions are
too small to be seen in the rounding of the result, and in many of them all
are. What a function can reach in a box is bounded by the product of its
largest factors along x, y and z there; the functions that count are gathered
into the tightest of a few static sizes, made from their factors, and
multiplied by their coefficients while they lie in the cache.

The derivative is written out (custom_jvp) as in `orbital_grid`, with the
density matrix of the functions that count: with D = c^T c,

  drho = 2 sum_K (D chi)_K sum_i dr_Ki d chi_K / d r_Ki,

one product for all directions. It stays differentiable.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edjax import grid as grids
from edjax import orbital_grid
from edjax.grid import Grid
from edjax.numerics import HIGHEST
from edjax.orbital_grid import Rows
from edjax.units import BOHR_A

# Voxels (or sub-points) along an edge of a tile, at most: 512 values of 32
# functions fill 64 KiB.
_EDGE = 8
# What a tile costs beside its points, in the same unit along one edge.
_EDGE_COST = 1.5
# Functions that a tile may have: 0, then these, then all.
_SIZES = (16, 32, 48)
# What may be left out, in units of the rounding of the largest density; the
# bound is loose, the density changes by about an eighth of it.
_NEGLIGIBLE = 2.5


class _Cut(NamedTuple):
  """How a grid is cut into tiles; static.

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


class _Tiles(NamedTuple):
  """What the tiles T are computed from.

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


def density(
  grid: Grid,
  supersample: int,
  numbers_L: jax.Array,
  coords_L3: jax.Array,
  orbitals_OL9: jax.Array,
) -> jax.Array:
  """Density of occupied orbitals: means over the sub-points of each voxel.

  Under vmap every size is computed in every tile: `numerics.batched` maps
  instead on a CPU.

  Args:
    grid: the voxels.
    supersample: sub-points along each edge of a voxel.
    numbers_L: atomic numbers; 0 is padding.
    coords_L3: Å.
    orbitals_OL9: see `molecule.Molecule`; width 4 or 9.

  Returns:
    rho_XYZ, e/Å^3.
  """
  molecule = numbers_L, coords_L3, orbitals_OL9
  tight, _ = orbital_grid.rooms(orbitals_OL9)
  return jax.lax.cond(
    orbital_grid.holds(tight, numbers_L),
    functools.partial(_density, grid, supersample, tight),
    functools.partial(_whole, grid, supersample),
    *molecule,
  )


def _whole(grid: Grid, supersample: int, *molecule) -> jax.Array:
  """What the tight room does not hold: rare, and not worth more programs."""
  rho_XYZ = orbital_grid.density(grid.refine(supersample), *molecule)
  return grids.pool(rho_XYZ, supersample)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _density(grid, supersample, room, *molecule):
  """Density with a given room."""
  cut = _cut(grid, supersample)
  rows = orbital_grid.gather(room, *molecule)
  lines = _tables(cut, orbital_grid.lines(_points(grid, cut), rows))
  tiles = _screen(cut, rows, lines)
  c_KO = rows.c_OK.T

  def tile(size, place_3, ranks_K):
    kept_J = _kept(size, ranks_K)
    ao_JG = _functions(_factors(lines, place_3, kept_J))
    psi_OG = _contract(_rows_of(c_KO, kept_J), ao_JG)
    return _means(cut, jnp.sum(psi_OG**2, axis=0))

  return _assemble(cut, _map(cut, tiles, tile))


@functools.partial(_density.defjvp, symbolic_zeros=True)
def _density_jvp(grid, supersample, room, primals, tangents):
  cut = _cut(grid, supersample)
  rows = orbital_grid.gather(room, *primals)
  of = functools.partial(orbital_grid.lines, _points(grid, cut), rows)
  lines = _tables(cut, of())
  slopes = _tables(cut, of(derivative=True))
  tiles = _screen(cut, rows, lines)
  c_KO = rows.c_OK.T
  _, dcoords_L3, dorbitals_OL9 = tangents
  moved, mixed = (
    not isinstance(t, jax.custom_derivatives.SymbolicZero)
    for t in (dcoords_L3, dorbitals_OL9)
  )
  if moved:
    dr_K3 = orbital_grid.gather(room, primals[0], dcoords_L3, primals[2])
    dr_K3 = dr_K3.coords_K3
  if mixed:
    dc_KO = orbital_grid.gather(room, *primals[:2], dorbitals_OL9).c_OK.T

  # Backwards, what a tile would leave behind for every size is made again.
  def tile(size, place_3, ranks_K):
    kept_J = _kept(size, ranks_K)
    factors = _factors(lines, place_3, kept_J)
    ao_JG = _functions(factors)
    c_JO = _rows_of(c_KO, kept_J)
    psi_OG = _contract(c_JO, ao_JG)
    rho_G = jnp.sum(psi_OG**2, axis=0)
    drho_G = jnp.zeros_like(rho_G)
    if moved:
      d_JJ = jnp.dot(c_JO, c_JO.T, precision=HIGHEST)
      back_JG = 2 * jnp.dot(d_JJ, ao_JG, precision=HIGHEST)
      towards = _factors(slopes, place_3, kept_J)
      dr_J3 = _rows_of(dr_K3, kept_J)
      for i in range(3):
        step_JG = _functions(
          (*factors[:i], towards[i], *factors[i + 1 :]), back_JG
        )
        drho_G += jnp.dot(dr_J3[:, i], step_JG, precision=HIGHEST)
    if mixed:
      dpsi_OG = _contract(_rows_of(dc_KO, kept_J), ao_JG)
      drho_G += 2 * jnp.sum(psi_OG * dpsi_OG, axis=0)
    return _means(cut, rho_G), _means(cut, drho_G)

  values = _map(cut, tiles, tile, again=True)
  return tuple(_assemble(cut, v) for v in values)


def _cut(grid: Grid, supersample: int) -> _Cut:
  """Tiles of whole voxels that stick out little and are not too small."""
  s = supersample
  n = grid.refine(s).size
  edges = range(s, max(_EDGE, s) + 1, s)
  edge = min(edges, key=lambda e: (math.ceil(n / e) * (e + _EDGE_COST), -e))
  return _Cut(grid.size, s, math.ceil(n / edge), edge)


def _points(grid: Grid, cut: _Cut) -> np.ndarray:
  """Sub-points along an axis, to the end of the last tile; Å."""
  fine = grid.refine(cut.supersample)
  start = grids.axis(fine)[0]
  return start + np.arange(cut.tiles * cut.edge) * fine.spacing


def _tables(cut: _Cut, lines) -> list:
  """Lines [K, P, n] as [tiles, K, P, edge], for x, y and z."""
  return [
    jnp.moveaxis(line.reshape(*line.shape[:2], cut.tiles, cut.edge), 2, 0)
    for line in lines
  ]


def _screen(cut: _Cut, rows: Rows, lines) -> _Tiles:
  """Which functions count in which tile.

  Leaving out functions that reach w in a tile where all together reach W
  changes the density by at most about 2 w W (c is at most c_max, which
  cancels); the largest density is at least about that of one function.
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
  sizes = (0, *(size for size in _SIZES if size < k), k)
  room_N = jnp.asarray(sizes[:-1], dtype)
  too_small_TN = ranks_TK[:, -1:] > room_N[None, :]
  axis = np.arange(cut.tiles)
  places_3XYZ = np.stack(np.meshgrid(axis, axis, axis, indexing='ij'))
  return _Tiles(
    places_3XYZ.reshape(3, -1).T.astype(np.int32),
    jnp.sum(too_small_TN, axis=1, dtype=jnp.int32),
    ranks_TK,
    sizes,
  )


def _map(cut: _Cut, tiles: _Tiles, tile, again: bool = False):
  """Computes every tile with the functions that count there.

  Args:
    cut: of the grid.
    tiles: what counts where.
    tile: f(size, place_3, ranks_K) -> arrays [edge/s, edge/s, edge/s].
    again: whether to compute it again when going backwards.

  Returns:
    What f returns, with a leading axis T; 0 where nothing counts.
  """
  shapes = jax.eval_shape(
    functools.partial(tile, tiles.sizes[-1]),
    tiles.places_T3[0],
    tiles.ranks_TK[0],
  )

  def nothing(*_):
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

  forms = [functools.partial(tile, size) for size in tiles.sizes[1:]]

  def one(args):
    place_3, size, ranks_K = args
    return jax.lax.switch(size, [nothing, *forms], place_3, ranks_K)

  if again:
    one = jax.checkpoint(one, prevent_cse=False)
  return jax.lax.map(
    one, (jnp.asarray(tiles.places_T3), tiles.sizes_T, tiles.ranks_TK)
  )


def _kept(size: int, ranks_K) -> jax.Array:
  """Places of the functions that count; K where there is no other."""
  if size == len(ranks_K):
    return jnp.arange(size, dtype=jnp.int32)
  before_J = jnp.arange(size, dtype=ranks_K.dtype)
  return jnp.sum(ranks_K[None, :] <= before_J[:, None], axis=1, dtype=jnp.int32)


def _rows_of(values_KN, kept_J) -> jax.Array:
  """Rows, 0 where there is none."""
  values_KN = jnp.pad(values_KN, ((0, 1), (0, 0)))
  return jnp.take(values_KN, kept_J, axis=0, mode='clip')


def _factors(lines, place_3, kept_J) -> list:
  """The pieces [J, P, edge] of the lines, of any function where J has none."""
  k, p, edge = lines[0].shape[1:]
  last_J = jnp.minimum(kept_J, k - 1)
  return [
    jnp.take(
      line.reshape(-1, p * edge), last_J + place_3[i] * k, axis=0, mode='clip'
    ).reshape(-1, p, edge)
    for i, line in enumerate(lines)
  ]


def _functions(factors, times_JG=None) -> jax.Array:
  """Basis functions from their factors (times something), [J, G].

  Plane by plane: as one expression XLA makes a loop over [J, G] of it that
  divides to find x, y and z, at several times the cost.
  """
  x_JPE, y_JPE, z_JPE = factors
  j, primitives, e = x_JPE.shape
  yz_JPF = y_JPE[:, :, :, None] * z_JPE[:, :, None, :]
  yz_JPF = jax.lax.optimization_barrier(yz_JPF).reshape(j, primitives, e * e)

  def plane(i, ao_JG):
    x_JP = jax.lax.dynamic_index_in_dim(x_JPE, i, axis=2, keepdims=False)
    values_JF = sum(x_JP[:, p, None] * yz_JPF[:, p] for p in range(primitives))
    start = i * np.int32(e * e)
    if times_JG is not None:
      values_JF *= jax.lax.dynamic_slice_in_dim(times_JG, start, e * e, 1)
    return jax.lax.dynamic_update_slice_in_dim(ao_JG, values_JF, start, axis=1)

  return jax.lax.fori_loop(0, e, plane, jnp.zeros((j, e**3), x_JPE.dtype))


def _contract(c_JO, ao_JG) -> jax.Array:
  """Orbitals, [O, G]."""
  return jax.lax.dot_general(
    c_JO, ao_JG, (((0,), (0,)), ((), ())), precision=HIGHEST
  )


def _means(cut: _Cut, values_G) -> jax.Array:
  """Means over the sub-points of the voxels of a tile.

  Whole lines are added along x and y, and a product adds along z: the general
  form of `grid.pool` is a loop over single numbers.
  """
  e, s = cut.edge, cut.supersample
  voxels = e // s
  if s > 1:
    planes = values_G.reshape(voxels, s, e * e)
    lines = sum(planes[:, i] for i in range(s)).reshape(voxels**2, s, e)
    along_z = np.repeat(np.eye(voxels), s, axis=0) / s**3
    values_G = jnp.dot(
      sum(lines[:, i] for i in range(s)),
      jnp.asarray(along_z, values_G.dtype),
      precision=HIGHEST,
    )
  return values_G.reshape((voxels,) * 3)


def _assemble(cut: _Cut, values_TXYZ) -> jax.Array:
  """The grid from its tiles, per Å^3."""
  t, e = cut.tiles, cut.edge // cut.supersample
  values = values_TXYZ.reshape(t, t, t, e, e, e).transpose(0, 3, 1, 4, 2, 5)
  n = cut.voxels
  return values.reshape((t * e,) * 3)[:n, :n, :n] / BOHR_A**3
