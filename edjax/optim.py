"""AdamW with warm-up, cosine decay and clipping; an average of the weights."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax


def make_schedule(config_optim: Mapping, total_steps: int) -> optax.Schedule:
  """Learning rate at each step: a line up, then half a cosine down.

  With w = round(warmup_fraction * total_steps), at most total_steps - 1, step
  s < w takes learning_rate * (s + 1) / (w + 1) (never 0: no step is wasted),
  step w takes learning_rate, and the last step, where it comes after w,
  final_fraction of it.

  Args:
    config_optim: learning_rate, warmup_fraction, final_fraction.
    total_steps: number of optimisation steps, at least 1.

  Returns:
    step -> learning rate.

  Raises:
    ValueError: for total_steps < 1, a learning rate that is not above 0 or
      fractions outside [0, 1].
  """
  if total_steps < 1:
    raise ValueError(f'total_steps must be 1 or more, got {total_steps}.')
  _check_above_0(config_optim, 'learning_rate')
  for name in ('warmup_fraction', 'final_fraction'):
    if not 0 <= config_optim[name] <= 1:
      raise ValueError(
        f'optim.{name} must lie in [0, 1], got {config_optim[name]}.'
      )
  peak = config_optim['learning_rate']
  floor = config_optim['final_fraction']
  # At least one step is left at the peak.
  warmup = min(
    round(config_optim['warmup_fraction'] * total_steps), total_steps - 1
  )
  decay = max(total_steps - 1 - warmup, 1)

  def schedule(step):
    progress = jnp.clip((step - warmup) / decay, 0, 1)
    cosine = floor + (1 - floor) * 0.5 * (1 + jnp.cos(math.pi * progress))
    return peak * jnp.minimum((step + 1) / (warmup + 1), cosine)

  return schedule


def decay_mask(params: Any) -> Any:
  """True at the leaves named 'kernel', which weight decay applies to."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: path[-1].key == 'kernel', params
  )


def make_optimizer(
  config_optim: Mapping, total_steps: int
) -> optax.GradientTransformation:
  """Clipping by global norm, then AdamW on the schedule.

  With skip_nonfinite a step whose gradient is not finite changes nothing, so
  many times in a row (`optax.apply_if_finite`).

  Weight decay is decoupled (Loshchilov and Hutter 2019, arXiv 1711.05101),
  scaled by the learning rate, and applies to kernels only.

  Args:
    config_optim: `config.optim`: learning_rate, warmup_fraction,
      final_fraction, weight_decay (>= 0), clip_norm (> 0), b1 and b2
      (in [0, 1)), skip_nonfinite (>= 0).
    total_steps: number of optimisation steps.

  Returns:
    An optax transformation; its update needs the parameters.

  Raises:
    ValueError: for a field out of range.
  """
  _check_above_0(config_optim, 'clip_norm')
  if not 0 <= config_optim['weight_decay'] < math.inf:
    raise ValueError(
      f'optim.weight_decay must be 0 or more, got '
      f'{config_optim["weight_decay"]}.'
    )
  for name in ('b1', 'b2'):  # at 1 the corrected moments are 0 / 0
    if not 0 <= config_optim[name] < 1:
      raise ValueError(
        f'optim.{name} must lie in [0, 1), got {config_optim[name]}.'
      )
  optimizer = optax.chain(
    optax.clip_by_global_norm(config_optim['clip_norm']),
    optax.adamw(
      make_schedule(config_optim, total_steps),
      b1=config_optim['b1'],
      b2=config_optim['b2'],
      weight_decay=config_optim['weight_decay'],
      mask=decay_mask,
    ),
  )
  allowed = config_optim['skip_nonfinite']
  if allowed:
    optimizer = optax.apply_if_finite(optimizer, allowed)
  return optimizer


def _check_above_0(config_optim: Mapping, name: str) -> None:
  if not 0 < config_optim[name] < math.inf:  # false for NaN
    raise ValueError(f'optim.{name} must be above 0, got {config_optim[name]}.')


def ema_update(ema_params: Any, params: Any, decay: float, step) -> Any:
  """One step of the exponential moving average of the weights.

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
    # The difference form keeps an average of equal weights equal to them.
    return old + (1 - decay).astype(old.dtype) * (new - old)

  return jax.tree.map(average, ema_params, params)
