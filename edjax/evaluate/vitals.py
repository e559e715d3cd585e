"""Measures the activity of the parts of a network: trunk, channels, kernels.

A network whose convolutions are dead can still predict well from the moments of
its input. Errors do not show that; these numbers do.
"""

from collections.abc import Mapping

import jax
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from edjax import models
from edjax.data import batching
from edjax.evaluate import predicting
from edjax.runtime import compile_cache
from edjax.runtime.run_directory import RunDirectory
from edjax.task import Task

# Validation molecules that are evaluated, at most: the first ones.
_MOLECULES = 256
# A channel that varies by less than this share of its layer is dead.
_DEAD = 1e-3
# Standard deviation below which standardised predictions are constant: rounding
# errors of float32 in sums that cancel.
_CONSTANT = 1e-6
# Share of a target's variance under which reports call the trunk idle.
IDLE = 0.05


def trunk_share(full_NT, frozen_NT) -> np.ndarray:
  """Returns the share of the predictions' variance that the trunk carries.

  It is Var(full - frozen) / Var(full) over examples: exactly 0 where the trunk
  adds at most a constant, 1 where the head reads the trunk alone, above 1 where
  trunk and moments cancel, and 0 where full is constant.

  Args:
    full_NT: standardised predictions.
    frozen_NT: predictions from the mean features of these examples in place of
      the features of each.

  Returns:
    [T], float64.
  """
  full_NT = np.asarray(full_NT, np.float64)
  change_T = (full_NT - np.asarray(frozen_NT, np.float64)).var(0)
  constant_T = constant(full_NT)
  return np.where(
    constant_T, 0.0, change_T / np.where(constant_T, 1.0, full_NT.var(0))
  )


def constant(full_NT) -> np.ndarray:
  """Returns which targets have constant predictions, [T]."""
  return np.asarray(full_NT, np.float64).std(0) < _CONSTANT


def dead_channels(std_of_layer: Mapping) -> dict[str, list[int]]:
  """Counts the channels of each layer that do not vary.

  A channel is dead when its standard deviation is under 1e-3 of the root mean
  square of those of its layer; in a layer without variation all are dead.

  Args:
    std_of_layer: name -> [C] standard deviations over voxels and molecules.

  Returns:
    name -> [dead channels, all channels].
  """
  counts = {}
  for name, std_C in std_of_layer.items():
    std_C = np.asarray(std_C, np.float64)
    floor = _DEAD * np.sqrt(np.square(std_C).mean())
    dead_C = std_C < floor if floor else std_C == 0
    counts[name] = [int(dead_C.sum()), len(std_C)]
  return counts


def in_all(counts: Mapping) -> tuple[int, int]:
  """Sums the result of `dead_channels`: (dead channels, all channels)."""
  dead, channels = np.array([(0, 0), *counts.values()]).sum(0).tolist()
  return dead, channels


def idle(share_of_target: Mapping) -> list[str]:
  """Returns the targets of which the trunk carries next to nothing.

  Args:
    share_of_target: target -> share; None where it was not finite.
  """
  return [
    target
    for target, share in share_of_target.items()
    if share is not None and share < IDLE
  ]


class Observer:
  """Measures networks of a run, always on the same molecules.

  Every process of a run does so by itself, on its first device.

  Args:
    config: resolved.
    task: the task.
    shared: compiled programs of several runs in one process.
  """

  def __init__(
    self,
    config: ConfigDict,
    task: Task,
    shared: compile_cache.CompileCache | None = None,
  ):
    shared = shared or compile_cache.CompileCache()
    self._config, self._task = config, task
    self._inputs = compile_cache.step_inputs(config, task.voxelizer)
    model = task.model
    self._has_trunk = isinstance(model, models.Network) and bool(model.trunk)
    voxelizer = compile_cache.bare(task.voxelizer)
    motions = predicting.motions_of(config)
    self._look = shared.get(_parts, motions, model, voxelizer)
    self._read = shared.get(_head, model)

  def carried(self, params) -> dict:
    """Returns the shares of the trunk and dead channels, for JSON.

    Args:
      params: of the network, on the host.

    Returns:
      'trunk_share': target -> number, 'constant_predictions': targets whose
      predictions are constant, and 'dead_channels': layer -> [dead, all]. All
      are empty for a network without a trunk.
    """
    names = self._config.data.targets
    if not self._has_trunk:
      return {'trunk_share': {}, 'constant_predictions': [],
              'dead_channels': {}}  # fmt: skip
    params = jax.device_put(params, jax.local_devices()[0])
    features_NF, moments_NF, std_of_layer = self._look_at_all(params)
    # Equal features have to give equal predictions: hence the mean in float64,
    # and the same program for both.
    mean_F = features_NF.mean(0, dtype=np.float64).astype(features_NF.dtype)
    frozen_NF = np.broadcast_to(mean_F, features_NF.shape)
    full_NT = self._read(params, features_NF, moments_NF)
    frozen_NT = self._read(params, frozen_NF, moments_NF)
    shares = trunk_share(full_NT, frozen_NT).tolist()
    flat = constant(full_NT)
    return {
      'trunk_share': dict(zip(names, shares, strict=True)),
      'constant_predictions': [names[j] for j in np.flatnonzero(flat)],
      'dead_channels': dead_channels(std_of_layer),
    }

  def _look_at_all(self, params):
    """Runs the trunk on all molecules: features, moments, deviations."""
    molecules = self._task.molecules['validation']
    n = min(_MOLECULES, len(self._task.rows['validation']))
    # A device's share of an evaluation's batch, which fits into its memory.
    share = self._config.eval.batch_size // jax.device_count()
    batches = [
      jax.device_get(
        self._look(params, batching.take(molecules, indices_B), self._inputs)
      )
      for indices_B in batching.cover(n, min(n, max(share, 1)))
    ]
    features, moments, activities = zip(*batches, strict=True)
    moments_NF = None if moments[0] is None else np.concatenate(moments)[:n]
    std_of_layer = {
      name: np.sqrt(np.mean([np.square(a[name]) for a in activities], 0))
      for name in activities[0]
    }
    return np.concatenate(features)[:n], moments_NF, std_of_layer


def log(
  carried: Mapping, ratios: Mapping, step: int, run: RunDirectory
) -> None:
  """Logs the measurements of a network.

  Args:
    carried: from `Observer.carried`.
    ratios: from `optim.update_over_weight`.
    step: of the measured state.
    run: the run directory.
  """
  dead = carried['dead_channels']
  values = {
    f'trunk_share_{target}': share
    for target, share in carried['trunk_share'].items()
  }
  if dead:
    count, total = in_all(dead)
    values['dead_channels'] = count / total
  values |= {f'dead_{layer}': n / total for layer, (n, total) in dead.items()}
  for name, value in values.items():
    run.log(step, 'validation', name, value, '')
  for layer, ratio in ratios.items():
    run.log(step, 'train', f'update_over_weight_{layer}', ratio, '')


def _parts(motions, model, voxelizer):
  """Compiles (params, molecules, inputs) -> features, moments, activity."""

  def parts(params, molecules, inputs):
    vox_BXYZC = predicting.voxels(motions, voxelizer, molecules, 0, inputs)
    variables = {'params': params}
    features_BF, noted = model.apply(
      variables, vox_BXYZC, False, method='features', mutable=['activity']
    )
    moments_BF = model.apply(variables, vox_BXYZC, method='moments')
    activity = noted.get('activity', {}).get('trunk', {})
    flat = traverse_util.flatten_dict(activity, sep='/')
    return features_BF, moments_BF, flat

  return jax.jit(parts)


def _head(model):
  """Compiles (params, features_BF, moments_BF) -> pred_BT."""

  def read(network, features_BF, moments_BF):
    return network.head(features_BF, moments_BF, False)

  def head(params, features_BF, moments_BF):
    return model.apply({'params': params}, features_BF, moments_BF, method=read)

  return jax.jit(head)
