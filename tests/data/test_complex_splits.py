"""Splits of complexes: disjoint, accounted for, and as they were published."""

import csv
import itertools
import random

import pytest

from data_builders.pdbbind.readers import index
from edjax.data import complex_splits

IDS = [f'{i}ab{c}' for i in range(1, 10) for c in 'abcdefghij']


def disjoint(split):
  """No id is in two of train, validation and the test sets together."""
  ids = [*split.parts['train'], *split.parts['validation']]
  ids += {key for keys in split.tests.values() for key in keys}
  return len(ids) == len(set(ids))


def test_refined_core():
  lists = complex_splits.refined_core(IDS[:60], [*IDS[50:70], '9zzz'])
  split = complex_splits.make_split(IDS, lists, validation=0.2, seed=1)
  assert list(split.parts) == ['train', 'validation', 'core']
  assert set(split.tests['core']) == set(IDS[50:70])
  assert len(split.parts['validation']) == 10
  trained = split.parts['train'] + split.parts['validation']
  assert set(trained) == set(IDS[:50])
  assert split.missing == {'core': ('9zzz',)}
  assert disjoint(split)
  # Neither the order of the dataset nor anything but the seed matters.
  again = complex_splits.make_split(IDS[::-1], lists, validation=0.2, seed=1)
  assert again == split
  other = complex_splits.make_split(IDS, lists, validation=0.2, seed=2)
  assert set(other.parts['validation']) != set(split.parts['validation'])
  assert other.tests == split.tests


def test_validation_of_whole_clusters():
  clusters = {key: key[0] for key in IDS}
  lists = complex_splits.refined_core(IDS[:80], IDS[80:])
  split = complex_splits.make_split(
    IDS, lists, clusters=clusters, validation=0.25
  )
  held_out = {clusters[key] for key in split.parts['validation']}
  assert len(held_out) == 2
  assert not held_out & {clusters[key] for key in split.parts['train']}
  # A share below any cluster takes the smallest one.
  clusters = dict.fromkeys(IDS, 'large') | dict.fromkeys(IDS[:5], 'small')
  split = complex_splits.make_split(
    IDS, lists, clusters=clusters, validation=0.01
  )
  assert set(split.parts['validation']) == set(IDS[:5])
  with pytest.raises(ValueError, match=r'validation=1.0 must be a share'):
    complex_splits.make_split(IDS, lists, validation=1.0)


def test_by_year():
  years = {key: 2000 + i % 20 for i, key in enumerate(IDS)} | {IDS[0]: 0}
  split = complex_splits.make_split(IDS, complex_splits.by_time(years, 2016))
  trained = split.parts['train'] + split.parts['validation']
  assert {years[key] for key in trained} == {*range(2000, 2016)}
  assert {years[key] for key in split.tests['test']} == {*range(2016, 2020)}
  assert disjoint(split)
  assert {*trained, *split.tests['test']} == {*IDS[1:]}  # it has no year


def test_folds_hold_whole_clusters_and_are_balanced():
  rng = random.Random(0)
  ids = [
    f'{i}{a}{b}x' for i in range(1, 10) for a in 'abcdef' for b in 'abcdef'
  ]
  # A few large clusters and many small ones, as in PDBbind.
  clusters = {key: str(int(rng.paretovariate(0.7))) for key in ids}
  parts = complex_splits.folds(clusters, 5)
  assert sorted(itertools.chain(*parts)) == sorted(ids)
  owners = [{clusters[key] for key in part} for part in parts]
  assert sum(map(len, owners)) == len(set(clusters.values()))
  largest = max(sum(c == name for c in clusters.values()) for name in owners[0])
  sizes = sorted(map(len, parts))
  assert sizes[-2] - sizes[0] <= 1 or sizes[-1] == largest
  assert complex_splits.folds(dict(reversed(clusters.items())), 5) == parts
  assert complex_splits.folds(clusters, 5, seed=1) != parts
  with pytest.raises(ValueError, match='6 folds of 5 clusters'):
    complex_splits.folds(dict(zip('abcde', 'abcde', strict=True)), 6)


def test_rounds_of_cross_validation():
  clusters = {key: key[:2] for key in IDS}
  clusters |= dict.fromkeys(IDS[:25], 'one')
  tested = []
  for fold in range(4):
    split = complex_splits.grouped_kfold(clusters, 4, fold)
    groups = [{clusters[key] for key in part} for part in split.parts.values()]
    assert len(groups) == 3
    assert not any(a & b for a, b in itertools.combinations(groups, 2))
    assert sorted(itertools.chain(*split.parts.values())) == sorted(IDS)
    tested.append(split.tests['test'])
    following = complex_splits.grouped_kfold(clusters, 4, (fold + 1) % 4)
    assert split.parts['validation'] == following.tests['test']
  assert sorted(itertools.chain(*tested)) == sorted(IDS)


def test_overlaps_are_named():
  def made(**parts):
    return complex_splits.make_split(IDS, parts)

  a, b, c, d = IDS[:4]
  with pytest.raises(ValueError, match=f'{b} is in train and again in validat'):
    made(train=(a, b), validation=(b,), test=(c,))
  with pytest.raises(
    ValueError, match=f'{c} is in validation and again in val'
  ):
    made(train=(a, b), validation=(c, c.upper()), test=(d,))
  with pytest.raises(ValueError, match=f'{a} is in train and again in train'):
    made(train=(a, a), validation=(c,), test=(d,))
  with pytest.raises(ValueError, match=f'{d} is in test and again in test'):
    made(train=(a, b), validation=(c,), test=(d, d))
  with pytest.raises(ValueError, match='no test set'):
    made(train=(a, b), validation=(c,))
  # Test sets may overlap each other.
  split = made(train=(a,), validation=(b,), test=(c, d), clean=(d,))
  assert split.tests == {'test': (c, d), 'clean': (d,)}
  # A leaky publication stays as it is.
  split = made(train=(a, b), validation=(c,), test=(a, c, d))
  assert split.tests['test'] == (a, c, d)
  assert split.parts['train'] == (a, b)


def test_empty_parts_are_named():
  a, b, c = IDS[:3]
  for empty in ('train', 'validation', 'test'):
    parts = {'train': (a,), 'validation': (b,), 'test': (c,), empty: ('9zzz',)}
    with pytest.raises(ValueError, match=rf'for {empty} \(90 in .*; 1 of the'):
      complex_splits.make_split(IDS, parts)
  with pytest.raises(ValueError, match=f'{a} is there twice'):
    complex_splits.make_split([a, a.upper()], parts)


def test_clean_beside_leaky():
  clusters = {key: key[0] for key in IDS}
  parts = {'train': IDS[:25], 'validation': IDS[30:35]}
  parts |= {'core': IDS[25:30] + IDS[50:55], 'near': IDS[35:40]}
  split = complex_splits.make_split(IDS, parts)
  both = complex_splits.with_clean_tests(split, clusters)
  assert list(both.tests) == ['core', 'core_clean', 'near']
  assert both.tests['core_clean'] == tuple(IDS[50:55])
  assert both.parts['train'] == split.parts['train']


# Made-up rows with the columns of LP_PDBBind.csv, as published by its authors.
LP = """\
,header,smiles,category,seq,resolution,date,type,new_split,CL1,CL2,CL3,\
remove_for_balancing_val,kd/ki,value,covalent
1aba,h,C,refined,"AA:CC",1.5,1999-01-01,other,train,True,True,True,False,Kd=1uM,6.0,False
1abb,h,C,general,AA,1.5,1999-01-01,other,train,True,False,False,False,Ki=1uM,6.0,True
1abc,h,C,general,AA,1.5,1999-01-01,other,train,False,False,False,False,Ki=1uM,6.0,False
1abd,h,C,general,AA,1.5,1999-01-01,other,val,True,False,False,False,Ki=1uM,6.0,False
1abe,h,C,general,AA,1.5,1999-01-01,other,test,True,True,False,False,Ki=1uM,6.0,False
1abf,h,C,general,AA,1.5,1999-01-01,other,,True,True,True,True,Ki=1uM,6.0,False
"""


def test_lp_pdbbind(tmp_path):
  path = tmp_path / 'LP_PDBBind.csv'
  path.write_text(LP)
  # Not the covalent ligand, what is not CL1, and what has no part.
  assert complex_splits.read(path) == {
    'train': ['1aba'], 'validation': ['1abd'], 'test': ['1abe'],
  }  # fmt: skip
  for old, new, message in (
    (',val,', ',valley,', "1abd has new_split 'valley'"),
    ('train,False', 'train,maybe', "1abc has CL1 'maybe'"),
    ('new_split', 'split', "no column 'new_split'"),
    ('1abe', 'abe1', "'abe1' is not a PDB id"),
  ):
    path.write_text(LP.replace(old, new))
    with pytest.raises(ValueError, match=message):
      complex_splits.read(path)


def test_lists_in_a_directory(tmp_path):
  # As ATOM3D's preparation takes them.
  (tmp_path / 'train.txt').write_text('1aba\n1abb\n')
  (tmp_path / 'val.txt').write_text('1ABC\n')
  (tmp_path / 'test.txt').write_text('1abd\n')
  assert complex_splits.read(tmp_path) == {
    'train': ('1aba', '1abb'), 'validation': ('1abc',), 'test': ('1abd',),
  }  # fmt: skip
  # What it writes are numbers of rows.
  (tmp_path / 'test.txt').write_text('1034\n2345\n')
  with pytest.raises(ValueError, match='numbers of rows'):
    complex_splits.read(tmp_path)
  (tmp_path / 'test.txt').unlink()
  # As GIGN has them.
  (tmp_path / 'test2013.csv').write_text('pdbid,-logKd/Ki\n1abe,2.28\n')
  assert complex_splits.read(tmp_path)['test2013'] == ('1abe',)
  (tmp_path / 'valid.csv').write_text('pdbid,-logKd/Ki\n1abf,2.28\n')
  with pytest.raises(ValueError, match=r'val.txt and valid.csv'):
    complex_splits.read(tmp_path)
  (tmp_path / 'train.txt').unlink()
  (tmp_path / 'valid.csv').unlink()
  with pytest.raises(ValueError, match=r'neither train.txt nor train.csv'):
    complex_splits.read(tmp_path)
  with pytest.raises(FileNotFoundError, match='no split'):
    complex_splits.read(tmp_path / 'nothing')
  with pytest.raises(ValueError, match='is neither'):
    complex_splits.read(tmp_path / 'val.txt')


def test_json(tmp_path):
  path = tmp_path / 'split.json'
  for text, message in (
    ('[]', 'must be'),
    ('{"train": "1aba"}', 'must be'),
    ('{"test": ["1aba"]}', 'has no train among test'),
    ('{"train": ["1aba"], "val": [], "valid": []}', 'two lists for validation'),
    ('{"train": [5]}', '5 is no id'),
  ):
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
      complex_splits.read(path)


@pytest.mark.parametrize(
  ('name', 'parts', 'empty'),
  [
    (
      'cleansplit_gems/PDBbind_data_split_cleansplit.json',
      {'train': 'cleansplit_train', 'casf2016': 'cleansplit_casf2016',
       'casf2013': 'cleansplit_casf2013',
       'casf2016_indep': 'cleansplit_casf2016_indep',
       'casf2013_indep': 'cleansplit_casf2013_indep'},
      set(),
    ),
    (
      'diffdock_timesplit',
      {'train': 'dd/timesplit_no_lig_overlap_train',
       'validation': 'dd/timesplit_no_lig_overlap_val',
       'timesplit_test': 'dd/timesplit_test',
       'timesplit_test_no_rec_overlap': 'dd/timesplit_test_no_rec_overlap'},
      set(),
    ),
    (
      'gign',
      {'train': 'gign/train.csv', 'validation': 'gign/valid.csv',
       'test2013': 'gign/test2013.csv', 'test2016': 'gign/test2016.csv',
       'test2019': 'gign/test2019.csv'},
      {'test2019'},
    ),
  ],
)  # fmt: skip
def test_real_published_splits(shared_data, name, parts, empty):
  """Sizes as counted by those who gathered the data, with another program."""
  root = shared_data / 'pdbbind'
  lists = complex_splits.read(root / 'splits' / name)
  with open(root / 'splits' / 'coverage.csv', encoding='utf-8') as file:
    counted = {row['set']: row for row in csv.DictReader(file)}
  assert lists.keys() == parts.keys()
  for part, keys in lists.items():
    assert len(keys) == int(counted[parts[part]]['n'])
  # The whole index as the dataset.
  read = index.read_index(root / 'index' / 'INDEX_general_PL_data.2020')
  ids = [entry.pdb_id for entry in read.entries]
  split = complex_splits.make_split(ids, lists)
  assert disjoint(split)
  for part in parts:
    row = counted[parts[part]]
    gone = int(row['n']) - int(row['in_index2020'])
    assert len(split.missing.get(part, ())) == gone
  # The 386 complexes: a test set of which nothing is there cannot be used.
  with open(root / 'manifest.csv', encoding='utf-8') as file:
    ids = [row['id'] for row in csv.DictReader(file)]
  if empty:
    with pytest.raises(ValueError, match=f'for {min(empty)} '):
      complex_splits.make_split(ids, lists)
  lists = {part: keys for part, keys in lists.items() if part not in empty}
  split = complex_splits.make_split(ids, lists)
  assert disjoint(split)
  for part, keys in split.tests.items():
    assert set(keys) == set(lists[part]) & set(ids)
