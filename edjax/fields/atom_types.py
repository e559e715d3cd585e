"""A channel for each element: Gaussians at its atoms."""

import jax
import jax.numpy as jnp
import numpy as np

from edjax.chem.elements import MAX_NUMBER, METALS, atomic_number
from edjax.fields.common import (
  check_width,
  on_grid,
  on_points,
  peak_terms,
  splat_grid,
  splat_points,
)
from edjax.grid import Grid
from edjax.molecule import LIGAND, POCKET, Molecule

ELEMENTS = ('H', 'C', 'N', 'O', 'F')
_METALS_CHANNEL = 0  # no atomic number
# Standard deviation of atom Gaussians, Å.
ATOM_WIDTH = 0.5


def atom_channels(
  elements: tuple[str, ...] = ELEMENTS, groups: bool = False
) -> tuple[str, ...]:
  """Returns the names of the channels of `atoms`.

  Args:
    elements: symbols of the listed elements; 'metals' stands for every metal
      that is not listed itself.
    groups: ligand and pocket apart.

  Returns:
    One name per channel: the elements in order, then 'other'; with groups,
    those of the ligand, then those of the pocket.

  Raises:
    ValueError: an unknown or repeated symbol.
  """
  numbers = [_METALS_CHANNEL if symbol == 'metals' else atomic_number(symbol)
             for symbol in elements]  # fmt: skip
  if len(set(numbers)) != len(numbers):
    raise ValueError(f'an element is listed twice: {elements}')
  names = (*elements, 'other')
  if not groups:
    return tuple(f'atoms_{name}' for name in names)
  return tuple(f'{g}_{name}' for g in ('ligand', 'pocket') for name in names)


@on_points
def atoms(
  mol: Molecule,
  points_G3: jax.Array,
  *,
  elements: tuple[str, ...] = ELEMENTS,
  width: float = ATOM_WIDTH,
  groups: bool = False,
  truncated: bool = False,
) -> jax.Array:
  """Draws each atom as a Gaussian of peak 1 in the channel of its element.

  The peak, not the integral, is 1: a network's input then keeps its scale
  when the width changes. Atoms of elements that are not listed go to 'other',
  so that none is dropped.

  Args:
    mol: padding adds nothing.
    points_G3: Å.
    elements: symbols of the listed elements.
    width: standard deviation, Å.
    groups: ligand and pocket apart.
    truncated: end the Gaussian at 3 standard deviations, by a parabola from 2
      on; see `kernels.truncated_gaussians`.

  Returns:
    values_GC; C as in `atom_channels`.

  Raises:
    ValueError: an unknown element, or a width that is not above 0.
  """
  terms = _atom_terms(mol, elements, width, groups)
  return splat_points(points_G3, terms, truncated)


@on_grid
def atoms_grid(
  mol: Molecule,
  grid: Grid,
  supersample: int = 1,
  *,
  elements: tuple[str, ...] = ELEMENTS,
  width: float = ATOM_WIDTH,
  groups: bool = False,
  truncated: bool = False,
) -> jax.Array:
  """Evaluates `atoms` on a grid: vox_XYZC."""
  terms = _atom_terms(mol, elements, width, groups)
  return splat_grid(
    terms, grid, supersample, width, same=True, truncated=truncated
  )


def atom_counts(
  mol: Molecule,
  radius: float,
  *,
  elements: tuple[str, ...] = ELEMENTS,
  groups: bool = False,
) -> jax.Array:
  """Counts the atoms of each channel of `atoms` near the origin.

  Args:
    mol: padding does not count.
    radius: Å; atoms farther from the origin do not count.
    elements: as in `atoms`.
    groups: as in `atoms`.

  Returns:
    [C]; C as in `atom_channels`.
  """
  near_A = jnp.sum(mol.coords_A3**2, axis=1) <= radius**2
  types_AC = types(mol, elements, groups)
  return jnp.sum(types_AC & near_A[:, None], axis=0)


def types(mol: Molecule, elements, groups: bool) -> jax.Array:
  """Returns the channels of atoms: bool [A, C], false on padding."""
  atom_channels(elements, groups)  # checks
  listed_AC = _channel_table(elements)[mol.numbers_A]
  other_A = mol.mask_A & ~jnp.any(listed_AC, axis=1)
  types_AC = jnp.concatenate([listed_AC, other_A[:, None]], axis=1)
  if not groups:
    return types_AC
  return jnp.concatenate(
    [types_AC & (mol.groups_A == g)[:, None] for g in (LIGAND, POCKET)],
    axis=1,
  )


def _channel_table(elements) -> jax.Array:
  """Returns the listed channels of atomic numbers: bool [Z, C]."""
  table_ZC = np.zeros((MAX_NUMBER + 1, len(elements)), bool)
  single = [atomic_number(e) for e in elements if e != 'metals']
  for channel, element in enumerate(elements):
    if element == 'metals':
      table_ZC[np.setdiff1d(METALS, single), channel] = True
    else:
      table_ZC[atomic_number(element), channel] = True
  return jnp.asarray(table_ZC)


def _atom_terms(mol: Molecule, elements, width: float, groups: bool):
  check_width('width', width)
  dtype = mol.coords_A3.dtype
  sigma_A = jnp.full(mol.numbers_A.shape, width, dtype)
  return peak_terms(mol, types(mol, elements, groups).astype(dtype), sigma_A)
