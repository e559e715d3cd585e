"""Fields of a molecule: densities and their kin, on points and on grids.

Each field has two forms that agree: `f(mol, points_G3)` on any points, the
reference, and `f_grid(mol, grid, supersample=1)`, evaluated separably. The
docstring of the first describes both; options, units and errors are the same.
`potential_grid` alone has no form on points.
`gradient_magnitude` turns any of them into the length of its gradient.
Densities are in e/Å^3. All of them take the same arguments.

Args:
  mol: one molecule, padded; `vmap` or `numerics.batched` make batches.
  points_G3: Å, an array or a list.
  frame: which points are in: 'molecule' (its own, the default) or 'file', that
    of the coordinates given to `Molecule.from_arrays`, before it centred them.
  grid: voxels, static, in the molecule's own frame. Atoms outside of it are
    warned of, once a process, where jit does not hide them.
  supersample: sub-points along each edge of a voxel; values are means over
    supersample^3 of them.
  groups: True gives ligand and pocket channels of their own, first the
    ligand's, then the pocket's.
"""

from edjax.fields.all_electrons import (
  all_electron_density,
  all_electron_density_grid,
)
from edjax.fields.atom_types import (
  ATOM_WIDTH,
  ELEMENTS,
  atom_channels,
  atom_counts,
  atoms,
  atoms_grid,
)
from edjax.fields.binary_atom_types import binary_atoms, binary_atoms_grid
from edjax.fields.charges import NUCLEUS_WIDTH, charge, charge_grid
from edjax.fields.deformations import deformation, deformation_grid
from edjax.fields.density_map import map_density, map_density_grid
from edjax.fields.free_atoms import free_atoms_density, free_atoms_density_grid
from edjax.fields.frontier import homo, homo_grid, lumo, lumo_grid
from edjax.fields.gradients import (
  gradient_magnitude,
  value_and_gradient_magnitude,
)
from edjax.fields.kinetic_energy import elf, elf_grid, tau, tau_grid
from edjax.fields.orbitals import orbital_density, orbital_density_grid
from edjax.fields.potentials import potential_grid
from edjax.fields.promolecules import (
  promolecule,
  promolecule_and_gradient_grid,
  promolecule_grid,
)
from edjax.fields.shapes import SHAPE_WIDTH, shape, shape_grid
from edjax.fields.valence_electrons import valence, valence_grid
from edjax.fields.white_noise import noise, noise_grid

__all__ = [
  'ATOM_WIDTH',
  'ELEMENTS',
  'NUCLEUS_WIDTH',
  'SHAPE_WIDTH',
  'all_electron_density',
  'all_electron_density_grid',
  'atom_channels',
  'atom_counts',
  'atoms',
  'atoms_grid',
  'binary_atoms',
  'binary_atoms_grid',
  'charge',
  'charge_grid',
  'deformation',
  'deformation_grid',
  'elf',
  'elf_grid',
  'free_atoms_density',
  'free_atoms_density_grid',
  'gradient_magnitude',
  'homo',
  'homo_grid',
  'lumo',
  'lumo_grid',
  'map_density',
  'map_density_grid',
  'noise',
  'noise_grid',
  'orbital_density',
  'orbital_density_grid',
  'potential_grid',
  'promolecule',
  'promolecule_and_gradient_grid',
  'promolecule_grid',
  'shape',
  'shape_grid',
  'tau',
  'tau_grid',
  'valence',
  'valence_grid',
  'value_and_gradient_magnitude',
]
