"""Noise for a molecule: a control without any information."""

import jax

from edjax.fields.common import on_grid, on_points
from edjax.grid import Grid
from edjax.molecule import Molecule


@on_points
def noise(mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """Draws unit normals by the molecule's index: a control without information.

  The values belong to the points' indices, not to their coordinates: they do
  not turn with the molecule. Returns values_G.
  """
  return _noise(mol, points_G3.shape[:1])


@on_grid
def noise_grid(mol: Molecule, grid: Grid, supersample: int = 1) -> jax.Array:
  """Evaluates `noise` on a grid, of unit variance whatever `supersample` is.

  Means over sub-points would only be weaker noise.
  """
  del supersample
  return _noise(mol, (grid.size,) * 3)


def _noise(mol: Molecule, dims: tuple[int, ...]) -> jax.Array:
  key = jax.random.fold_in(jax.random.key(0), mol.index)
  return jax.random.normal(key, dims, mol.coords_A3.dtype)
