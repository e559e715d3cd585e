"""Studies on a Dask cluster: a scheduler and workers in processes.

Nothing goes by the clock: a run that is to be killed waits for it.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest
from support import tiny_runs, waiting, xla_flags

from data_builders.qm9_mini import qm9_mini_dataset_builder as mini
from edjax import commands
from edjax.config import ConfigError
from edjax.study import dask_cluster, planning, worker

pytest.importorskip('distributed', reason='needs the extra "dask"')
import dask
import distributed

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

# What workers load when they start. The first one's run says that it has come
# to its first evaluation and goes no further, the second one's ends the worker.
STUCK = """
import os, pathlib, threading
from edjax.evaluate import evaluator
def stuck(*args):
  pathlib.Path(os.environ['STUCK']).touch()
  threading.Event().wait()
evaluator.Evaluator.log = stuck
"""
DEADLY = """
import os, signal
from edjax.study import worker
worker.LocalSlot.run = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
"""


class Cluster:
  """A scheduler; workers are started and killed by the tests.

  Args:
    directory: of logs and of the scheduler's file.
    deaths: of workers that one run may cause before it has failed.
  """

  def __init__(self, directory, deaths=1):
    self.directory, self._processes = directory, []
    file = directory / 'scheduler.json'
    scheduler = self._start(
      'scheduler', '--scheduler-file', file, '--port', '0', '--no-dashboard',
      DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=str(deaths),
    )  # fmt: skip
    waiting.until(
      lambda: file.exists() and file.read_text().endswith('}'),
      lambda: scheduler.poll() is None,
    )
    self.address = json.loads(file.read_text())['address']

  def worker(self, *flags, threads=1, path=REPOSITORY, **environment):
    """Starts a worker, and returns it when the scheduler knows it."""
    name = str(len(self._processes))
    process = self._start(
      'worker', self.address, '--no-nanny', '--no-dashboard',
      '--nthreads', threads, '--name', name, *flags,
      **{'PYTHONPATH': str(path), 'XLA_FLAGS': xla_flags.QUICK} | environment,
    )  # fmt: skip
    waiting.until(lambda: name in self.names() or process.poll() is not None)
    assert process.poll() is None, (self.directory / 'worker.log').read_text()
    return process

  def names(self):
    """Returns the names of the workers that the scheduler knows."""
    with distributed.Client(self.address, set_as_default=False) as client:
      workers = client.scheduler_info(n_workers=-1)['workers'].values()
    return [str(entry['name']) for entry in workers]

  def kill(self, process):
    """Kills a worker; returns when the scheduler knows."""
    before = len(self.names())
    process.kill()
    process.wait()
    waiting.until(lambda: len(self.names()) < before)

  def _start(self, what, *flags, **environment):
    command = [sys.executable, '-m', f'distributed.cli.dask_{what}']
    with (self.directory / f'{what}.log').open('a') as log:
      process = subprocess.Popen(
        [*command, *map(str, flags)], cwd=self.directory,
        env=os.environ | environment, stdout=log, stderr=log,
      )  # fmt: skip
    self._processes.append(process)
    return process

  def close(self):
    """Ends all processes."""
    for process in self._processes:
      process.kill()
      process.wait()


@pytest.fixture(scope='module')
def cluster(tmp_path_factory):
  made = Cluster(tmp_path_factory.mktemp('cluster'))
  yield made
  made.close()


@pytest.fixture
def lively(cluster):
  """The cluster with at least one good worker."""
  if not cluster.names():
    cluster.worker()
  return cluster


@pytest.fixture
def study(tmp_path, monkeypatch):
  """Two runs of 8 steps on 200 molecules, checkpoints at every second step."""
  lines = mini.embedded_lines()[:200]
  monkeypatch.setattr(mini, 'embedded_lines', lambda: lines)
  config = tiny_runs.tiny_study(tmp_path / 'data')
  config.data.workers, config.study.processes = 1, 2
  config.model.name, config.optim.name = 'moments', 'adamw'  # compile fast
  config.train.update({'steps': 8, 'eval_every': 4, 'checkpoint_every': 2})
  return config


def in_a_thread(function):
  threading.Thread(target=function, daemon=True).start()


def test_a_killed_workers_run_continues_elsewhere(
  cluster, study, tmp_path, capsys
):
  """SIGKILL in the middle of a run; a worker that has joined does the rest."""
  stuck, workdir = tmp_path / 'stuck', tmp_path / 'study'
  victim = cluster.worker('--preload', STUCK, STUCK=str(stuck))

  def join_and_kill():
    waiting.until(stuck.exists)
    cluster.worker()
    victim.kill()

  in_a_thread(join_and_kill)
  status = commands.run(study, str(workdir), 'study', dask=cluster.address)
  assert status == 0
  assert victim.wait() == -signal.SIGKILL
  names = {e['name'] for e in planning.read(workdir)['entries']}
  assert len(names) == 2
  done = {p.parent.name for p in workdir.glob('runs/*/results.json')}
  assert done == names
  logs = [path.read_text() for path in workdir.glob('runs/*/log.txt')]
  assert sum('continuing after step 2' in log for log in logs) == 1
  text = (workdir / 'study.log').read_text()
  assert 'runs: 0 of 2 done, 0 failed, 2 left' in text
  assert '2 of 2 done, 0 failed, 0 left' in text
  assert 'report: ' in capsys.readouterr().out


def test_sigterm_lets_workers_save(lively, study, tmp_path, capsys):
  """One run is saved; the other, for which no worker was free, never began."""
  study.train.steps = study.train.eval_every = 1_000_000

  def terminate():
    waiting.until(
      lambda: list(tmp_path.glob('runs/*/checkpoints/latest/[0-9]*'))
    )
    os.kill(os.getpid(), signal.SIGTERM)

  in_a_thread(terminate)
  status = commands.run(study, str(tmp_path), 'study', dask=lively.address)
  assert status == 75
  (log,) = tmp_path.glob('runs/*/log.txt')
  assert 'is saved' in log.read_text()
  assert not list(tmp_path.glob('runs/*/error.txt'))


def test_a_failure_is_that_of_one_run(lively, study, tmp_path):
  del study['study']
  wrong = planning.with_fields(study, {'model.kernels': 'tied'})
  directory = tmp_path / 'runs' / 'wrong'
  with dask_cluster.connected(lively.address, tmp_path, 0) as slots:
    outcome = slots()[0].run(wrong, directory)
  assert outcome.status == worker.FAILED
  assert 'wrong configuration' in outcome.message
  error = (directory / 'error.txt').read_text()
  assert 'config.model.kernels must be one of' in error


def test_a_run_that_kills_its_workers_has_failed(tmp_path):
  cluster = Cluster(tmp_path, deaths=0)
  directory = tmp_path / 'runs' / 'deadly'
  try:
    with dask_cluster.connected(cluster.address, tmp_path, 0) as slots:
      with pytest.raises(ConfigError, match='no workers yet'):
        slots()
      cluster.worker('--preload', DEADLY)
      outcome = slots()[0].run(None, directory)
  finally:
    cluster.close()
  assert outcome.status == worker.FAILED
  assert outcome.message == 'its worker died (tries: 1); log.txt may say why'
  assert 'died' in (directory / 'error.txt').read_text()


@pytest.mark.parametrize(
  ('kind', 'message'),
  [
    ({'threads': 2}, '2 threads, where a run needs a process'),
    ({'path': ''}, "No module named 'edjax'"),
  ],
)
def test_workers_that_cannot_do_runs(cluster, tmp_path, kind, message):
  process = cluster.worker(**kind)
  with dask_cluster.connected(cluster.address, tmp_path, 0) as slots:
    with pytest.raises(ConfigError, match=message):
      slots()
    cluster.kill(process)


def test_a_directory_that_workers_do_not_see(lively, tmp_path):
  with (
    dask_cluster.connected(lively.address, tmp_path / 'here', 0) as slots,
    pytest.raises(ConfigError, match='here; give a --workdir on storage that'),
  ):
    slots()


def test_mistakes_on_the_command_line(study, tmp_path, capsys, monkeypatch):
  def launch(address, mode='study', shard=''):
    status = commands.run(study, str(tmp_path), mode, shard, dask=address)
    assert status == 2
    return capsys.readouterr().err

  assert '--dask goes with --mode study' in launch('tcp://x:1', 'train')
  assert 'without --shard' in launch('tcp://x:1', 'study', '0/2')
  with dask.config.set({'distributed.comm.timeouts.connect': '0.1s'}):
    assert 'no scheduler answers' in launch('tcp://127.0.0.1:1')
  assert 'no scheduler answers' in launch('nonsense://x')
  monkeypatch.setitem(sys.modules, 'distributed', None)
  assert "pip install '.[dask]'" in launch('tcp://x:1')
