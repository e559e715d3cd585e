"""The charge of a molecule: its nuclei, smeared, minus its electrons."""

import jax
import numpy as np

from edjax.chem import gfn2_occupations
from edjax.chem.elements import MAX_NUMBER
from edjax.fields.common import (
  element_terms,
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

# Standard deviation of a nucleus, Å. Voxels of 0.5 Å hold all of it (the mean
# over one is a Gaussian but for 6e-5, and sums over sub-points are exact in
# float32), and from 1.2 Å on, the smallest van der Waals radius, its potential
# is that of a point but for 6e-4.
NUCLEUS_WIDTH = 0.35


@on_points
def charge(mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """Subtracts the orbitals' electrons from smeared nuclei.

  A nucleus, with its core electrons, is a Gaussian of NUCLEUS_WIDTH and of as
  many charges as GFN2-xTB counts valence electrons in the neutral atom. Spheres
  have no moments about their centres, so that the integral is the molecule's
  charge and the first moment its dipole moment, about any origin where the
  molecule is neutral. (xTB's own quadrupole has the nuclei as points.)

  Args:
    mol: with orbitals; only atoms that have orbitals count. An element beyond
      Rn gives NaN.
    points_G3: Å.

  Returns:
    charge_G, in elementary charges/Å^3, of either sign: positive at nuclei.

  Raises:
    ValueError: the molecule has no orbitals.
  """
  mol = orbital_atoms(mol)
  nuclei_G1 = splat_points(points_G3, _nuclei(mol), truncated=False)
  return nuclei_G1[:, 0] - orbital_density(mol, points_G3)


@on_grid
def charge_grid(mol: Molecule, grid: Grid, supersample: int = 1) -> jax.Array:
  """Evaluates `charge` on a grid: charge_XYZ."""
  mol = orbital_atoms(mol)
  nuclei_XYZ1 = splat_grid(
    _nuclei(mol), grid, supersample, NUCLEUS_WIDTH, same=True
  )
  return nuclei_XYZ1[..., 0] - orbital_density_grid(mol, grid, supersample)


def _nuclei(mol: Molecule):
  """Returns centres, charges and widths of the nuclei with their cores."""
  valence_Z = gfn2_occupations.valence_electrons(np.arange(MAX_NUMBER + 1))
  return element_terms(mol, valence_Z, NUCLEUS_WIDTH)
