"""The deformation density: what bonding does to the densities of free atoms."""

import jax

from edjax.fields.common import on_grid, on_points
from edjax.fields.free_atoms import free_atoms_density, free_atoms_density_grid
from edjax.fields.orbitals import (
  orbital_atoms,
  orbital_density,
  orbital_density_grid,
)
from edjax.grid import Grid
from edjax.molecule import Molecule


@on_points
def deformation(mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """Subtracts the free atoms' valence densities from the orbital density.

  Both are at the level of GFN2-xTB and neither is blurred, so that the
  difference is a rearrangement of electrons: for a neutral molecule it
  integrates to 0, and the atoms' inner parts and tails cancel. Atoms of IT92
  would not do: they hold core electrons and are blurred by `b_iso`.

  Args:
    mol: with orbitals; only atoms that have orbitals count.
    points_G3: Å.

  Returns:
    rho_G, e/Å^3, of either sign.

  Raises:
    ValueError: the molecule has no orbitals.
  """
  mol = orbital_atoms(mol)
  return orbital_density(mol, points_G3) - free_atoms_density(mol, points_G3)


@on_grid
def deformation_grid(
  mol: Molecule, grid: Grid, supersample: int = 1
) -> jax.Array:
  """Evaluates `deformation` on a grid: rho_XYZ."""
  mol = orbital_atoms(mol)
  return orbital_density_grid(mol, grid, supersample) - free_atoms_density_grid(
    mol, grid, supersample
  )
