import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edjax.train import losses


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
  gradient = jax.grad(lambda e: losses.huber(e, jnp.zeros_like(e)).sum())(error)
  # At the corner itself the minimum splits its gradient; both sides give 1.
  np.testing.assert_array_equal(gradient, np.clip(error, -1, 1))


@pytest.mark.parametrize('name', losses.LOSSES)
@pytest.mark.parametrize('shape', [(4, 1), (1, 3), (4,), (3,), (3, 4)])
def test_nothing_broadcasts(name, shape):
  with pytest.raises(ValueError, match='of one shape'):
    losses.LOSSES[name](jnp.ones((4, 3)), jnp.ones(shape))


@pytest.mark.parametrize('name', losses.LOSSES)
def test_nan_labels_are_not_hidden(name):
  target = jnp.array([[1.0, jnp.nan]])
  assert jnp.isnan(losses.LOSSES[name](jnp.zeros((1, 2)), target)[0, 1])
  total, _ = losses.masked_sum(
    losses.LOSSES[name](jnp.zeros((1, 2)), target), jnp.array([True])
  )
  assert jnp.isnan(total)


def test_masked_sum_counts_values():
  loss = jnp.array([[1.0, 2.0], [4.0, 8.0], [jnp.nan, jnp.inf]])
  total, count = losses.masked_sum(loss, jnp.array([True, True, False]))
  assert float(total) == 15
  assert float(count) == 4
  total, count = losses.masked_sum(loss, jnp.zeros(3, bool))
  assert float(total) == float(count) == 0


def test_masked_examples_have_no_gradient():
  def f(prediction):
    mask = jnp.array([True, False])
    return losses.masked_sum(losses.mse(prediction, target), mask)[0]

  target = jnp.array([[1.0], [5.0]])
  gradient = jax.grad(f)(jnp.zeros((2, 1)))
  np.testing.assert_array_equal(gradient, [[-2.0], [0.0]])


def test_sums_over_parts_give_the_mean():
  # The mean of the parts' means is another number where parts are uneven.
  loss = jnp.arange(10.0).reshape(5, 2)
  mask = jnp.array([True, True, True, False, True])
  parts = [
    losses.masked_sum(loss[rows], mask[rows])
    for rows in (slice(0, 3), slice(3, 5))
  ]
  total, count = (sum(p) for p in zip(*parts, strict=True))
  expected = float(np.mean(np.asarray(loss)[np.asarray(mask)]))
  assert float(total / count) == pytest.approx(expected, rel=1e-6)
  means = np.mean([float(t / c) for t, c in parts])
  assert means != pytest.approx(expected, rel=1e-2)


def test_masked_sum_refuses():
  with pytest.raises(ValueError, match='mask_B, got shapes'):
    losses.masked_sum(jnp.ones((3, 2)), jnp.ones(2, bool))
  with pytest.raises(ValueError, match='mask_B, got shapes'):
    losses.masked_sum(jnp.ones(3), jnp.ones(3, bool))
  with pytest.raises(TypeError, match='boolean'):
    losses.masked_sum(jnp.ones((3, 2)), jnp.ones(3))
