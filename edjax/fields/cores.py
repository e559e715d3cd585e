"""The core electrons that GFN2-xTB leaves out, as blurred points.

A real core is far narrower than a voxel (carbon's 1s peaks at 780 e/Å^3), so
that point samples of it would depend on where the atom lies in its voxel. Here
it is a point charge smeared by B, as `promolecules` smears whole atoms: a
Gaussian of standard deviation sqrt(B / (8 pi^2)).
"""

import jax
import jax.numpy as jnp
import numpy as np

from edjax.chem import form_factors, gfn2_occupations
from edjax.chem.elements import MAX_NUMBER
from edjax.fields.common import grid_b_iso
from edjax.grid import Grid
from edjax.kernels import gaussians
from edjax.molecule import Molecule


def core_electrons(numbers) -> np.ndarray:
  """Electrons that GFN2-xTB leaves out: 2 for C to F, 10 for P, S, Cl, ...

  Args:
    numbers: [...] atomic numbers up to 98, 0 for padding.

  Returns:
    [...] atomic number minus valence electrons, float64; NaN beyond Rn.
  """
  return np.asarray(numbers) - gfn2_occupations.valence_electrons(numbers)


def core_density(
  mol: Molecule, points_G3: jax.Array, b_iso: float
) -> jax.Array:
  """Returns the missing core electrons, as one blurred Gaussian on each atom.

  Args:
    mol: an element beyond Rn gives NaN.
    points_G3: Å.
    b_iso: isotropic B factor, Å^2, above 0.

  Returns:
    rho_G, e/Å^3.

  Raises:
    ValueError: b_iso is not above 0, or points_G3 is not [G, 3].
  """
  return gaussians.splat_points(points_G3, *_core_terms(mol, b_iso))[:, 0]


def core_density_grid(
  mol: Molecule, grid: Grid, supersample: int = 1, b_iso: float = 0.0
) -> jax.Array:
  """`core_density` on a grid: rho_XYZ.

  A b_iso of 0 is tied to the spacing, see `form_factors.tied_b_iso`: a standard
  deviation of 0.95 voxels keeps the number of electrons within 1e-6 wherever
  the atoms lie.
  """
  terms = _core_terms(mol, grid_b_iso(b_iso, grid))
  return gaussians.splat_grid(*terms, grid, supersample)[..., 0]


def _core_terms(mol: Molecule, b_iso: float):
  """Coordinates, electrons and widths of the Gaussians."""
  b_iso = form_factors.check_b_iso(b_iso)
  dtype = mol.coords_A3.dtype
  core_Z = core_electrons(np.arange(MAX_NUMBER + 1))
  weights_A1 = jnp.asarray(core_Z, dtype)[mol.numbers_A][:, None]
  sigma_A = jnp.full(len(weights_A1), np.sqrt(b_iso / (8 * np.pi**2)), dtype)
  return mol.coords_A3, weights_A1, sigma_A
