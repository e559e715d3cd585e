"""Run directories and studies in object stores."""

import itertools
import json
import shutil
import sys
import tempfile
import threading

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support import tiny_runs

import data_builders
from data_builders.qm9_mini import qm9_mini_dataset_builder as mini
from edjax import commands
from edjax.config import ConfigError
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


def refuse(store, *args):
  raise OSError('no route')


def work_in(monkeypatch, error=None):
  """Makes a file, in a store that then does not answer any more."""
  with stores.opened('memory://bucket/run') as mirror:
    (mirror.local / 'a').write_text('a')
    monkeypatch.setattr(MemoryFileSystem, 'put_file', refuse)
    mirror.saved()
    if error:
      raise error


def test_a_store_that_refuses(memory_store, scratch, monkeypatch, capsys):
  """Before anything is done; later it is said, and nothing done is lost."""
  monkeypatch.setattr(stores, '_PAUSES', (0.0,))
  with monkeypatch.context() as patch:
    patch.setattr(MemoryFileSystem, 'put_file', refuse)
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
  put = MemoryFileSystem.put_file

  def second(store, path, name):
    tries.append(name)
    return refuse(store) if len(tries) == 2 else put(store, path, name)

  with monkeypatch.context() as patch:
    patch.setattr(MemoryFileSystem, 'put_file', second)
    with stores.opened('memory://bucket/run') as mirror:
      (mirror.local / 'a').write_text('a')
  assert tries[1:] == ['/bucket/run/a'] * 2
  assert memory_store.cat_file('/bucket/run/a') == b'a'
  with pytest.raises(ConfigError, match=r'stores\.opened'):
    stores.of('memory://bucket/run')


@pytest.mark.parametrize('address', ['gs://a/b', 's3://a/b', 'nowhere://a'])
def test_stores_that_nobody_knows(address, tmp_path, capsys, monkeypatch):
  for package in ('gcsfs', 's3fs'):
    monkeypatch.setitem(sys.modules, package, None)
  config = tiny_runs.tiny(tmp_path)
  assert commands.run(config, address, 'train') == 2
  assert f'error: {address}: ' in capsys.readouterr().err


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
  put = MemoryFileSystem.put_file

  def go_on(files=None):
    """Until so many files have been copied; then killed, amid a push."""
    left = itertools.count(files or 10**6, -1)

    def dies(store, path, name):
      if next(left) <= 0:
        raise Killed
      put(store, path, name)

    with monkeypatch.context() as patch:
      patch.setattr(MemoryFileSystem, 'put_file', dies)
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


@pytest.mark.parametrize('field', ['data_dir', 'manual_dir'])
@pytest.mark.parametrize('mode', ['build', 'train'])
def test_datasets_in_stores_are_refused(field, mode, tmp_path, capsys):
  config = tiny_runs.tiny(tmp_path / 'data')
  config.data[field] = 'gs://bucket/data'
  config.data.manual_dir = config.data.manual_dir or str(tmp_path)
  assert commands.run(config, str(tmp_path / 'run'), mode) == 2
  said = capsys.readouterr().err
  assert f'error: config.data.{field}=gs://bucket/data: ' in said
  assert 'gcloud storage cp' in said


def test_beam_builds_into_a_store(tmp_path, monkeypatch, capsys):
  """Nothing is read from there."""
  built = []
  monkeypatch.setattr(
    data_builders, 'build', lambda *args, **kwargs: built.append((args, kwargs))
  )
  monkeypatch.setattr(data_builders, 'report', lambda builder: {'written': 7})
  config = tiny_runs.tiny('gs://bucket/data')
  assert commands.run(config, '', 'build', beam='--runner=X') == 2
  assert 'config.data.manual_dir' in capsys.readouterr().err
  assert built == []
  config.data.manual_dir = str(tmp_path)
  assert commands.run(config, '', 'build', beam='--runner=X') == 0
  assert 'qm9_mini: 7 molecules' in capsys.readouterr().out
  ((args, kwargs),) = built
  assert args == ('qm9_mini', 'gs://bucket/data')
  assert kwargs['beam'] == '--runner=X'
  assert kwargs['manual_dir'] == tmp_path
