"""Splits by scaffold and by a column; near-duplicates between parts."""

import types

import numpy as np
import pytest

from edjax.data import grouped_splits, near_duplicates

# 60 scaffolds of one to five molecules, and one of 80.
SIZES = [1 + i % 5 for i in range(60)] + [80]
SCAFFOLD_OF = {
  f'm_{group}_{i}': float(group)
  for group, size in enumerate(SIZES)
  for i in range(size)
}


def test_scaffolds_are_in_one_part():
  split = grouped_splits.by_scaffold(SCAFFOLD_OF, 0, (0.1, 0.2))
  assert sorted(sum(split.parts.values(), ())) == sorted(SCAFFOLD_OF)
  parts_of = {}
  for part, ids in split.parts.items():
    for name in ids:
      parts_of.setdefault(SCAFFOLD_OF[name], set()).add(part)
  assert {len(parts) for parts in parts_of.values()} == {1}
  # The large one trains; the parts are as large as asked for, up to a scaffold.
  assert parts_of[60.0] == {'train'}
  n = len(SCAFFOLD_OF)
  assert 0.2 * n - 5 < len(split.parts['test']) <= round(0.2 * n)
  assert 0.1 * n - 5 < len(split.parts['validation']) <= round(0.1 * n)


def test_the_order_of_the_source_does_not_matter_but_the_seed_does():
  split = grouped_splits.by_scaffold(SCAFFOLD_OF, 0, (0.1, 0.2))
  turned = dict(reversed(SCAFFOLD_OF.items()))
  again = grouped_splits.by_scaffold(turned, 0, (0.1, 0.2))
  other = grouped_splits.by_scaffold(SCAFFOLD_OF, 1, (0.1, 0.2))
  test = set(split.parts['test'])
  assert set(again.parts['test']) == test
  assert set(other.parts['test']) != test


def test_scaffolds_need_bonds_and_several_groups():
  with pytest.raises(ValueError, match=r'1 of 2 .* \(such as b\)'):
    grouped_splits.by_scaffold({'a': 1.0, 'b': np.nan}, 0, (0.1, 0.2))
  with pytest.raises(ValueError, match='nothing for validation'):
    grouped_splits.by_scaffold(dict.fromkeys('abcdef', 1.0), 0, (0.2, 0.2))


def test_a_column_names_the_parts():
  split = grouped_splits.by_column(list('abcd'), [2.0, 0.0, 1.0, np.nan])
  assert split.parts == {'train': ('b',), 'validation': ('c',), 'test': ('a',)}
  with pytest.raises(ValueError, match='nothing for test'):
    grouped_splits.by_column(list('ab'), [0.0, 1.0])


def pack_of(numbers, structure, energy):
  return types.SimpleNamespace(
    numbers=np.concatenate(numbers),
    atom_offsets=np.cumsum([0, *map(len, numbers)]),
    columns={
      'structure': np.array(structure, float),
      'xtb_energy': np.array(energy, float),
    },
  )


def test_near_duplicates():
  water, other = [8, 1, 1], [1, 8, 1]
  nan = np.nan
  pack = pack_of(
    [water, [6], water, other, water, [1, 1, 9]],
    [7.0, 8.0, nan, nan, nan, nan],
    [-1.0, -2.0, -5.0, -5.00005, -5.0002, -5.0],
  )
  # Training has the constitution 7 and a water of -5.
  train = [0, 2]
  assert near_duplicates.count(pack, train, [0]) == 1
  assert near_duplicates.count(pack, train, [1]) == 0
  # Another order of the atoms is the same; another energy or element is not.
  assert near_duplicates.count(pack, train, [3]) == 1
  assert near_duplicates.count(pack, train, [4]) == 0
  assert near_duplicates.count(pack, train, [5]) == 0
  assert near_duplicates.count(pack, train, [0, 1, 3, 4, 5]) == 2
