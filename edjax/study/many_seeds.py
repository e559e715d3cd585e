"""Several seeds train as one program: the step mapped over seeds.

Each seed is a run of its own, in a thread of its own, with its checkpoints and
evaluations. Only their calls of the train step meet here: the last one to come
starts one program for all of them. A small network leaves most of an
accelerator idle; several of them do not.
"""

import functools
import threading

import jax
import numpy as np

from edjax.runtime import compile_cache, parallel
from edjax.study import worker
from edjax.train import train_and_evaluate, train_step


class _Leaf:
  """One seed's share of an array [D, S, ...] that stays on the devices."""

  def __init__(self, whole: jax.Array, seat: int):
    self.whole, self.seat = whole, seat
    self.shape = (whole.shape[0], *whole.shape[2:])

  def addressable_data(self, device: int) -> np.ndarray:
    """[1, ...] of one device, as arrays of `pmap` have it."""
    return np.asarray(self.whole.addressable_data(device))[:, self.seat]


def _host(leaf) -> np.ndarray:
  """What a leaf holds on the first device."""
  return np.asarray(leaf.addressable_data(0))[0]


class Together:
  """Where the seeds of one group meet.

  Args:
    count: how many there are.
    shared: `compile_cache.Programs`.
  """

  def __init__(self, count: int, shared: compile_cache.Programs):
    self._shared = shared
    self._active = set(range(count))
    self._count = count
    self._fits = None  # not known before the first call
    self.at_once = 1
    """How many seeds the last call was for."""
    self._waiting: dict[int, tuple] = {}
    self._last: dict[int, tuple] = {}
    self._results: dict[int, object] = {}
    self._stacked: dict[tuple, object] = {}
    self._changed = threading.Condition()

  def seat(self, number: int) -> '_Seat':
    """The programs that the run of one seed is given."""
    return _Seat(self, self._shared, number)

  def leave(self, number: int) -> None:
    """A run has ended, or never begins; the others wait no longer for it."""
    with self._changed:
      self._active.discard(number)
      self._changed.notify_all()

  def call(self, number: int, compiled, alone, args: tuple):
    """One call of one seed; returns when all seeds have come to theirs.

    Args:
      number: of the seed.
      compiled: of all seeds.
      alone: of one seed, where they cannot be one program.
      args: of the call: state, data or batches, ...
    """
    with self._changed:
      if number not in self._active:  # the second attempt of a run
        return alone(*args)
      self._waiting[number] = args
      self._changed.notify_all()
      while number not in self._results:
        if self._waiting.keys() >= self._active:
          self._run(compiled, alone)
          self._changed.notify_all()
        else:
          self._changed.wait()
      result = self._results.pop(number)
      if isinstance(result, Exception):
        raise result
      return result

  def _run(self, compiled, alone) -> None:
    called = dict(self._waiting)
    self._waiting.clear()
    self._last |= called
    try:
      # One may have left before its first call, or be of another kind.
      met = len(self._last) == self._count and _alike(self._last.values())
      if met and self._run_together(compiled, called):
        return
      self.at_once = 1
      self._results |= {i: alone(*_own(args)) for i, args in called.items()}
    except Exception as error:
      self._results |= dict.fromkeys(called, error)

  def _run_together(self, compiled, called) -> bool:
    """Whether the devices have room for all seeds at once."""
    if self._fits is False:
      return False
    # Seats of those that have left go on with what they had last.
    seats = [self._last[i] for i in range(self._count)]
    states, *rest = zip(*seats, strict=True)
    try:
      fixed = [self._stack(part, _kept(self._stacked)) for part in rest]
      state, loss = compiled(self._stack(states, _joined), *fixed)
      if self._fits is None:  # what the first call needs, the others do
        jax.block_until_ready(loss)
      self._fits = True
    except jax.errors.JaxRuntimeError as error:
      if 'RESOURCE_EXHAUSTED' not in str(error):
        raise
      print(
        f'{self._count} seeds at once do not fit into the memory of the '
        'device; they train one after another'
      )
      self._fits = False
      self._stacked.clear()
      return False
    self.at_once = self._count
    for i in range(self._count):
      own = jax.tree.map(lambda x, i=i: _Leaf(x, i), state)
      self._last[i] = own, *self._last[i][1:]
      if i in called:
        self._results[i] = own, _Leaf(loss, i)
    return True

  @staticmethod
  def _stack(parts: tuple, join):
    """One argument of all seeds, [D, S, ...]."""
    leaves, tree = zip(*map(jax.tree.flatten, parts), strict=True)
    return jax.tree.unflatten(
      tree[0], [join(x) for x in zip(*leaves, strict=True)]
    )


def _own(args: tuple) -> tuple:
  """Arguments for the program of one seed."""
  return jax.tree.map(
    lambda x: parallel.replicate(_host(x)) if isinstance(x, _Leaf) else x, args
  )


def _joined(leaves: tuple):
  """Of a state: what the call before has left, without a copy."""
  first = leaves[0]
  if all(isinstance(v, _Leaf) and v.whole is first.whole for v in leaves):
    return first.whole
  return parallel.replicate(np.stack(_padded([_host(v) for v in leaves])))


def _padded(arrays):
  """With zeros to one shape.

  Subsets differ in their largest molecule: zeros are atoms, orbitals and map
  values that are not there.
  """
  if len({x.shape for x in arrays}) == 1:
    return arrays
  shape = np.max([x.shape for x in arrays], axis=0)
  return [
    np.pad(x, [(0, n - m) for n, m in zip(shape, x.shape, strict=True)])
    for x in arrays
  ]


def _kept(stacked: dict):
  """Of the rest: host arrays are new in each call, others always the same."""

  def join(leaves: tuple):
    if all(isinstance(v, np.ndarray) for v in leaves):
      return np.stack(_padded(leaves), axis=1)
    key = tuple(map(id, leaves))
    if key not in stacked:  # with the leaves, so that the ids stay taken
      stacked[key] = _joined(leaves), leaves
    return stacked[key][0]

  return join


def _alike(all_args) -> bool:
  """Whether states have one shape, and data one up to padding."""
  kinds = set()
  for state, *rest in all_args:
    leaves, tree = jax.tree.flatten(rest)
    shapes = tuple(x.shape for x in jax.tree.leaves(state))
    kinds.add((shapes, tuple(len(x.shape) for x in leaves), tree))
  return len(kinds) == 1


class _Seat(compile_cache.Programs):
  """Programs of one seed, whose train steps are everybody's."""

  def __init__(self, together, shared, number):
    self._together, self._shared, self._number = together, shared, number
    self.get = shared.get

  @property
  def at_once(self) -> int:
    """See `compile_cache.Programs`."""
    return self._together.at_once

  def of_run(self, make, config, task, *options):
    """See `compile_cache.Programs.of_run`."""
    alone = self._shared.of_run(make, config, task, *options)
    if make is not train_step.compile_call:
      return alone
    compiled = self._shared.of_run(make, config, task, *options, True)
    return lambda *args: self._together.call(
      self._number, compiled, alone, args
    )


class SeedSlot:
  """Runs of one seed of a group, for `work_queue.Queue`."""

  def __init__(self, together: Together, number: int):
    self._together, self._number = together, number

  def run(self, config, directory) -> worker.Outcome:
    """Runs one; blocks until it has ended."""
    execute = functools.partial(
      train_and_evaluate, shared=self._together.seat(self._number)
    )
    try:
      return worker.attempt(execute, config, directory)
    finally:
      self.close()

  def stop(self) -> None:
    """Runs notice SIGTERM by themselves (`preemption.noticed`)."""

  def close(self) -> None:
    """The others go on without it."""
    self._together.leave(self._number)


def slots(count: int, shared: compile_cache.Programs) -> list[SeedSlot]:
  """For as many runs that differ in their seeds alone."""
  together = Together(count, shared)
  return [SeedSlot(together, number) for number in range(count)]
