"""sum_O psi_O^2 on a grid, many tiles at a time: the fast path of accelerators.

Tiles (`gto_screening`) are sorted by the number of functions that count in
them and done in chunks, each with room for as many as its first tile needs;
chunks where nothing counts are skipped. The parameters of the functions that
count are picked by sums over zeros and ones: exact, and a matrix product where
gathering them would be one access after another. Basis functions are made at
the points from r^2 and not from factors along the axes: that is more
arithmetic, in one expression that can be fused. No accelerator has timed this
yet; benchmarks/gpu/gpu.sh does, beside `gto_dense`.

Under `vmap` a batch shares the decisions (`_largest`): the chunks of all its
molecules have the room that the neediest of them asks for, and only what all of
them can skip is skipped.

The derivative is written out (custom_jvp) as in `gto_dense`.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from edjax.chem.units import BOHR_A
from edjax.grid import Grid
from edjax.kernels import gto_dense, gto_screening
from edjax.kernels.gto_dense import Rows
from edjax.kernels.gto_screening import Cut
from edjax.kernels.numerics import HIGHEST

# Points along the edge of a tile, at most, and tiles at a time.
_EDGE = 8
_TILES = 32
# Functions that a tile may have: 0, then these, then all.
SIZES = (16, 32)


@jax.custom_batching.custom_vmap
def _largest(count: jax.Array) -> jax.Array:
  """The largest number of a batch, for all of it: what steers a program."""
  return count


@_largest.def_vmap
def _largest_of_batch(axis_size, in_batched, count_B):
  del axis_size, in_batched
  return _largest(jnp.max(count_B, axis=0)), False


def density(
  grid: Grid,
  supersample: int,
  numbers_L: jax.Array,
  coords_L3: jax.Array,
  orbitals_OL9: jax.Array,
) -> jax.Array:
  """`gto_tiled_cpu.density`, of many tiles at a time; arguments as there."""
  molecule = numbers_L, coords_L3, orbitals_OL9
  return gto_dense.density_in_room(
    _density, grid, supersample, molecule, _largest
  )


def value_cut(grid: Grid, supersample: int) -> Cut:
  """The tiles of a density; its derivatives have the same."""
  return gto_screening.cut_of(grid, supersample, _EDGE)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _density(grid, supersample, room, *molecule):
  """Density with a given room."""
  cut = value_cut(grid, supersample)
  rows = gto_dense.gather(room, *molecule)

  def chunk(pick, corner_C3):
    ao_CJG = _functions(
      pick, rows, _from_centres(grid, cut, pick, rows, corner_C3)
    )
    psi_COG = _contract(pick(rows.c_OK), ao_CJG)
    return _means(cut, jnp.sum(psi_COG**2, axis=1))

  return _map(grid, cut, rows, chunk)


@functools.partial(_density.defjvp, symbolic_zeros=True)
def _density_jvp(grid, supersample, room, primals, tangents):
  cut = value_cut(grid, supersample)
  rows = gto_dense.gather(room, *primals)
  dr_K3, dc_OK = gto_dense.gather_tangents(room, primals, tangents)

  def chunk(pick, corner_C3):
    r_3CJG = _from_centres(grid, cut, pick, rows, corner_C3)
    ao_CJG = _functions(pick, rows, r_3CJG)
    c_OCJ = pick(rows.c_OK)
    psi_COG = _contract(c_OCJ, ao_CJG)
    rho_CG = jnp.sum(psi_COG**2, axis=1)
    drho_CG = jnp.zeros_like(rho_CG)
    if dr_K3 is not None:
      back_CJG = 2 * jnp.einsum(
        'ocj,cog->cjg', c_OCJ, psi_COG, precision=HIGHEST
      )
      for i, dr_CJ in enumerate(pick(dr_K3.T)):
        slope_CJG = _slope(pick, rows, r_3CJG, i)
        drho_CG += jnp.sum(dr_CJ[:, :, None] * (back_CJG * slope_CJG), axis=1)
    if dc_OK is not None:
      dpsi_COG = _contract(pick(dc_OK), ao_CJG)
      drho_CG += 2 * jnp.sum(psi_COG * dpsi_COG, axis=1)
    return _means(cut, rho_CG), _means(cut, drho_CG)

  return _map(grid, cut, rows, chunk, again=True)


def _map(grid: Grid, cut: Cut, rows: Rows, chunk, again: bool = False):
  """Computes every tile with the functions that count there.

  Args:
    grid: the voxels.
    cut: of the grid.
    rows: basis functions.
    chunk: f(pick, corner_C3) -> arrays [C, voxels of a tile]; pick(values_K),
      with any leading axes, gives those of the functions that count,
      [..., C, J], and corner_C3 is the first sub-point of each tile, Å.
    again: whether to compute it again when going backwards.

  Returns:
    What f returns, as [X, Y, Z] per Å^3.
  """
  lines = gto_screening.tables(grid, cut, rows)
  tiles = gto_screening.screen(cut, rows, lines, SIZES)
  count = len(tiles.places_T3)
  at_once = min(_TILES, count)
  chunks = math.ceil(count / at_once)
  order_T = jnp.argsort(-tiles.ranks_TK[:, -1], stable=True)
  # What fills the last chunk is computed again, and cut off.
  order_T = jnp.pad(order_T, (0, chunks * at_once - count), mode='edge')
  corners_T3 = gto_screening.points(grid, cut)[tiles.places_T3 * cut.edge]
  corners_T3 = jnp.asarray(corners_T3, rows.coords_K3.dtype)

  def in_chunks(values_T):
    return values_T[order_T].reshape(chunks, at_once, *values_T.shape[1:])

  def form(size):
    def compute(ranks_CK, corner_C3):
      return chunk(_picker(size, ranks_CK), corner_C3)

    return jax.checkpoint(compute, prevent_cse=False) if again else compute

  forms = [form(size) for size in tiles.sizes[1:]]
  xs = in_chunks(tiles.ranks_TK), in_chunks(corners_T3)
  choose = gto_screening.choice(forms, jax.tree.map(lambda x: x[0], xs))

  # The first tile of a chunk has the most functions.
  sizes_N = _largest(in_chunks(tiles.sizes_T)[:, 0])
  values = jax.lax.map(lambda args: choose(*args), (sizes_N, *xs))
  back_T = jnp.argsort(order_T[:count])

  def on_grid(values_NCV):
    values_TV = values_NCV.reshape(-1, values_NCV.shape[-1])[:count][back_T]
    return gto_screening.assemble(cut, values_TV)

  return jax.tree.map(on_grid, values)


def _picker(size: int, ranks_CK):
  """values_K -> values_CJ of the functions that count; 0 where J has none."""
  tiles, k = ranks_CK.shape
  if size == k:
    return lambda values_K: jnp.broadcast_to(
      values_K[..., None, :], (*values_K.shape[:-1], tiles, k)
    )
  before_CK = jnp.pad(ranks_CK, ((0, 0), (1, 0)))[:, :-1]
  before_1J1 = jnp.arange(size, dtype=ranks_CK.dtype)[None, :, None]
  hot_CJK = before_CK[:, None, :] == before_1J1
  hot_CJK &= ranks_CK[:, None, :] == before_1J1 + 1

  def pick(values_K):
    if values_K.ndim == 1:
      return jnp.sum(jnp.where(hot_CJK, values_K[None, None, :], 0), axis=2)
    return jnp.einsum(
      '...k,cjk->...cj', values_K, hot_CJK.astype(values_K.dtype),
      precision=HIGHEST,
    )  # fmt: skip

  return pick


def _from_centres(grid: Grid, cut: Cut, pick, rows: Rows, corner_C3):
  """Points of each tile from the centre of each function, bohr: 3 [C, J, G]."""
  step = np.arange(cut.edge) * (grid.spacing / cut.supersample)
  inside_3G = np.stack(np.meshgrid(step, step, step, indexing='ij'))
  inside_3G = jnp.asarray(inside_3G.reshape(3, -1), corner_C3.dtype)
  return [
    (
      (corner_C3[:, i, None] - pick(rows.coords_K3[:, i]))[:, :, None]
      + inside_3G[i][None, None, :]
    )
    / BOHR_A
    for i in range(3)
  ]


def _functions(pick, rows: Rows, r_3CJG) -> jax.Array:
  """Basis functions at the points, [C, J, G]."""
  return _angular(pick, rows, r_3CJG) * _radial(pick, rows, r_3CJG)


def _slope(pick, rows: Rows, r_3CJG, i: int) -> jax.Array:
  """Derivatives with respect to the centres along one axis, per Å."""

  def along(r_CJG):
    return _functions(pick, rows, [*r_3CJG[:i], r_CJG, *r_3CJG[i + 1 :]])

  toward = jnp.full_like(r_3CJG[i], -1 / BOHR_A)
  return jax.jvp(along, (r_3CJG[i],), (toward,))[1]


def _angular(pick, rows: Rows, r_3CJG) -> jax.Array:
  """x^i y^j z^k with powers up to 2."""

  def factor(r_CJG, power_K):
    power_CJG = pick(jnp.asarray(power_K, r_CJG.dtype))[:, :, None]
    return jnp.where(
      power_CJG == 0, 1, jnp.where(power_CJG == 1, r_CJG, r_CJG * r_CJG)
    )

  powers_3K = rows.powers_K3.T
  return math.prod(map(factor, r_3CJG, powers_3K))


def _radial(pick, rows: Rows, r_3CJG) -> jax.Array:
  """sum_P c exp(-a r^2)."""
  r2_CJG = sum(r * r for r in r_3CJG)
  return sum(
    pick(c_K)[:, :, None] * jnp.exp(-pick(a_K)[:, :, None] * r2_CJG)
    for a_K, c_K in zip(rows.a_KP.T, rows.c_KP.T, strict=True)
  )


def _contract(c_OCJ, ao_CJG) -> jax.Array:
  """Orbitals, [C, O, G]."""
  return jnp.einsum('ocj,cjg->cog', c_OCJ, ao_CJG, precision=HIGHEST)


def _means(cut: Cut, values_CG) -> jax.Array:
  """Means over the sub-points of the voxels of tiles, [C, voxels]."""
  voxels, s = cut.edge // cut.supersample, cut.supersample
  along = np.repeat(np.eye(voxels), s, axis=0) / s
  means_GV = np.kron(np.kron(along, along), along)
  return jnp.dot(
    values_CG, jnp.asarray(means_GV, values_CG.dtype), precision=HIGHEST
  )
