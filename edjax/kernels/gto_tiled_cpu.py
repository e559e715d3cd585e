"""sum_O psi_O^2 on a grid, tile by tile: the fast path of a CPU.

The functions that count in a tile (`gto_screening`) are gathered into the
tightest of a few static sizes, made from their factors, and multiplied by their
coefficients while they lie in the cache. Where fewer functions count than there
are orbitals, their density matrix D = c^T c takes the place of the orbitals.

The derivative is written out (`gto_functions.density_and_slope`), with D chi
for c^T psi. It stays differentiable.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from edjax.chem.units import BOHR_A
from edjax.grid import Grid
from edjax.kernels import gto_dense, gto_functions, gto_screening
from edjax.kernels.gto_screening import Cut, Tiles
from edjax.kernels.numerics import HIGHEST

# Points along the edge of a tile, at most. Larger tiles leave out less, smaller
# ones have more that is not arithmetic; 512 values of 32 functions fill 64 KiB,
# and a derivative has several times as many in use.
_EDGE, _SMALL_EDGE = 8, 6
# Points along the grid from where on the larger ones are small enough.
_MANY_POINTS = 32
# Functions that a tile may have: 0, then these, then all.
SIZES = (8, 16, 24, 32, 48)


def density(
  grid: Grid,
  supersample: int,
  numbers_L: jax.Array,
  coords_L3: jax.Array,
  orbitals_OL9: jax.Array,
) -> jax.Array:
  """Averages the density of occupied orbitals over sub-points of each voxel.

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
  tight, _ = gto_functions.rooms(orbitals_OL9)
  return jax.lax.cond(
    gto_functions.holds(tight, numbers_L),
    functools.partial(_density, grid, supersample, tight),
    # Rare, and not worth more programs.
    functools.partial(gto_dense.density_means, grid, supersample),
    numbers_L,
    coords_L3,
    orbitals_OL9,
  )


def orbital_means(
  grid: Grid,
  supersample: int,
  f: Callable,
  numbers_L: jax.Array,
  coords_L3: jax.Array,
  orbitals_OL9: jax.Array,
) -> jax.Array:
  """Averages a function of the orbitals' products over sub-points.

  See `gto_dense.orbital_means`. f is 0 where the orbitals are: tiles where
  nothing counts are not computed.
  """
  tight, _ = gto_functions.rooms(orbitals_OL9)
  return jax.lax.cond(
    gto_functions.holds(tight, numbers_L),
    functools.partial(_orbital_means, grid, supersample, f, tight),
    functools.partial(gto_dense.orbital_means, grid, supersample, f),
    numbers_L,
    coords_L3,
    orbitals_OL9,
  )


def _orbital_means(grid, supersample, f, room, *molecule):
  """Computes `orbital_means` with a given room."""
  cut = gradient_cut(grid, supersample)
  rows = gto_functions.gather(room, *molecule)
  lines = gto_screening.tables(grid, cut, rows)
  sloping = gto_screening.tables(grid, cut, rows, derivative=True)
  tiles = gto_screening.screen(cut, rows, lines, SIZES)
  c_KO = rows.c_OK.T

  def tile(size, place_3, ranks_K):
    which_J = _which(size, ranks_K)
    factors = _factors(lines, place_3, which_J)
    slopes = _factors(sloping, place_3, which_J)
    dao = [
      _functions((*factors[:i], slope, *factors[i + 1 :]))
      for i, slope in enumerate(slopes)
    ]
    c_JO = _rows_of(c_KO, which_J)
    return _means(cut, f(products(c_JO, _functions(factors), dao)))

  return gto_screening.assemble(cut, _map(cut, tiles, tile, again=True))


def value_cut(grid: Grid, supersample: int) -> Cut:
  """Returns the tiles of a density."""
  many = grid.refine(supersample).size >= _MANY_POINTS
  edge = _EDGE if many else _SMALL_EDGE
  return gto_screening.cut_of(grid, supersample, edge)


def gradient_cut(grid: Grid, supersample: int) -> Cut:
  """Returns the tiles of a derivative."""
  return gto_screening.cut_of(grid, supersample, _SMALL_EDGE)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _density(grid, supersample, room, *molecule):
  """Computes the density with a given room."""
  cut = value_cut(grid, supersample)
  rows = gto_functions.gather(room, *molecule)
  lines = gto_screening.tables(grid, cut, rows)
  tiles = gto_screening.screen(cut, rows, lines, SIZES)
  c_KO = rows.c_OK.T

  def tile(size, place_3, ranks_K):
    which_J = _which(size, ranks_K)
    ao_JG = _functions(_factors(lines, place_3, which_J))
    return _means(cut, squares(_rows_of(c_KO, which_J), ao_JG))

  rho_TXYZ = _map(cut, tiles, tile)
  return gto_screening.assemble(cut, rho_TXYZ) / BOHR_A**3


@functools.partial(_density.defjvp, symbolic_zeros=True)
def _density_jvp(grid, supersample, room, primals, tangents):
  cut = gradient_cut(grid, supersample)
  rows = gto_functions.gather(room, *primals)
  lines = gto_screening.tables(grid, cut, rows)
  sloping = gto_screening.tables(grid, cut, rows, derivative=True)
  tiles = gto_screening.screen(cut, rows, lines, SIZES)
  c_KO = rows.c_OK.T
  dr_K3, dc_OK = gto_functions.gather_tangents(room, primals, tangents)

  # Backwards, what a tile would leave behind for every size is made again.
  def tile(size, place_3, ranks_K):
    which_J = _which(size, ranks_K)
    factors = _factors(lines, place_3, which_J)
    ao_JG = _functions(factors)
    c_JO = _rows_of(c_KO, which_J)
    dr_J3 = None if dr_K3 is None else _rows_of(dr_K3, which_J)
    dpsi_OG = (
      None if dc_OK is None else orbitals(_rows_of(dc_OK.T, which_J), ao_JG)
    )

    def slopes():
      back_JG = 2 * with_density_matrix(c_JO, ao_JG)
      for i, slope in enumerate(_factors(sloping, place_3, which_J)):
        yield _functions((*factors[:i], slope, *factors[i + 1 :]), back_JG)

    values = gto_functions.density_and_slope(
      orbitals(c_JO, ao_JG), dpsi_OG, dr_J3, slopes()
    )
    return tuple(_means(cut, v) for v in values)

  values = _map(cut, tiles, tile, again=True)
  return tuple(gto_screening.assemble(cut, v) / BOHR_A**3 for v in values)


def _map(cut: Cut, tiles: Tiles, tile, again: bool = False):
  """Computes every tile with the functions that count there.

  Args:
    cut: of the grid.
    tiles: what counts where.
    tile: f(size, place_3, ranks_K) -> arrays [edge/s, edge/s, edge/s].
    again: whether to compute it again when going backwards.

  Returns:
    The values of f, with a leading axis T; 0 where nothing counts.
  """
  first = tiles.places_T3[0], tiles.ranks_TK[0]
  forms = [functools.partial(tile, size) for size in tiles.sizes[1:]]
  choose = gto_screening.choice(forms, first)

  def one(args):
    place_3, size, ranks_K = args
    return choose(size, place_3, ranks_K)

  if again:
    one = jax.checkpoint(one, prevent_cse=False)
  return jax.lax.map(
    one, (jnp.asarray(tiles.places_T3), tiles.sizes_T, tiles.ranks_TK)
  )


def _which(size: int, ranks_K) -> jax.Array:
  """Returns places of the functions that count; K where there is no other."""
  if size == len(ranks_K):
    return jnp.arange(size, dtype=jnp.int32)
  before_J = jnp.arange(size, dtype=ranks_K.dtype)
  return jnp.sum(ranks_K[None, :] <= before_J[:, None], axis=1, dtype=jnp.int32)


def _rows_of(values_KN, which_J) -> jax.Array:
  """Gathers rows; 0 where there is none."""
  values_KN = jnp.pad(values_KN, ((0, 1), (0, 0)))
  return jnp.take(values_KN, which_J, axis=0, mode='clip')


def _factors(lines, place_3, which_J) -> list:
  """Gathers pieces of the lines, [J, P, edge]; any where J has no function."""
  k, p, edge = lines[0].shape[1:]
  last_J = jnp.minimum(which_J, k - 1)
  return [
    jnp.take(
      line.reshape(-1, p * edge), last_J + place_3[i] * k, axis=0, mode='clip'
    ).reshape(-1, p, edge)
    for i, line in enumerate(lines)
  ]


def _functions(factors, times_JG=None) -> jax.Array:
  """Makes basis functions from their factors, times `times_JG`: [J, G].

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


def squares(c_JO, ao_JG) -> jax.Array:
  """Computes sum_O psi_O^2 at points, by the smaller product; not negative.

  Args:
    c_JO: coefficients.
    ao_JG: basis functions.
  """
  if c_JO.shape[0] < c_JO.shape[1]:
    rho_G = jnp.sum(ao_JG * with_density_matrix(c_JO, ao_JG), axis=0)
    # Rounding may leave it below 0 where all orbitals have a node.
    return jnp.maximum(rho_G, 0)
  return jnp.sum(orbitals(c_JO, ao_JG) ** 2, axis=0)


def products(c_JO, ao_JG, dao) -> gto_functions.Products:
  """Computes the products of orbitals with themselves by the smaller product.

  Args:
    c_JO: coefficients.
    ao_JG: basis functions.
    dao: their derivatives [J, G] along x, y and z.
  """
  if c_JO.shape[0] >= c_JO.shape[1]:
    return gto_functions.products(
      orbitals(c_JO, ao_JG), [orbitals(c_JO, d_JG) for d_JG in dao]
    )
  back_JG = with_density_matrix(c_JO, ao_JG)
  squares_G = sum(
    jnp.sum(d_JG * with_density_matrix(c_JO, d_JG), axis=0) for d_JG in dao
  )
  # As in `squares`.
  return gto_functions.Products(
    jnp.maximum(jnp.sum(ao_JG * back_JG, axis=0), 0),
    tuple(jnp.sum(d_JG * back_JG, axis=0) for d_JG in dao),
    jnp.maximum(squares_G, 0),
  )


def with_density_matrix(c_JO, ao_JG) -> jax.Array:
  """Multiplies the basis functions by c c^T: [J, G]."""
  d_JJ = jnp.dot(c_JO, c_JO.T, precision=HIGHEST)
  return jnp.dot(d_JJ, ao_JG, precision=HIGHEST)


def orbitals(c_JO, ao_JG) -> jax.Array:
  """Computes orbitals at points: [O, G]."""
  return jax.lax.dot_general(
    c_JO, ao_JG, (((0,), (0,)), ((), ())), precision=HIGHEST
  )


def _means(cut: Cut, values_G) -> jax.Array:
  """Averages over the sub-points of the voxels of a tile.

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
