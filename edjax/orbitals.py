"""The electron density of a molecule's occupied GFN2-xTB orbitals.

rho = sum_O psi_O^2, psi_O = sum_K orbitals_OK chi_K. Valence electrons only:
the basis has no core. Bohr stays inside: arguments are Å, results e/Å^3.

All functions of one shell share a radial part, chi_m = q_m(x, y, z) R(r) with
q = 1; x, y, z; xy, yz, z2, xz, x2-y2, and R = sum_P c_P exp(-a_P r^2). On a
grid each exponential is a product of three factors, each along one axis.
"""

import functools
import math
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edjax import elements, gto_basis
from edjax import grid as grid_lib
from edjax.grid import Grid
from edjax.gto_basis import from_slots, overlap, shells, to_slots
from edjax.molecule import Molecule
from edjax.numerics import HIGHEST
from edjax.units import BOHR_A

__all__ = [
  'density',
  'density_grid',
  'from_slots',
  'overlap',
  'shells',
  'to_slots',
]

_SLOTS = (slice(0, 1), slice(1, 4), slice(4, 9))
# Points evaluated at a time: atomic orbitals at so many points stay in the
# cache of a CPU core; an accelerator wants much work in few steps.
_POINTS_CPU = 2304
_POINTS_ACCELERATOR = 32768
# Shells with more primitives occur from Cs on.
_FEW_PRIMITIVES = 4


class _Sizes(NamedTuple):
  """Room for shells of each l, and primitives: the static shape of a sum."""

  shells: tuple[int, ...]
  primitives: int


def density(mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """Valence density at points: the plain form, the reference of the grid's.

  Args:
    mol: one molecule with orbitals.
    points_G3: Å.

  Returns:
    rho_G, e/Å^3.

  Raises:
    ValueError: the molecule has no orbitals, or points_G3 is not [G, 3].
  """
  _check_orbitals(mol)
  if points_G3.ndim != 2 or points_G3.shape[1] != 3:
    raise ValueError(f'points_G3 must be [G, 3], not {points_G3.shape}')
  numbers_L, coords_L3, orbitals_OL9 = _carriers(mol)
  r_3LG = (points_G3.T[:, None, :] - coords_L3.T[:, :, None]) / BOHR_A
  r2_LG = jnp.sum(r_3LG**2, axis=0)
  rows = []
  for l in range(2 if orbitals_OL9.shape[2] == 4 else 3):
    a_LP, c_LP = _primitives(numbers_L, l, r_3LG.dtype)
    gauss_LPG = jnp.exp(-a_LP[:, :, None] * r2_LG[:, None, :])
    radial_LG = jnp.sum(c_LP[:, :, None] * gauss_LPG, axis=1)
    rows += [q * radial_LG for q in _angular(l, *r_3LG)]
  ao_KG = jnp.concatenate(rows)
  c_OK = jnp.moveaxis(orbitals_OL9, 2, 1).reshape(len(orbitals_OL9), -1)
  psi_OG = jnp.dot(c_OK, ao_KG, precision=HIGHEST)
  return jnp.sum(psi_OG**2, axis=0) / BOHR_A**3


def density_grid(mol: Molecule, grid: Grid, supersample: int = 1) -> jax.Array:
  """Valence density on a grid, separably; the same numbers as `density`.

  Args:
    mol: one molecule with orbitals.
    grid: the voxels.
    supersample: 1 gives values at the voxel centres, s the means over s^3
      sub-points of each voxel.

  Returns:
    rho_XYZ, e/Å^3.

  Raises:
    ValueError: the molecule has no orbitals.
  """
  _check_orbitals(mol)
  fine = grid.refine(supersample)
  rho_XYZ = jax.lax.platform_dependent(
    *_carriers(mol),
    cpu=functools.partial(_tight_grid, fine),
    default=functools.partial(_full_grid, fine),
  )
  return grid_lib.pool(rho_XYZ, supersample)


def _check_orbitals(mol: Molecule):
  if mol.orbitals_OL9 is None:
    raise ValueError(
      'the molecule has no orbitals_OL9, which its xTB density needs: compute '
      'them with data_builders.xtb.run and pass them to Molecule.from_arrays '
      "(orbitals=...), or use the density 'promolecule'"
    )


def _carriers(mol: Molecule):
  """Numbers, coordinates and coefficients of the atoms with orbitals."""
  n = mol.orbitals_OL9.shape[1]
  return mol.numbers_A[:n], mol.coords_A3[:n], mol.orbitals_OL9


@functools.cache
def _tables(l: int) -> tuple[np.ndarray, np.ndarray]:
  """Exponents and coefficients [98 + 1, P] of one l; NaN beyond Rn.

  So that orbitals on an element outside the basis cannot give a number.
  """
  tables = gto_basis.tables()
  missing = ((0, elements.MAX_NUMBER - gto_basis.MAX_NUMBER), (0, 0))
  used = tables.coefficients_Z3P[:, l].any(axis=0)
  return tuple(
    np.pad(table[:, l, used], missing, constant_values=np.nan)
    for table in (tables.exponents_Z3P, tables.coefficients_Z3P)
  )


def _primitives(numbers_L, l: int, dtype) -> tuple[jax.Array, jax.Array]:
  """Exponents (bohr^-2) and coefficients [L, P] of one l by atom."""
  return tuple(jnp.asarray(t, dtype)[numbers_L] for t in _tables(l))


def _angular(l: int, x, y, z) -> list:
  """The polynomials q of one l, in the order of the slots."""
  if l == 0:
    return [1]
  if l == 1:
    return [x, y, z]
  z2 = (2 * z * z - x * x - y * y) * np.sqrt(1 / 12)
  return [x * y, y * z, z2, x * z, (x * x - y * y) * 0.5]


def _levels(orbitals_OL9) -> tuple[_Sizes, ...]:
  """Shapes from tight to complete for so many atoms with orbitals."""
  _, n, width = orbitals_OL9.shape
  kinds = 2 if width == 4 else 3
  fractions = ((2 / 3, 1 / 3, 1 / 6), (1, 1 / 3, 1 / 6), (1, 1 / 2, 1 / 4))
  tight = tuple(
    _Sizes(tuple(math.ceil(n * f) for f in some[:kinds]), _FEW_PRIMITIVES)
    for some in fractions
  )
  return (*tight, _Sizes((n,) * kinds, _tables(0)[0].shape[1]))


def _full_grid(grid: Grid, numbers_L, coords_L3, orbitals_OL9) -> jax.Array:
  """Every atom has room for every shell: no branches."""
  full = _levels(orbitals_OL9)[-1]
  return _grid_sum(
    grid, full, _POINTS_ACCELERATOR, numbers_L, coords_L3, orbitals_OL9
  )


def _tight_grid(grid: Grid, numbers_L, coords_L3, orbitals_OL9) -> jax.Array:
  """Chooses at run time the tightest of a few shapes that hold the molecule.

  Of the basis functions of a padded organic molecule more than half are
  none: padding, and the p functions of hydrogen.
  """
  levels = _levels(orbitals_OL9)
  kinds = len(levels[0].shells)
  need = [jnp.sum(_has_shell(numbers_L, l)) for l in range(kinds)]
  many = jnp.any(_has_many_primitives(numbers_L))
  # Levels too small for the molecule; the last one never is.
  too_small = sum(
    jnp.where(
      many
      | functools.reduce(
        operator.or_,
        [n > room for n, room in zip(need, level.shells, strict=True)],
      ),
      1,
      0,
    )
    for level in levels[:-1]
  )
  return jax.lax.switch(
    too_small,
    [functools.partial(_grid_sum, grid, v, _POINTS_CPU) for v in levels],
    numbers_L,
    coords_L3,
    orbitals_OL9,
  )


def _has_shell(numbers_L, l: int) -> jax.Array:
  """Which atoms have a shell of this l, [L]."""
  return jnp.asarray((_tables(l)[1] != 0).any(axis=1))[numbers_L]


def _has_many_primitives(numbers_L) -> jax.Array:
  """Which atoms have a shell of more primitives than _FEW_PRIMITIVES, [L]."""
  many_Z = sum(
    (_tables(l)[1][:, _FEW_PRIMITIVES:] != 0).any(axis=1) for l in range(3)
  )
  return jnp.asarray(many_Z > 0)[numbers_L]


class _Rows(NamedTuple):
  """Cartesian basis functions, ready for sums over a grid.

  Function K is sum_P x_KPX y_KPY z_KPZ; the factors of its derivatives with
  respect to the position of its atom (Å) stand in dx, dy, dz.

  Attributes:
    atom_K: the atom.
    c_OK: orbital coefficients.
    values: x_KPX, y_KPY, z_KPZ.
    derivatives: dx_KPX, dy_KPY, dz_KPZ.
  """

  atom_K: jax.Array
  c_OK: jax.Array
  values: tuple[jax.Array, jax.Array, jax.Array]
  derivatives: tuple[jax.Array, jax.Array, jax.Array]


def _rows(grid, sizes: _Sizes, numbers_L, coords_L3, orbitals_OL9) -> _Rows:
  """Gathers the shells there are and evaluates them along the axes."""
  axis_X = jnp.asarray(grid_lib.axis(grid), coords_L3.dtype)
  parts = []
  for l, count in enumerate(sizes.shells):
    kept_S = jnp.argsort(~_has_shell(numbers_L, l), stable=True)[:count]
    a_SP, c_SP = (
      t[:, : sizes.primitives]
      for t in _primitives(numbers_L[kept_S], l, axis_X.dtype)
    )
    short = ((0, 0), (0, sizes.primitives - a_SP.shape[1]))
    a_SP, c_SP = jnp.pad(a_SP, short), jnp.pad(c_SP, short)
    slots = gto_basis.FIRST_SLOT[l] + np.arange(2 * l + 1)
    c_OmS = jnp.einsum(
      'osf,fm->oms',
      orbitals_OL9[:, kept_S][:, :, slots],
      jnp.asarray(gto_basis.FUNCTIONS[l], orbitals_OL9.dtype),
      precision=HIGHEST,
    )
    values, derivatives = [], []
    for axis in range(3):
      x_SX = coords_L3[kept_S, axis]
      powers = [m[axis] for m in gto_basis.MONOMIALS[l]]

      def along(shift):
        r_S1X = ((axis_X - shift) - coords_L3[kept_S, axis, None])[
          :, None
        ] / BOHR_A
        gauss = jnp.exp(-a_SP[:, :, None] * r_S1X**2)
        if axis == 0:
          gauss = c_SP[:, :, None] * gauss
        return jnp.concatenate(
          [gauss * r_S1X**p if p else gauss for p in powers]
        )

      v, d = jax.jvp(
        along, (jnp.zeros((), axis_X.dtype),), (jnp.ones((), axis_X.dtype),)
      )
      values.append(v)
      derivatives.append(d)
    parts.append(
      _Rows(
        jnp.tile(kept_S, len(powers)),
        c_OmS.reshape(len(c_OmS), -1),
        tuple(values),
        tuple(derivatives),
      )
    )
  return jax.tree.map(
    lambda *xs: jnp.concatenate(xs, -1 if xs[0].ndim == 2 else 0), *parts
  )


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _grid_sum(grid, sizes, points, numbers_L, coords_L3, orbitals_OL9):
  rows = _rows(grid, sizes, numbers_L, coords_L3, orbitals_OL9)

  def slab(x_KPx, yz_KPG):
    ao_KG = _dot(x_KPx, yz_KPG)
    psi_OG = jnp.dot(rows.c_OK, ao_KG, precision=HIGHEST)
    return jnp.sum(psi_OG**2, axis=0)

  return _slabs(
    slab,
    grid.size,
    points,
    rows.values[:1],
    ((rows.values[1], rows.values[2]),),
  )


@functools.partial(_grid_sum.defjvp, symbolic_zeros=True)
def _grid_sum_jvp(grid, sizes, points, primals, tangents):
  rows = _rows(grid, sizes, *primals)
  numbers_L, coords_L3, orbitals_OL9 = primals
  _, dcoords_L3, dorbitals_OL9 = tangents
  zero = jax.custom_derivatives.SymbolicZero
  moves = not isinstance(dcoords_L3, zero)
  if moves:
    dr_3K = dcoords_L3[rows.atom_K].T
  mixes = not isinstance(dorbitals_OL9, zero)
  if mixes:
    dc_OK = _rows(grid, sizes, numbers_L, coords_L3, dorbitals_OL9).c_OK

  x, y, z = rows.values
  dx, dy, dz = rows.derivatives

  def slab(x_KPx, dx_KPx, yz, dyz, ydz):
    ao_KG = _dot(x_KPx, yz)
    psi_OG = jnp.dot(rows.c_OK, ao_KG, precision=HIGHEST)
    rho_G = jnp.sum(psi_OG**2, axis=0)
    drho_G = jnp.zeros_like(rho_G)
    if moves:
      back_KG = jnp.dot(rows.c_OK.T, psi_OG, precision=HIGHEST)
      dao_3KG = jnp.stack(
        [_dot(dx_KPx, yz), _dot(x_KPx, dyz), _dot(x_KPx, ydz)]
      )
      drho_G += 2 * jnp.einsum(
        'ik,ikg->g', dr_3K, back_KG * dao_3KG, precision=HIGHEST
      )
    if mixes:
      dpsi_OG = jnp.dot(dc_OK, ao_KG, precision=HIGHEST)
      drho_G += 2 * jnp.sum(psi_OG * dpsi_OG, axis=0)
    return rho_G, drho_G

  return _slabs(slab, grid.size, points, (x, dx), ((y, z), (dy, z), (y, dz)))


def _dot(x_KPX, yz_KPG):
  """sum_P x_KPX yz_KPG, as [K, X*G]."""
  return jnp.einsum('kpx,kpg->kxg', x_KPX, yz_KPG, precision=HIGHEST).reshape(
    len(x_KPX), -1
  )


def _slabs(f, n: int, points: int, along_x, along_yz):
  ny = _divisor(n, points // n)
  nx = _divisor(n, points // (n * ny))

  def block(ys):
    yz = [
      (y[:, :, :, None] * z[:, :, None, :]).reshape(*y.shape[:2], -1)
      for y, (_, z) in zip(ys, along_yz, strict=True)
    ]
    return jax.lax.map(lambda xs: f(*xs, *yz), [_split(x, nx) for x in along_x])

  def assemble(v):
    v = v.reshape(n // ny, n // nx, nx, ny, n)
    return jnp.moveaxis(v, 0, 2).reshape(n, n, n) / BOHR_A**3

  return jax.tree.map(
    assemble, jax.lax.map(block, [_split(y, ny) for y, _ in along_yz])
  )


def _split(values, size: int):
  """Cuts the last axis into pieces, which become the first axis."""
  pieces = values.reshape(*values.shape[:-1], -1, size)
  return jnp.moveaxis(pieces, -2, 0)


def _divisor(n: int, most: int) -> int:
  """The largest divisor of n up to `most` (1 where that is less)."""
  return max(d for d in range(1, n + 1) if n % d == 0 and d <= max(most, 1))
