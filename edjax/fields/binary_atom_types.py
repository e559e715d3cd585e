"""A channel for each element: balls at its atoms, as older recipes have it."""

import jax
import jax.numpy as jnp

from edjax import grid as grids
from edjax.fields.atom_types import ELEMENTS, types
from edjax.fields.common import (
  check_width,
  on_grid,
  on_points,
)
from edjax.grid import Grid
from edjax.kernels import gaussians
from edjax.kernels.numerics import HIGHEST
from edjax.molecule import Molecule


@on_points
def binary_atoms(
  mol: Molecule,
  points_G3: jax.Array,
  *,
  elements: tuple[str, ...] = ELEMENTS,
  radius: float = 1.0,
  groups: bool = False,
) -> jax.Array:
  """Sets the channel of an element to 1 within a radius of its atoms.

  Args:
    mol: padding adds nothing.
    points_G3: Å.
    elements: symbols of the listed elements, as in `atom_types.atoms`.
    radius: Å.
    groups: ligand and pocket apart.

  Returns:
    values_GC, 0 or 1; its derivative is 0 everywhere.

  Raises:
    ValueError: an unknown element, or a radius that is not above 0.
  """
  check_width('radius', radius)
  types_AC = types(mol, elements, groups)
  points_G3 = jnp.asarray(points_G3, mol.coords_A3.dtype)

  def at(point_3):
    d2_A = jnp.sum((point_3[None, :] - mol.coords_A3) ** 2, axis=1)
    return jnp.any((d2_A <= radius**2)[:, None] & types_AC, axis=0)

  return jax.vmap(at)(points_G3).astype(mol.coords_A3.dtype)


@on_grid
def binary_atoms_grid(
  mol: Molecule,
  grid: Grid,
  supersample: int = 1,
  *,
  elements: tuple[str, ...] = ELEMENTS,
  radius: float = 1.0,
  groups: bool = False,
) -> jax.Array:
  """Evaluates `binary_atoms` on a grid; with sub-points the share inside."""
  check_width('radius', radius)
  dtype = mol.coords_A3.dtype
  types_AC = types(mol, elements, groups).astype(dtype)
  x2, y2, z2 = gaussians.offsets(mol.coords_A3, grid, supersample) ** 2
  d2 = x2[:, None, None] + y2[None, :, None] + z2[None, None, :]
  inside = (d2 <= radius**2).astype(dtype)
  counts = jnp.einsum('xyza,ac->xyzc', inside, types_AC, precision=HIGHEST)
  return grids.pool((counts > 0.5).astype(dtype), supersample)
