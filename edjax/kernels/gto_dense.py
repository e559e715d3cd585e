"""sum_O psi_O^2 on a grid, separably: the fast form of `orbital_density`.

All basis functions are made by small matrix products [X, P] x [P, YZ] of their
factors along the axes (`gto_functions`); one large product [O, K] x [K, XYZ]
then makes the orbitals. The grid is worked through in slabs, and nothing is
left out. Accelerators use this form; `gto_tiled_cpu`, which leaves out what is
far, uses it where it has no room for a molecule's functions.

The derivative is written out (`gto_functions.density_and_slope`). It stays
differentiable, forwards and backwards.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from edjax import grid as grids
from edjax.chem.units import BOHR_A
from edjax.grid import Grid
from edjax.kernels import gto_functions
from edjax.kernels.numerics import HIGHEST

# Points evaluated at a time: an accelerator wants much work in few steps.
POINTS = 32768


def density(
  grid: Grid,
  numbers_L: jax.Array,
  coords_L3: jax.Array,
  orbitals_OL9: jax.Array,
) -> jax.Array:
  """Computes the density of occupied orbitals at the voxel centres.

  Args:
    grid: the voxels.
    numbers_L: atomic numbers; 0 is padding.
    coords_L3: Å.
    orbitals_OL9: see `molecule.Molecule`; width 4 or 9.

  Returns:
    rho_XYZ, e/Å^3.
  """
  room = gto_functions.rooms(orbitals_OL9)[-1]
  return _density(grid, room, numbers_L, coords_L3, orbitals_OL9)


def density_means(grid: Grid, supersample: int, *molecule) -> jax.Array:
  """Averages `density` over supersample^3 sub-points of each voxel."""
  rho_XYZ = density(grid.refine(supersample), *molecule)
  return grids.pool(rho_XYZ, supersample)


def orbital_means(
  grid: Grid,
  supersample: int,
  f: Callable,
  numbers_L: jax.Array,
  coords_L3: jax.Array,
  orbitals_OL9: jax.Array,
) -> jax.Array:
  """Averages a function of the orbitals' products over sub-points.

  Args:
    grid: the voxels.
    supersample: sub-points along each edge of a voxel.
    f: `gto_functions.Products` -> values_G.
    numbers_L: atomic numbers; 0 is padding.
    coords_L3: Å.
    orbitals_OL9: see `molecule.Molecule`; width 4 or 9.

  Returns:
    values_XYZ.
  """
  room = gto_functions.rooms(orbitals_OL9)[-1]
  rows = gto_functions.gather(room, numbers_L, coords_L3, orbitals_OL9)
  fine = grid.refine(supersample)
  axis = grids.axis(fine)
  x, y, z = gto_functions.lines(axis, rows)
  dx, dy, dz = gto_functions.lines(axis, rows, derivative=True)

  def slab(x_KPX, dx_KPX, yz_KPG, dyz_KPG, ydz_KPG):
    pairs = (
      (x_KPX, yz_KPG),
      (dx_KPX, yz_KPG),
      (x_KPX, dyz_KPG),
      (x_KPX, ydz_KPG),
    )
    psi_OG, *slopes = (_orbitals(rows.c_OK, _product(*p)) for p in pairs)
    return f(gto_functions.products(psi_OG, slopes))

  along_yz = ((y, z), (dy, z), (y, dz))
  values_XYZ = _slabs(slab, fine.size, POINTS, (x, dx), along_yz)
  return grids.pool(values_XYZ, supersample)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _density(grid, room, numbers_L, coords_L3, orbitals_OL9):
  """Computes the density with a given room."""
  rows = gto_functions.gather(room, numbers_L, coords_L3, orbitals_OL9)
  x, y, z = gto_functions.lines(grids.axis(grid), rows)

  def slab(x_KPX, yz_KPG):
    psi_OG = _orbitals(rows.c_OK, _product(x_KPX, yz_KPG))
    return jnp.sum(psi_OG**2, axis=0)

  rho_XYZ = _slabs(slab, grid.size, POINTS, (x,), ((y, z),))
  return rho_XYZ / BOHR_A**3


@functools.partial(_density.defjvp, symbolic_zeros=True)
def _density_jvp(grid, room, primals, tangents):
  rows = gto_functions.gather(room, *primals)
  axis = grids.axis(grid)
  x, y, z = gto_functions.lines(axis, rows)
  dx, dy, dz = gto_functions.lines(axis, rows, derivative=True)
  dr_K3, dc_OK = gto_functions.gather_tangents(room, primals, tangents)

  def slab(x_KPX, dx_KPX, yz_KPG, dyz_KPG, ydz_KPG):
    ao_KG = _product(x_KPX, yz_KPG)
    psi_OG = _orbitals(rows.c_OK, ao_KG)
    dpsi_OG = None if dc_OK is None else _orbitals(dc_OK, ao_KG)

    def slopes():
      back_KG = 2 * _orbitals(rows.c_OK.T, psi_OG)
      yield back_KG * _product(dx_KPX, yz_KPG)
      yield back_KG * _product(x_KPX, dyz_KPG)
      yield back_KG * _product(x_KPX, ydz_KPG)

    return gto_functions.density_and_slope(psi_OG, dpsi_OG, dr_K3, slopes())

  along_yz = ((y, z), (dy, z), (y, dz))
  values = _slabs(slab, grid.size, POINTS, (x, dx), along_yz)
  return tuple(v / BOHR_A**3 for v in values)


def _product(x_KPX, yz_KPG) -> jax.Array:
  """Makes basis functions from their factors: [K, X*G]."""
  ao_KXG = jnp.einsum('kpx,kpg->kxg', x_KPX, yz_KPG, precision=HIGHEST)
  return ao_KXG.reshape(len(ao_KXG), -1)


def _orbitals(c_OK, ao_KG) -> jax.Array:
  return jnp.dot(c_OK, ao_KG, precision=HIGHEST)


def _slabs(f: Callable, n: int, points: int, along_x, along_yz):
  """Applies f to slabs of a grid and assembles what it returns.

  Args:
    f: takes the pieces [K, P, X] of `along_x`, then the products [K, P, Y*Z]
      of `along_yz`; returns values of shape [X*Y*Z].
    n: edge of the grid.
    points: how many at most in a slab (but never less than a line).
    along_x: lines [K, P, n].
    along_yz: pairs of lines [K, P, n].

  Returns:
    The values of f, as [n, n, n].
  """
  ny = _divisor(n, points // n)
  nx = _divisor(n, points // (n * ny))

  def block(ys):
    planes = [
      (y[:, :, :, None] * z[:, :, None, :]).reshape(*y.shape[:2], ny * n)
      for y, (_, z) in zip(ys, along_yz, strict=True)
    ]
    pieces = tuple(_split(x, nx) for x in along_x)
    return jax.lax.map(lambda xs: f(*xs, *planes), pieces)

  def assemble(values):
    values = values.reshape(n // ny, n // nx, nx, ny, n)
    return jnp.moveaxis(values, 0, 2).reshape(n, n, n)

  blocks = jax.lax.map(block, tuple(_split(y, ny) for y, _ in along_yz))
  return jax.tree.map(assemble, blocks)


def _split(values_KPX, size: int) -> jax.Array:
  """Cuts the last axis into pieces, which become the first axis."""
  k, p, n = values_KPX.shape
  return jnp.moveaxis(values_KPX.reshape(k, p, n // size, size), 2, 0)


def _divisor(n: int, most: int) -> int:
  """Returns the largest divisor of n up to `most`; at least 1."""
  return max(d for d in range(1, n + 1) if n % d == 0 and d <= max(most, 1))
