"""Processes that take one run after another.

Imports, the backend and what it has compiled stay from run to run. Parent and
worker talk in lines of JSON over the worker's standard input and output; what
a run prints goes to log.txt in its directory.

  python -m edjax.study.worker --cores 0,1     (started by `ProcessSlot`)
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback

DONE, FAILED, LOCKED, STOPPED = 'done', 'failed', 'locked', 'stopped'


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How a run ended.

  Attributes:
    status: DONE, FAILED, LOCKED (another process is at it) or STOPPED (by
      SIGTERM; it can be continued).
    seconds: that it took here.
    message: of the error, in one line.
  """

  status: str
  seconds: float = 0.0
  message: str = ''


def attempt(execute, config, directory: pathlib.Path) -> Outcome:
  """One run; whatever goes wrong is written to error.txt.

  Args:
    execute: execute(config, workdir), as `train.train_and_evaluate`.
    config: of the run.
    directory: of the run.
  """
  from edjax.runtime import preemption, run_directory

  begun = time.monotonic()
  try:
    execute(config, directory)
  except run_directory.LockedError:
    return Outcome(LOCKED)
  except preemption.PreemptedError as error:
    print(error, flush=True)
    return Outcome(STOPPED, time.monotonic() - begun)
  except Exception as error:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / 'error.txt').write_text(
      traceback.format_exc(), encoding='utf-8'
    )
    if isinstance(error, FloatingPointError):
      # The same again would end the same: a trial counts as the worst.
      (directory / 'diverged').touch()
    words = f'{type(error).__name__}: {error}'.splitlines()[0]
    return Outcome(FAILED, time.monotonic() - begun, words)
  (directory / 'error.txt').unlink(missing_ok=True)
  return Outcome(DONE, time.monotonic() - begun)


class LocalSlot:
  """Runs in this process: for accelerators, which belong to one process."""

  def __init__(self, execute):
    self._execute = execute

  def run(self, config, directory: pathlib.Path) -> Outcome:
    """Runs one; blocks until it has ended."""
    directory.mkdir(parents=True, exist_ok=True)
    with (
      (directory / 'log.txt').open('a', encoding='utf-8') as log,
      contextlib.redirect_stdout(log),
      contextlib.redirect_stderr(log),
    ):
      return attempt(self._execute, config, directory)

  def stop(self) -> None:
    """Runs notice SIGTERM by themselves (`preemption.noticed`)."""

  def close(self) -> None:
    """Nothing to end."""


class ProcessSlot:
  """Runs in a worker process, which is replaced where it dies."""

  def __init__(self, cores: tuple[int, ...] = ()):
    self._cores = cores
    self._process = None
    self._stopping = False

  def run(self, config, directory: pathlib.Path) -> Outcome:
    """Runs one; blocks until it has ended."""
    if self._process is None:
      self._process = self._start()
    if self._stopping:  # meanwhile, when there was no process to tell
      self.close()
      return Outcome(STOPPED)
    job = {'directory': str(directory), 'config': config.to_dict()}
    begun = time.monotonic()
    try:
      self._process.stdin.write(json.dumps(job) + '\n')
      self._process.stdin.flush()
      return Outcome(**json.loads(self._process.stdout.readline()))
    except (OSError, ValueError):
      pass  # it has died, perhaps in the middle of its answer
    status = self._process.wait()
    self.close()
    if self._stopping:  # before there was anything to save
      return Outcome(STOPPED, time.monotonic() - begun)
    how = f'status {status}'
    if status < 0:
      how = f'signal {signal.Signals(-status).name}'
    message = f'its process ended with {how}; log.txt may say why'
    directory.mkdir(parents=True, exist_ok=True)
    (directory / 'error.txt').write_text(message + '\n', encoding='utf-8')
    return Outcome(FAILED, time.monotonic() - begun, message)

  def _start(self):
    command = [sys.executable, '-m', 'edjax.study.worker']
    if self._cores:
      command.append(f'--cores={",".join(map(str, self._cores))}')
    root = str(pathlib.Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get('PYTHONPATH')]))
    return subprocess.Popen(
      command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      env=os.environ | {'PYTHONPATH': path},
    )

  def stop(self) -> None:
    """Lets the worker save what it is at; `run` then returns."""
    self._stopping = True
    if self._process is not None:
      self._process.terminate()

  def close(self) -> None:
    """Ends the worker; a run that it is at can be continued later."""
    if self._process is None:
      return
    self._process.kill()
    self._process.wait()
    for pipe in (self._process.stdin, self._process.stdout):
      with contextlib.suppress(OSError):  # what it never read
        pipe.close()
    self._process = None


def _tuples(value):
  """Sequences of configurations are tuples, which JSON has not."""
  if isinstance(value, dict):
    return {k: _tuples(v) for k, v in value.items()}
  return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _read(jobs: queue.Queue) -> None:
  for line in sys.stdin:
    jobs.put(json.loads(line))
  # The parent has ended or was killed: what it claimed must be free again.
  os._exit(1)


def serve(execute) -> None:
  """Takes jobs until standard input ends, and with it this process."""
  from ml_collections import ConfigDict

  answers = os.fdopen(os.dup(1), 'w')
  jobs = queue.Queue()
  threading.Thread(target=_read, args=(jobs,), daemon=True).start()
  while True:
    job = jobs.get()
    directory = pathlib.Path(job['directory'])
    directory.mkdir(parents=True, exist_ok=True)
    log = os.open(directory / 'log.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    outcome = attempt(execute, ConfigDict(_tuples(job['config'])), directory)
    sys.stdout.flush()
    sys.stderr.flush()
    answers.write(json.dumps(dataclasses.asdict(outcome)) + '\n')
    answers.flush()


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--cores', default='')
  cores = parser.parse_args().cores
  if cores:  # before JAX starts its threads
    os.sched_setaffinity(0, {int(core) for core in cores.split(',')})
  # A terminal's Ctrl-C goes to the parent, which ends its workers.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  from absl import logging

  from edjax.runtime import compile_cache, malloc
  from edjax.train import train_and_evaluate

  malloc.keep()
  logging.set_verbosity(logging.WARNING)
  shared = compile_cache.CompileCache()
  serve(functools.partial(train_and_evaluate, shared=shared))


if __name__ == '__main__':
  main()
