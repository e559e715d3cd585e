"""Several processes, on one machine or many, as one run.

Every process holds the data, computes its share of each batch and of each
evaluation, and takes the same decisions; the first one alone has the run
directory: it reads checkpoints, writes, and tells the others.
"""

import contextlib
import json
import os
from collections.abc import Iterator

import jax
import numpy as np

from edjax.config import ConfigError


def start(coordinator: str, count: int = 0, index: int = -1) -> None:
  """Connects the processes; before anything else that JAX does.

  Args:
    coordinator: address:port of the first process, the same for all, or
      'auto': of a TPU pod, SLURM or another cluster that JAX knows.
    count: how many processes; with an address.
    index: of this one, from 0; with an address.

  Raises:
    ConfigError: an address without a count or an index that is one of them.
  """
  # Of no effect on accelerators, which have their own.
  jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  if coordinator == 'auto':
    jax.distributed.initialize()
    return
  if not (count >= 1 and 0 <= index < count):
    raise ConfigError(
      f'--coordinator={coordinator} needs --processes, and --process from 0 to '
      f'one less; got {count} and {index}'
    )
  jax.distributed.initialize(coordinator, count, index)


def count() -> int:
  """How many there are."""
  return jax.process_count()


def is_first() -> bool:
  """Whether this one has the run directory."""
  return jax.process_index() == 0


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
  """The others print nothing but errors (and show no progress bars)."""
  if is_first():
    yield
    return
  with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere):
    yield


def share(x_B: np.ndarray) -> np.ndarray:
  """This process's part of a batch that all processes have.

  Raises:
    ValueError: its length is no multiple of the number of all devices.
  """
  if x_B.shape[0] % jax.device_count():
    raise ValueError(
      f'a batch of {x_B.shape[0]} cannot be split over {jax.device_count()} '
      'devices'
    )
  size = x_B.shape[0] // count()
  begin = jax.process_index() * size
  return x_B[begin : begin + size]


def joined(x_B: np.ndarray) -> np.ndarray:
  """The parts of all processes, in order."""
  if count() == 1:
    return x_B
  from jax.experimental import multihost_utils

  return np.asarray(multihost_utils.process_allgather(x_B, tiled=True))


def any_of(flag: bool) -> bool:
  """Whether it is so in any process; the same answer in all."""
  if count() == 1:
    return flag
  return bool(joined(np.array([flag])).any())


def broadcast_from_first(value, tree=None):
  """What the first process has, in all of them.

  Args:
    value: JSON-compatible, in the first process; ignored in the others.
    tree: with it, value is ignored, and this is a pytree of arrays, of the same
      structure, types and shapes in all processes.
  """
  if count() == 1:
    return value if tree is None else tree
  from jax.experimental import multihost_utils

  send = multihost_utils.broadcast_one_to_all
  if tree is not None:
    return jax.tree.map(np.asarray, send(tree))
  text = json.dumps(value).encode() if is_first() else b''
  size = int(send(np.array(len(text))))
  padded = np.zeros(size, np.uint8)
  padded[: len(text)] = np.frombuffer(text, np.uint8)
  return json.loads(np.asarray(send(padded)).tobytes())
