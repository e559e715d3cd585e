"""SIGTERM and Ctrl-C: saved, left, and gone on with."""

import os
import signal
import threading
import time

import pytest
from support import tiny_runs, waiting

from edjax import commands
from edjax.runtime import preemption
from edjax.study import work_queue, worker


def terminate(number=signal.SIGTERM):
  os.kill(os.getpid(), number)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_noticed_once_and_forgotten(number):
  before = signal.getsignal(number)
  seen = []
  with preemption.noticed() as asked:
    assert not asked()

    def elsewhere():
      with preemption.noticed() as told:
        seen.append(told())
        terminate(number)
        while not told():
          time.sleep(0.01)
        seen.append(told())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    waiting.join(thread)
    assert asked()
    # A second one does what it did before.
    assert signal.getsignal(number) == before
  assert seen == [False, True]
  assert signal.getsignal(number) == before
  with preemption.noticed() as asked:
    assert not asked()


def test_noticed_before_an_inner_block():
  """A worker's run that has not begun is saved at its first step."""
  with preemption.noticed():
    terminate()
    with preemption.noticed() as asked:
      assert asked()
      terminate()  # the scheduler's and the parent's
      assert asked()


def test_an_ignored_ctrl_c_stays_ignored():
  """Shells start work in the background so; SIGTERM stops it still."""
  before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    with preemption.noticed() as asked:
      terminate(signal.SIGINT)
      assert not asked()
      terminate()
      assert asked()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
  finally:
    signal.signal(signal.SIGINT, before)


def test_a_status_of_its_own(monkeypatch, capsys, tmp_path):
  def train(config, workdir):
    raise preemption.PreemptedError('stopped: step 3 of 4 is saved')

  monkeypatch.setitem(commands.MODES, 'train', train)
  assert commands.run(None, str(tmp_path), 'train') == 75
  assert 'step 3 of 4 is saved' in capsys.readouterr().err


def test_ctrl_c_before_training_is_no_traceback(monkeypatch, capsys, tmp_path):
  def train(config, workdir):
    terminate(signal.SIGINT)
    time.sleep(20)

  monkeypatch.setitem(commands.MODES, 'train', train)
  assert commands.run(None, str(tmp_path), 'train') == 130
  assert 'the same command goes on from there' in capsys.readouterr().err


class Slot:
  """Runs that take until they are asked to stop."""

  def __init__(self):
    self.asked, self.closed = threading.Event(), False

  def run(self, config, directory):
    def execute(config, directory):
      directory.mkdir()
      assert self.asked.wait(20)
      raise preemption.PreemptedError('saved')

    return worker.attempt(execute, config, directory)

  def stop(self):
    self.asked.set()

  def close(self):
    self.closed = True


def test_a_study_lets_its_runs_save(tmp_path):
  jobs = [work_queue.Job(str(i), tmp_path / str(i), None) for i in range(5)]
  events, slots = [], [Slot(), Slot()]
  queue = work_queue.Queue(
    jobs,
    lambda event, job, outcome: events.append((event, job.name)),
    lambda job: None,
  )
  timer = threading.Timer(0.5, terminate)
  timer.start()
  with pytest.raises(preemption.PreemptedError, match='goes on from there'):
    queue.run(slots)
  # Two were begun; none of these failed, none of the others began.
  assert sorted(events) == [('start', '0'), ('start', '1')]
  assert not list(tmp_path.glob('*/error.txt'))
  assert all(slot.closed for slot in slots)


def test_a_worker_saves_when_it_is_stopped(qm9_mini, tmp_path):
  config = tiny_runs.tiny(qm9_mini)
  config.train.steps = config.train.eval_every = 1_000_000
  config.train.checkpoint_every = 20
  slot, found = worker.ProcessSlot(), []
  thread = threading.Thread(
    target=lambda: found.append(slot.run(config, tmp_path / 'run'))
  )
  thread.start()
  latest = tmp_path / 'run' / 'checkpoints' / 'latest'
  waiting.until((latest / '20').is_dir, thread.is_alive)
  slot.stop()
  waiting.join(thread)
  slot.close()
  assert found[0].status == worker.STOPPED
  log = (tmp_path / 'run' / 'log.txt').read_text()
  assert 'stopped: step' in log
  steps = [int(p.name) for p in latest.iterdir()]
  assert f'stopped: step {max(steps)} of 1000000 is saved' in log
  assert not (tmp_path / 'run' / 'error.txt').exists()
  # Before there is anything to save it just ends.
  slot = worker.ProcessSlot()
  thread = threading.Thread(
    target=lambda: found.append(slot.run(config, tmp_path / 'other'))
  )
  thread.start()
  waiting.until(lambda: slot._process, thread.is_alive)
  slot.stop()
  waiting.join(thread)
  slot.close()
  assert found[1].status == worker.STOPPED
  assert not (tmp_path / 'other' / 'error.txt').exists()
