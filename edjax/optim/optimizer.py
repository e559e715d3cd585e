"""Muon or AdamW, schedule, clipping, and the average of the weights."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from flax import traverse_util
from ml_collections import ConfigDict

# As published: the momentum, and the root mean square of an update over the
# learning rate, which is about that of AdamW.
_MUON_BETA = 0.95
_MUON_RMS = 0.2
# One row for each of five iterations, over which optax loops; three numbers
# alone it would unroll, which takes longer to compile.
_MUON_COEFFICIENTS = ((3.4445, -4.775, 2.0315),) * 5
# Layers whose outputs are predictions, left to AdamW.
_LAST_LAYERS = ('out', 'linear')
# Replaces the norm of a kernel of zeros.
_TINY = 1e-12


def make_schedule(config_optim: ConfigDict, total_steps: int) -> optax.Schedule:
  """Returns the share of the learning rate at each step.

  It rises linearly, then falls as half a cosine. With w = round(warmup_fraction
  * total_steps), at most total_steps - 1, step s < w takes (s + 1) / (w + 1)
  (never 0: no step is wasted), step w takes 1, and the last step, if after w,
  final_fraction. `optax.warmup_cosine_decay_schedule` is not used: it rounds
  differently, by up to 3e-6, which would change every network.

  Args:
    config_optim: `config.optim`; reads warmup_fraction and final_fraction.
    total_steps: number of optimisation steps, at least 1.
  """
  floor = config_optim['final_fraction']
  # At least one step is left at the peak.
  warmup = min(
    round(config_optim['warmup_fraction'] * total_steps), total_steps - 1
  )
  decay = max(total_steps - 1 - warmup, 1)

  def schedule(step):
    progress = jnp.clip((step - warmup) / decay, 0, 1)
    cosine = floor + (1 - floor) * 0.5 * (1 + jnp.cos(math.pi * progress))
    return jnp.minimum((step + 1) / (warmup + 1), cosine)

  return schedule


def _decay_mask(params: Any) -> Any:
  """Returns True at the leaves named 'kernel', which alone decay."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: path[-1].key == 'kernel', params
  )


def _muon(config_optim: ConfigDict) -> optax.GradientTransformation:
  # Weight decay comes later: optax's Muon would apply it to biases too.
  return optax.contrib.muon(
    1.0,
    ns_coeffs=_MUON_COEFFICIENTS,
    beta=_MUON_BETA,
    adam_b1=config_optim['b1'],
    adam_b2=config_optim['b2'],
    consistent_rms=_MUON_RMS,
    muon_weight_dimension_numbers=_matrices,
  )


def _adamw(config_optim: ConfigDict) -> optax.GradientTransformation:
  return optax.adam(1.0, b1=config_optim['b1'], b2=config_optim['b2'])


# `config.optim` -> updates of a learning rate of 1, without weight decay.
OPTIMIZERS: dict[str, Callable[[ConfigDict], optax.GradientTransformation]] = {
  'muon': _muon,
  'adamw': _adamw,
}


def make_optimizer(
  config_optim: ConfigDict, total_steps: int
) -> optax.GradientTransformation:
  """Returns Muon or AdamW with clipping by the global norm and the schedule.

  Updates are for a learning rate of 1: a step multiplies them by that of its
  run, so that runs of different rates share a program.

  Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) makes the
  update of a kernel, seen as a matrix from inputs to outputs, orthogonal: all
  directions of its input move alike. Sums over a molecule are nearly
  proportional to its size, so that the directions which tell molecules of one
  size apart are small, and AdamW hardly moves along them. Biases, scales and
  the last layers are left to AdamW. Updates have the size of AdamW's (Liu et
  al. 2025, arXiv 2502.16982), so that one learning rate serves both.

  A step whose gradient is not finite changes nothing, at most skip_nonfinite
  times in a row (`optax.apply_if_finite`).

  Weight decay is decoupled (Loshchilov and Hutter 2019, arXiv 1711.05101),
  scaled by the learning rate, and applies to kernels only.

  Args:
    config_optim: `config.optim`; its learning_rate is not read.
    total_steps: number of optimisation steps.

  Returns:
    An optax transformation; its update needs the parameters. Its state holds
    the norms of the last update, see `last_update_norms`.
  """
  optimizer = optax.chain(
    optax.clip_by_global_norm(config_optim['clip_norm']),
    OPTIMIZERS[config_optim['name']](config_optim),
    # Updates have the sign of descent by now, hence the minus.
    optax.add_decayed_weights(-config_optim['weight_decay'], _decay_mask),
    optax.scale_by_schedule(make_schedule(config_optim, total_steps)),
    _keep_norms(),
  )
  allowed = config_optim['skip_nonfinite']
  return optax.apply_if_finite(optimizer, allowed) if allowed else optimizer


def _matrices(params: Any) -> Any:
  """Returns the matrix axes of each parameter for Muon; None: for AdamW."""

  def axes(path, leaf):
    last_layer = len(path) > 1 and path[-2].key in _LAST_LAYERS
    if path[-1].key != 'kernel' or leaf.ndim < 2 or last_layer:
      return None
    *inputs, output = range(leaf.ndim)
    return optax.contrib.MuonDimensionNumbers(tuple(inputs), (output,))

  return jax.tree_util.tree_map_with_path(axes, params)


class UpdateNorms(NamedTuple):
  """Norms of the last update of each parameter, as part of a state."""

  norms: Any


def _keep_norms() -> optax.GradientTransformation:
  """Returns a transformation that stores the norms of updates unchanged."""

  def init(params):
    return UpdateNorms(jax.tree.map(lambda p: jnp.zeros((), p.dtype), params))

  def update(updates, state, params=None):
    del state, params
    return updates, UpdateNorms(jax.tree.map(jnp.linalg.norm, updates))

  return optax.GradientTransformation(init, update)


def last_update_norms(opt_state: Any) -> Any:
  """Returns the norm of each parameter's last update, for a rate of 1.

  It is 0 before the first step. Steps that were skipped do not count.

  Args:
    opt_state: of `make_optimizer`.
  """
  return optax.tree_utils.tree_get(opt_state, 'norms')


def ema_update(ema_params: Any, params: Any, decay: float, step) -> Any:
  """Returns the exponential moving average of the weights after a step.

  The decay in force is min(decay, (1 + step) / (10 + step)), so that the
  initial weights are forgotten early (the warm-up of TensorFlow's
  ExponentialMovingAverage with num_updates).

  Args:
    ema_params: the average so far.
    params: the new weights, same structure.
    decay: in [0, 1); 0 copies the weights.
    step: steps done before this one, an integer or a scalar array.

  Returns:
    The new average, same structure.
  """
  decay = jnp.minimum(decay, (1 + step) / (10 + step))

  def average(old, new):
    # In this form, unlike that of `optax.incremental_update`, the average of
    # equal weights equals them.
    return old + (1 - decay).astype(old.dtype) * (new - old)

  return jax.tree.map(average, ema_params, params)


def update_over_weight(config: ConfigDict, state) -> dict[str, float]:
  """Divides the norm of the last update of each kernel by the kernel's norm.

  The large first ratios of kernels that start at zero mean nothing.

  Args:
    config: resolved.
    state: `train_step.TrainState` on the host.

  Returns:
    Path of the layer, such as 'trunk/stem/conv' -> ratio.
  """
  norms = traverse_util.flatten_dict(last_update_norms(state.opt_state))
  rate = config.optim.learning_rate
  return {
    '/'.join(path[:-1]): rate * float(norms[path]) / max(_norm(kernel), _TINY)
    for path, kernel in traverse_util.flatten_dict(state.params).items()
    if path[-1] == 'kernel'
  }


def _norm(x) -> float:
  return float(np.linalg.norm(np.ravel(x).astype(np.float64)))
