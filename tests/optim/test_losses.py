import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edjax.optim import losses


@pytest.mark.parametrize(
  ('name', 'expected'),
  [
    ('mse', [[9.0, 0.25], [0.0, 1.0]]),
    ('mae', [[3.0, 0.5], [0.0, 1.0]]),
    # |e| - 1/2 above 1, e^2 / 2 below.
    ('huber', [[2.5, 0.125], [0.0, 0.5]]),
  ],
)
def test_closed_form(name, expected):
  prediction = jnp.array([[3.0, 0.5], [1.0, -1.0]])
  target = jnp.array([[0.0, 1.0], [1.0, 0.0]])
  loss = losses.LOSSES[name](prediction, target)
  np.testing.assert_array_equal(loss, expected)


def test_huber_gradient_is_the_clipped_error():
  error = jnp.array([[-3.0, -1.0, -0.25, 0.0, 0.5, 2.0]])
  huber = losses.LOSSES['huber']
  gradient = jax.grad(lambda e: huber(e, jnp.zeros_like(e)).sum())(error)
  # At the corner itself the minimum splits its gradient; both sides give 1.
  np.testing.assert_array_equal(gradient, np.clip(error, -1, 1))


@pytest.mark.parametrize('name', losses.LOSSES)
@pytest.mark.parametrize('shape', [(4, 1), (1, 3), (4,), (3,), (3, 4)])
def test_nothing_broadcasts(name, shape):
  with pytest.raises(ValueError, match='of one shape'):
    losses.loss_sum(losses.LOSSES[name], jnp.ones((4, 3)), jnp.ones(shape))


@pytest.mark.parametrize('name', losses.LOSSES)
def test_nan_labels_are_not_hidden(name):
  target = jnp.array([[1.0, jnp.nan]])
  total, _ = losses.loss_sum(losses.LOSSES[name], jnp.zeros((1, 2)), target)
  assert jnp.isnan(total)


def test_sums_over_parts_give_the_mean():
  # The mean of the parts' means is another number where parts are uneven.
  error = jnp.arange(10.0).reshape(5, 2)
  zero, mae = jnp.zeros_like(error), losses.LOSSES['mae']
  parts = [
    losses.loss_sum(mae, error[rows], zero[rows])
    for rows in (slice(0, 3), slice(3, 5))
  ]
  total, count = (sum(p) for p in zip(*parts, strict=True))
  assert (float(total), float(count)) == (45, 10)
  means = np.mean([float(t / c) for t, c in parts])
  assert means != pytest.approx(4.5, rel=1e-2)
