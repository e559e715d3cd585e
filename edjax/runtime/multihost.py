"""Several processes, on one machine or many, as one run.

Every process holds the data, computes its share of each batch and of each
evaluation, and takes the same decisions. The first one alone has the run
directory: it reads checkpoints, writes, and sends the others what they need.
"""

import contextlib
import json
import os
from collections.abc import Iterator

import jax
import numpy as np

from edjax.config import ConfigError


def start(coordinator: str, count: int = 0, index: int = -1) -> None:
  """Connects the processes; must come before anything else that JAX does.

  Args:
    coordinator: address:port of the first process, the same for all, or
      'auto' on a TPU pod, SLURM or another cluster that JAX knows.
    count: number of processes; needed with an address.
    index: number of this one, from 0; needed with an address.

  Raises:
    ConfigError: an address without a count or an index that is one of them.
  """
  # Accelerators have their own collectives, whatever this says.
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
  """Returns the number of processes."""
  return jax.process_count()


def is_first() -> bool:
  """Returns whether this process has the run directory."""
  return jax.process_index() == 0


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
  """Silences standard output in all processes but the first."""
  if is_first():
    yield
    return
  with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere):
    yield


def share(x_B: np.ndarray) -> np.ndarray:
  """Returns this process's part of a batch [B, ...] that all processes have.

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
  """Returns the parts of all processes, one after the other: [B, ...]."""
  if count() == 1:
    return x_B
  from jax.experimental import multihost_utils

  return np.asarray(multihost_utils.process_allgather(x_B, tiled=True))


def any_of(flag: bool) -> bool:
  """Returns in all processes whether the flag is set in any."""
  if count() == 1:
    return flag
  return bool(joined(np.array([flag])).any())


def broadcast_from_first(value):
  """Returns the first process's value in all of them.

  Args:
    value: JSON-compatible; ignored in the others.
  """
  if count() == 1:
    return value
  text = json.dumps(value).encode() if is_first() else b''
  size = int(broadcast_arrays_from_first(np.array(len(text))))
  padded = np.zeros(size, np.uint8)
  padded[: len(text)] = np.frombuffer(text, np.uint8)
  return json.loads(broadcast_arrays_from_first(padded).tobytes())


def broadcast_arrays_from_first(tree):
  """Returns the first process's arrays in all of them.

  Args:
    tree: pytree of host arrays; in the others only its structure, types and
      shapes matter, which must be the same.
  """
  if count() == 1:
    return tree
  from jax.experimental import multihost_utils

  return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(tree))
