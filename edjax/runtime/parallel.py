"""Several devices: the only file that calls pmap.

A step is a plain function of one device's data that sums over `AXIS`; here it
is mapped over the devices. Arrays hold the part of this process's devices.
State and data are placed before the first call: state that is not would compile
the step twice, and data sent with `in_axes=None` would travel again at each
call.
"""

import os
from collections.abc import Callable

import jax
import numpy as np

from edjax.runtime import multihost

AXIS = 'devices'
_EXAMPLES_PER_CORE = 4


def pmap(f: Callable, **kwargs) -> Callable:
  """Maps f over the devices of all processes; inside, `AXIS` names them."""
  return jax.pmap(f, axis_name=AXIS, **kwargs)


def psum(tree):
  """Sums a pytree over all devices."""
  return jax.lax.psum(tree, AXIS)


def device_index() -> jax.Array:
  """Returns the number of the device that runs, int32."""
  return jax.lax.axis_index(AXIS)


def examples_at_a_time(batch: int) -> int:
  """Returns how many examples of a batch a network computes at a time.

  On one core of a CPU a step of the main job's network takes two thirds of the
  time, and a prediction a quarter (density) to two fifths (with bins), as the
  activations of few examples lie in its cache.
  """
  if jax.default_backend() != 'cpu' or not hasattr(os, 'sched_getaffinity'):
    return batch
  part = _EXAMPLES_PER_CORE * len(os.sched_getaffinity(0))
  return batch if batch % part else part


def replicate(tree):
  """Places one copy of a host pytree on each device (leading axis D)."""
  devices = jax.local_devices()
  mesh = jax.sharding.Mesh(np.array(devices), (AXIS,))
  sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))

  def place(x):
    x = np.asarray(x)
    shards = [jax.device_put(x[None], device) for device in devices]
    return jax.make_array_from_single_device_arrays(
      (len(devices), *x.shape), sharding, shards
    )

  return jax.tree.map(place, tree)


def unreplicate(tree):
  """Returns the first device's copy as host numpy arrays.

  `addressable_data(0)` instead of `x[0]`, which would run a program on all
  devices for each leaf.
  """
  return jax.tree.map(
    lambda x: np.asarray(x.addressable_data(0)).reshape(x.shape[1:]), tree
  )


def shard(x_B: np.ndarray) -> np.ndarray:
  """Splits the leading axis over the devices: [B, ...] -> [D, B/D, ...].

  Each of several processes keeps the part of its own devices.

  Raises:
    ValueError: B is no multiple of the number of all devices.
  """
  x_B = multihost.share(x_B)
  count = jax.local_device_count()
  return x_B.reshape(count, x_B.shape[0] // count, *x_B.shape[1:])


def gather(x_DB: jax.Array) -> np.ndarray:
  """Returns all devices' results on every host: [D, B/D, ...] -> [B, ...]."""
  x_DB = np.asarray(x_DB)
  return multihost.joined(x_DB.reshape(-1, *x_DB.shape[2:]))
