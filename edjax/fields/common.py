"""What fields share: sums of Gaussians on grids, ligand and pocket apart."""

import jax
import jax.numpy as jnp
import numpy as np

from edjax.grid import Grid
from edjax.kernels import gaussians, gaussians_windowed
from edjax.molecule import LIGAND, POCKET, Molecule


def splat_grid(
  terms, grid: Grid, supersample: int, sigma: float, same: bool = False
) -> jax.Array:
  """`gaussians.splat_grid`, on CPUs of near voxels alone where that pays.

  Args:
    terms: coords_A3, weights_AC and sigma_A.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.
    sigma: a typical standard deviation, Å.
    same: it is that of all.

  Returns:
    vox_XYZC.
  """

  known = float(sigma) if same else None
  return near_or_whole(
    terms,
    grid,
    sigma,
    near=lambda *t: gaussians_windowed.splat_grid(*t, grid, supersample, known),
    whole=lambda *t: gaussians.splat_grid(*t, grid, supersample),
  )


def near_or_whole(terms, grid: Grid, sigma: float, near, whole):
  """`gaussians_windowed` on CPUs where that pays, else the product."""
  if not gaussians_windowed.pays(sigma, grid, terms[1].shape[1]):
    return whole(*terms)
  return jax.lax.platform_dependent(*terms, cpu=near, default=whole)


def group_weights(mol: Molecule, groups: bool) -> jax.Array:
  """What each atom adds to each group: [A, 2], or [A, 1] of all together."""
  dtype = mol.coords_A3.dtype
  if not groups:
    return jnp.ones((len(mol.numbers_A), 1), dtype)
  both_2 = jnp.array([LIGAND, POCKET])
  return (mol.groups_A[:, None] == both_2[None, :]).astype(dtype)


def apart(values: jax.Array, groups: bool) -> jax.Array:
  """A field of one channel loses its axis of channels."""
  return values if groups else values[..., 0]


def check_width(name: str, value: float) -> None:
  """Refuse a width that is not above 0."""
  if not (np.isfinite(value) and value > 0):
    raise ValueError(f'{name} must be > 0, not {value}')
