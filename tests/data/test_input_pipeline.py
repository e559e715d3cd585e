"""Batches by index, labels, padding, splits."""

import dataclasses
import json
import types

import numpy as np
import pytest

import data_builders
from configs import qm9_density
from data_builders import xtb
from edjax import baselines, commands, config, molecule
from edjax.baselines import features
from edjax.data import (
  batching,
  labelling,
  loading,
  packed_dataset,
  padded,
  splitting,
)
from edjax.molecule import Molecule

RNG, OF_FRONTIER = np.random.default_rng(0), np.random.default_rng(1)


def record(i, numbers, width=4):
  n_orbitals = 2 + i % 2
  return {
    'example_id': f'm_{i:03d}'.encode(),
    'index': i,
    'smiles': 'X',
    'numbers': np.array(numbers, np.int32),
    'positions': RNG.normal(size=(len(numbers), 3)),
    'orbitals': RNG.normal(size=n_orbitals * len(numbers) * width),
    'n_orbitals': n_orbitals,
    'orbital_width': width,
    'xtb_energy': np.float64(-sum(numbers) + 0.1 * RNG.normal()),
    'xtb_gap': np.float64(RNG.normal()),
    'xtb_dipole': RNG.normal(size=3),
    'y': np.float64(3.0 * len(numbers) + RNG.normal()),
  }


def with_frontier(r):
  """HOMO and LUMO of one to three orbitals, once no LUMO, and energies."""
  n_homo, n_lumo = 1 + r['index'] % 3, r['index'] % 2
  size = (n_homo + n_lumo) * len(r['numbers']) * r['orbital_width']
  levels = np.linspace(-3, 3, 12) + OF_FRONTIER.normal()
  levels[: 3 - r['index'] % 4] = np.nan
  return r | {
    'frontier': OF_FRONTIER.normal(size=size).astype(np.float32),
    'n_homo': n_homo,
    'n_lumo': n_lumo,
    'xtb_levels': levels,
  }


RECORDS = [
  with_frontier(
    record(i, [6] * (1 + i % 3) + [1] * (1 + i % 4) + [16] * (i % 5 == 0),
           9 if i % 5 == 0 else 4)
  )
  for i in range(40)
]  # fmt: skip


@pytest.fixture
def small_pack(tmp_path):
  packed_dataset.write(tmp_path / 'p', RECORDS, 'fingerprint')
  return packed_dataset.open_pack(tmp_path / 'p')


def data_config(**changes):
  fields = {
    'split': 'random', 'seed': 0, 'train_size': 1.0, 'max_eval': 0,
    'validation_fraction': 0.2, 'test_fraction': 0.2, 'split_file': '',
    'subset_seed': 0, 'validation_share': 0.0, 'targets': ('y',),
  }  # fmt: skip
  return types.SimpleNamespace(**fields | changes)


def test_every_epoch_uses_every_example_once():
  n, batch = 103, 10
  stream = np.concatenate(
    [batching.batch_indices(1, s, n, batch) for s in range(103)]
  )
  for epoch in stream.reshape(10, n):
    assert sorted(epoch) == list(range(n))
  assert not np.array_equal(stream[:n], stream[n : 2 * n])


def test_batches_are_a_pure_function_of_seed_and_step():
  first = batching.batch_indices(3, 17, 50, 8)
  batching.batch_indices(4, 0, 11, 8)
  np.testing.assert_array_equal(first, batching.batch_indices(3, 17, 50, 8))
  other = batching.batch_indices(4, 17, 50, 8)
  assert not np.array_equal(first, other)


def test_batch_larger_than_the_data_goes_round():
  indices = batching.batch_indices(0, 0, 3, 7)
  assert sorted(indices[:3]) == [0, 1, 2]
  assert sorted(indices[3:6]) == [0, 1, 2]
  with pytest.raises(ValueError, match='from 0 examples'):
    batching.batch_indices(0, 0, 0, 7)


def test_pack_keeps_what_was_written(small_pack):
  assert len(small_pack) == 40
  assert small_pack.ids[3] == 'm_003'
  assert set(small_pack.columns) == {
    'xtb_energy', 'xtb_gap', 'xtb_dipole', 'xtb_levels', 'y',
  }  # fmt: skip
  np.testing.assert_array_equal(
    small_pack.columns['xtb_levels'], [r['xtb_levels'] for r in RECORDS]
  )
  np.testing.assert_array_equal(
    small_pack.columns['y'], [r['y'] for r in RECORDS]
  )
  np.testing.assert_array_equal(
    small_pack.heavy_atoms(), [(r['numbers'] > 1).sum() for r in RECORDS]
  )
  np.testing.assert_array_equal(
    baselines.composition(small_pack),
    [[(r['numbers'] == z).sum() for z in (1, 6, 16)] for r in RECORDS],
  )


@pytest.mark.parametrize(
  ('name', 'keep'),
  [
    ('orbitals.bin', -4),
    ('maps.bin', None),
    ('frontier.bin', -4),
    ('positions.npy', -4),
    ('numbers.npy', 0),
    ('columns.npz', -4),
    ('pack.json', -4),
    ('index.npy', None),
  ],
)
def test_damaged_packs_are_refused(small_pack, tmp_path, name, keep):
  path = tmp_path / 'p' / name
  if keep is None:
    path.unlink()
  else:
    path.write_bytes(path.read_bytes()[:keep])
  with pytest.raises(ValueError, match=r'p cannot be used .*; delete it'):
    packed_dataset.open_pack(tmp_path / 'p')


def test_a_pack_that_fails_leaves_nothing_to_open(tmp_path):
  bad = RECORDS[0] | {'n_orbitals': 77}
  with pytest.raises(ValueError, match='m_000: orbitals do not fit'):
    packed_dataset.write(tmp_path / 'q', [RECORDS[1], bad], '')
  bad = RECORDS[0] | {'n_homo': 77}
  with pytest.raises(ValueError, match='m_000: frontier orbitals do not fit'):
    packed_dataset.write(tmp_path / 'q', [RECORDS[1], bad], '')
  with pytest.raises(ValueError, match='no record'):
    packed_dataset.write(tmp_path / 'q', [], '')

  def interrupted():
    yield RECORDS[0]
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    packed_dataset.write(tmp_path / 'q', interrupted(), '')
  assert not list(tmp_path.iterdir())


class FakeBuilder:
  """A dataset of RECORDS without TFDS."""

  def as_data_source(self, split):
    assert split == 'all'
    return RECORDS


@pytest.fixture
def built(monkeypatch, tmp_path):
  """config.data of a dataset that is built already."""
  monkeypatch.setattr(data_builders, 'build', lambda *a, **k: FakeBuilder())
  monkeypatch.setattr(data_builders, 'fingerprint', lambda builder: 'f' * 64)
  monkeypatch.setattr(data_builders, 'report', lambda builder: {})
  return types.SimpleNamespace(
    name='qm9', data_dir=str(tmp_path), manual_dir='', workers=0, download=False
  )  # fmt: skip


def test_packs_of_another_version_stay_aside(built, tmp_path, monkeypatch):
  assert len(loading.load_pack(built)) == len(RECORDS)
  packs = tmp_path / 'packs'
  assert (packs / f'qm9-{"f" * 16}-v{packed_dataset.VERSION}').is_dir()
  monkeypatch.setattr(packed_dataset, 'VERSION', packed_dataset.VERSION + 1)
  assert len(loading.load_pack(built)) == len(RECORDS)
  assert len(list(packs.glob('qm9-*'))) == 2


@pytest.mark.parametrize(
  'error', [ValueError('archive is cut short'), xtb.XtbError('for all 3')]
)
def test_what_cannot_be_built_ends_in_a_message(
  built, tmp_path, monkeypatch, capsys, error
):
  def fail(*args, **kwargs):
    raise error

  with monkeypatch.context() as patch:
    patch.setattr(data_builders, 'build', fail)
    with pytest.raises(config.ConfigError, match=f'dataset qm9: {error}'):
      loading.load_pack(built)
    run = qm9_density.get_config('qm9_cpu')
    run.data.data_dir = str(tmp_path)
    assert commands.run(run, str(tmp_path / 'run'), 'build') == 2
  assert capsys.readouterr().err == f'\nerror: dataset qm9: {error}\n'


def test_a_damaged_pack_ends_in_a_message(built, tmp_path):
  loading.load_pack(built)
  (path,) = (tmp_path / 'packs').glob('qm9-*')
  (path / 'pack.json').write_text('{"version": 0}')
  with pytest.raises(config.ConfigError, match=f'{path.name} .*version 0'):
    loading.load_pack(built)


def test_half_written_packs_are_removed(built, tmp_path):
  packs = tmp_path / 'packs'
  for name in ('qm9-0-v3.partial-7', 'qm9_mini-0-v3.partial-7'):
    (packs / name).mkdir(parents=True)
    (packs / name / 'orbitals.bin').write_bytes(b'half')
  loading.load_pack(built)
  # The other dataset's may just be in the writing.
  left = [path.name for path in packs.glob('*.partial-*')]
  assert left == ['qm9_mini-0-v3.partial-7']


def test_padded_molecules_equal_from_arrays(small_pack):
  """The vectorised way against one molecule at a time."""
  rows = np.array([5, 0, 17])
  selection = padded.Selection(orbitals=True, frontier=True)
  padding = padded.padding_of(small_pack, np.arange(40), selection)
  assert (padding.pocket, padding.frontier) == (0, 3)
  batch = padded.make_molecules(small_pack, rows, padding, selection)
  size = batch.numbers_A.shape[1]
  assert size == max(len(r['numbers']) for r in RECORDS)
  for i, row in enumerate(rows):
    r = RECORDS[row]
    shape = r['n_orbitals'], len(r['numbers']), r['orbital_width']
    frontier = r['frontier'].reshape((-1, *shape[1:]))
    mol = Molecule.from_arrays(
      r['numbers'], r['positions'], r['orbitals'].reshape(shape),
      homo=frontier[: r['n_homo']], lumo=frontier[r['n_homo'] :],
      max_atoms=size, max_orbitals=3, max_frontier=3, index=row,
    )  # fmt: skip
    np.testing.assert_array_equal(batch.numbers_A[i], mol.numbers_A)
    # Positions are float32 in a pack: 6e-8 relative, then a difference.
    np.testing.assert_allclose(batch.coords_A3[i], mol.coords_A3, atol=1e-6)
    assert batch.index[i] == mol.index
    for name in ('orbitals_OL9', 'homo_OL9', 'lumo_OL9'):
      got = getattr(batch, name)[i]
      np.testing.assert_array_equal(got[..., : shape[2]], getattr(mol, name))
      assert not got[..., shape[2] :].any()
  # Only what is used is there.
  selection = padded.Selection(frontier=True)
  padding = padded.padding_of(small_pack, rows, selection)
  batch = padded.make_molecules(small_pack, rows, padding, selection)
  assert batch.orbitals_OL9 is None
  assert batch.homo_OL9.shape == batch.lumo_OL9.shape


@pytest.mark.parametrize('origin', ['mass', 'valence'])
def test_frames_lie_on_the_chosen_origin(small_pack, origin):
  selection = padded.Selection(origin=origin)
  rows = np.arange(5)
  padding = padded.padding_of(small_pack, rows, selection)
  batch = padded.make_molecules(small_pack, rows, padding, selection)
  for numbers, coords in zip(batch.numbers_A, batch.coords_A3, strict=True):
    real = numbers > 0
    for kind in ('mass', 'valence'):
      weights = molecule.origin_weights(kind, numbers[real], np.zeros(1))
      centre = weights @ coords[real] / weights.sum()
      assert (np.abs(centre).max() < 1e-5) == (kind == origin)


def complexes():
  """Ligands of 3 to 5 atoms (hydrogens last) before pockets of 7 and more."""
  found = []
  for i in range(6):
    ligand = [6, 8, 7][: 2 + i % 2] + [1] * (1 + i // 3)
    pocket = [6, 7, 8, 16, 30, 6, 6] + [8] * i
    numbers = ligand + pocket
    orbitals = RNG.normal(size=(2, len(ligand), 4))
    found.append(record(i, numbers) | {
      'n_ligand': len(ligand),
      'b_factors': RNG.uniform(5, 50, len(numbers)),
      'positions': 20.0 + RNG.normal(size=(len(numbers), 3)) * 4,
      'orbitals': orbitals.ravel(), 'n_orbitals': 2, 'orbital_width': 4,
    })  # fmt: skip
  return found


@pytest.mark.parametrize(
  ('parts', 'with_orbitals'),
  [
    (('ligand', 'pocket'), True),
    (('ligand', 'pocket'), False),
    (('ligand',), True),
    (('pocket',), False),
  ],
)
def test_padded_complexes_equal_from_arrays(tmp_path, parts, with_orbitals):
  source_records = complexes()
  packed_dataset.write(tmp_path / 'c', source_records, 'fingerprint')
  source = packed_dataset.open_pack(tmp_path / 'c')
  assert source.has_pockets
  selection = padded.Selection(parts, 6.0, with_orbitals, origin='ligand')
  rows = np.array([4, 0, 5])
  padding = padded.padding_of(source, rows, selection)
  batch = padded.make_molecules(source, rows, padding, selection)
  kept = []
  for i, row in enumerate(rows):
    r = source_records[row]
    n = len(r['numbers'])
    groups = (np.arange(n) >= r['n_ligand']).astype(int)
    whole = Molecule.from_arrays(
      r['numbers'], r['positions'], groups=groups, b_factors=r['b_factors']
    )
    distance = np.sqrt(np.square(whole.coords_A3).sum(1))
    wanted = (groups == 0) & ('ligand' in parts)
    wanted |= (groups == 1) & (distance <= 6.0) & ('pocket' in parts)
    kept.append(wanted.sum())
    real = batch.numbers_A[i] > 0
    for name in ('numbers_A', 'b_factors_A', 'groups_A'):
      got, want = getattr(batch, name)[i], getattr(whole, name)
      np.testing.assert_allclose(got[real], want[wanted], rtol=1e-6)
    # Å about 20 in float32, then a difference.
    np.testing.assert_allclose(
      batch.coords_A3[i][real], whole.coords_A3[wanted], atol=1e-5
    )
    if with_orbitals:
      shape = 2, r['n_ligand'], 4
      got = batch.orbitals_OL9[i][:, : r['n_ligand']]
      np.testing.assert_allclose(got, r['orbitals'].reshape(shape), rtol=1e-6)
      assert batch.orbitals_OL9.shape[2] == padding.ligand
    else:
      assert batch.orbitals_OL9 is None
  assert (batch.numbers_A > 0).sum() == sum(kept)
  if 'pocket' in parts:  # the radius leaves some out
    assert sum(kept) < sum(len(source_records[row]['numbers']) for row in rows)


def test_labels_are_standard_and_come_back(small_pack):
  columns = np.column_stack([small_pack.columns['y'], np.arange(40.0)])
  train = np.arange(0, 40, 2)
  labels = labelling.make_labels(columns, train, ('y', 'n'))
  np.testing.assert_allclose(labels.values_NT[train].mean(0), 0, atol=1e-6)
  np.testing.assert_allclose(labels.values_NT[train].std(0), 1, rtol=1e-6)
  rows = np.array([3, 9])
  back = labels.to_native(labels.values_NT[rows], rows)
  np.testing.assert_allclose(back, columns[rows], rtol=1e-6, atol=1e-5)
  offset = RNG.normal(size=columns.shape)
  delta = labelling.make_labels(columns, train, ('y', 'n'), offset)
  back = delta.to_native(delta.values_NT[rows], rows)
  np.testing.assert_allclose(back, columns[rows], rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize('bad', [1.0, 0.1, np.nan, np.inf])
def test_targets_that_cannot_be_standardised_are_named(small_pack, bad):
  columns = np.column_stack([small_pack.columns['y'], np.full(40, bad)])
  train = np.arange(0, 40, 2)
  columns[1::2, 1] = 2.0  # only the training molecules count
  with (
    np.errstate(invalid='ignore'),
    pytest.raises(config.ConfigError, match=r'standardise gap: .* 20 training'),
  ):
    labelling.make_labels(columns, train, ('mu', 'gap'))


def test_labels_of_large_energies_keep_their_digits():
  """Total energies in float32 would lose about 1 meV; float64 does not."""
  energies = -400.0 * 27.2 + RNG.normal(size=(50, 1)) * 1e-3
  labels = labelling.make_labels(energies, np.arange(50), ('u0',))
  error = labels.to_native(labels.values_NT, np.arange(50)) - energies
  assert np.abs(error).max() < 1e-9
  assert np.abs(energies.astype(np.float32) - energies).max() > 1e-4


def test_subsets_are_nested_and_the_rest_stays(small_pack):
  whole = splitting.make_split(small_pack, data_config())
  small = splitting.make_split(small_pack, data_config(train_size=5.0))
  half = splitting.make_split(small_pack, data_config(train_size=0.5))
  assert len(whole.train) == 24
  assert set(small.train) < set(half.train) < set(whole.train)
  np.testing.assert_array_equal(small.test, whole.test)
  parts = [whole.train, whole.validation, whole.test]
  assert sorted(np.concatenate(parts)) == list(range(40))
  assert len({s.sha256 for s in (whole, small, half)}) == 3
  with pytest.raises(config.ConfigError, match='25 of 24'):
    splitting.make_split(small_pack, data_config(train_size=25.0))
  other = splitting.make_split(
    small_pack, data_config(train_size=5.0, subset_seed=1)
  )
  assert set(other.train) != set(small.train)
  assert set(other.train) < set(whole.train)
  for part in ('validation', 'test'):
    np.testing.assert_array_equal(getattr(other, part), getattr(small, part))


def test_molecules_that_are_missing_do_not_change_the_draw_of_others(tmp_path):
  """A variant of a dataset may lack some of them, and has other rows."""
  ids = [r['example_id'].decode() for r in RECORDS]
  parts = {'train': ids[:25], 'validation': ids[25:30], 'test': ids[30:]}
  (tmp_path / 'split.json').write_text(json.dumps(parts))
  fields = {'split': 'file', 'split_file': str(tmp_path / 'split.json')}

  def drawn(records, subset_seed=0):
    directory = tmp_path / f'{len(records)}-{subset_seed}'
    packed_dataset.write(directory, records, 'fingerprint')
    source = packed_dataset.open_pack(directory)
    data = data_config(**fields, subset_seed=subset_seed)
    return [source.ids[row] for row in splitting.make_split(source, data).train]

  fewer = [r for r in RECORDS if r['index'] % 7][::-1]
  every, some = drawn(RECORDS), drawn(fewer)
  assert len(some) < len(every) == 25
  assert some == [name for name in every if name in set(some)]
  assert every != sorted(every)
  assert drawn(fewer, subset_seed=1) != some


@pytest.mark.parametrize('share', [0.1, 0.3, 0.5])
def test_a_run_may_use_its_labels_alone(small_pack, share):
  """Training and validation make up the n; both grow with it."""
  whole = splitting.make_split(small_pack, data_config())
  pool = {*whole.train, *whole.validation}

  def split(**changes):
    changes = {'validation_share': share, 'max_eval': 3} | changes
    return splitting.make_split(small_pack, data_config(**changes))

  before = split(train_size=2.0)
  test = before.test
  assert len(test) == 3
  for n in range(3, len(pool) + 1):
    now = split(train_size=float(n))
    train, validation = set(now.train), set(now.validation)
    assert len(now.train) + len(now.validation) == n
    assert len(train | validation) == n
    assert train | validation <= pool
    # Rounded up, by whole numbers: in floats 3 * 0.1 is not 0.3.
    assert len(validation) == -(-n * round(10 * share) // 10)
    assert set(before.train) <= train
    assert set(before.validation) <= validation
    np.testing.assert_array_equal(now.test, test)
    before = now
  # Validation molecules of the split are drawn as training ones are.
  assert train & set(whole.validation)
  other = split(train_size=10.0, subset_seed=1)
  same = split(train_size=10.0)
  np.testing.assert_array_equal(other.test, test)
  assert {*other.train, *other.validation} != {*same.train, *same.validation}
  # Another split is another test set: the control of what stays above.
  assert set(split(seed=1).test) != set(test)
  for size in (1.0 / len(pool), 33.0):
    with pytest.raises(config.ConfigError, match=r'of 32 molecules; at least'):
      split(train_size=size)


def test_baselines_learn_from_training_rows_alone(small_pack):
  columns = small_pack.columns['y'][:, None].copy()
  split = splitting.make_split(small_pack, data_config())
  parts = split.train, split.validation
  before = baselines.fit(small_pack, columns, *parts).predict(small_pack)
  columns[split.test] += 1e3
  after = baselines.fit(small_pack, columns, *parts).predict(small_pack)
  assert set(before) == {
    'mean', 'median', 'ridge_composition', 'ridge_gfn2', 'kernel_gfn2',
  }  # fmt: skip
  for name, values in before.items():
    np.testing.assert_array_equal(values, after[name])
  truth = small_pack.columns['y'][split.test]
  error = {
    name: np.abs(values[split.test, 0] - truth).mean()
    for name, values in before.items()
  }
  # y is linear in the number of atoms, up to noise of 1.
  assert error['ridge_composition'] < 0.6 * error['median']


def test_a_kernel_is_told_what_a_line_is_not(small_pack):
  """The square of a GFN2 energy: a linear fit has no use for it."""
  split = splitting.make_split(small_pack, data_config())
  energy = small_pack.columns['xtb_levels'][:, 6]
  columns = np.square(energy - energy.mean())[:, None]
  args = small_pack, columns, split.train, split.validation
  fitted = baselines.fit(*args).predict(small_pack)
  error = {
    name: np.abs(values - columns)[split.test].mean()
    for name, values in fitted.items()
  }
  assert error['kernel_gfn2'] < 0.7 * error['ridge_gfn2']


def test_an_orbital_that_is_lacking_has_the_energy_of_the_next():
  levels = np.array(
    [
      [-3.0, -2, -1, 1, 2, 3],
      [np.nan, np.nan, -1, 1, 2, np.nan],
      [np.nan, -2, -1, 1, np.nan, np.nan],
    ]
  )
  want = [[-3, -2, -1, 1, 2, 3], [-1, -1, -1, 1, 2, 2], [-2, -2, -1, 1, 1, 1]]
  np.testing.assert_array_equal(features._filled(levels), want)
  assert np.isnan(levels).any()  # a copy


def test_a_training_molecule_does_not_see_its_label_in_the_offset(small_pack):
  """What is learned from it would be too small; of a linear fit it is not."""
  split = splitting.make_split(small_pack, data_config())
  columns = small_pack.columns['y'][:, None].copy()
  changed, one = columns.copy(), split.train[0]
  changed[one] += 30

  def offset(delta, columns):
    args = small_pack, columns, split.train, split.validation
    predictions = baselines.fit(*args).predict(small_pack)
    return baselines.delta_offset(delta, predictions, *args)

  before, after = (offset('gfn2_kernel', c) for c in (columns, changed))
  assert before[one] == after[one]
  assert np.abs(before - after)[split.train].max() > 0.1
  # Others have the prediction of all training molecules.
  args = small_pack, columns, split.train, split.validation
  fitted = baselines.fit(*args).predict(small_pack)
  for rows in (split.validation, split.test):
    np.testing.assert_array_equal(before[rows], fitted['kernel_gfn2'][rows])
  in_sample = fitted['kernel_gfn2'] - columns
  held_out = before - columns
  assert (
    np.abs(held_out)[split.train].mean() > np.abs(in_sample[split.train]).mean()
  )
  np.testing.assert_array_equal(offset('gfn2', columns), fitted['ridge_gfn2'])


def test_composition_of_complexes_is_that_of_their_ligands(tmp_path):
  """Without hydrogens; of molecules, of all atoms."""
  packed_dataset.write(tmp_path / 'c', complexes(), 'fingerprint')
  source = packed_dataset.open_pack(tmp_path / 'c')
  found = baselines.composition(source, of_ligands=True)
  # C, O, and an N in every second one.
  want = [[1, 1, 0], [1, 1, 1]] * 3
  np.testing.assert_array_equal(found[:, [0, 2, 1]], want)
  every = baselines.composition(source)
  assert every.sum() == source.atom_counts.sum() > found.sum()


def test_a_split_that_cannot_be_made_is_a_configuration_error(small_pack):
  with pytest.raises(config.ConfigError, match=r'data.split: .*test'):
    splitting.make_split(small_pack, data_config(test_fraction=0.0))


def test_padding_grows_in_steps():
  first = padded.roomier(padded.Padding(17, 0, 9, 4, (9, 0, 2)))
  assert dataclasses.astuple(first) == (24, 0, 16, 4, (16, 0, 8), 0)
  smaller = padded.Padding(9, 1, 20, 9, (4, 1, 2), 2)
  grown = padded.roomier(smaller, first)
  assert dataclasses.astuple(grown) == (24, 64, 24, 9, (16, 8, 8), 2)
