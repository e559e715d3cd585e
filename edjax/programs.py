"""Compiled programs that several runs share.

Runs of one configuration that differ in seeds, subsets and sizes differ in
numbers that a program may be given: the seed and the scales of the channels.
Without that each of them would be compiled again.
"""

import collections
import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict


class Constants(NamedTuple):
  """What differs between runs of one program.

  Attributes:
    seed: `config.train.seed`, uint32.
    scale_C: what each channel is divided by, float32.
  """

  seed: jax.Array
  scale_C: jax.Array


def constants_of(config, task) -> Constants:
  """Those of a run, on the host."""
  scales = task.voxelizer.scales or (1.0,) * task.voxelizer.num_channels
  return Constants(np.uint32(config.train.seed), np.array(scales, np.float32))


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
  """What programs of a configuration depend on, beside shapes."""
  shared = ConfigDict(config).copy_and_resolve_references()
  shared.data = ConfigDict({'targets': config.data.targets})
  shared.train.seed = 0
  return FrozenConfigDict(shared)


class Programs:
  """Keeps the programs of the last few kinds of runs.

  Args:
    most: how many of each purpose.
  """

  def __init__(self, most: int = 4):
    self._most = most
    self._kept = collections.OrderedDict()

  def get(self, purpose: str, config, task, make: Callable, *options):
    """A program, made where there is none yet.

    Args:
      purpose: its name.
      config: resolved.
      task: of the run.
      make: make(config, model, voxelizer, *options) -> program, where config
        and voxelizer hold nothing of `Constants`.
      *options: on which the program depends too; hashable.
    """
    shared = shared_part(config)
    voxelizer = bare(task.voxelizer)
    key = purpose, shared, task.model, voxelizer, options
    if key not in self._kept:
      self._kept[key] = make(shared, task.model, voxelizer, *options)
      if len(self._kept) > self._most * len({k[0] for k in self._kept}):
        self._kept.popitem(last=False)
    self._kept.move_to_end(key)
    return self._kept[key]
