import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from edjax import optim

CONFIG = {
  'learning_rate': 0.02,
  'warmup_fraction': 0.1,
  'final_fraction': 0.05,
  'weight_decay': 0.1,
  'clip_norm': 1.0,
  'skip_nonfinite': 0,
  'b1': 0.9,
  'b2': 0.999,
  'ema_decay': 0.99,
}


def test_schedule_in_closed_form():
  total, warmup = 101, 10
  schedule = optim.make_schedule(CONFIG, total)
  rates = np.array([float(schedule(step)) for step in range(total + 5)])
  peak, floor = 0.02, 0.02 * 0.05
  assert rates[0] == pytest.approx(peak / (warmup + 1), rel=1e-6)
  assert rates[warmup] == pytest.approx(peak, rel=1e-6)
  # Half-way down the cosine lies the mean of its ends.
  assert rates[55] == pytest.approx((peak + floor) / 2, rel=1e-5)
  assert rates[total - 1] == pytest.approx(floor, rel=1e-5)
  np.testing.assert_allclose(rates[total:], floor, rtol=1e-5)
  np.testing.assert_allclose(np.diff(rates[: warmup + 1], 2), 0, atol=1e-8)
  assert (np.diff(rates[warmup:total]) < 0).all()


@pytest.mark.parametrize('total', [1, 2, 3])
@pytest.mark.parametrize('warmup', [0.0, 0.3, 1.0])
def test_short_runs(total, warmup):
  config = CONFIG | {'warmup_fraction': warmup}
  schedule = optim.make_schedule(config, total)
  rates = np.array([float(schedule(step)) for step in range(total)])
  assert np.isfinite(rates).all()
  assert (rates > 0).all()
  assert rates.max() == pytest.approx(0.02, rel=1e-6)
  peak_is_last = round(warmup * total) >= total - 1
  last = 0.02 if peak_is_last else 0.02 * 0.05
  assert rates[-1] == pytest.approx(last, rel=1e-5)
  optimizer = optim.make_optimizer(config, total)
  params = {'kernel': jnp.ones(2)}
  state = optimizer.init(params)
  for _ in range(total):
    updates, state = optimizer.update(params, state, params)
    params = optax.apply_updates(params, updates)
  assert np.isfinite(params['kernel']).all()


def test_refuses():
  with pytest.raises(ValueError, match='total_steps'):
    optim.make_schedule(CONFIG, 0)
  for name in ('warmup_fraction', 'final_fraction'):
    with pytest.raises(ValueError, match=f'optim.{name}'):
      optim.make_schedule(CONFIG | {name: 1.5}, 10)
  for name, values in {
    'learning_rate': (-1.0, 0.0),
    'clip_norm': (0.0, -1.0),
    'weight_decay': (-0.1, np.inf),
    'b1': (1.0, -0.1),
    'b2': (1.0, 1.5),
  }.items():
    for value in (*values, np.nan):
      with pytest.raises(ValueError, match=rf'optim\.{name} '):
        optim.make_optimizer(CONFIG | {name: value}, 10)
  optim.make_optimizer(CONFIG | {'b1': 0.0, 'b2': 0.0, 'weight_decay': 0.0}, 10)


def test_weight_decay_reaches_kernels_only():
  params = {
    'conv': {'kernel': jnp.full(3, 2.0), 'bias': jnp.full(3, 2.0)},
    'norm': {'scale': jnp.full(3, 2.0), 'shift': jnp.full(3, 2.0)},
  }
  optimizer = optim.make_optimizer(CONFIG | {'warmup_fraction': 0.0}, 10)
  zero = jax.tree.map(jnp.zeros_like, params)
  updates, _ = optimizer.update(zero, optimizer.init(params), params)
  expected = -0.02 * 0.1 * 2.0  # rate * decay * weight
  np.testing.assert_allclose(updates['conv']['kernel'], expected, rtol=1e-6)
  for leaf in (updates['conv']['bias'], *updates['norm'].values()):
    np.testing.assert_array_equal(leaf, 0)


def test_first_step_in_closed_form():
  # Adam's first step is -rate * sign(gradient), whatever the clipping.
  config = CONFIG | {'warmup_fraction': 0.0, 'weight_decay': 0.0}
  optimizer = optim.make_optimizer(config, 10)
  params = {'kernel': jnp.zeros(3)}
  gradient = {'kernel': jnp.array([300.0, -400.0, 0.5])}
  updates, _ = optimizer.update(gradient, optimizer.init(params), params)
  np.testing.assert_allclose(
    updates['kernel'], -0.02 * np.sign(gradient['kernel']), rtol=1e-4
  )


def test_clipping_is_by_global_norm():
  # Two gradients that clipping makes equal lead to equal moments.
  optimizer = optim.make_optimizer(CONFIG, 10)
  params = {'a': {'kernel': jnp.zeros(1)}, 'b': {'kernel': jnp.zeros(1)}}

  def moments(scale):
    gradient = {
      'a': {'kernel': jnp.array([3.0 * scale])},
      'b': {'kernel': jnp.array([4.0 * scale])},
    }
    _, state = optimizer.update(gradient, optimizer.init(params), params)
    adam = next(
      s
      for s in jax.tree.leaves(state, is_leaf=lambda s: hasattr(s, 'mu'))
      if hasattr(s, 'mu')
    )
    return np.array([adam.mu[k]['kernel'][0] for k in 'ab'])

  np.testing.assert_allclose(moments(10), 0.1 * np.array([0.6, 0.8]), rtol=1e-5)
  np.testing.assert_allclose(
    moments(0.1), 0.1 * np.array([0.3, 0.4]), rtol=1e-5
  )


def test_ema_of_constant_weights_is_the_weights():
  weights = {'kernel': jnp.array([0.1, -3.7, 1e-8])}
  average = weights
  for step in range(20):
    average = optim.ema_update(average, weights, 0.99, step)
  np.testing.assert_array_equal(average['kernel'], weights['kernel'])


def test_ema_closed_form():
  average = {'kernel': jnp.array([0.0])}
  left = 1.0
  for step in range(50):
    average = optim.ema_update(
      average, {'kernel': jnp.array([1.0])}, 0.8, jnp.asarray(step)
    )
    left *= min(0.8, (1 + step) / (10 + step))
  assert float(average['kernel'][0]) == pytest.approx(1 - left, rel=1e-5)
  # The cap was reached, and so was the warm-up.
  assert left != pytest.approx(0.8**50, rel=0.5)


def test_ema_without_decay_copies():
  new = {'kernel': jnp.array([1.25])}
  average = optim.ema_update({'kernel': jnp.array([-3.0])}, new, 0.0, 5)
  np.testing.assert_allclose(average['kernel'], new['kernel'], rtol=1e-6)
