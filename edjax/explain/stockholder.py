"""Shares of atoms in what is known on a grid, by Hirshfeld's weights.

F. L. Hirshfeld, Theor. Chim. Acta 1977, 44, 129: every point is divided between
the atoms as the densities of the free atoms are there, like a dividend between
stockholders.
"""

import jax
import jax.numpy as jnp

from edjax.chem import form_factors
from edjax.grid import Grid
from edjax.kernels import gaussians
from edjax.molecule import Molecule


def shares(
  mol: Molecule, values_XYZ: jax.Array, grid: Grid, b_iso: float
) -> tuple[jax.Array, jax.Array]:
  """Divides values on a grid between the atoms.

  Args:
    mol: one molecule, in the frame of the grid.
    values_XYZ: what is divided.
    grid: of the values.
    b_iso: B factor by which the free atoms (IT92, all electrons) are blurred,
      Å^2, above 0.

  Returns:
    Sum of each atom's part, [A], 0 on padding, and the sum of what lies so far
    from all atoms that none has a density there.
  """
  b_iso = form_factors.check_b_iso(b_iso)
  dtype = mol.coords_A3.dtype
  electrons_AP = jnp.asarray(form_factors.A_EP, dtype)[mol.numbers_A]
  b_AP = jnp.asarray(form_factors.B_EP + b_iso, dtype)[mol.numbers_A]
  terms = electrons_AP.shape[1]
  coords = jnp.repeat(mol.coords_A3, terms, axis=0)
  sigma = form_factors.sigma(b_AP).reshape(-1)

  def promolecule(scale_A):
    electrons = (electrons_AP * scale_A[:, None]).reshape(-1, 1)
    return gaussians.splat_grid(coords, electrons, sigma, grid)[..., 0]

  # The sum is linear in the scales: its gradient with respect to one of them
  # is a sum over that atom's density.
  free_XYZ, pull_back = jax.vjp(promolecule, jnp.ones(len(mol.numbers_A)))
  is_shared_XYZ = free_XYZ > 0
  ratio_XYZ = values_XYZ / jnp.where(is_shared_XYZ, free_XYZ, 1)
  (sums_A,) = pull_back(jnp.where(is_shared_XYZ, ratio_XYZ, 0))
  return sums_A, jnp.sum(jnp.where(is_shared_XYZ, 0, values_XYZ))
