"""From a file of molecules to a table, by models that nobody has trained."""

import csv
import dataclasses
import json

import jax
import numpy as np
import pytest
from ml_collections import FrozenConfigDict
from scipy import special
from support import small_run

from data_builders.support import worker_pool
from edjax import commands
from edjax.chem import elements
from edjax.config import ConfigError
from edjax.data import packed_dataset
from edjax.predict import conformal, files, kept, model
from edjax.runtime import preemption


@pytest.fixture(scope='module')
def pack(tmp_path_factory):
  return small_run.pack_in(tmp_path_factory.mktemp('packs') / 'mini')


@pytest.fixture(scope='module')
def runs(pack, tmp_path_factory):
  """Directories of two models with other weights."""
  paths = []
  for seed in (0, 1):
    path = tmp_path_factory.mktemp('run')
    kept.write(path / kept.NAME, small_run.untrained(pack, seed))
    paths.append(str(path))
  return paths


def write_xyz(path, records):
  lines = []
  for record in records:
    lines += [str(len(record.numbers)), f'id={record.example_id}']
    for number, at in zip(record.numbers, record.coords, strict=True):
      place = ' '.join(f'{x:.10f}' for x in at)
      lines.append(f'{elements.SYMBOLS[number]} {place}')
  path.write_text('\n'.join(lines) + '\n')
  return str(path)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  """Ten molecules; the fourth is one that xTB refuses: two atoms at a place."""
  records = small_run.raw_records()[:10]
  twice = records[3].coords.copy()
  twice[1] = twice[0]
  records[3] = records[3]._replace(coords=twice)
  return write_xyz(tmp_path_factory.mktemp('input') / 'ten.xyz', records)


def read(path):
  with open(path, newline='', encoding='utf-8') as file:
    return list(csv.DictReader(file))


@pytest.fixture(scope='module')
def table(runs, source, tmp_path_factory):
  """The path of the predictions of both runs together."""
  path = tmp_path_factory.mktemp('out') / 'predictions.csv'
  assert files.predict_files(runs, source, str(path)) == 9
  return path


def test_rows_are_the_predictions_of_the_models(table, runs, pack):
  """Of the same molecules in a pack, in rotations of their place in the file.

  Also what follows from them: means, spreads and intervals.
  """
  rows = read(table)
  assert len(rows) == 10
  chosen = [i for i in range(10) if i != 3]
  index = pack.index.copy()
  index[:10] = np.arange(1, 11)  # records count from 1
  there = dataclasses.replace(pack, index=index)
  found = [model.load(run).predict_pack(there) for run in runs]
  mean_MNT = np.stack([p.mean_NT[chosen] for p in found])
  half_T = conformal.half_widths([kept.read(run) for run in runs])
  for t, (name, unit) in enumerate((('gap', 'Ha'), ('mu', 'D'))):
    columns = {
      end: np.array([float(rows[i][f'{name}{end}']) for i in chosen])
      for end in ('', '_sd_rotations', '_sd_ensemble', '_low', '_high')
    }
    assert {rows[i][f'{name}_unit'] for i in chosen} == {unit}
    mean_N = mean_MNT[..., t].mean(0)
    close = {'rtol': 0, 'atol': 2e-5 * np.abs(mean_N).max()}
    assert np.ptp(mean_N) > 20 * close['atol']
    np.testing.assert_allclose(columns[''], mean_N, **close)
    apart_N = np.abs(mean_MNT[0, :, t] - mean_MNT[1, :, t])
    np.testing.assert_allclose(
      columns['_sd_ensemble'], apart_N / np.sqrt(2), **close
    )
    assert apart_N.min() > 10 * close['atol']
    np.testing.assert_allclose(
      columns['_high'] - columns['_low'], 2 * half_T[t], rtol=1e-5
    )
    np.testing.assert_allclose(
      (columns['_high'] + columns['_low']) / 2, columns[''], rtol=1e-5
    )
    assert (columns['_sd_rotations'] > 0).all()


def test_a_molecule_that_fails_is_a_row_with_its_reason(table):
  rows = read(table)
  assert [bool(row['error']) for row in rows].index(True) == 3
  assert rows[3]['gap'] == rows[3]['mu_high'] == ''
  assert sum(bool(row['error']) for row in rows) == 1


def test_the_same_command_goes_on(table, runs, source, tmp_path, monkeypatch):
  """After a kill within the sixth row; what is there is not done again."""
  whole = table.read_bytes()
  lines = whole.splitlines(keepends=True)
  path = tmp_path / table.name
  path.write_bytes(b''.join(lines[:6]) + lines[6][:9])
  beside = f'{table.name}.json'
  (tmp_path / beside).write_bytes((table.parent / beside).read_bytes())
  asked = []
  map_ordered = worker_pool.map_ordered

  def counted(function, items, **options):
    asked.extend(raw.example_id for raw, _ in items)
    return map_ordered(function, items, **options)

  monkeypatch.setattr(worker_pool, 'map_ordered', counted)
  assert files.predict_files(runs, source, str(path)) == 9
  assert len(asked) == 5
  again = path.read_bytes().splitlines(keepends=True)
  assert again[:6] == lines[:6]
  assert len(again) == len(lines)
  for ours, before in zip(read(path), read(table), strict=True):
    assert ours['id'] == before['id']
    if not ours['error']:
      assert float(ours['mu']) == pytest.approx(float(before['mu']), rel=1e-4)
  with pytest.raises(ConfigError, match='made with other runs'):
    files.predict_files(runs[:1], source, str(path))


def test_a_signal_ends_after_a_chunk(runs, source, tmp_path, monkeypatch):
  monkeypatch.setattr(files, '_CHUNK', 4)
  monkeypatch.setattr(preemption._ASKED, 'is_set', lambda: True)
  path = tmp_path / 'out.csv'
  with pytest.raises(preemption.PreemptedError, match='4 of 10 molecules are'):
    files.predict_files(runs[:1], source, str(path))
  assert len(read(path)) == 4


def test_mistakes_end_in_a_message(runs, pack, source, tmp_path, capsys):
  def status(workdirs, source, name='out.csv'):
    paths = str(source), str(tmp_path / name)
    code = commands.run(None, workdirs, 'predict', files=paths)
    return code, capsys.readouterr().err

  code, text = status(runs, tmp_path / 'none.sdf')
  assert (code, 'there is no' in text) == (2, True)
  (tmp_path / 'empty').mkdir()
  code, text = status([str(tmp_path / 'empty')], source)
  assert code == 2
  assert 'predictor.npz' in text
  assert '--mode evaluate' in text
  other = tmp_path / 'other'
  other.mkdir()
  made = small_run.untrained(pack)
  config = made.config.to_dict()
  config['data'] |= {'targets': ('gap', 'homo')}
  config = FrozenConfigDict(config)
  kept.write(other / kept.NAME, dataclasses.replace(made, config=config))
  code, text = status([*runs, str(other)], source)
  assert (code, 'other targets' in text) == (2, True)
  alone = write_xyz(tmp_path / 'alone.xyz', small_run.raw_records()[:1])
  text = tmp_path / 'alone.xyz'
  text.write_text(text.read_text().replace('H ', 'Rn ', 1))
  assert status(runs[:1], alone)[0] == 1
  assert read(tmp_path / 'out.csv')[0]['error']


def test_classes_have_probabilities_and_no_interval(pack, source, tmp_path):
  """The mean over rotations of each one's probability."""
  path = tmp_path / 'run'
  path.mkdir()
  logits = {'mean_T': np.zeros(2), 'scale_T': np.ones(2), 'units': ('', '')}
  made = small_run.untrained(pack, **logits)
  classes = dataclasses.replace(made, classes=True)
  kept.write(path / kept.NAME, classes)
  assert files.predict_files([str(path)], source, str(tmp_path / 'p.csv')) == 9
  row = read(tmp_path / 'p.csv')[0]
  assert [*row] == [
    'id', 'gap', 'gap_unit', 'gap_sd_rotations', 'mu', 'mu_unit',
    'mu_sd_rotations', 'flags', 'error',
  ]  # fmt: skip
  assert 0 < float(row['gap']) < 1
  # Of two rotations the mean and the deviation have both logits.
  logit, probability = (
    model.Model(k).predict_pack(pack) for k in (made, classes)
  )
  half_NT = logit.sd_NT / np.sqrt(2)
  both = (special.expit(logit.mean_NT + sign * half_NT) for sign in (1, -1))
  np.testing.assert_allclose(
    probability.mean_NT, np.mean([*both], axis=0), rtol=1e-6
  )
  mol = small_run.molecule_of(pack, 2)
  found = jax.jit(model.Model(classes).apply)(mol)
  np.testing.assert_allclose(found, probability.mean_NT[2], rtol=1e-4)


def test_flags(pack, tmp_path):
  """An element, a size and a place outside that training has not had."""
  made = small_run.untrained(pack)
  one = model.Model(made)
  plain = files.flags([one], pack)
  fluorine = {
    row
    for row, (b, e) in enumerate(
      zip(pack.atom_offsets[:-1], pack.atom_offsets[1:], strict=True)
    )
    if (pack.numbers[b:e] == 9).any()
  }
  found = {row for row, text in enumerate(plain) if 'F was not in' in text}
  assert found == fluorine
  large = {row for row, text in enumerate(plain) if '5 were in' in text}
  assert large == {*np.flatnonzero(pack.heavy_atoms() > 5).tolist()}
  assert 0 < len(large) < len(pack)
  # The strictest member counts.
  strict = model.Model(dataclasses.replace(made, heavy_atoms=1))
  both = files.flags([one, strict], pack)
  assert sum('heavy atoms, at most 1' in text for text in both) > len(large)
  # Two far atoms: 100 % of the electrons are outside.
  example = {
    'example_id': 'far', 'index': 1, 'numbers': np.array([1, 1]),
    'positions': np.array([[0.0, 0, -9], [0, 0, 9]]),
    'orbitals': np.zeros(8), 'n_orbitals': 1, 'orbital_width': 4,
    'made_up': np.float64(1),
  }  # fmt: skip
  packed_dataset.write(tmp_path / 'far', [example], 'fingerprint')
  far = packed_dataset.open_pack(tmp_path / 'far')
  outside = '100.0% of the electrons are outside of the box'
  assert files.flags([one], far) == [
    f'{outside}; geometry made from SMILES, unlike those of training'
  ]
  # Where geometries of training were made so, those of files differ.
  made_up = model.Model(dataclasses.replace(made, geometries=('SMILES',)))
  assert files.flags([made_up], far) == [outside]
  assert all('geometry of the file' in x for x in files.flags([made_up], pack))


def test_what_the_table_is_made_of(table, runs):
  beside = json.loads((table.parent / f'{table.name}.json').read_text())
  assert beside['runs'] == [kept.read(run).sha256() for run in runs]
