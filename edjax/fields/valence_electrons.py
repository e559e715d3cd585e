"""Atoms weighted by their valence electrons."""

import jax
import jax.numpy as jnp
import numpy as np

from edjax.chem import gfn2_occupations
from edjax.chem.elements import MAX_NUMBER
from edjax.fields.atom_types import ATOM_WIDTH
from edjax.fields.common import (
  apart,
  check_width,
  group_weights,
  on_grid,
  on_points,
  peak_terms,
  splat_grid,
  splat_points,
)
from edjax.grid import Grid
from edjax.molecule import Molecule


@on_points
def valence(
  mol: Molecule,
  points_G3: jax.Array,
  *,
  width: float = ATOM_WIDTH,
  groups: bool = False,
  truncated: bool = False,
) -> jax.Array:
  """Draws atoms as Gaussians whose peaks are their valence electrons.

  One channel has as many electrons as a valence density, but knows nothing of
  bonds: those that GFN2-xTB counts in the neutral atom
  (`gfn2_occupations.valence_electrons`), in Gaussians of one width.

  Args:
    mol: an element that GFN2-xTB lacks (beyond Rn) gives NaN.
    points_G3: Å.
    width: standard deviation, Å, the same for every atom.
    groups: ligand and pocket apart.
    truncated: as in `atom_types.atoms`; cuts 8 % of the electrons off.

  Returns:
    values_G; with groups values_GC.

  Raises:
    ValueError: a width that is not above 0.
  """
  terms = _valence_terms(mol, width, groups)
  return apart(splat_points(points_G3, terms, truncated), groups)


@on_grid
def valence_grid(
  mol: Molecule,
  grid: Grid,
  supersample: int = 1,
  *,
  width: float = ATOM_WIDTH,
  groups: bool = False,
  truncated: bool = False,
) -> jax.Array:
  """Evaluates `valence` on a grid: values_XYZ, with groups vox_XYZC."""
  terms = _valence_terms(mol, width, groups)
  vox_XYZC = splat_grid(
    terms, grid, supersample, width, same=True, truncated=truncated
  )
  return apart(vox_XYZC, groups)


def _valence_terms(mol: Molecule, width: float, groups: bool):
  check_width('width', width)
  dtype = mol.coords_A3.dtype
  valence_Z = gfn2_occupations.valence_electrons(np.arange(MAX_NUMBER + 1))
  sigma_A = jnp.full(mol.numbers_A.shape, width, dtype)
  peaks_A = jnp.asarray(valence_Z, dtype)[mol.numbers_A]
  return peak_terms(mol, peaks_A[:, None] * group_weights(mol, groups), sigma_A)
