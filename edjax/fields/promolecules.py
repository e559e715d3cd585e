"""The promolecule: superposed densities of free atoms (IT92)."""

import jax
import jax.numpy as jnp

from edjax.chem import form_factors
from edjax.fields.common import (
  apart,
  grid_b_iso,
  group_weights,
  near_or_whole,
  on_grid,
  on_points,
  splat_grid,
)
from edjax.grid import Grid
from edjax.kernels import gaussians, gaussians_windowed
from edjax.kernels.numerics import safe_norm
from edjax.molecule import Molecule


@on_points
def promolecule(
  mol: Molecule,
  points_G3: jax.Array,
  *,
  b_iso: float,
  use_b_factors: bool = False,
  groups: bool = False,
) -> jax.Array:
  """Superposes densities of free atoms: IT92 form factors blurred by B.

  All electrons, neutral atoms; see `form_factors`.

  Args:
    mol: its B factors count on request only.
    points_G3: Å.
    b_iso: isotropic B factor added to every atom, Å^2, above 0.
    use_b_factors: add each atom's B from the file (a negative one counts as
      0).
    groups: ligand and pocket apart.

  Returns:
    rho_G, e/Å^3; with groups rho_GC.

  Raises:
    ValueError: b_iso is not above 0, or points are not [G, 3].
  """
  terms = _promolecule_terms(mol, b_iso, use_b_factors, groups)
  return apart(gaussians.splat_points(points_G3, *terms), groups)


@on_grid
def promolecule_grid(
  mol: Molecule,
  grid: Grid,
  supersample: int = 1,
  *,
  b_iso: float = 0.0,
  use_b_factors: bool = False,
  groups: bool = False,
) -> jax.Array:
  """Evaluates `promolecule` on a grid: rho_XYZ, with groups rho_XYZC.

  A b_iso of 0 is tied to the spacing, see `form_factors.tied_b_iso`.
  """
  b_iso = grid_b_iso(b_iso, grid)
  terms = _promolecule_terms(mol, b_iso, use_b_factors, groups)
  rho = splat_grid(terms, grid, supersample, _typical_sigma(b_iso))
  return apart(rho, groups)


@on_grid
def promolecule_and_gradient_grid(
  mol: Molecule,
  grid: Grid,
  supersample: int = 1,
  *,
  b_iso: float = 0.0,
  use_b_factors: bool = False,
  groups: bool = False,
) -> tuple[jax.Array, jax.Array]:
  """Computes `promolecule_grid` and the length of its gradient.

  The result is that of `value_and_gradient_magnitude(promolecule_grid)`, in
  half of its time.

  Returns:
    rho_XYZ in e/Å^3 and the length of its gradient in e/Å^4; with groups
    [X, Y, Z, 2] both.
  """
  b_iso = grid_b_iso(b_iso, grid)
  terms = _promolecule_terms(mol, b_iso, use_b_factors, groups)
  rho_XYZC, slopes = near_or_whole(
    terms,
    grid,
    _typical_sigma(b_iso),
    near=lambda *t: gaussians_windowed.splat_grid_and_gradient(
      *t, grid, supersample
    ),
    whole=lambda *t: gaussians.splat_grid_and_gradient(*t, grid, supersample),
  )
  return apart(rho_XYZC, groups), apart(safe_norm(slopes, axis=0), groups)


def _typical_sigma(b_iso: float) -> float:
  """Returns the width of a typical Gaussian, one of B = 30 Å^2 in IT92."""
  return float(form_factors.sigma(30 + b_iso))


def _promolecule_terms(
  mol: Molecule, b_iso: float, use_b_factors: bool, groups: bool
):
  """Returns centres, electrons and widths, a row for each atom and term."""
  b_iso = form_factors.check_b_iso(b_iso)
  dtype = mol.coords_A3.dtype
  weights_AP = jnp.asarray(form_factors.A_EP, dtype)[mol.numbers_A]
  b_AP = jnp.asarray(form_factors.B_EP + b_iso, dtype)[mol.numbers_A]
  if use_b_factors:
    b_AP = b_AP + jnp.maximum(mol.b_factors_A, 0)[:, None]
  terms = weights_AP.shape[1]
  coords_A3 = jnp.repeat(mol.coords_A3, terms, axis=0)
  sigma_A = form_factors.sigma(b_AP).reshape(-1)
  groups_AC = jnp.repeat(group_weights(mol, groups), terms, axis=0)
  weights_AC = weights_AP.reshape(-1, 1) * groups_AC
  return coords_A3, weights_AC, sigma_A
