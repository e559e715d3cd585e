"""Splits are disjoint, complete, frozen, and those that were published."""

import hashlib
import itertools
import json

import numpy as np
import pytest

from edjax.data import molecule_splits

IDS = [f'gdb_{i:06d}' for i in range(1, 301)]
HEAVY = np.array([6 + i % 4 for i in range(300)])
# The real list is not ours to publish: any 3,054 ids have the same counts.
LEFT_OUT = list(range(5, 5 + 40 * molecule_splits.N_UNCHARACTERIZED, 40))


def sha256(split):
  """Over the ids of each part, in order."""
  text = [f'[{part}]\n' + '\n'.join(ids) for part, ids in split.parts.items()]
  return hashlib.sha256('\n'.join(text).encode()).hexdigest()


def disjoint(parts):
  return all(
    not set(parts[a]) & set(parts[b])
    for a, b in itertools.combinations(molecule_splits.PARTS, 2)
  )


@pytest.mark.parametrize('name', ['random', 'size'])
def test_disjoint_complete_and_independent_of_order(name):
  split = molecule_splits.make_split(
    name, IDS, HEAVY, seed=3, fractions=(0.2, 0.1)
  )
  parts = split.parts
  assert list(parts) == ['train', 'validation', 'test']
  assert disjoint(parts)
  assert sorted(itertools.chain(*parts.values())) == IDS
  again = molecule_splits.make_split(
    name, IDS[::-1], HEAVY[::-1], seed=3, fractions=(0.2, 0.1)
  )
  assert again == split
  other = molecule_splits.make_split(
    name, IDS, HEAVY, seed=4, fractions=(0.2, 0.1)
  )
  assert all(other.parts[part] != parts[part] for part in parts)


def test_random_counts_and_hash():
  split = molecule_splits.make_split('random', IDS, fractions=(0.2, 0.1))
  counts = {part: len(ids) for part, ids in split.parts.items()}
  assert counts == {'train': 210, 'validation': 60, 'test': 30}
  fewer = molecule_splits.make_split('random', IDS[:-1], fractions=(0.2, 0.1))
  assert fewer != split
  # Frozen: runs of other versions must find the same molecules.
  assert sha256(split).startswith('27a5260f6123c0f1')


def test_size_tests_on_the_largest():
  split = molecule_splits.make_split('size', IDS, HEAVY, fractions=(0.2, 0.0))
  heavy_of = dict(zip(IDS, HEAVY.tolist(), strict=True))
  heavy = {p: {heavy_of[i] for i in ids} for p, ids in split.parts.items()}
  assert heavy['test'] == {9}
  assert max(heavy['train']) == max(heavy['validation']) == 8
  assert len(split.parts['test']) == 75
  assert len(split.parts['validation']) == 45


@pytest.mark.parametrize(
  ('name', 'counts'),
  [
    ('cormorant', (100_000, 17_748, 13_083)),
    ('dimenet', (110_000, 10_000, 10_831)),
  ],
)
def test_published_counts(name, counts):
  parts = molecule_splits.published(name, LEFT_OUT)
  assert tuple(len(parts[part]) for part in molecule_splits.PARTS) == counts
  everything = np.sort(
    np.concatenate([parts[p] for p in molecule_splits.PARTS])
  )
  expected = np.setdiff1d(
    np.arange(1, molecule_splits.N_MOLECULES + 1), LEFT_OUT
  )
  np.testing.assert_array_equal(everything, expected)


def test_published_equals_the_papers_own_recipes():
  """Cormorant permutes a number of molecules, DimeNet an arange."""
  kept = np.setdiff1d(np.arange(1, molecule_splits.N_MOLECULES + 1), LEFT_OUT)
  order = np.random.RandomState(0).permutation(len(kept))
  cormorant = molecule_splits.published('cormorant', LEFT_OUT)
  np.testing.assert_array_equal(kept[order[:100_000]], cormorant['train'])
  np.testing.assert_array_equal(kept[order[117_748:]], cormorant['test'])
  order = np.random.RandomState(seed=42).permutation(np.arange(len(kept)))
  dimenet = molecule_splits.published('dimenet', LEFT_OUT)
  np.testing.assert_array_equal(
    kept[order[110_000:120_000]], dimenet['validation']
  )


def test_published_on_a_subset_counts_what_is_missing():
  ids = [f'gdb_{i:06d}' for i in range(1, 2001)]
  whole = molecule_splits.published('dimenet', LEFT_OUT)
  split = molecule_splits.make_split('dimenet', ids, uncharacterized=LEFT_OUT)
  for part in molecule_splits.PARTS:
    inside = tuple(f'gdb_{i:06d}' for i in whole[part] if i <= 2000)
    assert split.parts[part] == inside
    assert len(split.missing[part]) == len(whole[part]) - len(inside)
  # Uncharacterized molecules that the dataset holds are in no part.
  used = set(itertools.chain(*split.parts.values()))
  assert used == set(ids) - {f'gdb_{i:06d}' for i in LEFT_OUT}


@pytest.mark.parametrize('name', ['cormorant', 'dimenet'])
def test_published_needs_the_list(name):
  advice = r'uncharacterized\.txt.*delete DATA_DIR/edjax_qm9'
  with pytest.raises(ValueError, match=advice):
    molecule_splits.make_split(name, IDS)
  with pytest.raises(ValueError, match='3054'):
    molecule_splits.make_split(name, IDS, uncharacterized=LEFT_OUT[:-1])


def test_id_files(tmp_path):
  lists = {
    'train': [1, 2, 'gdb_000004'], 'validation': ['7'], 'test': [9, 12345],
  }  # fmt: skip
  path = tmp_path / 'split.json'
  path.write_text(json.dumps(lists))
  split = molecule_splits.make_split('file', IDS, path=str(path))
  assert split.parts == {
    'train': (IDS[0], IDS[1], IDS[3]), 'validation': (IDS[6],),
    'test': (IDS[8],),
  }  # fmt: skip
  assert split.missing == {'test': ('12345',)}
  for part, ids in lists.items():
    (tmp_path / f'{part}.txt').write_text('\n'.join(map(str, ids)))
  texts = molecule_splits.make_split('file', IDS, path=str(tmp_path))
  assert texts == split


def test_id_files_with_other_ids(tmp_path):
  path = tmp_path / 'split.json'
  lists = {'train': ['1a0q', '1abc'], 'validation': ['2xyz'], 'test': ['4hhb']}
  path.write_text(json.dumps(lists))
  ids = ['4hhb', '1abc', '9zzz', '2xyz', '1a0q']
  split = molecule_splits.make_split('file', ids, path=str(path))
  assert split.parts == {part: tuple(ids) for part, ids in lists.items()}


def test_a_leak_in_a_file_raises(tmp_path):
  path = tmp_path / 'split.json'
  path.write_text(json.dumps({'train': [1], 'validation': [2], 'test': ['1']}))
  with pytest.raises(ValueError, match='gdb_000001 is in train and again'):
    molecule_splits.make_split('file', IDS, path=str(path))


@pytest.mark.parametrize(
  ('kwargs', 'message'),
  [
    ({'name': 'scaffold'}, 'unknown split .* random, size, file'),
    ({'name': 'random', 'fractions': (0.1, 0.0)}, 'leaves nothing for test'),
    ({'name': 'random', 'fractions': (0.001, 0.1)}, 'for validation'),
    ({'name': 'random', 'fractions': (0.6, 0.4)}, 'training set'),
    ({'name': 'random', 'fractions': (-0.1, 0.4)}, 'negative'),
    ({'name': 'size'}, 'heavy_atoms'),
    ({'name': 'size', 'heavy_atoms': np.full(300, 9)}, 'for train'),
    ({'name': 'file'}, 'path'),
    ({'name': 'random', 'ids': ['a', 'a']}, '2 ids, but 1'),
  ],
)
def test_unusable_splits_raise(kwargs, message):
  with pytest.raises(ValueError, match=message):
    molecule_splits.make_split(**{'ids': IDS, **kwargs})


def test_order_of_hashes():
  """What every split of the project is made of."""
  keys = [f'{i}abc' for i in range(1, 9)]
  ordered = molecule_splits.hash_order(keys, 3)
  assert molecule_splits.hash_order(keys[::-1], 3) == ordered
  assert molecule_splits.hash_order(keys, 4) != ordered
  # for i in 1 ... 8; do printf "3:${i}abc" | sha256sum; done | sort
  assert ordered == [
    '6abc',
    '3abc',
    '8abc',
    '7abc',
    '5abc',
    '1abc',
    '4abc',
    '2abc',
  ]


def test_ids_of_users_may_end_in_one_number(tmp_path):
  """A number stands for an id only where it stands for one."""
  path = tmp_path / 'split.json'
  ids = ['a_1', 'b_1', 'c_2', '3']
  parts = {'train': ['a_1'], 'validation': [2], 'test': ['3', 'b_1']}
  path.write_text(json.dumps(parts))
  split = molecule_splits.make_split('file', ids, path=str(path))
  assert split.parts == {
    'train': ('a_1',), 'validation': ('c_2',), 'test': ('3', 'b_1'),
  }  # fmt: skip
  path.write_text(json.dumps(parts | {'train': [1]}))
  with pytest.raises(ValueError, match='a_1 and b_1 have one number: 1'):
    molecule_splits.make_split('file', ids, path=str(path))
