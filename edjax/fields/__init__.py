"""Fields of a molecule: densities and their kin, on points and on grids.

Each field has two forms that agree: `f(mol, points_G3)` on any points, the
reference, and `f_grid(mol, grid, supersample=1)`, evaluated separably; there
values are means over supersample^3 sub-points of each voxel. One molecule,
padded; `vmap` or `numerics.batched` make batches. Densities are in e/Å^3.
`gradient_magnitude` turns any of them into the length of its gradient.
"""

from edjax.fields.atom_types import (
  ATOM_WIDTH,
  ELEMENTS,
  atom_channels,
  atom_counts,
  atoms,
  atoms_grid,
  binary_atoms,
  binary_atoms_grid,
)
from edjax.fields.density_map import map_density, map_density_grid
from edjax.fields.gradients import (
  gradient_magnitude,
  value_and_gradient_magnitude,
)
from edjax.fields.promolecules import (
  promolecule,
  promolecule_and_gradient_grid,
  promolecule_grid,
)
from edjax.fields.shapes import SHAPE_WIDTH, shape, shape_grid
from edjax.fields.valence_electrons import valence, valence_grid
from edjax.fields.white_noise import noise, noise_grid
from edjax.fields.xtb import (
  deformation,
  deformation_grid,
  free_atoms_density,
  free_atoms_density_grid,
  orbital_density,
  orbital_density_grid,
)

__all__ = [
  'ATOM_WIDTH',
  'ELEMENTS',
  'SHAPE_WIDTH',
  'atom_channels',
  'atom_counts',
  'atoms',
  'atoms_grid',
  'binary_atoms',
  'binary_atoms_grid',
  'deformation',
  'deformation_grid',
  'free_atoms_density',
  'free_atoms_density_grid',
  'gradient_magnitude',
  'map_density',
  'map_density_grid',
  'noise',
  'noise_grid',
  'orbital_density',
  'orbital_density_grid',
  'promolecule',
  'promolecule_and_gradient_grid',
  'promolecule_grid',
  'shape',
  'shape_grid',
  'valence',
  'valence_grid',
  'value_and_gradient_magnitude',
]
