"""Does the runs of a study on the workers of an existing Dask cluster.

A slot of the queue submits one run after another. Dask chooses the worker, and
another one if the first dies: the run then resumes from its checkpoint.
"""

import contextlib
import functools
import os
import pathlib
import pickle
import time
import uuid
from collections.abc import Callable, Iterator

from absl import logging

from edjax.config import ConfigError
from edjax.runtime import malloc, preemption
from edjax.study import worker

# On a worker: keys of the commands whose runs are to stop.
_STOPPED: set[str] = set()


@contextlib.contextmanager
def connected(
  address: str, directory: pathlib.Path, at_once: int
) -> Iterator[Callable[[], list]]:
  """Connects to a cluster during the block.

  Args:
    address: of its scheduler, such as 'tcp://HOST:8786'.
    directory: of the study.
    at_once: number of runs that the cluster has at a time; 0: one a worker.

  Yields:
    () -> slots for `work_queue.Queue`. It raises ConfigError if a worker has
    several threads, cannot import edjax or does not see the directory.

  Raises:
    ConfigError: Dask is not installed, or no scheduler answers.
  """
  try:
    import distributed
  except ImportError as error:
    raise ConfigError("--dask: no Dask here; pip install '.[dask]'") from error
  try:
    client = distributed.Client(address, set_as_default=False)
  except (OSError, ValueError) as error:
    raise ConfigError(
      f'--dask={address}: no scheduler answers there ({error})'
    ) from error
  with client:
    yield lambda: _slots(client, directory, at_once)


def _slots(client, directory: pathlib.Path, at_once: int) -> list['Slot']:
  answers = client.run(_problem, os.getcwd(), directory, on_error='return')
  if not answers:
    raise ConfigError('--dask: the cluster has no workers yet')
  for name, problem in answers.items():
    if problem is not None:
      raise ConfigError(f'--dask: worker {name}: {problem}')
  key = uuid.uuid4().hex

  @functools.cache
  def stop() -> None:  # once for all slots
    client.run(_stop, key, on_error='return')

  return [Slot(client, key, stop) for _ in range(at_once or len(answers))]


class Slot:
  """Does runs one after another on any worker; see `worker.ProcessSlot`.

  Args:
    client: of the cluster.
    key: of this command.
    stop: lets the workers save all runs of this command.
  """

  def __init__(self, client, key: str, stop: Callable[[], None]):
    self._client, self._key, self.stop = client, key, stop
    self._future = None

  def run(self, config, directory: pathlib.Path) -> worker.Outcome:
    """Does one run; blocks until it has ended.

    Raises:
      ConfigError: a worker that has joined cannot do runs.
      OSError: the scheduler is gone.
    """
    import distributed

    def call(task):  # sent by value: the scheduler reads it, without edjax
      function, *arguments = pickle.loads(task)
      return function(*arguments)

    begun = time.monotonic()
    task = pickle.dumps((_attempt, self._key, os.getcwd(), config, directory))
    self._future = self._client.submit(call, task, pure=False)
    try:
      return self._future.result()
    except distributed.CancelledError as error:
      raise OSError(f'--dask: the scheduler is gone ({error})') from error
    except distributed.scheduler.KilledWorker as error:
      message = (
        f'its worker died (tries: {error.allowed_failures + 1}); '
        'log.txt may say why'
      )
      worker.write_error(directory, f'{message}\n{error}\n')
      seconds = time.monotonic() - begun
      return worker.Outcome(worker.FAILED, seconds, message)

  def close(self) -> None:
    """Stops a run that has not ended; it can be resumed later."""
    if self._future is not None and not self._future.done():
      self.stop()
      self._future.cancel()


def _problem(cwd: str, directory: pathlib.Path, dask_worker) -> str | None:
  """Returns why a worker cannot do runs; Dask gives the worker."""
  if dask_worker.state.nthreads > 1:
    return (
      f'{dask_worker.state.nthreads} threads, where a run needs a process of '
      'its own; start workers with --nthreads 1'
    )
  if not pathlib.Path(cwd, directory).is_dir():
    return (
      f'there is no {pathlib.Path(cwd, directory)}; give a --workdir on '
      'storage that all workers see'
    )
  return None


def _stop(key: str) -> None:
  """Lets a worker save its run if it is of this command."""
  _STOPPED.add(key)


def _attempt(key: str, cwd: str, config, directory: pathlib.Path):
  """Does one run on a worker; paths are relative to those of the command."""
  import distributed

  study = directory.parents[1]
  if problem := _problem(cwd, study, distributed.get_worker()):
    raise ConfigError(f'--dask: {problem}')
  if key in _STOPPED:
    return worker.Outcome(worker.STOPPED)
  with contextlib.chdir(cwd), preemption.told(lambda: key in _STOPPED):
    return _local_slot().run(config, directory)


@functools.cache
def _local_slot() -> worker.LocalSlot:
  """Returns the worker's slot, which keeps compiled programs."""
  malloc.keep()
  logging.set_verbosity(logging.WARNING)
  return worker.LocalSlot()
