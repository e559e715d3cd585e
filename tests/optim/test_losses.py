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


def test_log_loss_of_a_logit():
  # Minus the logarithm of the probability of the true class.
  logit = jnp.array([[0.0, 2.0], [2.0, -40.0]])
  loss = losses.LOSSES['log_loss'](logit, jnp.array([[1.0, 1.0], [0.0, 1.0]]))
  ahead = np.log(1 + np.exp(-2))
  np.testing.assert_allclose(
    loss, [[np.log(2), ahead], [2 + ahead, 40]], rtol=1e-6
  )


@pytest.mark.parametrize('name', losses.LOSSES)
def test_what_was_not_measured_does_not_count(name):
  loss = losses.LOSSES[name]
  rng = np.random.default_rng(0)
  prediction = jnp.asarray(rng.normal(size=(5, 2)))
  whole = (rng.random((5, 2)) < 0.5).astype(np.float32)
  gaps = whole.copy()
  gaps[[1, 3], 1] = np.nan

  def total(prediction, target):
    return losses.loss_sum(loss, prediction, jnp.asarray(target))

  of = jax.value_and_grad(total, has_aux=True)
  (value, count), gradient = of(prediction, gaps)
  rest = [of(prediction[:, :1], whole[:, :1])]
  rest += [of(prediction[[0, 2, 4], 1:], whole[[0, 2, 4], 1:])]
  assert count == sum(c for (_, c), _ in rest) == 8
  assert value == pytest.approx(sum(float(v) for (v, _), _ in rest), rel=1e-6)
  # The other target's gradient is the same to the bit.
  np.testing.assert_array_equal(gradient[:, :1], rest[0][1])
  np.testing.assert_array_equal(gradient[[0, 2, 4], 1:], rest[1][1])
  np.testing.assert_array_equal(gradient[[1, 3], 1], 0)
  # The control: with all labels it is another sum.
  assert total(prediction, whole)[0] != value


@pytest.mark.parametrize('name', losses.LOSSES)
@pytest.mark.parametrize('bad', [np.nan, np.inf])
@pytest.mark.parametrize('label', [1.0, np.nan])
def test_predictions_that_are_not_finite_are_not_hidden(name, bad, label):
  prediction, target = jnp.array([[0.0, bad]]), jnp.array([[0.0, label]])
  total, _ = losses.loss_sum(losses.LOSSES[name], prediction, target)
  assert not jnp.isfinite(total)


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
