"""The density of all electrons: xTB's valence and blurred cores."""

import jax
import numpy as np

from edjax.chem import form_factors, gfn2_occupations
from edjax.chem.elements import MAX_NUMBER
from edjax.fields.common import (
  element_terms,
  grid_b_iso,
  on_grid,
  on_points,
  splat_grid,
  splat_points,
)
from edjax.fields.orbitals import (
  orbital_atoms,
  orbital_density,
  orbital_density_grid,
)
from edjax.grid import Grid
from edjax.molecule import Molecule


@on_points
def all_electron_density(
  mol: Molecule, points_G3: jax.Array, *, b_iso: float
) -> jax.Array:
  """Adds core electrons, as Gaussians, to the orbitals' valence density.

  An atom's core has the electrons that GFN2-xTB does not count as valence, and
  the width that a B factor alone gives a point. Cores of C to F are within
  0.1 Å of the nucleus (1/zeta of their 1s electrons: Clementi and Raimondi, J.
  Chem. Phys. 38, 2686 (1963), Table I), well below that width; those of heavy
  elements are not, and have no shells here. Unlike the promolecule's, its
  valence electrons are not blurred.

  Args:
    mol: with orbitals; only atoms that have orbitals count. An element beyond
      Rn gives NaN.
    points_G3: Å.
    b_iso: isotropic B factor of the cores, Å^2, above 0.

  Returns:
    rho_G, e/Å^3.

  Raises:
    ValueError: the molecule has no orbitals, or b_iso is not above 0.
  """
  mol = orbital_atoms(mol)
  cores_G1 = splat_points(points_G3, _cores(mol, b_iso), truncated=False)
  return cores_G1[:, 0] + orbital_density(mol, points_G3)


@on_grid
def all_electron_density_grid(
  mol: Molecule, grid: Grid, supersample: int = 1, *, b_iso: float = 0.0
) -> jax.Array:
  """Evaluates `all_electron_density` on a grid: rho_XYZ.

  A b_iso of 0 is tied to the spacing, see `form_factors.tied_b_iso`.
  """
  mol = orbital_atoms(mol)
  b_iso = grid_b_iso(b_iso, grid)
  width = float(form_factors.sigma(b_iso))
  cores_XYZ1 = splat_grid(
    _cores(mol, b_iso), grid, supersample, width, same=True
  )
  return cores_XYZ1[..., 0] + orbital_density_grid(mol, grid, supersample)


def _cores(mol: Molecule, b_iso: float):
  """Returns centres, electrons and widths of the cores."""
  numbers_Z = np.arange(MAX_NUMBER + 1)
  cores_Z = numbers_Z - gfn2_occupations.valence_electrons(numbers_Z)
  width = form_factors.sigma(form_factors.check_b_iso(b_iso))
  return element_terms(mol, cores_Z, width)
