"""Losses per example and target; reduced as (sum, count), divided once.

Nothing broadcasts and nothing is dropped: a NaN label gives a NaN loss.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def mse(prediction_BT: jax.Array, target_BT: jax.Array) -> jax.Array:
  """Squared error, shape (batch, targets)."""
  return _error(prediction_BT, target_BT) ** 2


def mae(prediction_BT: jax.Array, target_BT: jax.Array) -> jax.Array:
  """Absolute error, shape (batch, targets)."""
  return jnp.abs(_error(prediction_BT, target_BT))


def huber(prediction_BT: jax.Array, target_BT: jax.Array) -> jax.Array:
  """Huber's loss with its corner at 1 (Huber 1964), shape (batch, targets).

  e^2/2 for |e| <= 1, |e| - 1/2 beyond; targets are standardised, so 1 is a
  standard deviation.
  """
  error = jnp.abs(_error(prediction_BT, target_BT))
  quadratic = jnp.minimum(error, 1)
  return 0.5 * quadratic**2 + (error - quadratic)


LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
  'mse': mse,
  'mae': mae,
  'huber': huber,
}


def masked_sum(
  loss_BT: jax.Array, mask_B: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Sum over the examples that count, and how many values that is.

  Both are summed over devices before one is divided by the other.

  Args:
    loss_BT: loss per example and target. What masked examples hold does not
      change the sum, NaN included; for a gradient they must be finite.
    mask_B: bool, True where the example counts.

  Returns:
    (sum, count): scalars of the loss's dtype; count is the number of
    unmasked examples times the number of targets.

  Raises:
    ValueError: for other ranks or batch sizes that differ.
    TypeError: for a mask that is not boolean.
  """
  if loss_BT.ndim != 2 or mask_B.shape != loss_BT.shape[:1]:
    raise ValueError(
      'masked_sum takes loss_BT and mask_B, got shapes '
      f'{loss_BT.shape} and {mask_B.shape}.'
    )
  if mask_B.dtype != bool:
    raise TypeError(f'mask_B must be boolean, got {mask_B.dtype}.')
  total = jnp.where(mask_B[:, None], loss_BT, 0).sum()
  count = mask_B.sum().astype(loss_BT.dtype) * loss_BT.shape[1]
  return total, count


def _error(prediction_BT, target_BT):
  if prediction_BT.shape != target_BT.shape or prediction_BT.ndim != 2:
    raise ValueError(
      'A loss takes prediction_BT and target_BT of one shape, got '
      f'{prediction_BT.shape} and {target_BT.shape}.'
    )
  return prediction_BT - target_BT
