"""Conv3D gives the numbers of nn.Conv, in every form and on every path."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from edjax.models import conv
from edjax.models.conv import Conv3D, conv3d

# channels in, channels out, kernel, padding or 'blocks', grid
CASES = {
  'stem': (8, 12, 3, 'SAME', (6, 6, 6)),
  'block': (6, 6, 3, 'SAME', (4, 4, 4)),
  'down': (4, 6, 2, 'blocks', (6, 4, 2)),
  'valid, one channel': (1, 5, 3, 'VALID', (7, 6, 5)),
  'valid, fewer channels': (5, 2, 3, 'VALID', (7, 6, 5)),
  'same, one channel out': (5, 1, 3, 'SAME', (5, 4, 3)),
  'pointwise': (3, 4, 1, 'SAME', (3, 4, 5)),
  'even kernel': (2, 3, 2, 'SAME', (5, 4, 3)),
  'minimal, odd': (16, 20, 3, 'SAME', (5, 4, 3)),
  'minimal, valid': (20, 16, 3, 'VALID', (6, 5, 4)),
  'minimal, one output': (16, 16, 3, 'VALID', (3, 4, 3)),
  'kernel wider than the grid': (2, 3, 5, 'SAME', (3, 2, 4)),
}


def normal(seed, shape, dtype=np.float32):
  return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def modules(case):
  _, c_out, kernel, padding, _ = case
  if padding == 'blocks':
    ours = Conv3D(c_out, kernel, blocks=True)
    return ours, nn.Conv(c_out, (kernel,) * 3, strides=kernel)
  ours = Conv3D(c_out, kernel, padding)
  stock = nn.Conv(c_out, (kernel,) * 3, padding=padding)
  return ours, stock


def relative(actual, expected):
  """Largest difference, in units of the largest expected value."""
  return float(np.max(np.abs(actual - expected)) / np.max(np.abs(expected)))


def assert_trees_close(actual, expected, tolerance):
  errors = jax.tree.map(relative, actual, expected)
  worst = max(jax.tree.leaves(errors))
  assert worst < tolerance, errors


def value_and_gradients(module, variables, x, weight):
  def f(variables, x):
    y = module.apply(variables, x)
    # Not linear in y, so that a wrong residual shows.
    return (jnp.sin(y) * weight).sum(), y

  (_, y), gradients = jax.value_and_grad(f, (0, 1), has_aux=True)(variables, x)
  return y, gradients


def values_and_gradients(pair, variables, x, weight):
  """Of both modules, in one program: compilation is most of the time."""
  run = jax.jit(
    lambda *args: tuple(value_and_gradients(m, *args) for m in pair)
  )
  return run(variables, x, weight)


@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_equals_nn_conv(case):
  ours, stock = modules(case)
  x = normal(0, (2, *case[4], case[0]))
  variables = stock.init(jax.random.key(1), x)
  variables['params']['bias'] = normal(2, case[1])
  shapes = functools.partial(jax.tree.map, jnp.shape)
  assert shapes(ours.init(jax.random.key(1), x)) == shapes(variables)
  weight = normal(3, stock.apply(variables, x).shape)
  actual, expected = values_and_gradients(modules(case), variables, x, weight)
  # Sums of at most 2 * 210 products: a few times 2^-24, over the largest.
  assert_trees_close(actual, expected, 3e-6)


@pytest.mark.parametrize(
  'name', ['block', 'down', 'minimal, odd', 'minimal, valid']
)
def test_equals_nn_conv_in_float64(x64, name):
  case = CASES[name]
  _, stock = modules(case)
  x = normal(0, (2, *case[4], case[0]), np.float64)
  variables = jax.tree.map(
    lambda p: np.asarray(p, np.float64), stock.init(jax.random.key(1), x)
  )
  weight = normal(3, stock.apply(variables, x).shape, np.float64)
  actual, expected = values_and_gradients(modules(case), variables, x, weight)
  assert actual[0].dtype == np.float64
  assert_trees_close(actual, expected, 1e-12)


@pytest.fixture
def chunks(monkeypatch):
  """Two examples at a time, which else only large batches are."""
  monkeypatch.setattr(conv, '_WHOLE_BYTES', 0)
  of_two = {'direct': 6_000, 'minimal': 45_000}
  monkeypatch.setattr(conv, '_CHUNK_BYTES', of_two)
  jax.clear_caches()
  yield
  jax.clear_caches()


def chunked_case(channels):
  x, kernel = normal(0, (4, 5, 4, 3, channels[0])), (3, 3, 3, *channels)
  plan = conv._plan(x.shape, kernel, ((1, 1),) * 3, np.dtype(np.float32))
  return x, 0.1 * normal(1, kernel), plan


@pytest.mark.parametrize(
  ('channels', 'form'),
  [((2, 4), 'direct'), ((4, 2), 'direct'), ((16, 20), 'minimal')],
)
def test_in_chunks(channels, form, chunks):
  x, kernel, plan = chunked_case(channels)
  assert plan == (form, 2)

  def descend(f):
    def body(kernel, _):
      loss, gradients = jax.value_and_grad(
        functools.partial(small_loss, f), (0, 1)
      )(kernel, x)
      return kernel - 1e-4 * gradients[0], (loss, gradients)

    return body

  # Loops within a loop, as in a call of several steps.
  scan = jax.jit(lambda k: lax.scan(descend(conv3d), k, length=2))
  end, expected = kernel, []
  for _ in range(2):
    end, step = descend(stock_conv3d)(end, None)
    expected.append(step)
  expected = jax.tree.map(lambda *a: jnp.stack(a), *expected)
  assert_trees_close(scan(kernel), (end, expected), 3e-6)


@pytest.mark.parametrize(
  ('channels', 'transform'),
  [
    ((2, 4), lambda f, **kwargs: jax.jit(jax.vmap(f, **kwargs))),
    ((16, 20), jax.pmap),
  ],
  ids=['vmap', 'pmap'],
)
def test_chunks_under_vmap_and_pmap(channels, transform, chunks):
  x, kernel, (_, chunk) = chunked_case(channels)
  assert chunk < len(x)
  xs = np.stack([x, x[::-1], 2 * x, -x])
  actual, expected = (
    map_(
      jax.value_and_grad(functools.partial(small_loss, f), (0, 1)),
      in_axes=(None, 0),
    )(kernel, xs)
    for f, map_ in ((conv3d, transform), (stock_conv3d, jax.vmap))
  )
  assert_trees_close(jax.device_get(actual), expected, 3e-6)


def test_plans():
  """Few channels, short axes and other kernels keep the direct form."""
  same, float32 = ((1, 1),) * 3, np.dtype(np.float32)

  def plan(batch, n, c_in, c_out, k=3):
    return conv._plan(
      (batch, n, n, n, c_in), (k, k, k, c_in, c_out), same, float32
    )

  assert plan(2, 6, 16, 16) == ('minimal', 2)
  assert plan(2, 6, 15, 16)[0] == plan(2, 6, 16, 15)[0] == 'direct'
  assert plan(2, 6, 16, 16, k=2)[0] == 'direct'
  # 24^3 voxels of 32 channels are 1.8 MB: one example falls out of the cache.
  assert plan(16, 24, 32, 64) == ('minimal', 1)
  # A divisor of the batch; a prime one is taken one by one.
  assert plan(16, 24, 5, 32) == ('direct', 4)
  assert plan(17, 24, 5, 32) == ('direct', 1)


def test_minimal_form_rounds_as_the_plain_sum(x64):
  x, kernel = normal(0, (2, 8, 8, 8, 32)), normal(1, (3, 3, 3, 32, 32))
  pads = ((1, 1),) * 3
  exact = conv._stock(x.astype(float), kernel.astype(float), pads)
  errors = [
    np.sqrt(np.mean((f(x, kernel, pads) - exact) ** 2))
    for f in (conv._minimal, conv._direct)
  ]
  # F(4, 3) would have five times the error.
  assert errors[0] < 1.5 * errors[1]
  assert errors[0] < 1e-6 * np.abs(exact).max()


def test_initialises_as_nn_conv():
  ours, stock = modules(CASES['block'])
  x = normal(0, (1, 4, 4, 4, 6))
  key = jax.random.key(7)
  jax.tree.map(
    np.testing.assert_array_equal, ours.init(key, x), stock.init(key, x)
  )


def test_dtypes():
  x = normal(0, (1, 4, 4, 4, 3))
  module = Conv3D(4, dtype=jnp.bfloat16)
  variables = module.init(jax.random.key(0), x)
  assert variables['params']['kernel'].dtype == jnp.float32
  assert module.apply(variables, x).dtype == jnp.bfloat16


def test_bfloat16_accumulates_in_float32():
  # 27 * 64 ones: beyond 256, bfloat16 cannot count by ones.
  x = jnp.ones((1, 3, 3, 3, 64), jnp.bfloat16)
  kernel = jnp.ones((3, 3, 3, 64, 2), jnp.bfloat16)
  assert float(conv3d(x, kernel, padding='VALID')[0, 0, 0, 0, 0]) == 27 * 64


@pytest.mark.parametrize('name', ['block', 'stem', 'down'])
def test_bfloat16_gradients(name):
  case = CASES[name]
  x = normal(0, (2, *case[4], case[0]))
  full, _ = modules(case)
  half = full.clone(dtype=jnp.bfloat16)
  variables = full.init(jax.random.key(1), x)
  weight = normal(3, full.apply(variables, x).shape)
  actual, expected = values_and_gradients((half, full), variables, x, weight)
  assert jax.tree.leaves(actual[1])[0].dtype == jnp.float32
  # bfloat16 keeps 8 bits: 2^-9 per rounding, over sums of random signs.
  actual = jax.tree.map(lambda a: np.asarray(a, np.float32), actual)
  assert_trees_close(actual, expected, 3e-2)


# Outputs of size 1, whose rounding the sine below does not magnify.
def small_loss(f, kernel, x):
  return (jnp.sin(f(x, kernel)) ** 2).sum()


def stock_conv3d(x, kernel):
  return lax.conv_general_dilated(
    x, kernel, (1, 1, 1), 'SAME', dimension_numbers=('NDHWC', 'DHWIO', 'NDHWC')
  )


@pytest.mark.parametrize('channels', [(3, 5), (5, 3)])
def test_under_vmap(channels):
  x = normal(0, (3, 2, 4, 5, 3, channels[0]))
  kernel = 0.1 * normal(1, (3, 3, 3, 3, *channels))
  for axes in ((0, 0), (None, 0), (0, None)):
    args = tuple(
      a if axis == 0 else a[0]
      for a, axis in zip((kernel, x), axes, strict=True)
    )
    actual, expected = (
      jax.jit(
        jax.vmap(
          jax.value_and_grad(functools.partial(small_loss, f), (0, 1)),
          in_axes=axes,
        )
      )(*args)
      for f in (conv3d, stock_conv3d)
    )
    assert_trees_close(actual, expected, 3e-6)


def test_under_pmap():
  devices = jax.local_device_count()
  assert devices == 4
  x = normal(0, (devices, 2, 6, 6, 6, 4))
  kernel = 0.1 * normal(1, (3, 3, 3, 4, 8))

  def step(kernel, x, f):
    loss, gradient = jax.value_and_grad(functools.partial(small_loss, f))(
      kernel, x
    )
    return lax.psum((loss, gradient), 'devices')

  actual = jax.pmap(
    functools.partial(step, f=conv3d), 'devices', in_axes=(None, 0)
  )(kernel, x)
  expected = jax.value_and_grad(functools.partial(small_loss, stock_conv3d))(
    kernel, x.reshape(-1, *x.shape[2:])
  )
  for device in range(devices):
    one = jax.tree.map(lambda a, d=device: np.asarray(a[d]), actual)
    assert_trees_close(one, expected, 3e-6)


@pytest.mark.parametrize('channels', [(3, 5), (5, 3)])
def test_inside_scan(channels):
  x = normal(0, (2, 5, 4, 6, channels[0]))
  kernel = 0.1 * normal(1, (3, 3, 3, *channels))

  def descend(kernel, x, f, loop):
    def body(kernel, _):
      loss, gradient = jax.value_and_grad(functools.partial(small_loss, f))(
        kernel, x
      )
      return kernel - 1e-4 * gradient, loss

    return loop(body, kernel)

  scan = functools.partial(lax.scan, xs=None, length=3)

  def unrolled(body, kernel):
    losses = []
    for _ in range(3):
      kernel, loss = body(kernel, None)
      losses.append(loss)
    return kernel, jnp.stack(losses)

  actual = jax.jit(functools.partial(descend, f=conv3d, loop=scan))(kernel, x)
  expected = descend(kernel, x, stock_conv3d, unrolled)
  assert_trees_close(actual, expected, 3e-6)


def test_second_derivative():
  # The gradient of a gradient (force losses) goes through the backward pass.
  x = normal(0, (1, 4, 4, 4, 2))
  kernel = normal(1, (3, 3, 3, 2, 3))

  def outer(kernel, f):
    inner = jax.grad(lambda x: small_loss(f, kernel, x))(x)
    return (inner**2).sum()

  actual = jax.grad(outer)(kernel, conv3d)
  expected = jax.grad(outer)(kernel, stock_conv3d)
  assert_trees_close(actual, expected, 1e-5)


def test_every_platform_has_a_lowering():
  x = jax.ShapeDtypeStruct((1, 4, 4, 4, 2), jnp.float32)
  kernel = jax.ShapeDtypeStruct((3, 3, 3, 2, 3), jnp.float32)
  gradient = jax.jit(
    jax.grad(functools.partial(small_loss, conv3d), argnums=(0, 1))
  )
  # Three spatial axes appear in the stock convolution alone.
  three = '0, 1, 2, f]'
  for platform, stock in (('cpu', False), ('cuda', True), ('tpu', True)):
    text = gradient.trace(kernel, x).lower(lowering_platforms=(platform,))
    assert (three in text.as_text()) == stock, platform


def test_cpu_lowering_has_no_convolution_over_three_axes():
  for c_in, c_out in ((2, 3), (3, 2)):
    x, kernel = normal(0, (1, 4, 4, 4, c_in)), normal(1, (3, 3, 3, c_in, c_out))
    backward = jax.make_jaxpr(
      jax.grad(
        lambda k, x: (conv._cpu(x, k, ((1, 1),) * 3) ** 2).sum(),
        (0, 1),
      )
    )(kernel, x)
    text = str(backward)
    assert 'conv_general_dilated' in text
    assert 'lhs_spec=(0, 4, 1, 2, 3)' not in text


@pytest.mark.parametrize(
  ('x_shape', 'kernel_shape', 'padding', 'message'),
  [
    ((4, 4, 4, 2), (3, 3, 3, 2, 3), 'SAME', 'rank 5'),
    ((1, 4, 4, 4, 1), (3, 3, 3, 2, 3), 'SAME', '1 channels, the kernel 2'),
    ((1, 4, 4, 4, 2), (3, 3, 3, 2, 3), 'same', "'SAME', 'VALID'"),
    ((1, 4, 2, 4, 2), (3, 3, 3, 2, 3), 'VALID', 'smaller than the kernel'),
  ],
)
def test_refuses(x_shape, kernel_shape, padding, message):
  with pytest.raises(ValueError, match=message):
    conv3d(jnp.ones(x_shape), jnp.ones(kernel_shape), padding)


def test_refuses_mixed_dtypes():
  x, kernel = jnp.ones((1, 4, 4, 4, 2)), jnp.ones((3, 3, 3, 2, 3))
  with pytest.raises(ValueError, match='the kernel bfloat16'):
    conv3d(x, kernel.astype(jnp.bfloat16))
