"""Times training steps of the same networks in edjax and PyTorch, on CPU.

  python -m benchmarks.speed.network [--peers DIR] [--repeats N]

Batch 16, 24^3 voxels, 5 channels, float32. A step is forward, backward and
AdamW. The gradient of the loss with respect to all parameters, from the same
parameters and voxels and without dropout, is compared too. Then ATOM3D's
recipe end to end: random rotation, gridding, training step.
"""

import argparse
import functools
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import traverse_util

from benchmarks import timing
from configs import qm9_atoms
from edjax import config as configuration
from edjax import models, optim
from edjax.config.representation import make_voxelizer
from edjax.models import downsampling
from edjax.models.conv import Conv3D
from edjax.molecule import Molecule, stack
from edjax.runtime import compile_cache, malloc, parallel
from edjax.train import train_step

BATCH, SIZE, CHANNELS, TARGETS = 16, 24, 5, 1
SPACING = 0.5
ELEMENTS = (1, 6, 7, 8, 9)
WHAT = {
  'blocks': '4 blocks 32-64-128-256: convolution, relu, max-pool',
  'cnn3d': "ATOM3D's 3DCNN 32-64-128-256",
  'resnet3d': "edjax's default resnet3d",
}


class Blocks(nn.Module):
  """Four times convolution, relu, max-pool; then a mean and one layer."""

  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, train):
    del train
    for i, width in enumerate((32, 64, 128, 256)):
      x = Conv3D(width, dtype=self.dtype)(x)
      x = nn.relu(downsampling.max_pool(x) if i < 3 else x)
    return nn.Dense(TARGETS)(x.astype('float32').mean((1, 2, 3)))


def build(name, dtype='float32'):
  if name == 'blocks':
    return Blocks(dtype)
  config = configuration.resolve(qm9_atoms.get_config())
  fields = dict(config.model, name=name, dtype=dtype, input_moments=False)
  return models.build_model(fields, TARGETS)


def initial(model, vox, seed=0):
  """Returns parameters, none of them zero, as numpy."""
  params = model.init(jax.random.key(seed), vox, train=False)['params']
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda p: np.asarray(p + 0.02 * rng.normal(size=p.shape), np.float32),
    params,
  )


def save(path, params, **arrays):
  flat = traverse_util.flatten_dict(params, sep='/')
  np.savez(path, **{f'params/{k}': v for k, v in flat.items()}, **arrays)


def vector(params):
  flat = traverse_util.flatten_dict(params, sep='/')
  return np.concatenate([np.ravel(v) for v in flat.values()])


def gradient(model, params, vox, labels, train, rngs=None):
  def loss(params):
    prediction = model.apply({'params': params}, vox, train=train, rngs=rngs)
    return ((prediction - labels) ** 2).mean()

  return jax.grad(loss)(params)


def stepper(model, params, vox, labels, train=True):
  """Makes a function that trains a step in place; `train` is for dropout."""
  optimizer = optax.adamw(1e-3, weight_decay=1e-4)

  @functools.partial(jax.jit, donate_argnums=0)
  def step(state, vox, labels):
    params, opt_state, key = state
    key, dropout = jax.random.split(key)
    grads = gradient(model, params, vox, labels, train, {'dropout': dropout})
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, key

  state = jax.device_put((params, optimizer.init(params), jax.random.key(0)))
  compiled = step.lower(state, vox, labels).compile()

  def run():
    nonlocal state
    state = jax.block_until_ready(compiled(state, vox, labels))

  run.program = compiled.as_text
  return run


def networks(torch, half, scratch, repeats, table):
  rng = np.random.default_rng(0)
  vox = np.abs(rng.normal(size=(BATCH, SIZE, SIZE, SIZE, CHANNELS)))
  vox = vox.astype(np.float32)
  labels = rng.normal(size=(BATCH, TARGETS)).astype(np.float32)
  path = scratch / 'network.npz'
  for name, label in WHAT.items():
    model = build(name)
    params = initial(model, vox)
    save(path, params, vox=vox, labels=labels)
    actual = vector(
      jax.jit(functools.partial(gradient, model, train=False))(
        params, vox=jnp.asarray(vox), labels=labels
      )
    )
    torch.prepare('network', path=str(path), name=name, wanted='gradient')
    expected = torch.save(scratch / 'gradient.npy')
    deviation = np.abs(actual - expected).max() / np.abs(expected).max()
    torch.prepare('network', path=str(path), name=name, wanted='step')
    half.prepare(
      'network', path=str(path), name=name, wanted='step', autocast=True
    )
    args = params, jnp.asarray(vox), labels
    times = timing.in_turn(
      {
        'edjax': timing.elapsed(stepper(model, *args)),
        'without': timing.elapsed(stepper(model, *args, train=False)),
        'edjax half': timing.elapsed(stepper(build(name, 'bfloat16'), *args)),
        'torch': torch.seconds,
        'half': half.seconds,
      },
      repeats,
    )
    table.row(
      label,
      1e3 * times['edjax'],
      1e3 * times['without'],
      1e3 * times['torch'],
      times['edjax'] / times['torch'],
      f'{deviation:.0e}',
      1e3 * times['edjax half'],
      1e3 * times['half'],
    )


def molecules(count):
  """Makes molecules of 9 to 27 atoms within 4 Å or so, as QM9's are."""
  rng = np.random.default_rng(0)
  result = []
  for i in range(count):
    n = rng.integers(9, 28)
    numbers = rng.choice(ELEMENTS, n, p=(0.51, 0.35, 0.06, 0.07, 0.01))
    coords = 1.6 * rng.normal(size=(n, 3))
    result.append(Molecule.from_arrays(numbers, coords, index=i, max_atoms=29))
  return jax.device_get(stack(result))


def training(data, labels):
  """Sets up edjax's own training loop; one run is one step."""
  config = qm9_atoms.get_config()
  config.model.name = 'cnn3d'
  config.model.input_moments = False
  config.optim.name = 'adamw'
  config.train.batch_size = BATCH
  config.representation.grid_size = SIZE
  config.representation.spacing = SPACING
  config = configuration.resolve(config)
  voxelizer = make_voxelizer(config.representation)
  model = models.build_model(config.model, TARGETS)
  optimizer = optim.make_optimizer(config.optim, config.train.steps)
  sample = jax.jit(jax.vmap(voxelizer))(jax.tree.map(lambda x: x[:2], data))
  params = initial(model, np.asarray(sample))
  state = train_step.TrainState(
    np.zeros((), np.int32), params, params, optimizer.init(params)
  )
  step = train_step.make_train_step(config, model, optimizer, voxelizer)
  call = train_step.make_train_call(step, on_device=True)
  inputs = parallel.replicate(compile_cache.step_inputs(config, voxelizer))
  state = parallel.replicate(state)
  data = parallel.replicate((data, labels))
  rng = np.random.default_rng(1)

  def run():
    nonlocal state
    rows = rng.integers(len(labels), size=(1, BATCH))
    indices_DSB = np.swapaxes(parallel.shard(rows.T), 1, 2)
    state, losses = call(state, data, indices_DSB, inputs)
    jax.block_until_ready(losses)

  return params, sample.shape[-1], run


def recipe(torch, scratch, repeats, table):
  data = molecules(256)
  labels = np.random.default_rng(2).normal(size=(256, TARGETS))
  labels = labels.astype(np.float32)
  params, channels, run = training(data, labels)
  onehot = data.numbers_A[..., None] == np.array(ELEMENTS)
  onehot = onehot.astype(np.float32)
  missing = channels - onehot.shape[-1]
  onehot = np.pad(onehot, ((0, 0), (0, 0), (0, missing)))
  path = scratch / 'recipe.npz'
  save(path, params, coords=data.coords_A3, onehot=onehot, labels=labels)
  contestants = {'edjax': timing.elapsed(run)}
  for gridding, peer in zip(('nearest', 'gaussian'), torch, strict=True):
    peer.prepare(
      'recipe',
      path=str(path),
      gridding=gridding,
      size=SIZE,
      spacing=SPACING,
      batch=BATCH,
    )
    contestants[gridding] = peer.seconds
  rates = {
    name: BATCH / seconds
    for name, seconds in timing.in_turn(contestants, repeats).items()
  }
  for gridding in ('nearest', 'gaussian'):
    table.row(
      gridding,
      rates['edjax'],
      rates[gridding],
      rates['edjax'] / rates[gridding],
    )


def main():
  malloc.keep()  # as launch.py does
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--peers', type=pathlib.Path, default='peers')
  parser.add_argument('--repeats', type=int, default=15)
  options = parser.parse_args()
  with (
    timing.Peer(options.peers, 'torch') as torch,
    timing.Peer(options.peers, 'torch') as another,
    tempfile.TemporaryDirectory() as scratch,
  ):
    scratch = pathlib.Path(scratch)
    table = timing.Table(
      'network',
      'Training steps of a 3-D CNN on CPU',
      [
        timing.machine(torch, packages=('jax', 'flax', 'optax')),
        f'Batch {BATCH}, {SIZE}^3 voxels, {CHANNELS} channels, float32; '
        'forward, backward and AdamW. PyTorch: channels_last_3d, fused AdamW. '
        'The deviation is that of the gradient of all parameters, without '
        'dropout, over its largest value. Last: with '
        "bfloat16, `model.dtype` in edjax and PyTorch's autocast.",
      ],
      (
        'network',
        'edjax ms',
        'without dropout',
        'PyTorch ms',
        'edjax / PyTorch',
        'deviation of gradient',
        'edjax bfloat16 ms',
        'PyTorch bfloat16 ms',
      ),
    )
    networks(torch, another, scratch, options.repeats, table)
    table.text(
      '',
      "ATOM3D's recipe end to end: molecules of 9 to 27 atoms, random "
      'rotation, gridding, training step of its 3DCNN; examples a second. '
      "edjax: its own training loop with Gaussians and the weights' average; "
      'PyTorch: a batch gridded at a time, one in the nearest voxel as in '
      'ATOM3D, or Gaussians.',
    )
    table.head(('gridding in PyTorch', 'edjax', 'PyTorch', 'edjax / PyTorch'))
    recipe((torch, another), scratch, options.repeats, table)


if __name__ == '__main__':
  main()
