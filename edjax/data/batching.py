"""Batches: the examples of a step, and their molecules."""

import functools
from collections.abc import Iterator

import jax
import numpy as np

from edjax.data.padded import make_molecules
from edjax.molecule import Molecule

# Molecules in a block of `blocks`.
_BLOCK = 4096


class Stream:
  """Padded molecules of some rows, made batch by batch.

  It is for parts that do not fit into memory: only the molecules of a batch are
  read from the memory-mapped pack.

  Args:
    source, rows, padding, selection: see `make_molecules`.
  """

  def __init__(self, source, rows, padding, selection):
    self._source, self._rows = source, np.asarray(rows)
    self._padding, self._selection = padding, selection

  def __len__(self) -> int:
    return len(self._rows)

  def take(self, indices) -> Molecule:
    """Returns some of the molecules, as `batching.take` does."""
    indices = np.asarray(indices)
    made = make_molecules(
      self._source, self._rows[indices.ravel()], self._padding, self._selection
    )
    return jax.tree.map(lambda x: x.reshape(*indices.shape, *x.shape[1:]), made)


def molecules_of(source, rows, padding, selection, memory: float):
  """Returns padded molecules, or a `Stream` of them to save memory.

  Args:
    source, rows, padding, selection: see `make_molecules`.
    memory: bytes above which it is a `Stream`.
  """
  one = make_molecules(source, rows[:1], padding, selection)
  if len(rows) * sum(x.nbytes for x in jax.tree.leaves(one)) > memory:
    return Stream(source, rows, padding, selection)
  return make_molecules(source, rows, padding, selection)


def take(molecules: Molecule | Stream, indices) -> Molecule:
  """Returns some of the molecules of a part, as host arrays.

  Args:
    molecules: from `molecules_of`.
    indices: [...] positions in the part.

  Returns:
    Molecules with the leading axes of the indices.
  """
  if isinstance(molecules, Stream):
    return molecules.take(indices)
  return jax.tree.map(lambda x: x[indices], molecules)


def blocks(molecules: Molecule | Stream) -> Iterator[Molecule]:
  """Yields all molecules of a part in order, some thousands at a time."""
  if not isinstance(molecules, Stream):
    yield molecules
    return
  for begin in range(0, len(molecules), _BLOCK):
    end = min(begin + _BLOCK, len(molecules))
    yield molecules.take(np.arange(begin, end))


class Prefetcher:
  """Makes the batches of a stream in threads, ahead of the steps.

  Args:
    make: step -> batch.
    steps: number of steps in all.
    per_call: steps per batch that `make` returns.
  """

  def __init__(self, make, steps: int, per_call: int):
    self._make, self._steps, self._per_call = make, steps, per_call
    self._next, self._batches = None, None

  def __call__(self, step: int):
    if step != self._next:
      import grain

      calls = grain.MapDataset.range(step, self._steps, self._per_call)
      options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
      self._batches = iter(calls.map(self._make).to_iter_dataset(options))
    self._next = step + self._per_call
    return next(self._batches)


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, n: int) -> np.ndarray:
  # Philox is counter-based: the order of an epoch needs no earlier epoch.
  bits = np.random.Philox(key=[seed, epoch])
  return np.random.Generator(bits).permutation(n)


def batch_indices(seed: int, step: int, n: int, batch: int) -> np.ndarray:
  """Returns the indices of the examples in the batch of a step.

  Epochs are permutations of the examples. A batch may span two of them, so that
  all examples are used equally often.

  Args:
    seed: of the order.
    step: number of the batch, from 0.
    n: number of examples.
    batch: batch size.

  Returns:
    [batch] int32 indices, a pure function of the arguments.

  Raises:
    ValueError: n or batch is below 1, or step is negative.
  """
  if n < 1 or batch < 1 or step < 0:
    raise ValueError(f'no batch {step} of {batch} from {n} examples')
  first = step * batch
  parts = []
  while len(parts) == 0 or sum(map(len, parts)) < batch:
    epoch, offset = divmod(first + sum(map(len, parts)), n)
    left = batch - sum(map(len, parts))
    parts.append(_permutation(seed, epoch, n)[offset : offset + left])
  return np.concatenate(parts).astype(np.int32)


def cover(n: int, size: int) -> Iterator[np.ndarray]:
  """Yields the positions of n examples in order, [size] at a time.

  The last batch is filled up with the first examples.
  """
  for begin in range(0, n, size):
    yield np.arange(begin, begin + size) % n
