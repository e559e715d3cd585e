"""Datasets made by Apache Beam, against those made without it."""

import importlib
import json
import os
import pathlib
import sys

import numpy as np
import pytest
from support import made_up_complexes as made_up
from support.made_up_qm9 import record_text, texts_some_odd, write_archive

import data_builders
from configs import qm9_density, study_qm9
from data_builders.pdbbind import manifest
from data_builders.qm9_mini import qm9_mini_dataset_builder as mini
from data_builders.support import worker_pool
from edjax import commands
from edjax.config import ConfigError
from edjax.data import loading

pytest.importorskip('apache_beam', reason='needs the extra "beam"')
import apache_beam as beam
from apache_beam.testing import util
from fsspec.implementations import memory

from data_builders.molecules import on_beam

PROCESSES = (
  '--runner=DirectRunner --direct_running_mode=multi_processing '
  '--direct_num_workers=2'
)


def assert_same(one, two):
  """Two datasets hold the same records in the same order."""
  assert data_builders.fingerprint(one) == data_builders.fingerprint(two)
  first, second = (b.as_data_source(split='all') for b in (one, two))
  assert len(first) == len(second) > 0
  for a, b in zip(first, second, strict=True):
    assert a.keys() == b.keys()
    for name in a:
      np.testing.assert_array_equal(a[name], b[name], err_msg=name)
  left, right = (data_builders.report(b) for b in (one, two))
  for report in (left, right):
    # What clocks say.
    for name in ('seconds', 'seconds_parsing', 'xtb_seconds_per_molecule'):
      report.pop(name, None)
  assert left == right


@pytest.mark.parametrize('variant', ['', 'noise_0.1'])
def test_molecules(tmp_path, capsys, variant):
  """Two worker processes; one molecule of three cannot be calculated."""
  manual = tmp_path / 'manual'
  manual.mkdir()
  write_archive(manual / 'dsgdb9nsd.xyz.tar.bz2', texts_some_odd(149))

  def build(name, flags=''):
    return data_builders.build(
      'qm9', tmp_path / name, manual, 1, variant, beam=flags
    )

  plain, piped = build('plain'), build('piped', PROCESSES)
  assert_same(plain, piped)
  assert data_builders.report(piped)['failed'] == 49
  said = capsys.readouterr().out
  assert said.count('wrote 100 of 149 molecules, 49 failed') == 2
  # What is there is opened, not made again.
  again = build('piped', '--runner=NoSuchRunner')
  assert data_builders.fingerprint(again) == data_builders.fingerprint(plain)


@pytest.fixture
def complexes(tmp_path):
  manual = tmp_path / 'manual'
  made_up.write_set(manual)
  (manual / '1aa4' / '1aa4_ligand.sdf').write_text('no molecule\n')
  return manual


def test_complexes(complexes, tmp_path):
  """Clusters need all sequences in one place."""
  both = [
    data_builders.build('pdbbind', tmp_path / name, complexes, 1, beam=flags)
    for name, flags in (('plain', ''), ('piped', PROCESSES))
  ]
  assert_same(*both)
  manifests = [
    (pathlib.Path(b.data_dir) / manifest.NAME).read_text() for b in both
  ]
  assert manifests[0] == manifests[1]
  assert data_builders.report(both[1])['status'] == {
    'kept': 9,
    'unreadable': 1,
  }


def test_ligands(tmp_path):
  manual = tmp_path / 'manual'
  manual.mkdir()
  block = ''
  for i in (5, 1, 3):  # not in order of the ids
    tags = f'>  <pdb_id>\n1aa{i}\n\n>  <pK>\n{4 + i}\n\n'
    tags += f'>  <measure>\nKi={10.0 ** (5 - i):g}nM\n\n'
    block += made_up.ligand(made_up.SMILES[i]).replace('$$$$', f'{tags}$$$$')
  (manual / 'ligands.sdf').write_text(block)
  assert_same(
    *(
      data_builders.build(
        'pdbbind_ligands', tmp_path / name, manual, 1, beam=flags
      )
      for name, flags in (('plain', ''), ('piped', PROCESSES))
    )
  )


def test_a_bad_item_costs_itself_alone():
  """It raises, or ends its process; the bundle that it is in goes on."""
  raises = '1 / 0'
  dies = '__import__("os").kill(__import__("os").getpid(), 9)'
  items = [(str(i),) for i in range(40)]
  items[7], items[23] = (raises,), (dies,)

  def check(found):
    values = {text: value for (text,), value in found}
    assert len(values) == 40
    failed = {
      text: value.reason
      for text, value in values.items()
      if isinstance(value, worker_pool.Failure)
    }
    assert failed.keys() == {raises, dies}
    assert 'ZeroDivisionError' in failed[raises]
    assert 'the worker process died' in failed[dies]
    good = {text: v for text, v in values.items() if text not in failed}
    assert good == {text: int(text) for text in good}

  options = on_beam.download_config(PROCESSES).beam_options
  with on_beam.importable_by_workers(), beam.Pipeline(options=options) as p:
    found = p | on_beam.Calls('builtins:eval', items, chunk=8)
    util.assert_that(found, check)


def test_two_processes_work(tmp_path):
  """The parents of the children that are called are Beam's workers."""
  items = [('__import__("os").getppid()',)] * 64
  options = on_beam.download_config(PROCESSES).beam_options
  path = tmp_path / 'parents'
  with on_beam.importable_by_workers(), beam.Pipeline(options=options) as p:
    _ = (
      p
      | on_beam.Calls('builtins:eval', items, chunk=4)
      | beam.Map(lambda pair: pair[1])
      | beam.combiners.ToList()
      | beam.Map(lambda found: path.write_text(json.dumps(found)))
    )
  parents = json.loads(path.read_text())
  assert len(parents) == 64
  assert len(set(parents)) == 2
  assert os.getpid() not in parents


def test_not_one_molecule(tmp_path):
  manual = tmp_path / 'manual'
  manual.mkdir()
  lines = record_text(1, 'O').splitlines()
  del lines[3]
  text = '\n'.join(['2', *lines[1:]]) + '\n'
  write_archive(manual / 'dsgdb9nsd.xyz.tar.bz2', {1: text})
  # Of two steps that fail at the same time, either.
  message = r'Apache Beam: .*(xTB failed for all 1|should be >0)'
  with pytest.raises(ValueError, match=message):
    data_builders.build('qm9', tmp_path / 'data', manual, beam=PROCESSES)
  assert not list((tmp_path / 'data' / 'edjax_qm9').glob('1.1.0/*'))


def test_from_the_command_line(tmp_path, capsys, monkeypatch):
  config = qm9_density.get_config('smoke')
  config.data.data_dir = str(tmp_path)

  def launch(mode, flags, config=config):
    return commands.run(config, str(tmp_path / 'run'), mode, beam=flags)

  assert launch('train', PROCESSES) == 2
  assert '--beam goes with --mode build' in capsys.readouterr().err
  assert launch('build', 'DirectRunner') == 2
  assert "'DirectRunner' is no flag of Beam" in capsys.readouterr().err
  assert launch('build', '--direct_num_workers=x') == 2
  assert "direct_num_workers=x' cannot be unders" in capsys.readouterr().err
  with monkeypatch.context() as patch:
    patch.delitem(sys.modules, 'data_builders.molecules.on_beam')
    patch.delattr(data_builders.molecules, 'on_beam')
    patch.setitem(sys.modules, 'apache_beam', None)
    assert launch('build', PROCESSES) == 2
  assert "pip install '.[beam]'" in capsys.readouterr().err
  asked = []
  monkeypatch.setattr(
    data_builders, '_prepare', lambda *args: asked.append(args[-1]) or 1 / 0
  )
  study = study_qm9.get_config('smoke')
  study.data.data_dir = str(tmp_path)
  for one in (config, study):
    with pytest.raises(ZeroDivisionError):
      launch('build', PROCESSES, one)
  assert asked == [PROCESSES] * 2


class _Gs(memory.MemoryFileSystem):
  """Buckets in memory, by the addresses of Google's."""

  protocol = ('gs',)

  @classmethod
  def _strip_protocol(cls, path):
    return super()._strip_protocol(str(path).replace('gs://', '/', 1))

  @classmethod
  def _get_kwargs_from_urls(cls, path):
    return {}


def test_a_dataset_in_an_object_store(tmp_path, monkeypatch):
  """Shards, descriptions and the report are written there."""
  known = importlib.import_module('fsspec.registry')._registry
  for name in ('gs', 'gcs'):  # fsspec's name, and etils'
    monkeypatch.setitem(known, name, _Gs)
  lines = mini.embedded_lines()[:30]
  monkeypatch.setattr(mini, 'embedded_lines', lambda: lines)
  data = qm9_density.get_config('smoke').data
  data.workers, data.manual_dir = 1, str(tmp_path)
  data.data_dir = str(tmp_path / 'here')
  here = loading.load_pack(data)
  data.data_dir = 'gs://bucket/data'
  copy = tmp_path / 'copy'
  try:
    threads = '--runner=DirectRunner --direct_running_mode=in_memory'
    # What a build that was killed while TFDS renamed it leaves there.
    half = '/bucket/data/edjax_qm9_mini/1.2.0/features.json'
    _Gs().pipe_file(half, b'')
    with pytest.raises(ConfigError, match='is not complete'):
      loading.build_in_store(data, '', threads)
    _Gs().rm(half)
    assert loading.build_in_store(data, '', threads) == 30
    assert loading.build_in_store(data, '', threads) == 30  # it is there
    _Gs().get('/bucket/data/edjax_qm9_mini', str(copy / 'edjax_qm9_mini'), True)
  finally:
    _Gs.store.clear()
  data.data_dir = str(copy)
  there = loading.load_pack(data)
  assert there.fingerprint == here.fingerprint
  np.testing.assert_array_equal(there.positions, here.positions)
  # A copy that was broken off.
  next(copy.rglob('*array_record*')).unlink()
  with pytest.raises(ConfigError, match=r'is not complete \(1 files'):
    loading.load_pack(data)
