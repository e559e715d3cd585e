"""Compiled programs that several runs share.

Runs of one configuration that differ in seeds, subsets and sizes differ in
numbers that a program may be given: the seed, the scales of the channels and
the learning rate. Without that each of them would be compiled again.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from edjax.voxelize import Voxelizer


class StepInputs(NamedTuple):
  """Numbers of a run that its compiled programs are given.

  Attributes:
    seed: `config.train.seed`, uint32.
    scale_C: what each raw channel is divided by, float32.
    learning_rate: `config.optim.learning_rate`, float32.
  """

  seed: jax.Array
  scale_C: jax.Array
  learning_rate: jax.Array


def step_inputs(config: ConfigDict, voxelizer: Voxelizer) -> StepInputs:
  """Returns the step inputs of a run, on the host."""
  return StepInputs(
    np.uint32(config.train.seed),
    scales_of(voxelizer),
    np.float32(config.optim.learning_rate),
  )


def scales_of(voxelizer: Voxelizer) -> np.ndarray:
  """Returns scale_C of a voxelizer; ones where it has none."""
  scales = voxelizer.scales or (1.0,) * len(voxelizer.raw_names)
  return np.array(scales, np.float32)


def bare(voxelizer: Voxelizer) -> Voxelizer:
  """Returns a voxelizer without scales, which runs share."""
  return dataclasses.replace(voxelizer, scales=())


def scaled(voxelizer: Voxelizer, inputs: StepInputs) -> Callable:
  """Returns Molecule -> vox_XYZC of a `bare` voxelizer and the scales given."""
  return lambda mol: voxelizer.finish(voxelizer.raw(mol), inputs.scale_C)


def shared_part(config: ConfigDict) -> FrozenConfigDict:
  """Returns the fields that programs depend on, beside their network."""
  optim = config.optim.to_dict()
  del optim['learning_rate']  # one of the `StepInputs`
  return FrozenConfigDict(
    {
      'augment': config.augment.to_dict(),
      'optim': optim,
      'train': {'steps': config.train.steps},
    }
  )


class CompileCache:
  """Keeps the programs that were compiled last.

  Args:
    most: how many programs.
  """

  def __init__(self, most: int = 64):
    self.get = functools.lru_cache(most)(lambda make, *key: make(*key))
    """get(make, *key) returns make(*key), made once for each key."""

  def of_run(self, make: Callable, config: ConfigDict, task, *options):
    """Returns make(shared_part, model, bare voxelizer, *options) of a run."""
    key = shared_part(config), task.model, bare(task.voxelizer)
    return self.get(make, *key, *options)
