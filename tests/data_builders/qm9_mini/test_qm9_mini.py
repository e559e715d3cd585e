"""The embedded molecules."""

import hashlib
import json
import os
import pathlib
import shutil
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

import data_builders
from configs import qm9_density
from data_builders import xtb
from data_builders.qm9_mini import qm9_mini_dataset_builder as mini
from edjax import datasets
from edjax.config import ConfigError
from edjax.data import loading

os.environ.setdefault('OMP_NUM_THREADS', '1')  # see test_xtb.py

# Made up, in the layout of the embedded file.
LINE = {
  'smiles': 'O', 'numbers': [8, 1, 1],
  'coords': [[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]],
  'mu': 2.0, 'homo': -0.3, 'lumo': 0.1, 'gap': 0.4, 'r2': 19.0,
  'energy': -76.4, 'atomization_energy': -0.35,
}  # fmt: skip


def test_embedded_records_are_consistent():
  records = mini.read_records(mini.embedded_lines())
  assert len(records) >= 703
  assert len({r.example_id for r in records}) == len(records)
  assert [r.index for r in records] == list(range(1, len(records) + 1))
  for r in records:
    t = r.targets
    assert set(t) == set(datasets.DATASETS['qm9_mini'].targets)
    assert t['gap'] == pytest.approx(t['lumo'] - t['homo'], abs=2e-6)
    # A molecule is bound by 1 to 8 eV an atom, and heavier than its atoms.
    assert -8 < t['atomization'] / len(r.numbers) < -1
    assert np.sum(r.numbers) % 2 == 0
    apart = np.linalg.norm(r.coords[:, None] - r.coords, axis=-1)
    assert np.sort(apart, axis=1)[:, 1].max() < 1.8  # every atom has a bond
  assert {z for r in records for z in r.numbers.tolist()} == {1, 6, 7, 8, 9}


def test_other_molecules_are_another_version():
  """Datasets built from an older file must not be opened as this one."""
  lines = '\n'.join(mini.embedded_lines())
  sha256 = hashlib.sha256(lines.encode()).hexdigest()
  found = str(mini.Builder.VERSION), sha256[:12]
  # If this fails, raise VERSION, and write both here.
  assert found == ('1.2.0', 'e83993e10822')


def test_build_and_read(tmp_path, monkeypatch):
  lines = mini.embedded_lines()[:6]
  monkeypatch.setattr(mini, 'embedded_lines', lambda: lines)
  builder = data_builders.build('qm9_mini', tmp_path, workers=1)
  source = builder.as_data_source(split='all')
  assert len(source) == 6
  for i, (row, line) in enumerate(zip(source, lines, strict=True), start=1):
    raw = json.loads(line)
    assert row['example_id'] == f'mini_{i:04d}'.encode()
    assert row['index'] == i
    assert row['smiles'] == raw['smiles'].encode()
    assert row['energy'] == raw['energy']
    # 1 Ha is 27.211386 eV; molecule minus atoms is negative.
    assert row['atomization'] == pytest.approx(
      27.211386 * raw['atomization_energy'], rel=1e-7
    )
    result = xtb.run(raw['numbers'], raw['coords'])
    orbitals = row['orbitals'].reshape(
      row['n_orbitals'], len(raw['numbers']), row['orbital_width']
    )
    np.testing.assert_array_equal(orbitals, result.orbitals)
    # Two methods for one molecule: dipoles agree roughly, total energies
    # (GFN2 counts valence electrons only) do not.
    assert np.linalg.norm(row['xtb_dipole']) == pytest.approx(
      raw['mu'], abs=1.0
    )
  report = data_builders.report(builder)
  assert report['written'] == 6
  assert 0 < report['xtb_seconds_per_molecule'] < report['seconds'] + 1
  config = qm9_density.get_config()
  config.data.data_dir = str(tmp_path)
  loaded = loading.load_pack(config.data)
  assert loaded.xtb_seconds == report['xtb_seconds_per_molecule']
  assert 'tensorflow' not in sys.modules


def test_datasets_of_another_version_are_refused(tmp_path, monkeypatch):
  lines = mini.embedded_lines()[:3]
  monkeypatch.setattr(mini, 'embedded_lines', lambda: lines)

  def build(variant=''):
    return data_builders.build('qm9_mini', tmp_path, workers=1, variant=variant)

  with monkeypatch.context() as patch:
    patch.setattr(mini.Builder, 'VERSION', tfds.core.Version('1.1.0'))
    build('noise_0.1')
    old = pathlib.Path(build().data_dir)
  config = qm9_density.get_config()
  config.data.data_dir = str(tmp_path)
  for variant, path in (
    ('', old),
    ('noise_0.1', old.parent / 'noise_0.1' / '1.1.0'),
  ):
    with pytest.raises(
      ConfigError, match=rf'{path} is not of version 1\.2\.0.*Delete that'
    ):
      loading.load_pack(config.data, variant)
  # Deleted, it is built again; another variant stays in its place.
  shutil.rmtree(old)
  assert pathlib.Path(build().data_dir).name == '1.2.0'
  assert (old.parent / 'noise_0.1' / '1.1.0').is_dir()


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'mu': float('nan')}, 'not finite'),
    ({'coords': LINE['coords'][:2]}, 'do not fit'),
    ({'homo': None}, 'TypeError'),
    ({'energy': 'low'}, 'could not convert'),
  ],
)
def test_bad_lines_are_named(change, message):
  good = json.dumps(LINE)
  assert len(mini.read_records([good])) == 1
  with pytest.raises(ValueError, match=f'line 2: .*{message}'):
    mini.read_records([good, json.dumps({**LINE, **change})])
  with pytest.raises(ValueError, match=r'line 2: JSONDecodeError'):
    mini.read_records([good, good[:-5]])
