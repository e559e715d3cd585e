import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from edjax import models, optim
from edjax.optim import optimizer as optimizers

CONFIG = {
  'name': 'adamw',
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
  peak, floor = 1, 0.05
  assert rates[0] == pytest.approx(peak / (warmup + 1), rel=1e-6)
  assert rates[warmup] == pytest.approx(peak, rel=1e-6)
  # Half-way down the cosine lies the mean of its ends.
  assert rates[55] == pytest.approx((peak + floor) / 2, rel=1e-5)
  assert rates[total - 1] == pytest.approx(floor, rel=1e-5)
  np.testing.assert_allclose(rates[total:], floor, rtol=1e-5)
  np.testing.assert_allclose(
    0.02 * np.diff(rates[: warmup + 1], 2), 0, atol=1e-8
  )
  assert (np.diff(rates[warmup:total]) < 0).all()


@pytest.mark.parametrize('total', [1, 2, 3])
@pytest.mark.parametrize('warmup', [0.0, 0.3, 1.0])
def test_short_runs(total, warmup):
  config = CONFIG | {'warmup_fraction': warmup}
  schedule = optim.make_schedule(config, total)
  rates = np.array([float(schedule(step)) for step in range(total)])
  assert np.isfinite(rates).all()
  assert (rates > 0).all()
  assert rates.max() == pytest.approx(1, rel=1e-6)
  peak_is_last = round(warmup * total) >= total - 1
  last = 1 if peak_is_last else 0.05
  assert rates[-1] == pytest.approx(last, rel=1e-5)
  optimizer = optim.make_optimizer(config, total)
  params = {'kernel': jnp.ones(2)}
  state = optimizer.init(params)
  for _ in range(total):
    updates, state = optimizer.update(params, state, params)
    params = optax.apply_updates(params, updates)
  assert np.isfinite(params['kernel']).all()


@pytest.mark.parametrize('name', optim.OPTIMIZERS)
def test_weight_decay_reaches_kernels_only(name):
  two = jnp.full((2, 3), 2.0)
  params = {
    'conv': {'kernel': two, 'bias': two[0]},
    'out': {'kernel': two, 'bias': two[0]},
    'standardise': {'scale': two[0], 'shift': two[0]},
  }
  config = CONFIG | {'warmup_fraction': 0.0, 'name': name}
  optimizer = optim.make_optimizer(config, 10)
  zero = jax.tree.map(jnp.zeros_like, params)
  updates, _ = optimizer.update(zero, optimizer.init(params), params)
  expected = -0.1 * 2.0  # decay * weight, for a rate of 1
  for path, leaf in jax.tree.leaves_with_path(updates):
    wanted = expected if path[-1].key == 'kernel' else 0
    np.testing.assert_allclose(leaf, wanted, rtol=1e-6)


def test_first_step_in_closed_form():
  # Adam's first step is -sign(gradient), whatever the clipping.
  config = CONFIG | {'warmup_fraction': 0.0, 'weight_decay': 0.0}
  optimizer = optim.make_optimizer(config, 10)
  params = {'kernel': jnp.zeros(3)}
  gradient = {'kernel': jnp.array([300.0, -400.0, 0.5])}
  updates, _ = optimizer.update(gradient, optimizer.init(params), params)
  np.testing.assert_allclose(
    updates['kernel'], -np.sign(gradient['kernel']), rtol=1e-4
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


NETWORK = {
  'name': 'resnet3d', 'widths': (4, 6), 'blocks': (1, 0), 'local': 3,
  'kernels': 'isotropic', 'stem': 2, 'head_width': 5, 'dropout': 0.0,
  'dtype': 'float32', 'input_powers': True, 'input_moments': False,
}  # fmt: skip


def shapes_of(**changes):
  """Path -> shape of each parameter of a network."""
  model = models.build_model(NETWORK | changes, 2)
  params = jax.eval_shape(
    functools.partial(model.init, train=False),
    jax.eval_shape(lambda: jax.random.key(0)),
    jax.ShapeDtypeStruct((2, 16, 16, 16, 1), jnp.float32),
  )['params']
  return traverse_util.flatten_dict(params, sep='/')


@pytest.mark.parametrize(
  ('changes', 'wanted'),
  [
    (
      {'kernels': 'isotropic'},
      {
        'trunk/stem/conv/kernel': (10, 5, 4),
        'trunk/block_0_0/conv_0/conv/kernel': (4, 4, 4),
        'trunk/block_0_0/conv_1/conv/kernel': (4, 4, 4),
        'trunk/down_1/kernel': (4, 6),
      },
    ),
    (
      {'kernels': 'free'},
      {
        'trunk/stem/conv/kernel': (3, 3, 3, 40, 4),
        'trunk/block_0_0/conv_0/conv/kernel': (3, 3, 3, 4, 4),
        'trunk/block_0_0/conv_1/conv/kernel': (3, 3, 3, 4, 4),
        'trunk/down_1/kernel': (2, 2, 2, 4, 6),
      },
    ),
  ],
)
def test_what_is_a_matrix(changes, wanted):
  """Kernels, from all that goes in to what comes out; not the last layers."""
  wanted |= {
    'trunk/local_0/kernel': (4, 3), 'trunk/local_1/kernel': (6, 3),
    'head/hidden/kernel': (6, 5),
  }  # fmt: skip
  shapes = shapes_of(**changes)
  found = traverse_util.flatten_dict(
    optimizers._matrices(traverse_util.unflatten_dict(shapes, sep='/')), sep='/'
  )
  matrices = {k: axes for k, axes in found.items() if axes is not None}
  assert {k: shapes[k].shape for k in matrices} == wanted
  for path, axes in matrices.items():
    last = len(shapes[path].shape) - 1
    assert axes == (tuple(range(last)), (last,))
  others = set(found) - set(matrices)
  assert {'head/out/kernel', 'head/linear/kernel', 'head/hidden/bias'} <= others
  assert {'trunk/standardise/shift', 'trunk/stem/conv/bias'} <= others


@pytest.mark.parametrize('shape', [(10, 3, 24), (3, 3, 3, 8, 16), (40, 12)])
def test_muon_moves_all_directions_alike(shape):
  """Singular values of an update, of a gradient of nearly one direction."""
  rng = np.random.default_rng(0)
  matrix = rng.normal(size=(np.prod(shape[:-1]), shape[-1]))
  left, _, right = np.linalg.svd(matrix, full_matrices=False)
  sizes = np.geomspace(1, 1e-2, left.shape[1])
  gradient = ((left * sizes) @ right).reshape(shape).astype(np.float32)
  params = {'conv': {'kernel': np.zeros(shape, np.float32)}}
  spread, scale = {}, {}
  for name in optim.OPTIMIZERS:
    config = CONFIG | {'name': name, 'warmup_fraction': 0.0}
    optimizer = optim.make_optimizer(config, 10)
    # Two steps: the second one is of averages.
    state = optimizer.init(params)
    for _ in range(2):
      updates, state = optimizer.update(
        {'conv': {'kernel': gradient}}, state, params
      )
    update = np.asarray(updates['conv']['kernel']).reshape(matrix.shape)
    found = np.linalg.svd(update, compute_uv=False)
    spread[name] = found.max() / found.min()
    scale[name] = np.sqrt((update**2).mean())
  # Newton and Schulz's iteration leaves them between 0.7 and 1.2.
  assert spread['muon'] < 2
  assert spread['adamw'] > 4  # the control
  # 0.2 of AdamW's, whose numbers have the size of the rate.
  assert 0.1 < scale['muon'] / scale['adamw'] < 0.3


def test_muon_goes_down():
  """Against the gradient, and as far whatever its size."""
  gradient = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
  config = CONFIG | {'name': 'muon', 'weight_decay': 0.0}
  optimizer = optim.make_optimizer(config, 10)
  params = {'conv': {'kernel': jnp.zeros((6, 4))}}

  def update(scale):
    tree = {'conv': {'kernel': scale * gradient}}
    found, _ = optimizer.update(tree, optimizer.init(params), params)
    return np.asarray(found['conv']['kernel'])

  assert (update(1.0) * gradient).sum() < 0
  np.testing.assert_allclose(update(1e-3), update(1.0), rtol=1e-3, atol=1e-6)


def first_params():
  rng = np.random.default_rng(0)
  return {
    'trunk': {'stem': {'kernel': rng.normal(size=(3, 4)), 'bias': np.ones(4)}},
    'out': {'kernel': np.zeros((4, 2)), 'bias': rng.normal(size=2)},
  }


@pytest.mark.parametrize('name', optim.OPTIMIZERS)
@pytest.mark.parametrize('allowed', [0, 3])
def test_norms_are_those_of_what_a_step_added(x64, name, allowed):
  """At each step of a run, and where a step is skipped; in doubles.

  Updates are multiplied by the learning rate afterwards, and so are norms.
  """
  config = CONFIG | {'name': name, 'skip_nonfinite': allowed}
  optimizer = optim.make_optimizer(config, 6)
  params = first_params()
  state = optimizer.init(params)
  found = jax.device_get(optim.last_update_norms(state))
  assert not any(jax.tree.leaves(found))
  rng = np.random.default_rng(1)
  rate, update = 0.02, jax.jit(optimizer.update)
  for step in range(6):
    gradient = jax.tree.map(lambda p: rng.normal(size=p.shape), params)
    skipped = allowed and step == 3
    if skipped:
      gradient['out']['bias'][0] = np.nan
    before, earlier = params, found
    updates, state = update(gradient, state, params)
    updates = jax.tree.map(lambda u: u * rate, updates)
    params = jax.device_get(optax.apply_updates(params, updates))
    found = jax.device_get(optim.last_update_norms(state))
    if skipped:  # the norms of the step before
      jax.tree.map(np.testing.assert_array_equal, params, before)
      jax.tree.map(np.testing.assert_array_equal, found, earlier)
      continue
    added = jax.tree.map(lambda a, b: np.linalg.norm(a - b), params, before)
    jax.tree.map(
      lambda norm, wanted: np.testing.assert_allclose(
        rate * norm, wanted, rtol=1e-9
      ),
      found,
      added,
    )
    # Negative control: the step before did something else.
    other = jax.tree.leaves(earlier)[-1]
    assert np.abs(other - jax.tree.leaves(found)[-1]) > 1e-4
