"""The electron density of a molecule's occupied GFN2-xTB orbitals.

rho = sum_O psi_O^2, psi_O = sum_K orbitals_OK chi_K. Valence electrons only:
the basis has no core. Bohr stays inside: arguments are Å, results e/Å^3.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from edjax.chem.units import BOHR_A
from edjax.fields.common import on_grid, on_points
from edjax.grid import Grid
from edjax.kernels import gto_dense, gto_functions, gto_tiled_cpu
from edjax.kernels.numerics import HIGHEST
from edjax.molecule import Molecule


@on_points
def orbital_density(mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """Computes the valence density of the orbitals, by the plain form.

  Args:
    mol: with orbitals; on an element beyond Rn they give NaN.
    points_G3: Å.

  Returns:
    rho_G, e/Å^3.

  Raises:
    ValueError: the molecule has no orbitals, or points_G3 is not [G, 3].
  """
  return jnp.sum(orbital_values(mol, points_G3) ** 2, axis=0) / BOHR_A**3


@on_points
def orbital_values(mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """Computes sqrt(occupation) * orbital: psi_OG, bohr^-3/2.

  Arguments and errors are those of `orbital_density`.
  """
  orbs = orbital_atoms(mol)
  points_G3 = jnp.asarray(points_G3, orbs.coords_A3.dtype)
  r_3LG = (points_G3.T[:, None, :] - orbs.coords_A3.T[:, :, None]) / BOHR_A
  r2_LG = jnp.sum(r_3LG**2, axis=0)
  ao_KG = []
  for l in range(2 if orbs.orbitals_OL9.shape[2] == 4 else 3):
    a_LP, c_LP = gto_functions.primitives(orbs.numbers_A, l, r_3LG.dtype)
    gauss_LPG = jnp.exp(-a_LP[:, :, None] * r2_LG[:, None, :])
    radial_LG = jnp.sum(c_LP[:, :, None] * gauss_LPG, axis=1)
    ao_KG += [angular * radial_LG for angular in _angular(l, *r_3LG)]
  c_OK = jnp.moveaxis(orbs.orbitals_OL9, 2, 1)
  c_OK = c_OK.reshape(len(orbs.orbitals_OL9), -1)
  return jnp.dot(c_OK, jnp.concatenate(ao_KG), precision=HIGHEST)


@on_grid
def orbital_density_grid(
  mol: Molecule, grid: Grid, supersample: int = 1
) -> jax.Array:
  """Evaluates `orbital_density` on a grid, separably: rho_XYZ."""
  orbs = orbital_atoms(mol)
  return jax.lax.platform_dependent(
    orbs.numbers_A,
    orbs.coords_A3,
    orbs.orbitals_OL9,
    cpu=functools.partial(gto_tiled_cpu.density, grid, supersample),
    default=functools.partial(gto_dense.density_means, grid, supersample),
  )


def orbital_atoms(mol: Molecule) -> Molecule:
  """Returns the atoms of a molecule that have orbitals, without the others.

  Raises:
    ValueError: the molecule has no orbitals.
  """
  if mol.orbitals_OL9 is None:
    raise ValueError(
      'the molecule has no orbitals_OL9, which its xTB density needs: compute '
      'them with data_builders.xtb.run and pass them to Molecule.from_arrays '
      "(orbitals=...), or use density='promolecule'"
    )
  n = mol.orbitals_OL9.shape[1]
  return dataclasses.replace(
    mol,
    numbers_A=mol.numbers_A[:n],
    coords_A3=mol.coords_A3[:n],
    b_factors_A=mol.b_factors_A[:n],
    groups_A=mol.groups_A[:n],
  )


def _angular(l: int, x, y, z) -> list:
  """Returns the angular factors of one l, in the order of the slots."""
  if l == 0:
    return [1]
  if l == 1:
    return [x, y, z]
  z2 = (2 * z * z - x * x - y * y) * np.sqrt(1 / 12).item()
  return [x * y, y * z, z2, x * z, (x * x - y * y) * 0.5]
