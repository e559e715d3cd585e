"""Integrated gradients against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np

from edjax.explain import integrated_gradients


def plain(x):
  """A transform of one channel that changes nothing."""
  return (x[:, None, None],)


def test_a_quadratic_form_has_its_closed_form():
  """Of x^T A x an input's part is d_i (A (x + x0))_i, with d = x - x0."""
  rng = np.random.default_rng(0)
  form_NN = rng.normal(size=(5, 5))
  form_NN = jnp.asarray(form_NN + form_NN.T, jnp.float32)
  start_N, end_N = jnp.asarray(rng.normal(size=(2, 5)), jnp.float32)

  def function(values):
    x_N = values[0][:, 0, 0]
    square = x_N @ form_NN @ x_N
    return jnp.stack([square, 3 * x_N[2]])

  (found_TN,), at_end_T, at_start_T = integrated_gradients.integrate(
    function, plain, start_N, end_N
  )
  difference_N = end_N - start_N
  expected_N = difference_N * (form_NN @ (end_N + start_N))
  np.testing.assert_allclose(found_TN[0], expected_N, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(
    found_TN[1], [0, 0, 3 * difference_N[2], 0, 0], rtol=1e-5, atol=1e-6
  )
  np.testing.assert_allclose(
    found_TN.sum(1), at_end_T - at_start_T, rtol=1e-4, atol=1e-5
  )


def test_kinks_and_logarithms_of_a_transform_cost_nothing():
  """A linear function of steep transforms is exact with any intervals."""
  start_N = jnp.array([0.0, -1.0, 1e-6])
  end_N = jnp.array([1.0, 2.0, 30.0])

  def transform(x_N):
    values = [jnp.abs(x_N - 0.3), jnp.log(jnp.abs(x_N) + 1e-6)]
    return (jnp.stack(values, -1)[:, None, :],)

  found, at_end_T, at_start_T = integrated_gradients.integrate(
    lambda values: values[0][:, 0].sum(0), transform, start_N, end_N
  )
  change = transform(end_N)[0] - transform(start_N)[0]
  np.testing.assert_allclose(found[0][0], change[:, 0, 0], rtol=1e-5)
  np.testing.assert_allclose(found[0].sum(1), at_end_T - at_start_T, rtol=1e-5)
  # Gradients alone, multiplied with the way, miss it.
  middle = jax.grad(lambda x: transform(x)[0][..., 1].sum())(end_N / 2)
  assert abs((middle * end_N).sum() / change[..., 1].sum() - 1) > 0.3
