"""The electron density of a molecule's occupied GFN2-xTB orbitals.

rho = sum_O psi_O^2, psi_O = sum_K orbitals_OK chi_K. Valence electrons only:
the basis has no core; `core_density` is a stand-in for it. Bohr stays inside:
arguments are Å, results e/Å^3.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from edjax.chem import elements, form_factors, gfn2_occupations
from edjax.chem.gfn2_basis import from_slots, overlap, shells, to_slots
from edjax.chem.units import BOHR_A
from edjax.grid import Grid
from edjax.kernels import gaussians, gto_dense, gto_tiled_cpu
from edjax.kernels.numerics import HIGHEST
from edjax.molecule import Molecule

__all__ = [
  'carriers',
  'core_density',
  'core_density_grid',
  'core_electrons',
  'density',
  'density_grid',
  'from_slots',
  'overlap',
  'shells',
  'to_slots',
]


def density(mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """Valence density at points: the plain form, the reference of the grid's.

  Args:
    mol: one molecule with orbitals; on an element beyond Rn they give NaN.
    points_G3: Å.

  Returns:
    rho_G, e/Å^3.

  Raises:
    ValueError: the molecule has no orbitals, or points_G3 is not [G, 3].
  """
  numbers_L, coords_L3, orbitals_OL9 = carriers(mol)
  _check_points(points_G3)
  points_G3 = jnp.asarray(points_G3, coords_L3.dtype)
  r_3LG = (points_G3.T[:, None, :] - coords_L3.T[:, :, None]) / BOHR_A
  r2_LG = jnp.sum(r_3LG**2, axis=0)
  ao_KG = []
  for l in range(2 if orbitals_OL9.shape[2] == 4 else 3):
    a_LP, c_LP = gto_dense.primitives(numbers_L, l, r_3LG.dtype)
    gauss_LPG = jnp.exp(-a_LP[:, :, None] * r2_LG[:, None, :])
    radial_LG = jnp.sum(c_LP[:, :, None] * gauss_LPG, axis=1)
    ao_KG += [angular * radial_LG for angular in _angular(l, *r_3LG)]
  c_OK = jnp.moveaxis(orbitals_OL9, 2, 1).reshape(len(orbitals_OL9), -1)
  psi_OG = jnp.dot(c_OK, jnp.concatenate(ao_KG), precision=HIGHEST)
  return jnp.sum(psi_OG**2, axis=0) / BOHR_A**3


def density_grid(mol: Molecule, grid: Grid, supersample: int = 1) -> jax.Array:
  """Valence density on a grid, separably; the same numbers as `density`.

  Args:
    mol: one molecule with orbitals; on an element beyond Rn they give NaN.
    grid: the voxels.
    supersample: 1 gives values at the voxel centres, s the means over s^3
      sub-points of each voxel.

  Returns:
    rho_XYZ, e/Å^3.

  Raises:
    ValueError: the molecule has no orbitals.
  """
  return jax.lax.platform_dependent(
    *carriers(mol),
    cpu=functools.partial(gto_tiled_cpu.density, grid, supersample),
    default=functools.partial(gto_dense.density_means, grid, supersample),
  )


def core_electrons(numbers) -> np.ndarray:
  """Electrons that GFN2-xTB leaves out: 2 for C to F, 10 for P, S, Cl, ...

  Args:
    numbers: [...] atomic numbers up to 98, 0 for padding.

  Returns:
    [...] atomic number minus valence electrons, float64; NaN beyond Rn.
  """
  return np.asarray(numbers) - gfn2_occupations.valence_electrons(numbers)


def core_density(mol: Molecule, points_G3: jax.Array, blur: float) -> jax.Array:
  """The missing core electrons, as one blurred Gaussian on each atom.

  A real core is far narrower than a voxel (carbon's 1s peaks at 780 e/Å^3),
  so that point samples of it would depend on where the atom lies in its
  voxel. Here it is a point charge smeared by B, as `fields.promolecule`
  smears whole atoms: standard deviation sqrt(B / (8 pi^2)).

  Args:
    mol: one molecule; an element beyond Rn gives NaN.
    points_G3: Å.
    blur: B in Å^2, above 0.

  Returns:
    rho_G, e/Å^3.

  Raises:
    ValueError: blur is not above 0, or points_G3 is not [G, 3].
  """
  _check_points(points_G3)
  terms = _core_terms(mol, blur)
  return gaussians.splat_points(points_G3, *terms)[:, 0]


def core_density_grid(
  mol: Molecule, grid: Grid, supersample: int = 1, blur: float = 0.0
) -> jax.Array:
  """`core_density` on a grid.

  Args:
    mol: one molecule; an element beyond Rn gives NaN.
    grid: the voxels.
    supersample: means over this many sub-points along each edge of a voxel.
    blur: B in Å^2; 0 ties it to the spacing, 8 pi^2/1.1 * spacing^2: a
      standard deviation of 0.95 voxels, which keeps the number of electrons
      within 1e-6 wherever the atoms lie.

  Returns:
    rho_XYZ, e/Å^3.

  Raises:
    ValueError: blur is negative or not finite.
  """
  blur = form_factors.tied_blur(grid.spacing) if blur == 0 else blur
  terms = _core_terms(mol, blur)
  return gaussians.splat_grid(*terms, grid, supersample)[..., 0]


def carriers(mol: Molecule) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Numbers, coordinates and coefficients of the atoms with orbitals.

  Args:
    mol: one molecule with orbitals.

  Returns:
    numbers_L, coords_L3 (Å), orbitals_OL9.

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
  return mol.numbers_A[:n], mol.coords_A3[:n], mol.orbitals_OL9


def _check_points(points_G3: jax.Array):
  if points_G3.ndim != 2 or points_G3.shape[1] != 3:
    raise ValueError(f'points_G3 must be [G, 3], not {points_G3.shape}')


def _angular(l: int, x, y, z) -> list:
  """The angular factors of one l, in the order of the slots."""
  if l == 0:
    return [1]
  if l == 1:
    return [x, y, z]
  z2 = (2 * z * z - x * x - y * y) * np.sqrt(1 / 12).item()
  return [x * y, y * z, z2, x * z, (x * x - y * y) * 0.5]


def _core_terms(mol: Molecule, blur: float):
  """Coordinates, weights and widths of the Gaussians of the core."""
  blur = form_factors.check_blur(blur)
  dtype = mol.coords_A3.dtype
  core_Z = core_electrons(np.arange(elements.MAX_NUMBER + 1))
  weights_A1 = jnp.asarray(core_Z, dtype)[mol.numbers_A][:, None]
  sigma_A = jnp.full(len(weights_A1), np.sqrt(blur / (8 * np.pi**2)), dtype)
  return mol.coords_A3, weights_A1, sigma_A
