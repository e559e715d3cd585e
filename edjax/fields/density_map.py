"""The density map that comes with a molecule."""

import jax

from edjax.grid import Grid
from edjax.kernels import interpolation
from edjax.molecule import DensityMap, Molecule


def map_density(
  mol: Molecule, points_G3: jax.Array, *, order: str = 'cubic'
) -> jax.Array:
  """Returns the molecule's density map at points; see `interpolation.sample`.

  Args:
    mol: with a map.
    points_G3: Å.
    order: of the interpolation, 'cubic' or 'linear'; gradients ask for
      'cubic'.

  Returns:
    values_G, the map's unit; 0 outside of the map.

  Raises:
    ValueError: the molecule has no map, or an unknown order.
  """
  return interpolation.sample(_need_map(mol), points_G3, order)


def map_density_grid(
  mol: Molecule, grid: Grid, supersample: int = 1, *, order: str = 'cubic'
) -> jax.Array:
  """`map_density` on a grid: values_XYZ."""
  return interpolation.sample_grid(_need_map(mol), grid, supersample, order)


def _need_map(mol: Molecule) -> DensityMap:
  if mol.density_map is None:
    raise ValueError(
      'this field needs a density map, and the molecule has none: give '
      'density_map to Molecule.from_arrays'
    )
  return mol.density_map
