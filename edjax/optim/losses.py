"""Losses per example and target, reduced as (sum, count) and divided once.

Nothing broadcasts and nothing is dropped: a NaN label gives a NaN loss.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def absolute_error(predictions: jax.Array, targets: jax.Array) -> jax.Array:
  """Returns the absolute error of each value."""
  return jnp.abs(predictions - targets)


# (prediction_BT, target_BT) -> loss_BT. Huber's corner is at 1 (Huber 1964): a
# standard deviation, since targets are standardised.
LOSSES: dict[str, Loss] = {
  'mse': optax.squared_error,
  'mae': absolute_error,
  'huber': optax.huber_loss,
}


def loss_sum(
  loss: Loss, prediction_BT: jax.Array, target_BT: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Sums a loss over examples and targets.

  Sums and counts are summed over devices before the division.

  Args:
    loss: a value of `LOSSES`.
    prediction_BT: standardised predictions.
    target_BT: standardised labels.

  Returns:
    (sum, count): scalars of the loss's dtype.

  Raises:
    ValueError: the shapes differ, or are not (batch, targets).
  """
  if prediction_BT.shape != target_BT.shape or prediction_BT.ndim != 2:
    raise ValueError(
      'A loss takes prediction_BT and target_BT of one shape, got '
      f'{prediction_BT.shape} and {target_BT.shape}.'
    )
  loss_BT = loss(prediction_BT, target_BT)
  return loss_BT.sum(), jnp.asarray(loss_BT.size, loss_BT.dtype)
