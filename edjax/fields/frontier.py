"""The densities of the frontier orbitals of GFN2-xTB, of one electron each.

Frozen, an electron leaves the highest occupied orbital (HOMO) and enters the
lowest unoccupied one (LUMO): their squares are the frontier form of the Fukui
functions of R. G. Parr, W. Yang, J. Am. Chem. Soc. 1984, 106, 4049. Of
degenerate orbitals it is the mean of their squares, which alone turns with the
molecule.
"""

import dataclasses

import jax

from edjax.fields.common import on_grid, on_points
from edjax.fields.orbitals import orbital_density, orbital_density_grid
from edjax.grid import Grid
from edjax.molecule import Molecule


@on_points
def homo(mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """Computes the density of an electron in the highest occupied orbital.

  Args:
    mol: with frontier orbitals; on an element beyond Rn they give NaN.
    points_G3: Å.

  Returns:
    rho_G, e/Å^3; its integral over all space is 1.

  Raises:
    ValueError: the molecule has no frontier orbitals.
  """
  return orbital_density(_only(mol, 'homo'), points_G3)


@on_grid
def homo_grid(mol: Molecule, grid: Grid, supersample: int = 1) -> jax.Array:
  """Evaluates `homo` on a grid: rho_XYZ."""
  return orbital_density_grid(_only(mol, 'homo'), grid, supersample)


@on_points
def lumo(mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """Computes the density of an electron in the lowest unoccupied orbital.

  It is 0 where the basis has no such orbital. See `homo`.
  """
  return orbital_density(_only(mol, 'lumo'), points_G3)


@on_grid
def lumo_grid(mol: Molecule, grid: Grid, supersample: int = 1) -> jax.Array:
  """Evaluates `lumo` on a grid: rho_XYZ."""
  return orbital_density_grid(_only(mol, 'lumo'), grid, supersample)


def _only(mol: Molecule, name: str) -> Molecule:
  """Returns the molecule with this level in the place of its orbitals."""
  level_OL9 = getattr(mol, f'{name}_OL9')
  if level_OL9 is None:
    raise ValueError(
      f'the molecule has no {name}_OL9, which its {name} needs: compute it '
      'with data_builders.xtb.run and pass it to Molecule.from_arrays '
      f'({name}=result.{name})'
    )
  return dataclasses.replace(mol, orbitals_OL9=level_OL9)
