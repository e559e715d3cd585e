"""Clusters by sequence: relatives end together, chance does not, cuts do not.

The chains of real complexes are read here by a few lines of their own.
"""

import collections
import csv
import itertools
import json
import random

import gemmi
import numpy as np
import pytest
import scipy.sparse.csgraph

from data_builders.pdbbind import sequence_clusters
from data_builders.support import worker_pool
from edjax.data import complex_splits

LETTERS = 'ACDEFGHIKLMNPQRSTVWY'
# Name -> how many complexes: HIV-1 protease with its several UniProt ids, and
# families in which several names are relatives.
FAMILIES = {
  'HIV-1 PROTEASE': 8,
  'COAGULATION FACTOR XA': 3,
  'TRYPSIN BETA': 3,
  'CARBONIC ANHYDRASE 2': 4,
  'TYROSINE-PROTEIN KINASE ABL1': 3,
  'MITOGEN-ACTIVATED PROTEIN KINASE 14': 3,
  'ENDOTHIAPEPSIN': 2,
  'PENICILLOPEPSIN': 2,
  'HEAT SHOCK PROTEIN HSP90-ALPHA': 2,
  'HEAT SHOCK PROTEIN HSP82': 2,
  'RIBONUCLEASE A': 3,
  'TANKYRASE-2': 2,
}


def made_up(length, seed):
  return ''.join(random.Random(seed).choices(LETTERS, k=length))


def mutated(sequence, kept, seed=0):
  """With this share of residues kept and the others changed."""
  rng = random.Random(seed)
  change = set(
    rng.sample(range(len(sequence)), round((1 - kept) * len(sequence)))
  )
  return ''.join(
    rng.choice(LETTERS.replace(c, '')) if i in change else c
    for i, c in enumerate(sequence)
  )


def read_chains(path, near=None, radius=16.0):
  """Chain -> sequence; with `near` [N, 3] only residues within the radius."""
  result = collections.defaultdict(str)
  for chain in gemmi.read_structure(str(path))[0]:
    for residue in chain:
      info = gemmi.find_tabulated_residue(residue.name)
      if not info.is_amino_acid() or not residue.find_atom('CA', '*'):
        continue
      if near is not None:
        atoms = np.array([atom.pos.tolist() for atom in residue])
        squares = ((atoms[:, None] - near[None]) ** 2).sum(-1)
        if squares.min() > radius**2:
          continue
      result[chain.name] += info.one_letter_code.upper()
  return dict(result)


def ligand_coords(path):
  lines = path.read_text().splitlines()
  count = int(lines[3][:3])
  return np.array([line.split()[:3] for line in lines[4 : 4 + count]], float)


@pytest.fixture(scope='module')
def real(shared_data):
  """Rows of the manifest and chains of 37 complexes of known families."""
  root = shared_data / 'pdbbind'
  with open(root / 'manifest.csv', encoding='utf-8') as file:
    rows = {row['id']: row for row in csv.DictReader(file)}
  by_name = collections.defaultdict(list)
  for key, row in sorted(rows.items()):
    if row['protein'] == 'gz':
      by_name[row['protein_name']].append(key)
  keys = []
  for name, count in FAMILIES.items():
    # Spread over the list, for different UniProt ids.
    places = np.linspace(0, len(by_name[name]) - 1, count).round().astype(int)
    keys += [by_name[name][i] for i in sorted({*places})]
  chains = {
    key: read_chains(root / key / f'{key}_protein.pdb.gz') for key in keys
  }
  return root, {key: rows[key] for key in keys}, chains


def together(found):
  """Pairs of complexes that share a cluster."""
  return {
    (a, b) for a in found for b in found if a < b and found[a] == found[b]
  }


def test_identity_is_over_aligned_residues():
  whole = made_up(200, 1)
  found = sequence_clusters.align(whole, mutated(whole, 0.6))
  assert found.identity == pytest.approx(0.6, abs=0.02)
  assert found.aligned == pytest.approx(200, abs=8)
  # A third is missing in the middle, and it costs nothing.
  cut = whole[:60] + whole[130:]
  found = sequence_clusters.align(cut, whole)
  assert (found.identity, found.aligned) == (1.0, 130)


@pytest.mark.parametrize(('kept', 'linked'), [(0.45, True), (0.2, False)])
def test_links_end_at_30_percent(kept, linked):
  whole = made_up(300, 2)
  other = mutated(whole, kept)
  found = sequence_clusters.cluster(
    {'1abc': {'A': whole}, '2abc': {'B': other}}
  )
  assert (found['2abc'] == '1abc') is linked
  # The threshold is an argument.
  found = sequence_clusters.cluster(
    {'1abc': {'A': whole}, '2abc': {'B': other}}, 0.6
  )
  assert found['2abc'] == '2abc'


def test_clusters_are_named_and_connected():
  a, b = made_up(150, 3), made_up(150, 4)
  chains = {
    '9xyz': {'A': a},
    '3abc': {'A': b, 'B': mutated(a, 0.7)},
    '2abc': {'H': mutated(b, 0.8)},
    '1abc': {'A': made_up(150, 5)},
    '4abc': {'A': a[:29] + 'X' * 9, 'P': ''},
  }
  expected = {
    '9xyz': '2abc', '3abc': '2abc', '2abc': '2abc', '1abc': '1abc',
    '4abc': '4abc',
  }  # fmt: skip
  assert sequence_clusters.cluster(chains) == expected
  assert sequence_clusters.cluster(dict(reversed(chains.items()))) == expected
  # A piece of a under 30 residues links nothing, and that is told. Letters
  # beyond the 20 do not count.
  assert sequence_clusters.without_chain(chains) == ('4abc',)
  # Through an id that is not there.
  groups = [('1abc', '7abc'), ('7abc', '4abc', '9xyz')]
  found = sequence_clusters.cluster(chains, also_together=groups)
  assert set(found.values()) == {'1abc'}
  assert set(found) == set(chains)
  for bad in (0, 1.2, 30):
    with pytest.raises(ValueError, match=f'identity={bad} must be'):
      sequence_clusters.cluster(chains, bad)


@pytest.mark.parametrize(('rest', 'linked'), [(80, True), (120, False)])
def test_half_of_the_shorter_chain_must_be_aligned(rest, linked):
  """What is common is identical; W and P are never aligned."""
  common = made_up(100, 8).replace('W', 'A').replace('P', 'A')
  one, other = common + 'W' * rest, common + 'P' * (rest + 50)
  found = sequence_clusters.align(one, other)
  assert found.identity == 1
  assert found.aligned == 100
  assert found.significance > 20
  named = sequence_clusters.cluster({'1abc': {'A': one}, '2abc': {'A': other}})
  assert (named['2abc'] == '1abc') is linked


def test_repeats_do_not_link():
  """All words of one are in the other, but it is not a part of it."""
  chains = {
    '1abc': {'A': made_up(100, 6) + 'A' * 6 + made_up(100, 7)},
    '2abc': {'A': 'A' * 40},
  }
  assert set(sequence_clusters.cluster(chains).values()) == {'1abc', '2abc'}


def test_a_failed_worker_is_an_error(monkeypatch):
  monkeypatch.setattr(
    worker_pool,
    'map_ordered',
    lambda *a, **k: [worker_pool.Failure(0, 'no gemmi')],
  )
  chains = {f'{i}abc': {'A': made_up(40, i)} for i in range(1, 10)}
  monkeypatch.setattr(sequence_clusters, '_BLOCK', 2)
  with pytest.raises(RuntimeError, match='no gemmi'):
    sequence_clusters.cluster(chains)


def test_casf_clusters(tmp_path):
  path = tmp_path / 'clusters.json'
  path.write_text('{"0": [["1ABC", 5.0], ["2abc", 6]], "1": ["3abc"]}')
  assert sequence_clusters.read_casf_clusters(path) == (
    ('1abc', '2abc'),
    ('3abc',),
  )
  # Two misprints of the published file, o for 0.
  path.write_text('{"0": [["105b", 5.8], ["10wh", 7.4]]}')
  assert sequence_clusters.read_casf_clusters(path) == (('1o5b', '1owh'),)
  for text, message in (
    ('[]', 'must be'),
    ('{"0": []}', "cluster '0' has no list"),
    ('{"0": ["1abc"], "1": [["1abc", 2]]}', '1abc is in clusters 0 and 1'),
    ('{"0": [[5.0, "1abc"]]}', '5.0 is no id of a complex'),
  ):
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
      sequence_clusters.read_casf_clusters(path)


def test_real_families(real):
  _, rows, chains = real
  found = sequence_clusters.cluster(chains, workers=2)
  members = collections.defaultdict(set)
  for key in found:
    members[found[key]].add(rows[key]['protein_name'])
  assert sorted(map(sorted, members.values())) == sorted(
    [
      ['CARBONIC ANHYDRASE 2'],
      ['COAGULATION FACTOR XA', 'TRYPSIN BETA'],
      ['ENDOTHIAPEPSIN', 'PENICILLOPEPSIN'],
      ['HEAT SHOCK PROTEIN HSP82', 'HEAT SHOCK PROTEIN HSP90-ALPHA'],
      ['HIV-1 PROTEASE'],
      ['MITOGEN-ACTIVATED PROTEIN KINASE 14', 'TYROSINE-PROTEIN KINASE ABL1'],
      ['RIBONUCLEASE A'],
      ['TANKYRASE-2'],
    ]
  )


def test_groups_of_chains_lose_no_link(real):
  """The same clusters as from every pair of chains, aligned one by one."""
  _, _, chains = real
  keys = sorted(chains)
  everything = sorted(
    {s for named in chains.values() for s in named.values() if len(s) >= 30}
  )
  pairs = sequence_clusters.compare(everything, everything, 0.3)
  linked = {frozenset((a, b)) for a, b, link in pairs if link}
  assert len(linked) > 40
  adjacent = [
    [
      any(
        x == y or frozenset((x, y)) in linked
        for x in chains[a].values()
        for y in chains[b].values()
        if len(x) >= 30
      )
      for b in keys
    ]
    for a in keys
  ]
  _, labels = scipy.sparse.csgraph.connected_components(np.array(adjacent))
  expected = dict(zip(keys, labels, strict=True))
  assert together(sequence_clusters.cluster(chains)) == together(expected)


def test_hiv_proteases_share_a_fold(real):
  """By sequence; by UniProt id alone they are on both sides of a split."""
  _, rows, chains = real
  hiv = {
    k for k, row in rows.items() if row['protein_name'] == 'HIV-1 PROTEASE'
  }
  uniprot = {key: row['uniprot'] for key, row in rows.items()}
  assert len({uniprot[key] for key in hiv}) >= 3

  def folds(groups):
    return [
      set(complex_splits.grouped_kfold(groups, 4, fold).tests['test']) & hiv
      for fold in range(4)
    ]

  assert sorted(map(len, folds(sequence_clusters.cluster(chains)))) == [
    0,
    0,
    0,
    len(hiv),
  ]
  # The control: what the issue is about.
  assert sum(bool(part) for part in folds(uniprot)) > 1


def test_shuffled_chains_do_not_link(real):
  _, _, chains = real
  rng = random.Random(0)
  shuffled = {
    key: {name: ''.join(rng.sample(s, len(s))) for name, s in named.items()}
    for key, named in chains.items()
  }
  assert len(set(sequence_clusters.cluster(shuffled).values())) == len(chains)
  # Identity alone would link them.
  whole = [max(named.values(), key=len) for named in shuffled.values()]
  identities = [
    sequence_clusters.align(whole[i], whole[j]).identity
    for i in range(12)
    for j in range(i)
  ]
  assert np.mean(np.array(identities) > 0.3) > 0.5


def test_cut_out_surroundings_stay_with_the_whole(real):
  """Of every other complex only what lies within 16 Å of the ligand."""
  root, _, chains = real
  cut = dict(chains)
  for key in sorted(chains)[::2]:
    cut[key] = read_chains(
      root / key / f'{key}_protein.pdb.gz',
      ligand_coords(root / key / f'{key}_ligand.sdf'),
    )
    assert sum(map(len, cut[key].values())) < sum(
      map(len, chains[key].values())
    )
  assert together(sequence_clusters.cluster(cut)) == together(
    sequence_clusters.cluster(chains)
  )


def test_pockets_link_to_their_own_surroundings_only(real):
  """Original pockets (8 Å) and environments (16 Å) of large proteins.

  Some pockets are too little to be linked to anything; none may be linked to
  what its own surroundings are not linked to.
  """
  root, _, _ = real
  keys = [p.parent.name for p in sorted(root.glob('[1-9]*/*_env16.pdb.gz'))][
    :40
  ]
  wide = {k: read_chains(root / k / f'{k}_env16.pdb.gz') for k in keys}
  narrow = {k: read_chains(root / k / f'{k}_pocket.pdb') for k in keys}
  usable = set(keys) - set(sequence_clusters.without_chain(narrow))

  def linked(a, b):
    return (
      len(set(sequence_clusters.cluster({'1abc': a, '2abc': b}).values())) == 1
    )

  own = [linked(wide[key], narrow[key]) for key in sorted(usable)]
  assert len(own) >= 35
  assert np.mean(own) > 0.85
  for one, other in itertools.pairwise(keys):
    if linked(wide[one], narrow[other]):
      assert linked(wide[one], wide[other]), (one, other)


def test_real_casf_clusters(shared_data):
  folder = shared_data / 'pdbbind' / 'splits' / 'cleansplit_gems'
  groups = sequence_clusters.read_casf_clusters(
    folder / 'clusters_casf2016.json'
  )
  assert len(groups) == 57
  assert {len(group) for group in groups} == {5}
  listed = json.loads(
    (folder / 'PDBbind_data_split_cleansplit.json').read_text()
  )
  assert {key for group in groups for key in group} == set(listed['casf2016'])
  found = sequence_clusters.cluster(
    {key: {} for key in groups[3]}, also_together=groups
  )
  assert set(found.values()) == {min(groups[3])}
