"""Parts that fields share: sums of Gaussians on grids, ligand and pocket."""

import jax
import jax.numpy as jnp
import numpy as np

from edjax.chem import form_factors
from edjax.grid import Grid
from edjax.kernels import (
  gaussians,
  gaussians_windowed,
  truncated_gaussians,
)
from edjax.molecule import LIGAND, POCKET, Molecule


def splat_grid(
  terms,
  grid: Grid,
  supersample: int,
  sigma: float,
  same: bool = False,
  truncated: bool = False,
) -> jax.Array:
  """Sums Gaussians on a grid; on CPUs at near voxels alone where that pays.

  Args:
    terms: coords_A3, weights_AC and sigma_A.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.
    sigma: a typical standard deviation, Å.
    same: all have this standard deviation.
    truncated: sums `truncated_gaussians` instead.

  Returns:
    vox_XYZC.
  """

  known = float(sigma) if same else None
  sums = truncated_gaussians if truncated else gaussians
  return near_or_whole(
    terms,
    grid,
    sigma,
    near=lambda *t: gaussians_windowed.splat_grid(
      *t, grid, supersample, known, truncated
    ),
    whole=lambda *t: sums.splat_grid(*t, grid, supersample),
    truncated=truncated,
  )


def splat_points(points_G3: jax.Array, terms, truncated: bool) -> jax.Array:
  """Sums Gaussians point by point, values_GC; `terms` as in `splat_grid`."""
  sums = truncated_gaussians if truncated else gaussians
  return sums.splat_points(points_G3, *terms)


def near_or_whole(
  terms, grid: Grid, sigma: float, near, whole, truncated: bool = False
):
  """Evaluates `near` on CPUs where windows pay, else `whole`."""
  channels = terms[1].shape[1]
  if not gaussians_windowed.pays(sigma, grid, channels, truncated):
    return whole(*terms)
  return jax.lax.platform_dependent(*terms, cpu=near, default=whole)


def element_terms(mol: Molecule, weights_Z: np.ndarray, width: float):
  """Returns centres, weights by element and one width, as in `splat_grid`."""
  dtype = mol.coords_A3.dtype
  weights_A1 = jnp.asarray(weights_Z, dtype)[mol.numbers_A, None]
  return mol.coords_A3, weights_A1, jnp.full(mol.numbers_A.shape, width, dtype)


def peak_terms(mol: Molecule, peaks_AC: jax.Array, sigma_A: jax.Array):
  """Returns coordinates, weights and widths of Gaussians with given peaks."""
  weights_AC = peaks_AC * gaussians.peak_to_integral(sigma_A)[:, None]
  return mol.coords_A3, weights_AC, sigma_A


def group_weights(mol: Molecule, groups: bool) -> jax.Array:
  """Returns each atom's share in each group: [A, 2], or [A, 1] of ones."""
  dtype = mol.coords_A3.dtype
  if not groups:
    return jnp.ones((len(mol.numbers_A), 1), dtype)
  both_2 = jnp.array([LIGAND, POCKET])
  return (mol.groups_A[:, None] == both_2[None, :]).astype(dtype)


def apart(values: jax.Array, groups: bool) -> jax.Array:
  """Drops the axis of channels where ligand and pocket are not apart."""
  return values if groups else values[..., 0]


def check_width(name: str, value: float) -> None:
  """Raises ValueError for a width that is not above 0."""
  if not (np.isfinite(value) and value > 0):
    raise ValueError(f'{name} must be > 0, not {value}')


def grid_b_iso(b_iso: float, grid: Grid) -> float:
  """Returns the B factor in Å^2; for 0, the one tied to the spacing."""
  return form_factors.tied_b_iso(grid.spacing) if b_iso == 0 else b_iso
