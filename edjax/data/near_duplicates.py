"""Test molecules that training has seen nearly the same."""

import numpy as np

from edjax.data.packed_dataset import Pack

# Ha within which GFN2 energies of molecules with the same atoms are taken for
# those of one geometry: of other isomers they differ by 1e-3 and more.
_ENERGY = 1e-4


def count(source: Pack, train, test) -> int:
  """Counts test molecules whose like is in training.

  That is one of the same constitution (SMILES without stereo); where bonds are
  not known, one of the same composition whose GFN2 energy is within 1e-4 Ha.

  Args:
    source: a pack with the columns structure and xtb_energy.
    train: rows.
    test: rows.
  """
  structure_N = source.columns['structure']
  known = set(structure_N[train].tolist())
  energies = {}  # of each composition in training
  for row in train:
    energy = source.columns['xtb_energy'][row]
    energies.setdefault(_composition(source, row), []).append(energy)
  found = 0
  for row in test:
    if not np.isnan(structure_N[row]):
      found += structure_N[row] in known
      continue
    near = np.subtract(
      energies.get(_composition(source, row), ()),
      source.columns['xtb_energy'][row],
    )
    found += bool((np.abs(near) < _ENERGY).any())
  return found


def _composition(source: Pack, row: int) -> bytes:
  begin, end = source.atom_offsets[row : row + 2]
  return np.sort(source.numbers[begin:end]).tobytes()
