"""The batches of each call, taken on the devices or sent to them."""

from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from edjax.data import batching
from edjax.runtime import parallel
from edjax.task import Task


def make_feed(
  config: ConfigDict, task: Task
) -> tuple[bool, Callable[[int], tuple]]:
  """Decides how calls get their batches.

  Returns:
    (on_device, feed): whether the data lie on the devices; feed(step) -> the
    arguments of a call, see `train_step.make_train_call`.
  """
  molecules = task.molecules['train']
  labels_NT = task.labels.values_NT[task.rows['train']]
  n = len(task.rows['train'])
  streamed = isinstance(molecules, batching.Stream)
  on_device = False
  if not streamed:
    size = sum(x.nbytes for x in jax.tree.leaves((molecules, labels_NT)))
    on_device = size <= config.train.device_data_gib * 2**30
  placed = parallel.replicate((molecules, labels_NT)) if on_device else None

  def indices_of(step: int):  # [D, S, B/D]
    indices_SB = np.stack(
      [
        batching.batch_indices(
          config.train.seed, step + i, n, config.train.batch_size
        )
        for i in range(config.train.steps_per_call)
      ]
    )
    return np.swapaxes(parallel.shard(np.swapaxes(indices_SB, 0, 1)), 1, 2)

  def batch(step: int):
    indices = indices_of(step)
    return batching.take(molecules, indices), labels_NT[indices]

  if on_device:
    return True, lambda step: (placed, indices_of(step))
  if streamed:
    batch = batching.Prefetcher(
      batch, config.train.steps, config.train.steps_per_call
    )
  return False, lambda step: (batch(step),)
