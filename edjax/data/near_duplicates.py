"""Test molecules that training has seen nearly the same."""

import numpy as np
import scipy.spatial.distance

from edjax.data.packed_dataset import Pack

_ENERGIES = 'xtb_energy'
# Ha within which GFN2 energies of molecules with the same atoms are taken for
# those of one geometry: of other isomers they differ by 1e-3 and more.
_ENERGY = 1e-4
# Å within which all distances of atoms, in order, are those of one geometry,
# where there is no energy.
_DISTANCE = 0.01


def count(source: Pack, train, test) -> int:
  """Counts test molecules whose like is in training.

  That is one of the same constitution (SMILES without stereo); where bonds are
  not known, one of the same composition whose GFN2 energy is within 1e-4 Ha or,
  without energies, whose distances of atoms are within 0.01 Å.

  Args:
    source: a pack with the column structure.
    train: rows.
    test: rows.
  """
  structure_N = source.columns['structure']
  known = set(structure_N[train].tolist())
  within = _ENERGY if _ENERGIES in source.columns else _DISTANCE
  geometries = {}  # of each composition in training
  for row in train:
    geometry = _geometry(source, row)
    geometries.setdefault(_composition(source, row), []).append(geometry)
  found = 0
  for row in test:
    if not np.isnan(structure_N[row]):
      found += structure_N[row] in known
      continue
    own = _geometry(source, row)
    alike = geometries.get(_composition(source, row), ())
    found += any((np.abs(own - other) < within).all() for other in alike)
  return found


def criterion(source: Pack) -> str:
  """Returns by what geometries of the same atoms count as the same."""
  has_energies = _ENERGIES in source.columns
  return 'GFN2 energy' if has_energies else 'distances between them'


def _geometry(source: Pack, row: int) -> np.ndarray:
  """Returns numbers that a geometry of the same atoms shares."""
  if _ENERGIES in source.columns:
    return source.columns[_ENERGIES][row]
  begin, end = source.atom_offsets[row : row + 2]
  return np.sort(scipy.spatial.distance.pdist(source.positions[begin:end]))


def _composition(source: Pack, row: int) -> bytes:
  begin, end = source.atom_offsets[row : row + 2]
  return np.sort(source.numbers[begin:end]).tobytes()
