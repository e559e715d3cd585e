"""The density map that comes with a molecule."""

import jax

from edjax.fields.common import on_grid, on_points
from edjax.grid import Grid
from edjax.kernels import interpolation
from edjax.molecule import DensityMap, Molecule


@on_points
def map_density(mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """Returns the molecule's density map at points; see `interpolation.sample`.

  Args:
    mol: with a map.
    points_G3: Å.

  Returns:
    values_G, the map's unit; 0 outside of the map.

  Raises:
    ValueError: the molecule has no map.
  """
  return interpolation.sample(_need_map(mol), points_G3)


@on_grid
def map_density_grid(
  mol: Molecule, grid: Grid, supersample: int = 1
) -> jax.Array:
  """Evaluates `map_density` on a grid: values_XYZ."""
  return interpolation.sample_grid(_need_map(mol), grid, supersample)


def _need_map(mol: Molecule) -> DensityMap:
  if mol.density_map is None:
    raise ValueError(
      'this field needs a density map, and the molecule has none: give '
      'density_map to Molecule.from_arrays'
    )
  return mol.density_map
