"""Does runs one after another, in this process or in a worker process.

A process keeps its imports, its backend and its compiled programs from run to
run. Output of a run goes to log.txt in its directory.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence

from absl import logging

from edjax.runtime import compile_cache, malloc, preemption, run_directory
from edjax.train import train_and_evaluate

DONE, FAILED, LOCKED, STOPPED = 'done', 'failed', 'locked', 'stopped'


@dataclasses.dataclass(frozen=True)
class Outcome:
  """The end of a run.

  Attributes:
    status: DONE, FAILED, LOCKED (by another process) or STOPPED (by a signal;
      it can be resumed).
    seconds: duration of this attempt.
    message: of the error, in one line.
  """

  status: str
  seconds: float = 0.0
  message: str = ''


def attempt(execute: Callable, config, directory: pathlib.Path) -> Outcome:
  """Does one run; writes its error, if any, to error.txt.

  Args:
    execute: execute(config, workdir), as `train_and_evaluate`.
    config: of the run.
    directory: of the run.
  """
  begun = time.monotonic()
  try:
    execute(config, directory)
  except run_directory.LockedError:
    return Outcome(LOCKED)
  except preemption.PreemptedError as error:
    print(error, flush=True)
    return Outcome(STOPPED, time.monotonic() - begun)
  except Exception as error:
    write_error(directory, traceback.format_exc())
    if isinstance(error, FloatingPointError):
      # Another attempt would diverge again: a trial gets the worst score.
      (directory / 'diverged').touch()
    message = f'{type(error).__name__}: {error}'.splitlines()[0]
    return Outcome(FAILED, time.monotonic() - begun, message)
  (directory / 'error.txt').unlink(missing_ok=True)
  return Outcome(DONE, time.monotonic() - begun)


def write_error(directory: pathlib.Path, text: str) -> None:
  """Writes error.txt of a run."""
  directory.mkdir(parents=True, exist_ok=True)
  (directory / 'error.txt').write_text(text, encoding='utf-8')


def _make_execute() -> Callable:
  """Returns `train_and_evaluate` for runs that share compiled programs."""
  return functools.partial(
    train_and_evaluate, shared=compile_cache.CompileCache()
  )


class LocalSlot:
  """Does runs in this process: an accelerator belongs to one process."""

  def __init__(self):
    self._execute = _make_execute()

  def run(self, config, directory: pathlib.Path) -> Outcome:
    """Does one run; blocks until it has ended."""
    directory.mkdir(parents=True, exist_ok=True)
    with (
      (directory / 'log.txt').open('a', encoding='utf-8') as log,
      contextlib.redirect_stdout(log),
      contextlib.redirect_stderr(log),
    ):
      return attempt(self._execute, config, directory)

  def stop(self) -> None:
    """Does nothing: runs notice signals themselves (`preemption.noticed`)."""

  def close(self) -> None:
    """Does nothing."""


def cores() -> Sequence[int]:
  """Returns the cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return sorted(os.sched_getaffinity(0))
  return range(os.cpu_count())  # not Linux


class ProcessSlot:
  """Does runs in a worker process, and starts another one if it dies.

  Parent and worker exchange pickles through the worker's standard input and
  output.

  Args:
    cores: to which the worker is limited (on Linux); () for all.
  """

  def __init__(self, cores: Sequence[int] = ()):
    self._cores = cores
    self._process = None
    self._stopping = False

  def run(self, config, directory: pathlib.Path) -> Outcome:
    """Does one run; blocks until it has ended."""
    if self._process is None:
      self._process = self._start()
    if self._stopping:  # `stop` was called before the process started
      self.close()
      return Outcome(STOPPED)
    begun = time.monotonic()
    try:
      pickle.dump((config, directory), self._process.stdin)
      self._process.stdin.flush()
      return pickle.load(self._process.stdout)
    except (OSError, EOFError, pickle.UnpicklingError):
      pass  # the worker has died, perhaps in the middle of its answer
    status = self._process.wait()
    self.close()
    if self._stopping:  # it ended before it had a state to save
      return Outcome(STOPPED, time.monotonic() - begun)
    how = f'status {status}'
    if status < 0:
      how = f'signal {signal.Signals(-status).name}'
    message = f'its process ended with {how}; log.txt may say why'
    write_error(directory, f'{message}\n')
    return Outcome(FAILED, time.monotonic() - begun, message)

  def _start(self) -> subprocess.Popen:
    root = str(pathlib.Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get('PYTHONPATH')]))
    process = subprocess.Popen(
      [sys.executable, '-c', 'from edjax.study import worker; worker.serve()'],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      env=os.environ | {'PYTHONPATH': path},
    )
    # Threads that the worker starts later inherit its cores.
    if self._cores and hasattr(os, 'sched_setaffinity'):
      os.sched_setaffinity(process.pid, self._cores)
    return process

  def stop(self) -> None:
    """Lets the worker save its run; `run` then returns."""
    self._stopping = True
    if self._process is not None:
      self._process.terminate()

  def close(self) -> None:
    """Ends the worker; its run can be resumed later."""
    if self._process is None:
      return
    self._process.kill()
    self._process.wait()
    for pipe in (self._process.stdin, self._process.stdout):
      with contextlib.suppress(OSError):  # unread input
        pipe.close()
    self._process = None


def serve() -> None:
  """Does the runs that standard input brings; ends with the parent process."""
  # A terminal's Ctrl-C goes to the parent, which ends its workers.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  malloc.keep()
  logging.set_verbosity(logging.WARNING)
  execute = _make_execute()
  answers = os.fdopen(os.dup(1), 'wb')
  jobs = queue.Queue()
  threading.Thread(target=_read, args=(jobs,), daemon=True).start()
  # Schedulers signal workers and parent alike, also while a run begins: its
  # first step then saves the state.
  with preemption.noticed():
    while True:
      config, directory = jobs.get()
      directory.mkdir(parents=True, exist_ok=True)
      with (directory / 'log.txt').open('a') as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
      outcome = attempt(execute, config, directory)
      sys.stdout.flush()
      sys.stderr.flush()
      pickle.dump(outcome, answers)
      answers.flush()


def _read(jobs: queue.Queue) -> None:
  try:
    while True:
      jobs.put(pickle.load(sys.stdin.buffer))
  finally:
    # The parent has ended: leave at once, which frees the lock and the memory.
    os._exit(1)
