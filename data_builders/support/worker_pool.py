"""Functions mapped over items in worker processes that may fail or die.

The workers are plain `python -c` children that talk through pipes. They do
not import the caller's main module, as `multiprocessing` would: a script
without a main guard and a notebook work, and jax is not loaded once per core.
A child that dies takes one chunk with it, whose items are then tried one by
one in fresh processes, so that one bad item costs itself alone.
"""

import collections
import contextlib
import importlib
import itertools
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

# Threads inside a worker would fight for the cores with the other workers.
_ONE_THREAD = dict.fromkeys(
  (
    'OMP_NUM_THREADS',
    'OPENBLAS_NUM_THREADS',
    'MKL_NUM_THREADS',
    'VECLIB_MAXIMUM_THREADS',
  ),
  '1',
)
_CHILD = (
  'import json, sys; sys.path[:] = json.loads(sys.argv[1]); '
  'from data_builders.support import worker_pool as w; w._serve(sys.argv[2])'
)


@contextlib.contextmanager
def environment(name: str, value: str) -> Iterator[None]:
  """Sets a variable within the block, also for processes started there."""
  before = os.environ.get(name)
  os.environ[name] = value
  try:
    yield
  finally:
    if before is None:
      del os.environ[name]
    else:
      os.environ[name] = before


class Failure(NamedTuple):
  """Stands in place of the value of an item that failed.

  Attributes:
    index: of the item.
    reason: one line.
  """

  index: int
  reason: str


def map_ordered(
  function: str,
  items: Sequence,
  workers: int | None = None,
  chunk: int = 64,
  progress: str = '',
) -> Iterator[Any]:
  """Computes function(*item) in the order of the items.

  At most a few chunks per worker are in flight, so that memory stays bounded
  when the values are consumed slowly.

  Args:
    function: 'module:name', importable in a fresh process.
    items: argument tuples that pickle can carry.
    workers: processes (default: as many as there are cores to this one).
    chunk: items sent at once.
    progress: label of a progress bar on stderr; '' for none.

  Yields:
    The value, or a `Failure` where the function raised or the process died.

  Raises:
    ValueError: workers or chunk is less than 1.
    RuntimeError: a worker cannot even start.
  """
  if workers is None:
    workers = len(os.sched_getaffinity(0))
  if workers < 1 or chunk < 1:
    raise ValueError(f'workers={workers} and chunk={chunk} must be at least 1')
  pool = Pool(function)
  starts = range(0, len(items), chunk)
  chunks = ((start, items[start : start + chunk]) for start in starts)
  bar = _bar(progress, len(items))
  with ThreadPoolExecutor(max(1, min(workers, len(starts)))) as threads:
    try:
      pending = collections.deque()
      while True:
        for job in itertools.islice(chunks, 3 * workers + 1 - len(pending)):
          pending.append(threads.submit(pool.run, *job))
        if not pending:
          break
        for value in pending.popleft().result():
          bar.update()
          yield value
    finally:
      threads.shutdown(wait=False, cancel_futures=True)
      pool.close()
      bar.close()


class Pool:
  """Worker processes: one a thread that calls `run`, replaced when it dies.

  Args:
    function: 'module:name', importable in a fresh process.
  """

  def __init__(self, function: str):
    self._function = function
    self._lock = threading.Lock()
    self._children = {}  # by thread
    self._closed = False

  def run(self, start: int, items: Sequence) -> list:
    """Computes the values of one chunk.

    Args:
      start: index of its first item.
      items: argument tuples.

    Returns:
      The value of each, or a `Failure` where the function raised or the
      process died.

    Raises:
      RuntimeError: a worker cannot even start.
    """
    try:
      return self._ask(start, items)
    except _ChildDiedError:
      return [self._alone(start + i, x) for i, x in enumerate(items)]

  def _alone(self, index: int, item):
    try:
      return self._ask(index, [item])[0]
    except _ChildDiedError as error:
      return Failure(index, str(error))

  def _ask(self, start: int, items: Sequence) -> list:
    thread = threading.get_ident()
    if thread not in self._children and not self._closed:
      child = _Child(self._function)
      with self._lock:
        self._children[thread] = child
    if self._closed:  # perhaps while the child started
      self.close()
      raise RuntimeError('the pool is closed')
    child = self._children[thread]
    try:
      return child.ask((start, items))
    except _ChildDiedError:
      with self._lock:
        del self._children[thread]
      raise

  def close(self) -> None:
    """Ends all workers, whatever they are doing."""
    with self._lock:
      self._closed = True
      for child in self._children.values():
        child.close()


class _ChildDiedError(Exception):
  pass


class _Child:
  """A worker process and the pipes to it."""

  def __init__(self, function: str):
    self._process = subprocess.Popen(
      [sys.executable, '-c', _CHILD, json.dumps(sys.path), function],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      env=os.environ | _ONE_THREAD,
    )
    try:
      self._receive()
    except _ChildDiedError as error:
      self.close()
      raise RuntimeError(
        f'a worker for {function} did not start ({error}); its message is on '
        'stderr'
      ) from None

  def ask(self, job) -> list:
    try:
      pickle.dump(job, self._process.stdin, pickle.HIGHEST_PROTOCOL)
      self._process.stdin.flush()
    except (BrokenPipeError, ValueError) as error:
      self._died(error)
    return self._receive()

  def _receive(self):
    try:
      return pickle.load(self._process.stdout)
    except (EOFError, pickle.UnpicklingError, ValueError) as error:
      self._died(error)

  def _died(self, error):
    self._process.kill()
    code = self._process.wait()
    self.close()
    raise _ChildDiedError(
      f'the worker process died (exit status {code})'
    ) from error

  def close(self) -> None:
    self._process.kill()
    self._process.wait()
    for pipe in (self._process.stdin, self._process.stdout):
      # What was still to be flushed has no reader any more.
      with contextlib.suppress(BrokenPipeError, ValueError):
        pipe.close()


def _serve(function: str) -> None:
  """Runs the main loop of a worker; ends with its input."""
  import signal

  # Ctrl-C reaches the whole group; the caller decides and closes the pipe.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  # Answers have a descriptor of their own: what libraries print must not get
  # between them.
  answers = os.fdopen(os.dup(1), 'wb')
  with open(os.devnull, 'wb') as nowhere:
    os.dup2(nowhere.fileno(), 1)
  module, name = function.split(':')
  call = getattr(importlib.import_module(module), name)

  def answer(values):
    pickle.dump(values, answers, pickle.HIGHEST_PROTOCOL)
    answers.flush()

  answer('ready')
  while True:
    try:
      start, items = pickle.load(sys.stdin.buffer)
    except EOFError:
      return
    answer([_attempt(call, start + i, item) for i, item in enumerate(items)])


def _attempt(call, index: int, item):
  try:
    return call(*item)
  except Exception as error:  # any bad item is reported, none stops the rest
    text = ' '.join(str(error).split())
    return Failure(index, f'{type(error).__name__}: {text}')


def _bar(label: str, total: int):
  from tqdm import tqdm

  quiet = not sys.stderr.isatty()
  return tqdm(
    total=total,
    desc=label,
    unit=' molecules',
    disable=not label,
    mininterval=30 if quiet else 0.5,
  )
