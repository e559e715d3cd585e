"""Densities at the level of GFN2-xTB: orbitals, free atoms, deformation."""

import jax

from edjax.fields import free_atoms, orbitals
from edjax.grid import Grid
from edjax.molecule import Molecule


def orbital_density(
  mol: Molecule, points_G3: jax.Array, *, core_blur: float = 0.0
) -> jax.Array:
  """Valence density of the stored GFN2-xTB orbitals; see `orbitals`.

  Args:
    mol: one molecule with orbitals.
    points_G3: Å.
    core_blur: above 0, adds the core electrons as Gaussians blurred by this B
      in Å^2 (`orbitals.core_density`); 0 leaves them out.

  Returns:
    rho_G, e/Å^3.

  Raises:
    ValueError: the molecule has no orbitals, or core_blur is negative.
  """
  rho_G = orbitals.density(mol, points_G3)
  if core_blur == 0:
    return rho_G
  return rho_G + orbitals.core_density(mol, points_G3, core_blur)


def orbital_density_grid(
  mol: Molecule, grid: Grid, supersample: int = 1, *, core_blur: float = 0.0
) -> jax.Array:
  """`orbital_density` on a grid.

  Args:
    mol: one molecule with orbitals.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.
    core_blur: above 0, adds the core electrons as Gaussians blurred by this B
      in Å^2; `form_factors.tied_blur(grid.spacing)` suits a grid.

  Returns:
    rho_XYZ, e/Å^3.

  Raises:
    ValueError: the molecule has no orbitals, or core_blur is negative.
  """
  rho_XYZ = orbitals.density_grid(mol, grid, supersample)
  if core_blur == 0:
    return rho_XYZ
  return rho_XYZ + orbitals.core_density_grid(mol, grid, supersample, core_blur)


def free_atoms_density(mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """Superposed valence densities of free atoms at the level of GFN2-xTB.

  What `deformation` subtracts: the promolecule to compare an orbital density
  with, as sharp and without core electrons as it is.

  Args:
    mol: one molecule; orbitals are not needed.
    points_G3: Å.

  Returns:
    rho_G, e/Å^3; NaN for elements beyond Rn.
  """
  args = mol.numbers_A, mol.coords_A3, points_G3
  return free_atoms.density(*args, _may_have_d(mol))


def free_atoms_density_grid(
  mol: Molecule, grid: Grid, supersample: int = 1
) -> jax.Array:
  """`free_atoms_density` on a grid.

  Args:
    mol: one molecule.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.

  Returns:
    rho_XYZ, e/Å^3.
  """
  args = mol.numbers_A, mol.coords_A3, grid, supersample
  return free_atoms.density_grid(*args, _may_have_d(mol))


def _may_have_d(mol: Molecule) -> bool:
  """Orbitals without d functions are of atoms without them."""
  return mol.orbitals_OL9 is None or mol.orbitals_OL9.shape[-1] == 9


def deformation(mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """Orbital density minus the valence densities of the free atoms.

  Both at the level of GFN2-xTB (`free_atoms`) and neither blurred, so that
  what is left is the rearrangement of electrons, not a difference of models:
  for a neutral molecule it integrates to 0, and the atoms' inner parts and
  tails cancel. IT92 atoms would not do: they hold core electrons, and their
  blur would have to be given to the orbitals too.

  Args:
    mol: one molecule with orbitals; only atoms that carry orbitals count.
    points_G3: Å.

  Returns:
    rho_G, e/Å^3, of either sign.

  Raises:
    ValueError: the molecule has no orbitals.
  """
  rho_G = orbital_density(mol, points_G3)
  numbers_L, coords_L3, orbitals_OL9 = orbitals.carriers(mol)
  has_d = orbitals_OL9.shape[2] == 9
  return rho_G - free_atoms.density(numbers_L, coords_L3, points_G3, has_d)


def deformation_grid(
  mol: Molecule, grid: Grid, supersample: int = 1
) -> jax.Array:
  """`deformation` on a grid.

  Args:
    mol: one molecule with orbitals.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.

  Returns:
    rho_XYZ, e/Å^3, of either sign.

  Raises:
    ValueError: the molecule has no orbitals.
  """
  rho_XYZ = orbital_density_grid(mol, grid, supersample)
  numbers_L, coords_L3, orbitals_OL9 = orbitals.carriers(mol)
  has_d = orbitals_OL9.shape[2] == 9
  return rho_XYZ - free_atoms.density_grid(
    numbers_L, coords_L3, grid, supersample, has_d
  )
