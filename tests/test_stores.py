"""Run directories, studies and datasets in object stores."""

import json
import pathlib
import sys
import tempfile

import numpy as np
import pytest
import tiny_runs
from test_qm9_builder import SHAPES, record_text, write_archive

import data_builders
from configs import qm9_density
from data_builders.qm9_mini import qm9_mini_dataset_builder as mini
from edjax import input_pipeline, main, stores, train


def test_what_is_new_changed_and_gone(memory_store, tmp_path):
  first = tmp_path / 'first'
  first.mkdir()
  mirror = stores.Mirror('memory://bucket/run/', first)
  assert mirror.names() == set()
  (first / 'checkpoints' / '3').mkdir(parents=True)
  for name in ('a', 'checkpoints/3/array', '.lock', 'b.part-of-pull'):
    (first / name).write_text(name)
  assert mirror.push() == 2
  assert mirror.names() == {'a', 'checkpoints/3/array'}
  assert mirror.push() == 0
  (first / 'a').write_text('longer')
  (first / 'checkpoints' / '3' / 'array').unlink()
  (first / 'c').write_text('new')
  memory_store.pipe_file('/bucket/run/d', b'of another')
  assert mirror.push() == 2
  assert mirror.names() == {'a', 'c', 'd'}

  second = tmp_path / 'second'
  second.mkdir()
  (second / 'c').write_text('stays')
  other = stores.Mirror('memory://bucket/run', second)
  assert other.pull(lambda name: name != 'd') == 1
  assert {p.name: p.read_text() for p in second.iterdir()} == {
    'a': 'longer',
    'c': 'stays',
  }
  # A directory whose name begins like this one's is another.
  memory_store.pipe_file('/bucket/run2/e', b'')
  assert other.pull() == 1
  assert other.names() == {'a', 'c', 'd'}


def test_results_come_last(memory_store, tmp_path):
  """A kill while copying must not leave what says that all is there."""
  put = []
  mirror = stores.Mirror('memory://bucket/run', tmp_path)
  mirror._put = put.append
  for name in ('results.json', 'a', 'z/report.json', 'zz'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('')
  mirror.push()
  assert put == ['a', 'zz', 'results.json', 'z/report.json']


def test_a_directory_arrives_whole_or_not_at_all(
  memory_store, tmp_path, monkeypatch
):
  memory_store.pipe_file('/data/set/shard', b'x')
  local = tmp_path / 'data' / 'set'
  assert not stores.fetch('memory://data/set', local, 'report.json')
  memory_store.pipe_file('/data/set/report.json', b'{}')
  whole = stores.Mirror.pull

  def broken(mirror):
    whole(mirror, lambda name: name == 'report.json')
    raise OSError('no route')

  with monkeypatch.context() as patch:
    patch.setattr(stores.Mirror, 'pull', broken)
    with pytest.raises(OSError, match='no route'):
      stores.fetch('memory://data/set', local, 'report.json')
  assert list(local.parent.iterdir()) == []
  assert stores.fetch('memory://data/set', local, 'report.json')
  assert sorted(p.name for p in local.iterdir()) == ['report.json', 'shard']
  assert [p.name for p in local.parent.iterdir()] == ['set']
  memory_store.rm('/data', recursive=True)
  assert stores.fetch('memory://data/set', local, 'report.json')


@pytest.mark.parametrize('address', ['gs://a/b', 's3://a/b', 'nowhere://a'])
def test_stores_that_nobody_knows(address, tmp_path, capsys, monkeypatch):
  for package in ('gcsfs', 's3fs'):
    monkeypatch.setitem(sys.modules, package, None)
  config = tiny_runs.tiny(tmp_path)
  assert main.run(config, address, 'train') == 2
  assert f'error: {address}: ' in capsys.readouterr().err
  config.data.data_dir = address
  assert main.run(config, str(tmp_path), 'train') == 2
  assert f'{address}/edjax_qm9_mini/1.1.0: ' in capsys.readouterr().err


@pytest.fixture
def few(monkeypatch):
  """The first molecules of the embedded dataset."""
  lines = mini.embedded_lines()[:60]
  monkeypatch.setattr(mini, 'embedded_lines', lambda: lines)


class Killed(BaseException):
  """Nothing is done after a kill, whatever `finally` says."""


def test_a_killed_run_goes_on_elsewhere(
  few, memory_store, tmp_path, monkeypatch, capsys
):
  """On a machine that shares nothing with the first but the store."""
  config = tiny_runs.tiny(tmp_path / 'data')
  config.data.workers = 1
  config.data.max_eval = 8
  config.data.train_size, config.train.batch_size = 32.0, 8
  config.train.steps, config.train.checkpoint_every = 12, 3
  config.train.eval_every = 6
  here = train.train_and_evaluate(config, tmp_path / 'here')
  push, left = stores.Mirror.push, [2]

  def dies(mirror):
    left[0] -= 1
    if left[0] < 0:
      raise Killed
    return push(mirror)

  with monkeypatch.context() as patch:
    patch.setattr(stores.Mirror, 'push', dies)
    with pytest.raises(Killed):
      train.train_and_evaluate(config, 'memory://bucket/run')
  capsys.readouterr()
  there = train.train_and_evaluate(config, 'memory://bucket/run')
  assert 'continuing after step 6' in capsys.readouterr().out
  for name in ('metrics.jsonl', 'predictions_test.csv'):
    remote = memory_store.cat_file(f'/bucket/run/{name}')
    assert remote == (tmp_path / 'here' / name).read_bytes(), name
  for results in (here, there):
    results.pop('seconds'), results.pop('cost')
  # As text: correlations of constants are NaN.
  assert json.dumps(there) == json.dumps(here)
  # It is finished; other modes find it; only the report's picture is new.
  assert main.run(config, 'memory://bucket/run', 'train') == 0
  said = capsys.readouterr().out
  assert 'memory://bucket/run is finished' in said
  assert 'parity plot: memory://bucket/run/parity.png' in said
  assert memory_store.exists('/bucket/run/parity.png')
  assert main.run(config, 'memory://bucket/run', 'evaluate') == 0
  assert main.run(config, 'memory://bucket/run', 'report') == 0
  config.optim.learning_rate = 0.5
  assert main.run(config, 'memory://bucket/run', 'train') == 2
  said = capsys.readouterr().err
  assert 'memory://bucket/run holds a run with config.optim.learning' in said
  # Nothing is left in the directory for temporary files.
  assert not list(pathlib.Path(tempfile.gettempdir()).glob('edjax-*/config*'))


def test_a_dataset_is_made_once_for_all_machines(
  few, memory_store, tmp_path, monkeypatch
):
  config = qm9_density.get_config('smoke')
  config.data.data_dir = 'memory://bucket/data/'
  config.data.workers = 1
  packs = []
  for machine in ('one', 'two'):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / machine))
    packs.append(input_pipeline.load_pack(config.data))
    monkeypatch.setattr(data_builders, '_prepare', lambda *args: 1 / 0)
  assert packs[0].fingerprint == packs[1].fingerprint
  assert len(packs[0]) == 60
  np.testing.assert_array_equal(packs[0].positions, packs[1].positions)
  found = memory_store.find('/bucket/data')
  assert {name.split('/')[3] for name in found} == {'edjax_qm9_mini'}
  # Negative control: another address, where there is nothing.
  config.data.data_dir = 'memory://bucket/other'
  with pytest.raises(ZeroDivisionError):
    input_pipeline.load_pack(config.data)


def test_source_files_come_from_a_store(memory_store, tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  texts = {i: record_text(i, s) for i, s in enumerate(SHAPES, start=1)}
  write_archive(tmp_path / 'archive', texts)
  name = '/bucket/manual/dsgdb9nsd.xyz.tar.bz2'
  memory_store.pipe_file(name, (tmp_path / 'archive').read_bytes())
  data = qm9_density.get_config('qm9_cpu').data
  data.data_dir, data.workers = str(tmp_path / 'data'), 1
  data.manual_dir = 'memory://bucket/manual'
  assert len(input_pipeline.load_pack(data)) == len(SHAPES)
