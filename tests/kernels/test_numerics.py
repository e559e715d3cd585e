import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edjax.kernels import numerics

# With debug_nans on, a NaN or inf in a discarded branch raises as well.
pytestmark = pytest.mark.usefixtures('debug_nans')


@pytest.fixture
def debug_nans():
  with jax.debug_nans(True), jax.debug_infs(True):
    yield


def test_safe_sqrt_is_exact_and_safe_at_zero():
  x = jnp.array([0.0, 1e-30, 4.0, 1e30])
  np.testing.assert_array_equal(numerics.safe_sqrt(x), jnp.sqrt(x))
  slopes = jax.jit(jax.vmap(jax.grad(numerics.safe_sqrt)))(x)
  np.testing.assert_allclose(slopes[2:], 0.5 / np.sqrt([4.0, 1e30]), rtol=1e-6)
  assert slopes[0] == 0


def test_plain_norm_fails_where_safe_norm_does_not():
  zero = jnp.zeros(3)
  with pytest.raises(FloatingPointError):
    jax.jacfwd(jnp.linalg.norm)(zero).block_until_ready()
  for derivative in (jax.jacfwd, jax.jacrev):
    slope = jax.jit(derivative(numerics.safe_norm))(zero)
    np.testing.assert_array_equal(slope, 0)


def test_what_is_not_a_number_stays_so():
  with jax.debug_nans(False), jax.debug_infs(False):
    roots = jax.jit(numerics.safe_sqrt)(jnp.array([jnp.nan, -1.0, 0.0, 4.0]))
    np.testing.assert_array_equal(roots, [np.nan, np.nan, 0, 2])
    norms = jax.jit(numerics.safe_norm)(
      jnp.array([[jnp.nan, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 3.0, -4.0]])
    )
    np.testing.assert_array_equal(norms, [np.nan, 0, 5])


def test_safe_norm_axis_and_gradient():
  x = jax.random.normal(jax.random.key(0), (4, 3, 2))
  np.testing.assert_allclose(
    numerics.safe_norm(x, axis=1), np.linalg.norm(x, axis=1), rtol=1e-6
  )
  slope = jax.grad(numerics.safe_norm)(x[0, :, 0])
  np.testing.assert_allclose(
    slope, x[0, :, 0] / np.linalg.norm(x[0, :, 0]), rtol=1e-6
  )


@pytest.mark.parametrize('chunk', [0, 1, 3, 7, 20])
def test_batched_equals_one_by_one(chunk):
  xs = {'a': jnp.arange(14.0).reshape(7, 2), 'b': jnp.arange(7)}

  def f(x):
    return jnp.sin(x['a']) * x['b'], x['b'] + 1

  got = jax.jit(numerics.batched(f, chunk))(xs)
  for i in range(7):
    want = f(jax.tree.map(lambda leaf, i=i: leaf[i], xs))
    np.testing.assert_allclose(got[0][i], want[0], rtol=1e-6)
    assert got[1][i] == want[1]


def test_batched_can_be_differentiated():
  xs = jnp.arange(1.0, 5.0)
  grad = jax.jit(jax.grad(lambda x: numerics.batched(jnp.log)(x).sum()))(xs)
  np.testing.assert_allclose(grad, 1 / xs, rtol=1e-6)


def test_batched_rejects_a_negative_chunk():
  with pytest.raises(ValueError, match='chunk'):
    numerics.batched(jnp.sin, -1)
