"""Kinetic energy density of the orbitals, and where it says pairs are.

Both are made of the valence orbitals of GFN2-xTB alone.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from edjax import geometry
from edjax.chem.units import BOHR_A
from edjax.fields.common import on_grid, on_points
from edjax.fields.orbitals import orbital_atoms, orbital_values
from edjax.grid import Grid
from edjax.kernels import gto_dense, gto_functions, gto_tiled_cpu
from edjax.kernels.gto_functions import Products
from edjax.molecule import Molecule

# Thomas and Fermi's kinetic energy density is this times rho^(5/3), in Hartree
# and bohr.
_FERMI = 0.3 * (3 * np.pi**2) ** (2 / 3)
# Added to the excess of kinetic energy, Hartree/bohr^3: far away both it and
# Thomas and Fermi's vanish, and their ratio would be that of the tails of
# Gaussians. Where there is no excess, `elf` is 1/2 in place of 1 where the
# density has fallen to 4e-3 e/Å^3.
_FLOOR = 1e-5
# bohr^-3, far below what float32 divides by.
_NO_DENSITY = 1e-15


@on_points
def tau(mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """Computes the positive definite kinetic energy density.

  tau = 1/2 sum_i n_i |grad phi_i|^2 over the occupied valence orbitals; its
  integral is their kinetic energy.

  Args:
    mol: with orbitals; on an element beyond Rn they give NaN.
    points_G3: Å.

  Returns:
    tau_G, Hartree/Å^3, not negative.

  Raises:
    ValueError: the molecule has no orbitals, or points_G3 is not [G, 3].
  """
  return _on_points(_tau, mol, points_G3)


@on_grid
def tau_grid(mol: Molecule, grid: Grid, supersample: int = 1) -> jax.Array:
  """Evaluates `tau` on a grid, separably: tau_XYZ."""
  return _on_grid(_tau, mol, grid, supersample)


@on_points
def elf(mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """Computes the electron localisation function of the valence orbitals.

  1/(1 + (D/D0)^2), where D = tau - |grad rho|^2/(8 rho) is the kinetic energy
  that Pauli's principle adds and D0 = 3/10 (3 pi^2)^(2/3) rho^(5/3) that of a
  uniform gas of this density: near 1 in bonds and lone pairs, 1/2 in the gas
  (A. D. Becke, K. E. Edgecombe, J. Chem. Phys. 1990, 92, 5397, eqs. 8 to 11,
  with half of the density for each spin). There are no shells of the cores.

  A constant of 1e-5 Hartree/bohr^3 is added to D, for which the function goes
  to 0 outside of the molecule, in place of a ratio of two vanishing numbers.

  Args:
    mol: with orbitals, each of both spins alike; on an element beyond Rn they
      give NaN.
    points_G3: Å.

  Returns:
    elf_G, 0 to 1.

  Raises:
    ValueError: the molecule has no orbitals, or points_G3 is not [G, 3].
  """
  return _on_points(_elf, mol, points_G3)


@on_grid
def elf_grid(mol: Molecule, grid: Grid, supersample: int = 1) -> jax.Array:
  """Evaluates `elf` on a grid, separably: elf_XYZ.

  With sub-points it is the mean of their values, not that of a mean density.
  """
  return _on_grid(_elf, mol, grid, supersample)


def _on_points(f: Callable, mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """Evaluates a function of `Products`, by forward mode through a shift."""

  def moved(shift_3):
    return orbital_values(geometry.translate(mol, shift_3), points_G3)

  zero_3 = jnp.zeros(3, mol.coords_A3.dtype)
  psi_OG, slopes = jax.vmap(
    lambda unit_3: jax.jvp(moved, (zero_3,), (unit_3,)), out_axes=(None, 0)
  )(jnp.eye(3, dtype=zero_3.dtype))
  return f(gto_functions.products(psi_OG, slopes))


def _on_grid(f: Callable, mol: Molecule, grid: Grid, supersample: int):
  """Evaluates a function of `Products` at the sub-points of a grid."""
  orbs = orbital_atoms(mol)
  return jax.lax.platform_dependent(
    orbs.numbers_A,
    orbs.coords_A3,
    orbs.orbitals_OL9,
    cpu=functools.partial(gto_tiled_cpu.orbital_means, grid, supersample, f),
    default=functools.partial(gto_dense.orbital_means, grid, supersample, f),
  )


def _tau(of: Products) -> jax.Array:
  # A slope per bohr is BOHR_A times one per Å, and a density per Å^3 one per
  # bohr^3 over its cube.
  return of.squares_G * (0.5 / BOHR_A)


def _elf(of: Products) -> jax.Array:
  # Not >=: what is not a number must stay so.
  none_G = of.density_G < _NO_DENSITY
  rho_G = jnp.where(none_G, 0, of.density_G)
  # |grad rho|^2/(8 rho), of halves of the gradient.
  weizsaecker_G = sum(slope**2 for slope in of.slopes) / jnp.where(
    none_G, 2, 2 * of.density_G
  )
  excess_G = 0.5 * of.squares_G - jnp.where(none_G, 0, weizsaecker_G)
  excess_G = excess_G * BOHR_A**2 + _FLOOR
  uniform_G = _FERMI * rho_G ** (5 / 3)
  return uniform_G**2 / (uniform_G**2 + excess_G**2)
