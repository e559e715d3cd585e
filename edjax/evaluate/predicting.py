"""Predicts batches, in random orientations."""

from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from edjax import geometry
from edjax.data import batching
from edjax.kernels.numerics import batched
from edjax.molecule import Molecule
from edjax.runtime import compile_cache, multihost, parallel
from edjax.task import Task
from edjax.voxelize import voxel_chunk

# Motions of evaluations use other random numbers than training
# (edjax.train folds in 0, 1 and 2).
_EVALUATE = 3


def make_predict(
  config: ConfigDict,
  task: Task,
  shared: compile_cache.CompileCache | None = None,
) -> Callable:
  """Compiles the prediction of a batch.

  Args:
    config: resolved.
    task: the task, or what has its voxelizer and model.
    shared: compiled programs of several runs in one process.

  Returns:
    predict(params, molecules, rotation_number) -> standardised [D, B/D, T];
    every argument has a leading device axis.
  """
  shared = shared or compile_cache.CompileCache()
  voxelizer = compile_cache.bare(task.voxelizer)
  predict = shared.get(_predict, motions_of(config), task.model, voxelizer)
  inputs = parallel.replicate(compile_cache.step_inputs(config, task.voxelizer))
  return lambda *args: predict(*args, inputs)


def all_of(
  predict: Callable,
  params,
  molecules: Molecule | batching.Stream,
  n: int,
  rotations: int,
  size: int,
  label: str = '',
) -> np.ndarray:
  """Predicts molecules exactly once per rotation.

  Args:
    predict: from `make_predict`.
    params: of the network, on the host.
    molecules: see `batching.take`.
    n: their number.
    rotations: how many rotations.
    size: of a batch, over all devices.
    label: of the progress bar; '' for none.

  Returns:
    [rotations, n, T], standardised.
  """
  placed = parallel.replicate(params)
  numbers = [parallel.replicate(np.uint32(r)) for r in range(rotations)]
  outputs = []
  batches = [*batching.cover(n, size)]
  silent = not (label and multihost.is_first())
  for indices_B in tqdm(batches, label, unit='batch', disable=silent):
    batch = batching.take(molecules, parallel.shard(indices_B))
    turned_RBT = [parallel.gather(predict(placed, batch, r)) for r in numbers]
    outputs.append(np.stack(turned_RBT))
  return np.concatenate(outputs, 1)[:, :n]


def motions_of(config: ConfigDict) -> geometry.Motions:
  """Returns the motions that a configuration asks for, as in training."""
  return geometry.Motions(config.augment.rotate, config.augment.translate)


def _predict(motions: geometry.Motions, model, voxelizer):
  def predict(params, molecules, rotation_number, inputs):
    vox_BXYZC = voxels(motions, voxelizer, molecules, rotation_number, inputs)
    batch = len(vox_BXYZC)
    part = parallel.examples_at_a_time(batch)
    pred_PBT = jax.lax.map(
      lambda vox_BXYZC: model.apply({'params': params}, vox_BXYZC, train=False),
      vox_BXYZC.reshape(batch // part, part, *vox_BXYZC.shape[1:]),
    )
    return pred_PBT.reshape(batch, -1)

  return parallel.pmap(predict)


def voxels(
  motions: geometry.Motions, voxelizer, molecules, rotation_number, inputs
):
  """Returns the voxels of a batch at evaluation; part of compiled programs.

  Args:
    motions: from `motions_of`.
    voxelizer: from `compile_cache.bare`.
    molecules: a batch.
    rotation_number: number of the random motion of each molecule.
    inputs: `compile_cache.StepInputs`.

  Returns:
    vox_BXYZC.
  """
  chunk = voxel_chunk(voxelizer, molecules)
  return batched(turned(motions, voxelizer, rotation_number, inputs), chunk)(
    molecules
  )


def turned(
  motions: geometry.Motions, voxelizer, rotation_number, inputs
) -> Callable[[Molecule], jax.Array]:
  """Returns one molecule -> its vox_XYZC, moved; see `voxels`."""
  key = motion_key(inputs.seed, rotation_number)
  voxelize = compile_cache.scaled(voxelizer, inputs)

  def moved(mol):
    return voxelize(geometry.random_motion(key, mol, motions))

  return moved


def motion_key(seed, rotation_number) -> jax.Array:
  """Returns the key of a random motion at evaluation."""
  key = jax.random.fold_in(jax.random.key(seed), _EVALUATE)
  return jax.random.fold_in(key, rotation_number)
