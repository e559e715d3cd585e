"""The electrostatic potential of a molecule."""

import jax

from edjax.chem.units import COULOMB_V
from edjax.fields.charges import charge_grid
from edjax.fields.common import on_grid
from edjax.grid import Grid
from edjax.kernels import poisson
from edjax.molecule import Molecule


@on_grid
def potential_grid(
  mol: Molecule, grid: Grid, supersample: int = 1
) -> jax.Array:
  """Computes the electrostatic potential of `charge` within the grid.

  Alone among the fields it has no form on points: it depends on the charge
  everywhere, and what lies outside of the grid is not seen.

  Args:
    mol: with orbitals; see `charge`.
    grid: voxels.
    supersample: sub-points along each edge of a voxel, of which the mean of the
      charge is taken, and with it that of the potential.

  Returns:
    potential_XYZ, V, as a positive unit charge feels it. Within 1 Å of a
    nucleus it is that of a smeared one.

  Raises:
    ValueError: the molecule has no orbitals.
  """
  charge_XYZ = charge_grid(mol, grid, supersample)
  return COULOMB_V * poisson.potential(charge_XYZ, grid)
