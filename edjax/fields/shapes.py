"""The shape of a molecule, without its elements."""

import jax
import jax.numpy as jnp
import numpy as np

from edjax import arguments
from edjax import grid as grids
from edjax.chem.elements import VDW_RADII
from edjax.fields.common import (
  apart,
  group_weights,
  on_grid,
  on_points,
  peak_terms,
  splat_grid,
)
from edjax.grid import Grid
from edjax.kernels import gaussians
from edjax.molecule import Molecule

# Standard deviation of the Gaussians of `shape`, in radii.
SHAPE_WIDTH = 0.5
# Below it the peak of `shape`, exp(1/(2 width^2)), nears the end of float32
# (at 0.075); the surface is then 0.02 radii thick, less than any voxel.
_MIN_SHAPE_WIDTH = 0.1


@on_points
def shape(
  mol: Molecule,
  points_G3: jax.Array,
  *,
  width: float = SHAPE_WIDTH,
  radius: float = 0.0,
  groups: bool = False,
) -> jax.Array:
  """Computes occupancy, 1 - exp(-sum of Gaussians): 0 outside, near 1 inside.

  An atom's Gaussian has the standard deviation `width` times its van der
  Waals radius, and the peak ln(2) exp(1/(2 width^2)): an isolated atom then
  has the value 1/2 at its van der Waals radius, whatever the width, which
  sets the softness of the surface alone.

  Args:
    mol: elements count by their van der Waals radii alone.
    points_G3: Å.
    width: standard deviation in radii, at least 0.1.
    radius: of every atom, Å, in the place of its van der Waals radius; 0 for
      those.
    groups: ligand and pocket apart.

  Returns:
    values_G, 0 to 1; deep inside it is rounded to 1. With groups values_GC.

  Raises:
    ValueError: a width below 0.1, or a negative radius.
  """
  terms = _shape_terms(mol, width, radius, groups)
  return apart(-jnp.expm1(-gaussians.splat_points(points_G3, *terms)), groups)


@on_grid
def shape_grid(
  mol: Molecule,
  grid: Grid,
  supersample: int = 1,
  *,
  width: float = SHAPE_WIDTH,
  radius: float = 0.0,
  groups: bool = False,
) -> jax.Array:
  """Evaluates `shape` on a grid: values_XYZ, with groups vox_XYZC."""
  terms = _shape_terms(mol, width, radius, groups)
  # Carbon stands for all where radii differ.
  sigma = (radius or VDW_RADII[6]) * width
  sums = splat_grid(terms, grid.refine(supersample), 1, sigma)
  return apart(grids.pool(-jnp.expm1(-sums), supersample), groups)


def _shape_terms(mol: Molecule, width: float, radius: float, groups: bool):
  width = arguments.scalar('width', width)
  radius = arguments.scalar('radius', radius)
  if not (np.isfinite(width) and width >= _MIN_SHAPE_WIDTH):
    raise ValueError(
      f'width of shape must be >= {_MIN_SHAPE_WIDTH}, not {width}'
    )
  if not (np.isfinite(radius) and radius >= 0):
    raise ValueError(f'radius of shape must be 0 or above it, not {radius}')
  dtype = mol.coords_A3.dtype
  radii = np.where(VDW_RADII > 0, VDW_RADII, 1.0)  # padding: harmless
  radii = np.full_like(radii, radius) if radius else radii
  sigma_A = jnp.asarray(radii * width, dtype)[mol.numbers_A]
  peak = np.log(2) * np.exp(0.5 / width**2)
  peaks_A = jnp.where(mol.mask_A, jnp.asarray(peak, dtype), 0)
  return peak_terms(mol, peaks_A[:, None] * group_weights(mol, groups), sigma_A)
