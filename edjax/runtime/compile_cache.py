"""Compiled programs that several runs share.

Runs of one configuration that differ in seeds, subsets and sizes differ in
numbers that a program may be given: the seed and the scales of the channels.
Without that each of them would be compiled again.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import FrozenConfigDict


class Constants(NamedTuple):
  """What differs between runs of one program.

  Attributes:
    seed: `config.train.seed`, uint32.
    scale_C: what each channel is divided by, float32.
    learning_rate: `config.optim.learning_rate`, float32.
  """

  seed: jax.Array
  scale_C: jax.Array
  learning_rate: jax.Array


def constants_of(config, task) -> Constants:
  """Those of a run, on the host."""
  return Constants(
    np.uint32(config.train.seed),
    scales_of(task.voxelizer),
    np.float32(config.optim.learning_rate),
  )


def scales_of(voxelizer) -> np.ndarray:
  """scale_C of a voxelizer; ones where it has none."""
  scales = voxelizer.scales or (1.0,) * voxelizer.num_channels
  return np.array(scales, np.float32)


def bare(voxelizer):
  """A voxelizer that knows no scales, so that runs share it."""
  return dataclasses.replace(voxelizer, scales=())


def scaled(voxelizer, constants: Constants | None) -> Callable:
  """Molecule -> vox_XYZC with the scales given.

  Args:
    voxelizer: `bare`, or anything where constants is None.
    constants: of the run; None: the voxelizer as it is.
  """
  if constants is None:
    return voxelizer
  scale_C = constants.scale_C.reshape(1, 1, 1, -1)
  return lambda mol: voxelizer.finish(voxelizer.raw(mol) / scale_C)


def shared_part(config) -> FrozenConfigDict:
  """The fields that steps and predictions depend on, beside their model."""
  return FrozenConfigDict(
    {
      'augment': config.augment.to_dict(),
      # Updates are proportional to the rate, which is given.
      'optim': config.optim.to_dict() | {'learning_rate': 1.0},
      'train': {'steps': config.train.steps, 'seed': 0},
    }
  )


class Programs:
  """Keeps what was compiled last.

  Args:
    most: how many programs.
  """

  def __init__(self, most: int = 64):
    self.get = functools.lru_cache(most)(lambda make, *key: make(*key))
    """get(make, *key) is make(*key), of which the last few are kept."""

  def of_run(self, make, config, task, *options):
    """make(shared_part, model, bare voxelizer, *options) of a run."""
    key = shared_part(config), task.model, bare(task.voxelizer)
    return self.get(make, *key, *options)
