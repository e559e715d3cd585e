"""Losses per example and target, reduced as (sum, count) and divided once.

Nothing broadcasts. A NaN label is one that was not measured: it does not count.
A NaN prediction gives a NaN loss, also where there is no label.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

# The loss whose targets are classes.
CLASSES = 'log_loss'

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def absolute_error(predictions: jax.Array, targets: jax.Array) -> jax.Array:
  """Returns the absolute error of each value."""
  return jnp.abs(predictions - targets)


# (prediction_BT, target_BT) -> loss_BT. Huber's corner is at 1 (Huber 1964): a
# standard deviation, since targets are standardised. The log loss takes logits
# of class 1, and labels 0 or 1.
LOSSES: dict[str, Loss] = {
  'mse': optax.squared_error,
  'mae': absolute_error,
  'huber': optax.huber_loss,
  CLASSES: optax.sigmoid_binary_cross_entropy,
}


def loss_sum(
  loss: Loss, prediction_BT: jax.Array, target_BT: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Sums a loss over examples and targets.

  Sums and counts are summed over devices before the division.

  Args:
    loss: a value of `LOSSES`.
    prediction_BT: standardised predictions, or logits.
    target_BT: standardised labels, NaN where not measured.

  Returns:
    (sum, count): scalars of the loss's dtype; the count is of measured labels.

  Raises:
    ValueError: the shapes differ, or are not (batch, targets).
  """
  if prediction_BT.shape != target_BT.shape or prediction_BT.ndim != 2:
    raise ValueError(
      'A loss takes prediction_BT and target_BT of one shape, got '
      f'{prediction_BT.shape} and {target_BT.shape}.'
    )
  measured_BT = ~jnp.isnan(target_BT)
  # The loss of a NaN label has a NaN gradient, which `where` alone would not
  # keep out: 0 * NaN.
  loss_BT = loss(prediction_BT, jnp.where(measured_BT, target_BT, 0))
  nothing_BT = jax.lax.stop_gradient(0 * prediction_BT)  # NaN stays NaN
  loss_BT = jnp.where(measured_BT, loss_BT, nothing_BT)
  return loss_BT.sum(), measured_BT.sum(dtype=loss_BT.dtype)
