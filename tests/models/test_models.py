import functools
import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import traverse_util

from configs import default
from edjax import models, optim
from edjax.models import (
  downsampling,
  input_moments,
  layers,
  registry,
  standardise,
)

CONFIG = {
  'name': 'resnet3d',
  'widths': (8, 16),
  'blocks': (0, 1),
  'local': 12,
  'kernels': 'isotropic',
  'stem': 2,
  'head_width': 16,
  'dropout': 0.1,
  'dtype': 'float32',
  'input_powers': True,
  'input_moments': True,
}


def normal(seed, shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def build(num_targets=3, **changes):
  return models.build_model(CONFIG | changes, num_targets)


def start(model, vox, seed=0):
  init = jax.jit(functools.partial(model.init, train=False))
  return init(jax.random.key(seed), jnp.asarray(vox))


def predict(model, variables, vox):
  return jax.jit(functools.partial(model.apply, train=False))(variables, vox)


def features_of(model, variables, vox):
  apply = functools.partial(model.apply, train=False, method='features')
  return jax.jit(apply)(variables, vox)


def randomise(variables, seed=1):
  """Nothing zero: the networks start with zeros in their last layers."""
  leaves, tree = jax.tree.flatten(variables)
  rng = np.random.default_rng(seed)
  noise = [
    (0.2 * rng.normal(size=leaf.shape)).astype(leaf.dtype) for leaf in leaves
  ]
  return jax.tree.unflatten(
    tree, [np.asarray(x) + n for x, n in zip(leaves, noise, strict=True)]
  )


def randomise_last_layers(variables):
  """Only those that give predictions, which start at zero."""
  head = variables['params']['head']
  return {
    'params': variables['params']
    | {'head': head | {k: randomise(head[k]) for k in ('out', 'linear')}}
  }


@pytest.mark.parametrize('name', registry.MODELS)
@pytest.mark.parametrize('dtype', typing.get_args(layers.DType))
@pytest.mark.parametrize('channels', [1, 3])
def test_shapes_and_dtypes(name, dtype, channels):
  model = build(name=name, dtype=dtype)
  vox = jax.ShapeDtypeStruct((2, 16, 16, 16, channels), jnp.float32)
  key = jax.eval_shape(lambda: jax.random.key(0))
  variables = jax.eval_shape(
    functools.partial(model.init, train=False), key, vox
  )
  assert set(variables) == {'params'}
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {
    np.dtype(np.float32)
  }
  prediction = jax.eval_shape(
    lambda v, x, k: model.apply(v, x, train=True, rngs={'dropout': k}),
    variables,
    vox,
    key,
  )
  assert (prediction.shape, prediction.dtype) == ((2, 3), jnp.float32)


def test_names():
  names = r"\['cnn3d', 'moments', 'resnet3d'\]"
  message = rf"model\.name must be one of {names}, got 'resnet'"
  with pytest.raises(ValueError, match=message):
    build(name='resnet')


@pytest.mark.parametrize(
  ('name', 'shape', 'message'),
  [
    ('cnn3d', (1, 15, 15, 15, 1), 'grid_size >= 16'),
    ('resnet3d', (1, 10, 10, 10, 1), 'grid_size must be a multiple of 4'),
    ('resnet3d', (8, 8, 8, 1), 'vox_BXYZC'),
    ('cnn3d', (16, 16, 16, 1), 'vox_BXYZC'),
  ],
)
def test_refuses_grids(name, shape, message):
  with pytest.raises(ValueError, match=message):
    build(name=name).init(jax.random.key(0), jnp.ones(shape), train=False)


def test_cnn3d_is_the_published_recipe():
  params = jax.eval_shape(
    functools.partial(build(name='cnn3d').init, train=False),
    jax.eval_shape(lambda: jax.random.key(0)),
    jax.ShapeDtypeStruct((1, 24, 24, 24, 5), jnp.float32),
  )['params']
  assert params.keys() == {'trunk', 'head'}
  kernels = {
    name: p['kernel'].shape
    for part in params.values()
    for name, p in part.items()
  }
  # 24 - 4 = 20 -> 10 - 4 = 6 -> 3 voxels along an edge.
  assert kernels == {
    'Conv3D_0': (3, 3, 3, 5, 32),
    'Conv3D_1': (3, 3, 3, 32, 64),
    'Conv3D_2': (3, 3, 3, 64, 128),
    'Conv3D_3': (3, 3, 3, 128, 256),
    'hidden': (27 * 256, 512),
    'out': (512, 3),
  }


def test_cnn3d_equals_its_layers_in_stock_flax():
  vox = normal(0, (2, 16, 16, 16, 1))
  model = build(name='cnn3d')
  variables = start(model, vox)

  @jax.jit
  def both(variables, x):
    actual = model.apply(variables, x, train=False)
    trunk, head = (variables['params'][part] for part in ('trunk', 'head'))
    for i, width in enumerate((32, 64, 128, 256)):
      layer = nn.Conv(width, (3, 3, 3), padding='VALID')
      x = nn.relu(layer.apply({'params': trunk[f'Conv3D_{i}']}, x))
      if i in (1, 3):
        x = nn.max_pool(x, (2, 2, 2), (2, 2, 2))
    x = x.reshape(2, -1)
    x = nn.relu(nn.Dense(512).apply({'params': head['hidden']}, x))
    return actual, nn.Dense(3).apply({'params': head['out']}, x)

  actual, expected = both(variables, vox)
  assert actual.shape == (2, 3)
  scale = np.abs(expected).max()
  np.testing.assert_allclose(actual, expected, atol=1e-5 * scale)


def test_dropout_acts_in_training_alone():
  for name in registry.MODELS:
    model = build(name=name, dropout=0.5)
    vox = normal(0, (2, 16, 16, 16, 1))
    variables = randomise(start(model, vox))
    jax.eval_shape(  # no key is needed outside training
      functools.partial(model.apply, train=False), variables, vox
    )

    @functools.partial(jax.jit, static_argnums=1)
    def run(key, train, model=model, variables=variables, vox=vox):
      return model.apply(variables, vox, train=train, rngs={'dropout': key})

    first, second = jax.random.key(1), jax.random.key(2)
    same = [run(first, True), run(first, True)]
    np.testing.assert_array_equal(*same)
    assert np.abs(run(first, True) - run(second, True)).max() > 1e-3
    np.testing.assert_array_equal(run(first, False), run(second, False))


def test_starts_at_the_mean_predictor():
  model = build()
  vox = normal(0, (2, 8, 8, 8, 2))
  prediction = predict(model, start(model, vox), vox)
  np.testing.assert_array_equal(prediction, 0)


@pytest.mark.parametrize('kernels', typing.get_args(layers.Kernels))
def test_deep_networks_start_sound(kernels):
  """Five blocks: features of size 1, and a gradient in every parameter."""
  vox = np.abs(normal(0, (4, 8, 8, 8, 1)))
  model = build(kernels=kernels, blocks=(4, 1), dropout=0.0)
  variables = randomise_last_layers(start(model, vox))
  features_BF = features_of(model, variables, vox)
  np.testing.assert_allclose(features_BF.std(0), 1, rtol=0.1)

  def loss(variables):
    return ((model.apply(variables, vox, train=False) - 1) ** 2).sum()

  gradient = jax.jit(jax.grad(loss))(variables)['params']
  for path, leaf in traverse_util.flatten_dict(gradient, sep='/').items():
    constants = 'whiten', 'standardise', 'unit_size'
    constant = any(name in path for name in constants)
    assert np.isfinite(leaf).all(), path
    assert np.any(leaf) != constant, path


def test_blocks_neither_explode_nor_vanish():
  """Nothing is normalised: 16 residual blocks keep the size of their input."""
  x = normal(1, (2, 8, 8, 8, 16))

  class Deep(nn.Module):
    @nn.compact
    def __call__(self, x):
      for _ in range(16):
        x = layers.ResidualBlock('isotropic', jnp.float32)(x)
      return x

  y, _ = Deep().init_with_output(jax.random.key(0), x)
  assert 1 < np.std(y) / np.std(x) < 10


@pytest.mark.parametrize(
  'changes',
  [
    {'kernels': 'free', 'input_moments': False},
    {'input_moments': False},
    {'stem': 1, 'widths': (16,), 'blocks': (1,)},
  ],
)
def test_memorises_a_batch(changes):
  vox = normal(0, (4, 8, 8, 8, 1)) + 1
  target = normal(1, (4, 3))
  model = build(dropout=0.0, **changes)
  params = start(model, vox)
  config = default.get_config().optim
  optimizer = optim.make_optimizer(config, 60)

  def loss(params):
    return ((model.apply(params, vox, train=False) - target) ** 2).mean()

  @jax.jit
  def step(params, state):
    value, gradient = jax.value_and_grad(loss)(params)
    updates, state = optimizer.update(gradient, state, params)
    updates = jax.tree.map(lambda u: 1e-2 * u, updates)
    return optax.apply_updates(params, updates), state, value

  state = jax.jit(optimizer.init)(params)
  losses = []
  for _ in range(60):
    params, state, value = step(params, state)
    losses.append(float(value))
  assert losses[-1] < 0.1 * losses[0]


def blob(centre, size=12, width=0.2):
  """A Gaussian, in half edges of the box; rotated grids need no resampling."""
  x = (2 * np.arange(size) + 1 - size) / size
  profiles = [np.exp(-0.5 * ((x - c) / width) ** 2) for c in centre]
  return np.einsum('x,y,z->xyz', *profiles)[None, ..., None]


def test_moments_against_sums_over_voxels(x64):
  vox = np.random.default_rng(0).normal(size=(2, 4, 6, 5, 3))
  axes = [(2 * np.arange(n) + 1 - n) / n for n in (4, 6, 5)]
  r = np.stack(np.meshgrid(*axes, indexing='ij'), -1)
  n = 4 * 6 * 5
  total = np.einsum('bxyzc->bc', vox) / n
  first = np.linalg.norm(np.einsum('bxyzc,xyzi->bci', vox, r) / n, axis=-1)
  second = np.einsum('bxyzc,xyz->bc', vox, (r**2).sum(-1)) / n
  expected = np.concatenate([4 * total, 10 * first, 20 * second], -1)
  np.testing.assert_allclose(
    input_moments.spatial_moments(vox), expected, rtol=1e-12
  )


def test_moments_of_a_blob():
  size, width = 24, 0.15
  centre = np.array([0.2, -0.1, 0.25])
  total, first, second = np.asarray(
    input_moments.spatial_moments(jnp.asarray(blob(centre, size, width)))[0]
  )
  # The box is 2 wide: a mean over it is an integral over 8.
  mass = (2 * np.pi) ** 1.5 * width**3 / 8
  assert total == pytest.approx(4 * mass, rel=1e-4)
  assert first == pytest.approx(10 * mass * np.linalg.norm(centre), rel=1e-4)
  assert second == pytest.approx(
    20 * mass * ((centre**2).sum() + 3 * width**2), rel=1e-4
  )


def test_moments_do_not_turn_but_move():
  vox = blob([0.3, -0.2, 0.1]) + blob([-0.4, 0.1, 0.0])
  moments = functools.partial(input_moments.spatial_moments)
  still = moments(jnp.asarray(vox))
  for axes in ((1, 2), (2, 3), (1, 3)):
    turned = np.rot90(vox, axes=axes).copy()
    np.testing.assert_allclose(moments(turned), still, rtol=1e-5)
    assert np.abs(turned - vox).max() > 0.1
  moved = np.roll(vox, 2, axis=1)
  assert np.abs(moments(moved) - still).max() > 0.05


def raised(vox, p):
  """sign(x) |x|^p with the root |x| / (x^2 + 0.01^2)^(1/4), in float64."""
  size = np.abs(vox.astype(np.float64))
  root = size / (size**2 + 1e-4) ** 0.25
  return np.sign(vox) * size ** int(p) * (root if p % 1 else 1)


def test_moments_have_a_gradient_where_they_vanish():
  for vox in (jnp.zeros((1, 4, 4, 4, 1)), jnp.ones((1, 4, 4, 4, 1))):
    for moments in (input_moments.spatial_moments, input_moments.power_moments):
      gradient = jax.jit(jax.grad(lambda v, f=moments: f(v).sum()))(vox)
      assert np.isfinite(gradient).all()


def test_power_moments_are_moments_of_powers():
  vox = normal(0, (2, 4, 4, 4, 3))
  vox[0, :2] = 0
  found = input_moments.power_moments(vox)
  powers = [np.float32(raised(vox, p)) for p in (0.5, 1, 1.5, 2, 3)]
  expected = [input_moments.spatial_moments(jnp.asarray(v)) for v in powers]
  np.testing.assert_allclose(found, np.concatenate(expected, 1), rtol=1e-5)


def test_powers_that_the_convolutions_see_have_unit_size():
  vox = normal(0, (4, 4, 6, 8, 3)) * np.float32([1, 10, 0])
  powers = jnp.concatenate(input_moments.powers(vox), axis=-1)
  module = standardise.UnitSize()
  variables = module.init(jax.random.key(0), powers[:2])
  found = np.asarray(module.apply(variables, powers))
  found = found.reshape(*vox.shape[:4], 5, 3)
  for i, p in enumerate((0.5, 1, 1.5, 2, 3)):
    power = raised(vox, p)
    size_C = np.sqrt(np.square(power[:2]).mean((0, 1, 2, 3)))  # as for init
    expected = power[..., :2] / size_C[:2].reshape(1, 1, 1, 1, -1)
    np.testing.assert_allclose(found[..., i, :2], expected, rtol=2e-5)
  assert not found[..., 2].any()  # an empty channel stays empty


def test_slopes_of_powers_are_finite_in_vacuum():
  slopes = jax.jacobian(input_moments.powers)(jnp.float32(0))
  assert [float(slope) for slope in slopes] == pytest.approx([10, 1, 0, 0, 0])


def test_a_trained_network_hardly_sees_vacuum():
  """Its gradient there is of the size of that inside of a molecule."""
  r2 = np.square(np.indices((8, 8, 8)) - 3.5).sum(0)
  sizes = np.linspace(1, 2, 8).reshape(-1, 1, 1, 1)
  vox = jnp.asarray(5 * np.exp(-r2 * sizes), jnp.float32)[..., None]
  labels = jnp.asarray(sizes.reshape(-1, 1) - 1.5, jnp.float32)
  model = build(1, dropout=0.0)
  params = start(model, vox)['params']
  optimizer = optax.adam(3e-3)

  def loss(params):
    prediction = model.apply({'params': params}, vox, train=False)
    return jnp.square(prediction - labels).mean()

  @jax.jit
  def step(params, state):
    value, gradient = jax.value_and_grad(loss)(params)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, updates), state, value

  state, values = jax.jit(optimizer.init)(params), []
  for _ in range(30):
    params, state, value = step(params, state)
    values.append(float(value))
  assert values[-1] < 0.5 * values[0]

  def total(vox):
    return model.apply({'params': params}, vox, train=False).sum()

  slope = np.abs(jax.jit(jax.grad(total))(vox))
  inside, vacuum = slope[vox > 0.1].max(), slope[vox < 1e-6].max()
  assert 0 < inside
  assert vacuum < 30 * inside


def test_whitening_starts_from_its_batch():
  mixed = normal(0, (400, 3)) @ np.array([[1, 0.9, 0], [0, 0.5, 0], [0, 0, 1]])
  x = np.column_stack([mixed * [1, 100, 1e-3] + [0, 1e3, 0], np.full(400, 0.7)])
  x = x.astype(np.float32)
  module = standardise.Whiten()
  y, variables = module.init_with_output(jax.random.key(0), x)
  covariance = np.cov(np.asarray(y).T, bias=True)
  # Three features vary; the constant one is left out.
  np.testing.assert_allclose(
    np.sort(np.linalg.eigvalsh(covariance)), [0, 1, 1, 1], atol=1e-3
  )
  np.testing.assert_allclose(
    covariance, np.diag(np.diag(covariance)), atol=1e-3
  )
  assert np.abs(np.corrcoef(x[:, :2].T)[0, 1]) > 0.8  # it was correlated
  changed = x + np.array([0, 0, 0, 5], np.float32)
  np.testing.assert_array_equal(module.apply(variables, changed), y)
  gradient = jax.jit(
    jax.grad(lambda v, x: (module.apply(v, x) ** 3).sum(), (0, 1))
  )
  of_parameters, of_input = gradient(variables, x)
  assert not any(np.any(g) for g in jax.tree.leaves(of_parameters))
  assert np.abs(of_input).max() > 1
  small = x[:1] / 100  # within the limit
  one, _ = module.init_with_output(jax.random.key(0), small)
  np.testing.assert_array_equal(one, small)


def test_small_directions_stay_small():
  """Two features that are one but for 1e-4 of noise."""
  a = normal(0, (400, 1))
  x = np.concatenate([a, a + 1e-4 * normal(1, (400, 1))], 1).astype(np.float32)
  y, _ = standardise.Whiten().init_with_output(jax.random.key(0), x)
  sizes = np.sort(np.asarray(y).std(0))
  assert sizes[0] < 0.05
  assert abs(sizes[1] - 1) < 1e-3


def test_whitening_holds_what_training_hardly_touches():
  """A feature of 1e-4 in one example: an atom outside of the box, say."""
  x = normal(0, (200, 3)).astype(np.float32)
  x[:, 2] = 0
  x[7, 2] = 1e-4
  module = standardise.Whiten()
  seen, variables = module.init_with_output(jax.random.key(0), x)
  new = x[:20].copy()
  new[:, 2] = 1  # the atom is inside
  moved = np.abs(module.apply(variables, new)).max()
  assert moved < 2 * np.abs(seen).max()
  held = np.clip((x - x.mean(0)) / x.std(0), -16, 16)
  # Nothing of what training holds is changed.
  np.testing.assert_allclose(
    np.asarray(seen), held @ variables['params']['matrix'], atol=2e-4
  )
  assert np.abs((new - x.mean(0)) / x.std(0)).max() > 1e5  # the control


@pytest.mark.parametrize('examples', [16, 64, 512])
def test_whitening_keeps_its_size_on_examples_not_seen(examples):
  """Ninety correlated features, as moments of six channels are."""
  mixing = normal(0, (90, 90)) * np.geomspace(1, 1e-3, 90)[:, None]
  x = (normal(1, (examples + 1000, 90)) @ mixing).astype(np.float32)
  module = standardise.Whiten()
  seen, variables = module.init_with_output(jax.random.key(0), x[:examples])
  new = module.apply(variables, x[examples:])
  kept = np.asarray(seen).std(0) > 0
  assert kept.sum() == min(90, examples // 4)
  ratio = np.asarray(new).std(0)[kept] / np.asarray(seen).std(0)[kept]
  assert ratio.max() < 3
  # Left at unit size, directions that the batch does not hold would explode.
  if examples < 90:
    centred = x[:examples] - x[:examples].mean(0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=True)
    last = directions[len(sizes) - 1]
    assert (x[examples:] @ last).std() > 3 * (centred @ last).std()


def test_standardised_features_start_from_their_batch():
  x = normal(0, (50, 4)) * [1, 100, 1e-3, 0] + [0, 1e3, -5, 0.7]
  x = x.astype(np.float32)
  module = standardise.Standardise()
  y, variables = module.init_with_output(jax.random.key(0), x)
  np.testing.assert_allclose(y.mean(0)[:3], 0, atol=1e-3)
  # The last one does not vary: a constant, near 0 but for rounding.
  np.testing.assert_allclose(y.std(0), [1, 1, 1, 0], atol=2e-3)
  assert np.abs(y[:, 3]).max() < 1
  gradient = jax.jit(
    jax.grad(lambda v, x: (module.apply(v, x) ** 3).sum(), (0, 1))
  )
  of_parameters, of_input = gradient(variables, x)
  assert not any(np.any(g) for g in jax.tree.leaves(of_parameters))
  assert np.abs(of_input).max() > 1
  # The batch of `init` alone counts, and nothing beyond 16 deviations.
  far = module.apply(variables, x + 1e4)
  np.testing.assert_array_equal(far, 16)
  np.testing.assert_array_equal(module.apply(variables, x[:1]), y[:1])


def test_one_example_standardises_nothing():
  x = normal(0, (1, 4))
  y, variables = standardise.Standardise().init_with_output(
    jax.random.key(0), x
  )
  np.testing.assert_array_equal(y, x)
  np.testing.assert_array_equal(variables['params']['scale'], 1)


def test_input_moments_let_the_head_read_the_amount_of_matter():
  """A linear head holds the sum of a channel exactly."""
  vox = np.abs(normal(0, (6, 8, 8, 8, 2)))
  model = build(num_targets=1)
  params = start(model, vox[:1])['params']  # one example: not whitened
  # After 2 * 12 features: the sum of the first power of the second channel.
  linear = np.zeros((24 + 30, 1), np.float32)
  linear[24 + 7] = 1
  params['head']['linear']['kernel'] = jnp.asarray(linear)
  prediction = predict(model, {'params': params}, vox)
  np.testing.assert_allclose(
    prediction[:, 0], 4 * vox[..., 1].mean((1, 2, 3)), rtol=1e-5
  )


@pytest.mark.parametrize('kernels', typing.get_args(layers.Kernels))
def test_an_amount_of_matter_reaches_the_head(kernels):
  """Twice the matter in the box changes what the trunk says, all of it."""
  vox = np.stack([blob(c, 8, 0.3)[0] for c in normal(0, (6, 3)) / 5])
  model = build(kernels=kernels, input_moments=False)
  variables = start(model, vox)
  before, after = (features_of(model, variables, x) for x in (vox, 2 * vox))
  # In standard deviations over blobs at other places.
  assert np.median(np.abs(after - before)) > 1


def turned(vox_BXYZC):
  """The grids after a quarter turn about each axis, and mirrored."""
  return [
    *(
      np.rot90(vox_BXYZC, axes=axes).copy() for axes in ((2, 3), (3, 1), (1, 2))
    ),
    vox_BXYZC[:, ::-1].copy(),
  ]


def change_by_turning(**changes):
  """Largest change of a prediction, over the spread of predictions."""
  vox = np.abs(normal(0, (4, 8, 8, 8, 2)))
  model = build(dropout=0.0, **changes)
  variables = randomise(start(model, vox))
  f = jax.jit(functools.partial(model.apply, variables, train=False))
  still = f(vox)
  return max(
    np.abs(f(moved) - still).max() / still.std() for moved in turned(vox)
  )


@pytest.mark.parametrize('stem', [1, 2])
def test_isotropic_networks_do_not_see_a_quarter_turn(stem):
  assert change_by_turning(kernels='isotropic', stem=stem) < 1e-3
  # Negative control.
  assert change_by_turning(kernels='free', stem=stem) > 0.05


def test_amount_of_matter_is_learned():
  """A total that changes by 10 % over a set is predicted for new examples."""
  rng = np.random.default_rng(0)
  amount = 1 + 0.1 * rng.normal(size=96)
  vox = amount[:, None, None, None, None] * np.concatenate(
    [blob(rng.uniform(-0.3, 0.3, 3), 8, 0.3) for _ in amount]
  )
  vox = vox.astype(np.float32)
  target = ((amount - 1) / 0.1).astype(np.float32)[:, None]
  model = build(num_targets=1, dropout=0.0)
  params = start(model, vox[:80])
  optimizer = optax.adam(1e-2)

  @jax.jit
  def step(params, state):
    def loss(params):
      prediction = model.apply(
        params, vox[:80], train=True, rngs={'dropout': jax.random.key(0)}
      )
      return ((prediction - target[:80]) ** 2).mean()

    updates, state = optimizer.update(jax.grad(loss)(params), state)
    return optax.apply_updates(params, updates), state

  state = jax.jit(optimizer.init)(params)
  for _ in range(150):
    params, state = step(params, state)
  prediction = predict(model, params, vox[80:])
  # A predictor of the mean is off by 1.
  assert float(np.sqrt(((prediction - target[80:]) ** 2).mean())) < 0.3


def test_bfloat16_is_close_to_float32():
  vox = np.abs(normal(0, (2, 8, 8, 8, 1)))
  full, half = build(), build(dtype='bfloat16')
  variables = randomise(start(full, vox))
  expected, actual = (predict(m, variables, vox) for m in (full, half))
  assert actual.dtype == jnp.float32
  error = np.abs(actual - expected).max() / np.abs(expected).max()
  # 8 bits through five layers; exactly equal would mean that it is not used.
  assert 0 < error < 0.05


def test_space_to_depth_keeps_blocks_together():
  vox = np.arange(2 * 4 * 6 * 2 * 3.0).reshape(2, 4, 6, 2, 3)
  blocks = np.asarray(downsampling.space_to_depth(jnp.asarray(vox), 2))
  assert blocks.shape == (2, 2, 3, 1, 24)
  np.testing.assert_array_equal(
    blocks[1, 1, 2, 0], vox[1, 2:4, 4:6, 0:2].ravel()
  )
  assert downsampling.space_to_depth(vox, 1) is vox


def test_mean_pool_is_twice_a_mean():
  x = normal(0, (2, 4, 6, 2, 3))
  blocks = x.reshape(2, 2, 2, 3, 2, 1, 2, 3)
  np.testing.assert_allclose(
    downsampling.mean_pool(jnp.asarray(x)),
    2 * blocks.mean((2, 4, 6)),
    atol=1e-6,
  )


@pytest.mark.parametrize('size', [4, 5])
def test_max_pool_equals_flax(size):
  x = jnp.asarray(normal(0, (2, size, 6, size, 3)))

  def f(x, pool):
    return jnp.sin(pool(x)).sum()

  stock = functools.partial(
    nn.max_pool, window_shape=(2, 2, 2), strides=(2, 2, 2)
  )
  actual = jax.value_and_grad(functools.partial(f, pool=downsampling.max_pool))(
    x
  )
  expected = jax.value_and_grad(functools.partial(f, pool=stock))(x)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-6), actual, expected
  )


def test_max_pool_shares_the_gradient_among_equal_voxels():
  # Where molecules are far, all voxels are equal.
  x = jnp.asarray(np.random.default_rng(0).integers(0, 3, (2, 4, 6, 5, 3)) / 2)

  def reduction(x):
    x = x[:, :, :, :4].reshape(2, 2, 2, 3, 2, 2, 2, 3)
    return x.max((2, 4, 6))

  weight = normal(1, (2, 2, 3, 2, 3))
  actual, expected = (
    jax.grad(lambda x, f=f: (weight * f(x)).sum())(x)
    for f in (downsampling.max_pool, reduction)
  )
  np.testing.assert_allclose(actual, expected, rtol=1e-6)
  shared = (np.asarray(actual) != 0).sum() / weight.size
  assert shared > 2  # several voxels a block
