"""What a molecule's fields are compared with: free atoms, or empty space."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from edjax.molecule import LIGAND, Molecule
from edjax.voxelize import Voxelizer

FREE_ATOMS, EMPTY = 'free_atoms', 'empty'
# Densities with the same one of free atoms: the valence density itself, and its
# difference to free atoms, which is 0 for them.
_OF_ORBITALS = ('xtb', 'deformation')
_OF_DENSITY = ('density', 'gradient')


def of(voxelizer: Voxelizer) -> tuple[str, ...]:
  """Returns the references that the inputs of a network have."""
  has_free_atoms = voxelizer.options.density in _OF_ORBITALS and bool(
    set(_OF_DENSITY) & set(voxelizer.kinds)
  )
  return (FREE_ATOMS, EMPTY) if has_free_atoms else (EMPTY,)


def raw(
  voxelizer: Voxelizer, reference: str
) -> Callable[[Molecule, tuple], tuple[jax.Array, ...]]:
  """Returns what gives the raw channels of the reference of a molecule.

  Args:
    voxelizer: of the network.
    reference: FREE_ATOMS (GFN2's, about the same nuclei: of density and its
      gradient; pockets, which have no orbitals, and other channels stay as they
      are) or EMPTY (0 everywhere).

  Returns:
    f(mol, raw of mol) -> raw channels, as `voxelizer.raw`.

  Raises:
    ValueError: the inputs have no such reference.
  """
  if reference not in of(voxelizer):
    raise ValueError(
      f'there is no reference {reference!r} of {", ".join(voxelizer.kinds)} '
      f'with density={voxelizer.options.density!r}; there is '
      f'{" and ".join(of(voxelizer))}'
    )
  if reference == EMPTY:
    return lambda mol, end: jax.tree.map(jnp.zeros_like, end)
  return lambda mol, end: _free_atoms(voxelizer, mol, end)


def _free_atoms(voxelizer: Voxelizer, mol: Molecule, end) -> tuple:
  options = voxelizer.options
  if options.density == 'deformation':
    start = [jnp.zeros_like(x) for x in end]
  else:
    free = dataclasses.replace(options, density='free_atoms', groups=False)
    start = dataclasses.replace(voxelizer, options=free).raw(_ligand(mol))
  chosen = []
  for kind, of_atoms, of_molecule in zip(
    voxelizer.kinds, start, end, strict=True
  ):
    if kind not in _OF_DENSITY:
      of_atoms = of_molecule
    elif options.groups:  # the last channel is the pocket's
      of_atoms = jnp.concatenate([of_atoms, of_molecule[..., 1:]], -1)
    chosen.append(of_atoms)
  return tuple(chosen)


def _ligand(mol: Molecule) -> Molecule:
  is_ligand_A = mol.groups_A == LIGAND
  return dataclasses.replace(
    mol, numbers_A=jnp.where(is_ligand_A, mol.numbers_A, 0)
  )
