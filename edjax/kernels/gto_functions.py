"""The basis functions of a molecule, as arrays of static shapes.

A Cartesian Gaussian x^i y^j z^k exp(-a r^2) is a product of three factors,
each along one axis. A basis function is a short sum of such products over its
primitives P. More than half of the functions that a padded organic molecule has
room for do not exist: padding, and the p functions of hydrogen. `gather` leaves
most of these out.
"""

import functools
import math
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edjax.chem import gfn2_basis
from edjax.chem.units import BOHR_A
from edjax.kernels.numerics import HIGHEST

# Enough for every element before Cs.
_FEW_PRIMITIVES = 4


class Room(NamedTuple):
  """The static shape of a sum."""

  shells: tuple[int, ...]  # for each l = 0, 1 (, 2)
  primitives: int


class Rows(NamedTuple):
  """Cartesian basis functions of a molecule.

  Attributes:
    c_OK: orbital coefficients.
    coords_K3: centres, Å.
    powers_K3: of x, y, z.
    a_KP: exponents, bohr^-2.
    c_KP: coefficients of the primitives.
  """

  c_OK: jax.Array
  coords_K3: jax.Array
  powers_K3: jax.Array
  a_KP: jax.Array
  c_KP: jax.Array


def primitives(numbers_L, l: int, dtype) -> tuple[jax.Array, jax.Array]:
  """Returns the shell of one l of each atom; coefficient 0 where it has none.

  Args:
    numbers_L: atomic numbers.
    l: 0, 1 or 2.
    dtype: of the result.

  Returns:
    Exponents (bohr^-2) and coefficients, [L, P] each; NaN beyond Rn.
  """
  return tuple(jnp.asarray(t, dtype)[numbers_L] for t in tables(l))


@functools.cache
def tables(l: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns the shell of one l of each element.

  Args:
    l: 0, 1 or 2.

  Returns:
    Exponents (bohr^-2) and coefficients, [98 + 1, P] each, with the P that
    this l needs; NaN beyond Rn.
  """
  every = gfn2_basis.tables()
  used = every.coefficients_Z3P[: gfn2_basis.MAX_NUMBER + 1, l].any(axis=0)
  return tuple(table[:, l, used] for table in every)


def rooms(orbitals_OL9: jax.Array) -> tuple[Room, ...]:
  """Returns a tight room and the complete one, for as many orbital atoms."""
  _, n, width = orbitals_OL9.shape
  kinds = 2 if width == 4 else 3
  tight = tuple(math.ceil(n * share) for share in (1, 1 / 2, 1 / 4)[:kinds])
  complete = Room((n,) * kinds, tables(0)[0].shape[1])
  return Room(tight, _FEW_PRIMITIVES), complete


def holds(room: Room, numbers_L: jax.Array) -> jax.Array:
  """Returns whether a room of _FEW_PRIMITIVES holds a molecule."""
  has_ZL = np.stack([_has_shell(l) for l in range(len(room.shells))])
  need_l = jnp.sum(jnp.asarray(has_ZL)[:, numbers_L], axis=1)
  many = jnp.any(jnp.asarray(_has_many_primitives())[numbers_L])
  return ~many & jnp.all(need_l <= np.array(room.shells))


def _has_shell(l: int) -> np.ndarray:
  """Returns which elements have a shell of this l, [98 + 1]; true beyond Rn."""
  return (tables(l)[1] != 0).any(axis=1)


def _has_many_primitives() -> np.ndarray:
  """Returns the elements with a shell of more than _FEW_PRIMITIVES, [99]."""
  extra = [tables(l)[1][:, _FEW_PRIMITIVES:] for l in range(3)]
  return (np.concatenate(extra, axis=1) != 0).any(axis=1)


def gather(room: Room, numbers_L, coords_L3, orbitals_OL9) -> Rows:
  """Returns the basis functions of a molecule; zeros fill the room.

  Args:
    room: large enough, see `holds`.
    numbers_L: atomic numbers; 0 is padding.
    coords_L3: Å.
    orbitals_OL9: see `molecule.Molecule`.
  """
  parts = []
  for l, count in enumerate(room.shells):
    has_L = jnp.asarray(_has_shell(l))[numbers_L]
    first_S = jnp.argsort(~has_L, stable=True)[:count]
    a_SP, c_SP = (
      _resized(t, room.primitives)
      for t in primitives(numbers_L[first_S], l, coords_L3.dtype)
    )
    slot = gfn2_basis.FIRST_SLOT[l]
    c_OmS = jnp.einsum(
      'osf,fm->oms',
      orbitals_OL9[:, first_S, slot : slot + 2 * l + 1],
      jnp.asarray(gfn2_basis.FUNCTIONS[l], orbitals_OL9.dtype),
      precision=HIGHEST,
    )
    powers_m3 = np.array(gfn2_basis.MONOMIALS[l])
    m = len(powers_m3)
    parts.append(
      Rows(
        c_OmS.reshape(len(orbitals_OL9), m * count),
        jnp.tile(coords_L3[first_S], (m, 1)),
        np.repeat(powers_m3, count, axis=0),
        jnp.tile(a_SP, (m, 1)),
        jnp.tile(c_SP, (m, 1)),
      )
    )
  c_OK = jnp.concatenate([part.c_OK for part in parts], axis=1)
  rest = (part[1:] for part in parts)
  coords_K3, powers_K3, *shells = map(jnp.concatenate, zip(*rest, strict=True))
  return Rows(c_OK, coords_K3, powers_K3, *shells)


def gather_tangents(room: Room, primals, tangents):
  """Directions of the basis functions, for the rules of custom_jvp.

  Args:
    room: as of `gather`.
    primals: numbers_L, coords_L3, orbitals_OL9.
    tangents: of these, with symbolic zeros.

  Returns:
    (dr_K3, dc_OK): of the centres and of the coefficients; None where these
    are constant.
  """
  numbers_L, coords_L3, orbitals_OL9 = primals
  _, dcoords_L3, dorbitals_OL9 = tangents
  dr_K3 = dc_OK = None
  if not isinstance(dcoords_L3, jax.custom_derivatives.SymbolicZero):
    dr_K3 = gather(room, numbers_L, dcoords_L3, orbitals_OL9).coords_K3
  if not isinstance(dorbitals_OL9, jax.custom_derivatives.SymbolicZero):
    dc_OK = gather(room, numbers_L, coords_L3, dorbitals_OL9).c_OK
  return dr_K3, dc_OK


def lines(
  axis_X: np.ndarray, rows: Rows, derivative: bool = False
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns the factors of the basis functions along x, y and z.

  Args:
    axis_X: places along each axis, Å.
    rows: the basis functions.
    derivative: with respect to the centre (per Å) instead.

  Returns:
    x_KPX with the coefficients of the primitives in it, y_KPX, z_KPX.
  """
  axis_X = jnp.asarray(axis_X, rows.coords_K3.dtype)
  r_3KX = (axis_X[None, None, :] - rows.coords_K3.T[:, :, None]) / BOHR_A
  r_3KPX = r_3KX[:, :, None, :]
  p_3KPX = rows.powers_K3.T[:, :, None, None]
  a_1KPX = rows.a_KP[None, :, :, None]

  def factor(r):
    power = jnp.where(p_3KPX == 0, 1, jnp.where(p_3KPX == 1, r, r * r))
    return power * jnp.exp(-a_1KPX * r * r)

  if derivative:
    toward = jnp.full_like(r_3KPX, -1 / BOHR_A)
    _, lines_3KPX = jax.jvp(factor, (r_3KPX,), (toward,))
  else:
    lines_3KPX = factor(r_3KPX)
  x, y, z = lines_3KPX
  return rows.c_KP[:, :, None] * x, y, z


class Products(NamedTuple):
  """Sums over the occupied orbitals at points, in bohr^-3 and Å.

  Derivatives are with respect to a shift of the molecule: minus those in space.

  Attributes:
    density_G: sum_O psi^2.
    slopes: sum_O psi dpsi/dr_i [G] for i = x, y, z: half of the density's.
    squares_G: sum_Oi (dpsi/dr_i)^2.
  """

  density_G: jax.Array
  slopes: tuple[jax.Array, ...]
  squares_G: jax.Array


def products(psi_OG, dpsi: Iterable) -> Products:
  """Computes the products of orbitals with themselves.

  Args:
    psi_OG: orbitals.
    dpsi: their derivatives [O, G] along x, y and z.
  """
  dpsi = tuple(dpsi)
  return Products(
    jnp.sum(psi_OG**2, axis=0),
    tuple(jnp.sum(psi_OG * d_OG, axis=0) for d_OG in dpsi),
    sum(jnp.sum(d_OG**2, axis=0) for d_OG in dpsi),
  )


def density_and_slope(psi_OG, dpsi_OG, dr_K3, slopes: Iterable):
  """Computes sum_O psi_O^2 at points, and its derivative along one direction.

  With psi = c chi,

    drho = 2 sum_O psi_O dc_OK chi_K
         + sum_K dr_Ki 2 (c^T psi)_K d chi_K / d r_Ki,

  in which the product c^T psi serves all directions: autodiff would repeat it
  for each.

  Args:
    psi_OG: orbitals.
    dpsi_OG: with the coefficients' direction; None where these are constant.
    dr_K3: direction of the centres; None where these are constant.
    slopes: 2 (c^T psi)_K d chi_K / d r_Ki [K, G] for i = x, y, z; not asked
      for where the centres are constant.

  Returns:
    rho_G, drho_G.
  """
  rho_G = jnp.sum(psi_OG**2, axis=0)
  drho_G = jnp.zeros_like(rho_G)
  if dr_K3 is not None:
    for dr_K, slope_KG in zip(dr_K3.T, slopes, strict=True):
      drho_G += jnp.dot(dr_K, slope_KG, precision=HIGHEST)
  if dpsi_OG is not None:
    drho_G += 2 * jnp.sum(psi_OG * dpsi_OG, axis=0)
  return rho_G, drho_G


def _resized(values_SP, width: int) -> jax.Array:
  """Cuts, or fills with 0, to a number of primitives."""
  values_SP = values_SP[:, :width]
  return jnp.pad(values_SP, ((0, 0), (0, width - values_SP.shape[1])))
