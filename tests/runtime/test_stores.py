"""Run directories, studies and datasets in object stores."""

import itertools
import json
import shutil
import sys
import tempfile
import threading

import numpy as np
import pytest
from support import tiny_runs
from support.made_up_qm9 import SHAPES, record_text, write_archive

import data_builders
from configs import qm9_density
from data_builders.qm9_mini import qm9_mini_dataset_builder as mini
from edjax import commands
from edjax.config import ConfigError
from edjax.data import loading, remote_datasets
from edjax.runtime import compile_cache, stores
from edjax.train import train_and_evaluate


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
  """Where copies of stores lie."""
  path = tmp_path / 'scratch'
  path.mkdir()
  monkeypatch.setattr(tempfile, 'tempdir', str(path))
  return path


def test_what_is_new_changed_and_gone(memory_store, tmp_path):
  first = tmp_path / 'first'
  first.mkdir()
  mirror = stores.Mirror('memory://bucket/run/', first)
  assert mirror.sizes() == {}
  (first / 'checkpoints' / '3').mkdir(parents=True)
  (first / '4.orbax-checkpoint-tmp-1').mkdir()
  for name in (
    'a',
    'checkpoints/3/array',
    '.lock',
    '4.orbax-checkpoint-tmp-1/b',
  ):
    (first / name).write_text(name)
  assert mirror.push() == 2
  assert mirror.sizes() == {'a': 1, 'checkpoints/3/array': 19}
  assert mirror.push() == 0
  (first / 'a').write_text('longer')
  (first / 'checkpoints' / '3' / 'array').unlink()
  (first / 'c').write_text('new')
  memory_store.pipe_file('/bucket/run/d', b'of another')
  assert mirror.push() == 2
  assert set(mirror.sizes()) == {'a', 'c', 'd'}

  second = tmp_path / 'second'
  second.mkdir()
  (second / 'c').write_text('stays')
  other = stores.Mirror('memory://bucket/run', second)
  assert other.pull(lambda name: name != 'd') == 1
  assert {p.name: p.read_text() for p in second.iterdir()} == {
    'a': 'longer',
    'c': 'stays',
  }
  # A directory whose name begins like this one's is another; and what stands
  # for a directory is no file.
  memory_store.pipe_file('/bucket/run2/e', b'')
  assert other.pull() == 1
  assert set(other.sizes()) == {'a', 'c', 'd'}
  # What grows in the store comes, where it was not changed here.
  memory_store.pipe_file('/bucket/run/a', b'longer still')
  memory_store.pipe_file('/bucket/run/c', b'of the store')
  assert other.pull() == 1
  assert (second / 'a').read_text() == 'longer still'
  assert (second / 'c').read_text() == 'stays'


def test_what_belongs_together_is_copied_in_order(memory_store, tmp_path):
  """From whatever a kill leaves there a run can go on."""
  put = []
  mirror = stores.Mirror('memory://bucket/run', tmp_path / 'run')
  mirror._put = lambda path, name: put.append(name)
  for name in (
    'results.json', 'metrics.jsonl', 'checkpoints/latest/3/a', 'config.json',
    'checkpoints/best/3/a',
  ):  # fmt: skip
    (mirror.local / name).parent.mkdir(exist_ok=True, parents=True)
    (mirror.local / name).write_text('')
  mirror.push()
  assert put == [
    'config.json', 'metrics.jsonl', 'checkpoints/best/3/a',
    'checkpoints/latest/3/a', 'results.json',
  ]  # fmt: skip


def test_what_another_machine_has_finished_stays(memory_store, tmp_path):
  local = tmp_path / 'study'
  mirror = stores.Mirror('memory://bucket/study', local)
  for run in ('a', 'b'):
    (local / 'runs' / run).mkdir(parents=True)
    (local / 'runs' / run / 'metrics.jsonl').write_text('half')
  memory_store.pipe_file('/bucket/study/runs/a/metrics.jsonl', b'whole')
  memory_store.pipe_file('/bucket/study/runs/a/results.json', b'{}')
  assert mirror.push() == 1
  assert memory_store.cat_file('/bucket/study/runs/a/metrics.jsonl') == b'whole'
  assert memory_store.cat_file('/bucket/study/runs/b/metrics.jsonl') == b'half'


def test_files_that_come_and_go_meanwhile(memory_store, tmp_path):
  """Orbax writes and renames directories while others are copied."""
  mirror = stores.Mirror('memory://bucket/run', tmp_path / 'run')
  latest = mirror.local / 'checkpoints' / 'latest'
  latest.mkdir(parents=True)
  stop = threading.Event()

  def churn():
    while not stop.is_set():
      part = latest / '7.orbax-checkpoint-tmp'
      (part / 'state').mkdir(parents=True)
      (part / 'state' / 'a').write_text('a')
      part.rename(latest / '7')
      shutil.rmtree(latest / '7')

  thread = threading.Thread(target=churn)
  thread.start()
  try:
    for _ in range(200):
      mirror.push()
  finally:
    stop.set()
    thread.join()
  mirror.push()
  assert mirror.sizes() == {}


def refuse(mirror, *args):
  raise OSError('no route')


def work_in(monkeypatch, error=None):
  """Makes a file, in a store that then does not answer any more."""
  with stores.opened('memory://bucket/run') as mirror:
    (mirror.local / 'a').write_text('a')
    monkeypatch.setattr(stores.Mirror, '_put', refuse)
    mirror.saved()
    if error:
      raise error


def test_a_store_that_refuses(memory_store, scratch, monkeypatch, capsys):
  """Before anything is done; later it is said, and nothing done is lost."""
  monkeypatch.setattr(stores, '_PAUSES', (0.0,))
  with monkeypatch.context() as patch:
    patch.setattr(stores.Mirror, '_put', refuse)
    with (
      pytest.raises(OSError, match='memory://bucket/run: OSError: no route'),
      stores.opened('memory://bucket/run'),
    ):
      pytest.fail('it cannot be written')
  assert not list(scratch.iterdir())
  with monkeypatch.context() as patch:
    with pytest.raises(OSError, match='everything is kept in') as caught:
      work_in(patch)
    assert 'not copied: memory://bucket/run: OSError' in capsys.readouterr().err
    (kept,) = scratch.iterdir()
    assert str(kept) in str(caught.value)
    assert (kept / 'a').read_text() == 'a'
  # What went wrong before is not hidden by it.
  with monkeypatch.context() as patch:
    with pytest.raises(FloatingPointError):
      work_in(patch, FloatingPointError())
    assert 'everything is kept in' in capsys.readouterr().err
  # It comes back in time.
  tries = []
  put = stores.Mirror._put

  def second(mirror, path, name):
    tries.append(name)
    return refuse(mirror) if len(tries) == 2 else put(mirror, path, name)

  with monkeypatch.context() as patch:
    patch.setattr(stores.Mirror, '_put', second)
    with stores.opened('memory://bucket/run') as mirror:
      (mirror.local / 'a').write_text('a')
  assert tries[1:] == ['a', 'a']
  assert memory_store.cat_file('/bucket/run/a') == b'a'
  with pytest.raises(ConfigError, match=r'stores\.opened'):
    stores.of('memory://bucket/run')


def test_a_directory_arrives_whole_or_not_at_all(
  memory_store, tmp_path, monkeypatch
):
  there, local = 'memory://data/set', tmp_path / 'data' / 'set'
  source = tmp_path / 'source'
  source.mkdir()
  (source / 'shard').write_text('x')
  (source / 'report.json').write_text('{}')
  stores.Mirror(there, source).push()  # and killed before it was sealed
  assert not remote_datasets.is_complete(there)
  remote_datasets.send(source, there)
  assert remote_datasets.is_complete(there)
  whole = stores.Mirror.pull

  def broken(mirror):
    whole(mirror, lambda name: name == 'report.json')
    raise OSError('no route')

  with monkeypatch.context() as patch:
    patch.setattr(stores.Mirror, 'pull', broken)
    with pytest.raises(OSError, match='no route'):
      remote_datasets.fetch(there, local)

  def visible():
    return [p.name for p in local.parent.iterdir() if 'lock' not in p.name]

  assert visible() == []
  memory_store.mv('/data/set/shard', '/data/shard')
  with pytest.raises(OSError, match='not what was once complete there: shard'):
    remote_datasets.fetch(there, local)
  assert visible() == []
  memory_store.mv('/data/shard', '/data/set/shard')
  # Two at once.
  threads = [
    threading.Thread(target=remote_datasets.fetch, args=(there, local))
    for _ in range(2)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert sorted(p.name for p in local.iterdir()) == ['report.json', 'shard']
  assert visible() == ['set']
  memory_store.rm('/data', recursive=True)
  remote_datasets.fetch(there, local)


@pytest.mark.parametrize('address', ['gs://a/b', 's3://a/b', 'nowhere://a'])
def test_stores_that_nobody_knows(address, tmp_path, capsys, monkeypatch):
  for package in ('gcsfs', 's3fs'):
    monkeypatch.setitem(sys.modules, package, None)
  config = tiny_runs.tiny(tmp_path)
  assert commands.run(config, address, 'train') == 2
  assert f'error: {address}: ' in capsys.readouterr().err
  config.data.data_dir = address
  assert commands.run(config, str(tmp_path), 'train') == 2
  assert f'{address}/edjax_qm9_mini/1.1.0: ' in capsys.readouterr().err


@pytest.fixture
def few(monkeypatch):
  """The first molecules of the embedded dataset."""
  lines = mini.embedded_lines()[:60]
  monkeypatch.setattr(mini, 'embedded_lines', lambda: lines)


class Killed(BaseException):
  """Nothing is done after a kill, whatever `finally` says."""


# Threads of TensorStore outlive a run that is broken off in its process.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_a_killed_run_goes_on_elsewhere(
  few, memory_store, tmp_path, monkeypatch, capsys, scratch
):
  """On a machine that shares nothing with the first but the store."""
  config = tiny_runs.tiny(tmp_path / 'data')
  config.data.workers = 1
  config.data.max_eval = 8
  config.data.train_size, config.train.batch_size = 32.0, 8
  config.train.steps, config.train.checkpoint_every = 12, 3
  config.train.eval_every = 6
  shared = compile_cache.CompileCache()
  here = train_and_evaluate(config, tmp_path / 'here', shared)
  put = stores.Mirror._put

  def go_on(files=None):
    """Until so many files have been copied; then killed, amid a push."""
    left = itertools.count(files or 10**6, -1)

    def dies(mirror, path, name):
      if next(left) <= 0:
        raise Killed
      put(mirror, path, name)

    with monkeypatch.context() as patch:
      patch.setattr(stores.Mirror, '_put', dies)
      return train_and_evaluate(config, 'memory://bucket/run', shared)

  for files in (3, 9, 20, 40):
    with pytest.raises(Killed):
      go_on(files)
  capsys.readouterr()
  there = go_on()
  assert 'continuing after step' in capsys.readouterr().out
  for name in ('metrics.jsonl', 'predictions_test.csv'):
    remote = memory_store.cat_file(f'/bucket/run/{name}')
    assert remote == (tmp_path / 'here' / name).read_bytes(), name
  for results in (here, there):
    results.pop('seconds'), results.pop('cost')
  # As text: correlations of constants are NaN.
  assert json.dumps(there) == json.dumps(here)
  # It is finished; other modes find it; only the report's picture is new.
  assert commands.run(config, 'memory://bucket/run', 'train') == 0
  said = capsys.readouterr().out
  assert 'memory://bucket/run is finished' in said
  assert 'parity plot: memory://bucket/run/parity.png' in said
  assert memory_store.exists('/bucket/run/parity.png')
  assert commands.run(config, 'memory://bucket/run', 'evaluate') == 0
  assert commands.run(config, 'memory://bucket/run', 'report') == 0
  config.optim.learning_rate = 0.5
  assert commands.run(config, 'memory://bucket/run', 'train') == 2
  said = capsys.readouterr().err
  assert 'memory://bucket/run holds a run with config.optim.learning' in said
  # Nothing is left in the directory for temporary files but by kills.
  assert len(list(scratch.glob('edjax-*'))) == 4


def test_a_dataset_is_made_once_for_all_machines(
  few, memory_store, tmp_path, monkeypatch
):
  config = qm9_density.get_config('smoke')
  config.data.data_dir = 'memory://bucket/data/'
  config.data.workers = 1
  packs = []
  for machine in ('one', 'two'):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / machine))
    packs.append(loading.load_pack(config.data))
    monkeypatch.setattr(data_builders, '_prepare', lambda *args: 1 / 0)
  assert packs[0].fingerprint == packs[1].fingerprint
  assert len(packs[0]) == 60
  np.testing.assert_array_equal(packs[0].positions, packs[1].positions)
  found = memory_store.find('/bucket/data')
  assert {name.split('/')[3] for name in found} == {'edjax_qm9_mini'}
  # Negative control: another address, where there is nothing.
  config.data.data_dir = 'memory://bucket/other'
  with pytest.raises(ZeroDivisionError):
    loading.load_pack(config.data)


def test_a_copy_that_was_not_sent_is_sent(
  few, memory_store, tmp_path, monkeypatch
):
  """A build that was killed while it was copied into the store."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  config = qm9_density.get_config('smoke')
  config.data.data_dir = 'memory://bucket/data'
  config.data.workers = 1
  with monkeypatch.context() as patch:
    patch.setattr(stores.Mirror, '_put', refuse)
    with pytest.raises(OSError, match='no route'):
      loading.load_pack(config.data)
  monkeypatch.setattr(data_builders, '_prepare', lambda *args: 1 / 0)
  there = 'memory://bucket/data/edjax_qm9_mini/1.1.0'
  assert not remote_datasets.is_complete(there)
  loading.load_pack(config.data)
  assert remote_datasets.is_complete(there)
  loading.load_pack(config.data)
  # Another one at the same address is not taken for it.
  memory_store.pipe_file(f'{there}/report.json', b'{"sha256": "other"}')
  with pytest.raises(ConfigError, match='another dataset than its copy'):
    loading.load_pack(config.data)


def test_source_files_come_from_a_store(memory_store, tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  texts = {i: record_text(i, s) for i, s in enumerate(SHAPES, start=1)}
  write_archive(tmp_path / 'archive', texts)
  name = '/bucket/manual/dsgdb9nsd.xyz.tar.bz2'
  memory_store.pipe_file(name, (tmp_path / 'archive').read_bytes())
  data = qm9_density.get_config('qm9_cpu').data
  data.data_dir, data.workers = str(tmp_path / 'data'), 1
  data.manual_dir = 'memory://bucket/manual'
  assert len(loading.load_pack(data)) == len(SHAPES)
