"""Features of molecules that regressions read from a pack.

They are fitted to one pack, and then the same columns for any other: with its
elements, and with the mean of its training molecules for what is not known.
"""

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np

from edjax.chem import elements
from edjax.data import packed_dataset

# HOMO-2 to LUMO+2 of a pack's xtb_levels. More of them change little.
_LEVELS = slice(3, 9)
_GFN2 = ('xtb_energy', 'xtb_dipole', 'xtb_levels')
# Columns of complexes that describe the ligand alone begin with this; those of
# users' molecules that describe them, with the other.
_LIGAND, _DESCRIPTOR = 'ligand_', 'descriptor_'
SIZE = 'ligand_heavy_atoms'


@dataclasses.dataclass(frozen=True)
class Features:
  """A function from a pack to the features of its rows.

  Attributes:
    parts: in order, some of 'composition' (counts of elements), 'ligand'
      (counts of the ligand's heavy atoms, since it depends on the variant of
      the dataset whether complexes have hydrogens), 'size' (logarithm of the
      ligand's heavy atoms), 'gfn2' (energy, dipole and orbital energies) and
      'columns'.
    numbers_E: atomic numbers that are counted.
    columns: names in the pack, of the part 'columns'.
    mean_F: their means in training, in place of unknown values.
  """

  parts: tuple[str, ...]
  numbers_E: np.ndarray
  columns: tuple[str, ...] = ()
  mean_F: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))

  def needs(self) -> tuple[str, ...]:
    """Returns the columns that a pack must have."""
    names = {'gfn2': _GFN2, 'size': (SIZE,), 'columns': self.columns}
    return tuple(name for part in self.parts for name in names.get(part, ()))

  def __call__(self, source: packed_dataset.Pack) -> np.ndarray:
    """Returns the features of all rows, [N, F].

    Raises:
      ValueError: the pack lacks a column.
    """
    lacking = [name for name in self.needs() if name not in source.columns]
    if lacking:
      raise ValueError(f'the molecules have no {", ".join(lacking)}')
    if not self.parts:
      return np.zeros((len(source), 0))
    parts = [self._part(source, name) for name in self.parts]
    # A copy has another layout, of which products round otherwise.
    return parts[0] if len(parts) == 1 else np.hstack(parts)

  def _part(self, source, name: str) -> np.ndarray:
    columns = source.columns
    if name == 'gfn2':
      energy, dipole, levels_NE = (columns[column] for column in _GFN2)
      return np.column_stack([energy, dipole, _filled(levels_NE[:, _LEVELS])])
    if name == 'size':
      return np.log(columns[SIZE])[:, None]
    if name == 'columns':
      values_NF = _stacked(source, self.columns)
      return np.where(np.isfinite(values_NF), values_NF, self.mean_F)
    return counts(source, name == 'ligand')[:, self.numbers_E]


def fit(source: packed_dataset.Pack, train: np.ndarray) -> dict[str, Features]:
  """Returns the features of each ridge regression on a pack, by its name.

  Args:
    source: the pack.
    train: training rows.
  """
  columns = source.columns
  of_ligands = SIZE in columns
  counted = 'ligand' if of_ligands else 'composition'
  numbers_E = np.flatnonzero(counts(source, of_ligands).any(0))
  found = {'ridge_composition': Features((counted,), numbers_E)}
  if of_ligands:
    none = np.zeros(0, int)
    found['ridge_size'] = Features(('size',), none)
    described = _described(source, _LIGAND, train)
    found['ridge_ligand'] = Features(('size', 'columns'), none, *described)
    return found
  if columns.keys() >= {*_GFN2}:
    found['ridge_gfn2'] = Features((counted, 'gfn2'), numbers_E)
  names, mean_F = _described(source, _DESCRIPTOR, train)
  if np.isfinite(_stacked(source, names)[train]).any():
    found['ridge_descriptors'] = Features(
      (counted, 'columns'), numbers_E, names, mean_F
    )
  return found


def composition(
  source: packed_dataset.Pack, of_ligands: bool = False
) -> np.ndarray:
  """Counts the atoms of each element that occurs in the pack, [N, E].

  Args:
    source: the pack.
    of_ligands: see `counts`.
  """
  counts_NE = counts(source, of_ligands)
  return counts_NE[:, counts_NE.any(0)]


def counts(source: packed_dataset.Pack, of_ligands: bool) -> np.ndarray:
  """Counts the atoms of each atomic number, [N, E].

  Args:
    source: the pack.
    of_ligands: counts heavy atoms of ligands alone.
  """
  atom_counts = source.atom_counts
  molecule_of = np.repeat(np.arange(len(source)), atom_counts)
  keep = np.ones(len(molecule_of), bool)
  if of_ligands:
    local = np.arange(len(keep)) - source.atom_offsets[:-1][molecule_of]
    is_ligand = local < source.ligand_counts[molecule_of]
    keep = is_ligand & (source.numbers > 1)
  counts_NE = np.zeros((len(source), elements.MAX_NUMBER + 1))
  np.add.at(counts_NE, (molecule_of[keep], source.numbers[keep]), 1)
  return counts_NE


def _described(source, prefix: str, train) -> tuple[tuple, np.ndarray]:
  """Returns the columns of a prefix, and their means in training."""
  names = tuple(sorted(n for n in source.columns if n.startswith(prefix)))
  values_NF = _stacked(source, names)[train]
  known_NF = np.isfinite(values_NF)
  count_F = np.maximum(known_NF.sum(0), 1)
  return names, np.where(known_NF, values_NF, 0).sum(0) / count_F


def _stacked(source, names) -> np.ndarray:
  columns: Mapping[str, np.ndarray] = source.columns
  empty_N0 = np.zeros((len(source), 0))
  return np.column_stack([empty_N0, *(columns[name] for name in names)])


def _filled(levels_NE) -> np.ndarray:
  """Gives orbitals that a small molecule lacks the energy of the next one."""
  filled_NE = levels_NE.copy()
  middle = filled_NE.shape[1] // 2
  for side_NE in (filled_NE[:, middle - 1 :: -1], filled_NE[:, middle:]):
    for inner, outer in itertools.pairwise(range(side_NE.shape[1])):
      lacking_N = np.isnan(side_NE[:, outer])
      side_NE[lacking_N, outer] = side_NE[lacking_N, inner]
  return filled_NE
