"""What networks carry, against networks of which it is known beforehand."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from support.made_up_results import made_up_results

from edjax import models, optim
from edjax.evaluate import results_table, vitals
from edjax.models import layers
from edjax.molecule import Molecule, stack
from edjax.train import train_step

N = 13


@dataclasses.dataclass(frozen=True)
class Coordinates:
  """Channels hold the x and the y coordinate of the first atom."""

  scales: tuple = ()
  raw_names = ('one', 'two')

  def raw(self, mol):
    return jnp.broadcast_to(mol.coords_A3[0, :2], (2, 2, 2, 2))

  def finish(self, vox_XYZC, scale_C):
    del scale_C  # ones
    return vox_XYZC


@dataclasses.dataclass(frozen=True)
class Waves:
  """Two channels of waves that move with the first atom."""

  scales: tuple = ()
  raw_names = ('one', 'two')

  def raw(self, mol):
    axis = jnp.arange(8.0)
    x, y, z = jnp.meshgrid(axis, 1.7 * axis, 0.6 * axis, indexing='ij')
    phase = x + y + z + mol.coords_A3[0, 0]
    return jnp.stack([jnp.sin(phase), jnp.cos(phase * mol.coords_A3[0, 1])], -1)

  def finish(self, vox_XYZC, scale_C):
    del scale_C  # ones
    return vox_XYZC


class FirstChannel(nn.Module):
  """The mean of the first channel, with two layers that are seen."""

  @nn.compact
  def __call__(self, vox_BXYZC, train):
    del train
    x, zero = vox_BXYZC[..., :1], 0 * vox_BXYZC
    seen = jnp.concatenate([x, zero, zero + 3, 1e-5 * x], -1)
    layers.note_activity(self, seen, 'relu_0')
    layers.note_activity(self, zero, 'gone')
    return x.mean((1, 2, 3))


class Sum(nn.Module):
  """a times the features plus b times the sum of the input's channel 1."""

  a: tuple
  b: tuple

  @nn.compact
  def __call__(self, features_BF, moments_BF, train):
    del train
    bias_T = self.param('bias', nn.initializers.ones, (len(self.a),))
    moved_BT = moments_BF[:, 7:8] * jnp.array(self.b)[None]
    return features_BF * jnp.array(self.a)[None] + moved_BT + bias_T[None]


def setting(model, voxelizer, targets, n=N, size=8):
  """(config, task) of random molecules; 4 devices share a batch of `size`."""
  rng = np.random.default_rng(0)
  molecules = stack(
    [
      Molecule.from_arrays([6], rng.normal(size=(1, 3)), index=i, center=False)
      for i in range(n)
    ]
  )
  space = types.SimpleNamespace
  config = space(
    data=space(targets=targets),
    augment=space(rotate=False, translate=0.0),
    eval=space(batch_size=size),
    optim=OPTIM,
    train=space(seed=0, steps=10),
  )
  task = space(
    model=model,
    voxelizer=voxelizer,
    rows={'validation': np.arange(n)},
    molecules={'validation': jax.tree.map(np.array, molecules)},
  )
  return config, task


class Optim(dict):
  """Fields as items and as attributes."""

  __getattr__ = dict.__getitem__


OPTIM = Optim(
  name='muon', learning_rate=0.02, warmup_fraction=0.1, final_fraction=0.05,
  weight_decay=0.1, clip_norm=1.0, skip_nonfinite=0, b1=0.9, b2=0.999,
)  # fmt: skip


@pytest.mark.parametrize(('n', 'size'), [(13, 8), (13, 64), (300, 256)])
def test_shares_in_closed_form(n, size):
  """Targets: trunk, moments, both, both against each other, a constant."""
  a, b = (1.0, 0.0, 1.0, 1.0, 0.0), (0.0, 1.0, 0.5, -0.24, 0.0)
  targets = ('trunk', 'moments', 'both', 'against', 'none')
  model = models.Network(FirstChannel(), Sum(a, b), True)
  config, task = setting(model, Coordinates(), targets, n, size)
  # One moves with the other, so that they can cancel; not quite, though.
  coords_BA3 = task.molecules['validation'].coords_A3
  coords_BA3[:, 0, 1] = coords_BA3[:, 0, 0] + 0.01 * coords_BA3[:, 0, 1]
  # Of one molecule: the moments are not whitened.
  params = model.init(jax.random.key(0), jnp.ones((1, 2, 2, 2, 2)), False)
  found = vitals.Observer(config, task).carried(params['params'])
  x, y = coords_BA3[: min(n, 256), 0, :2].T.astype(np.float64)
  shares = list(found['trunk_share'].values())
  expected = [np.var(x) / np.var(x + 4 * k * y) for k in b[2:4]]
  assert shares[0] == pytest.approx(1, rel=1e-6)
  assert shares[1] == 0
  assert shares[2:4] == pytest.approx(expected, rel=1e-3)
  assert shares[3] > 100
  assert shares[4] == 0
  assert found['constant_predictions'] == ['none']
  assert found['dead_channels'] == {'relu_0': [4 + 1, 6], 'gone': [2, 2]}


def test_dead_channels():
  found = vitals.dead_channels(
    {
      'some': np.array([1.0, 0.0, 2e-3, 2e-4]),
      'all': np.zeros(3),
      'none': np.array([1e-9, 2e-9]),
    }
  )
  assert found == {'some': [2, 4], 'all': [3, 3], 'none': [0, 2]}


RESNET = {
  'name': 'resnet3d',
  'widths': (8,),
  'blocks': (1,),
  'local': 16,
  'kernels': 'isotropic',
  'stem': 1,
  'head_width': 16,
  'dropout': 0.1,
  'dtype': 'float32',
  'input_powers': True,
  'input_moments': True,
}


@pytest.fixture(scope='module')
def resnet():
  """(observer, fresh parameters) of a small network."""
  model = models.build_model(RESNET, 2)
  config, task = setting(model, Waves(), ('gap', 'mu'))
  vox = jax.vmap(Waves().raw)(task.molecules['validation'])
  params = model.init(jax.random.key(0), vox, train=False)['params']
  return vitals.Observer(config, task), jax.device_get(params)


def altered(params, seed=1):
  """Nothing zero: the last layers start at zero. Constants stay."""
  leaves, tree = jax.tree.flatten(params)
  rng = np.random.default_rng(seed)
  noisy = [(x + 0.3 * rng.normal(size=x.shape)).astype(x.dtype) for x in leaves]
  noisy = jax.tree.unflatten(tree, noisy) | {'whiten': params['whiten']}
  noisy['trunk']['standardise'] = params['trunk']['standardise']
  return noisy


def words(found):
  results, *_ = made_up_results()
  return results_table.table(results | found).splitlines()


def test_a_fresh_network_predicts_a_constant_and_has_no_dead_channels(resnet):
  observer, params = resnet
  found = observer.carried(params)
  assert found['trunk_share'] == {'gap': 0, 'mu': 0}
  assert found['constant_predictions'] == ['gap', 'mu']
  assert found['dead_channels'] == {
    'block_0_0/silu_0': [0, 8], 'block_0_0/silu_1': [0, 8], 'silu_0': [0, 16],
  }  # fmt: skip
  assert 'gap, mu: the network predicts a constant.' in words(found)


def test_a_trunk_that_carries_all(resnet):
  """The head reads no moments: nothing is left without the trunk."""
  observer, params = resnet
  params = altered(params)
  for layer in ('hidden', 'linear'):
    params['head'][layer]['kernel'][16:] = 0
  found = observer.carried(params)
  assert found['trunk_share'] == pytest.approx({'gap': 1, 'mu': 1}, rel=1e-5)
  assert found['constant_predictions'] == []
  assert words(found)[-1].endswith('Dead channels: 0 of 32.')


@pytest.mark.parametrize('where', ['local', 'head'])
def test_a_dead_trunk_carries_nothing(resnet, where):
  """Features that are equal, or read by nothing; moments go on."""
  observer, params = resnet
  params = altered(params)
  if where == 'local':
    for leaf in params['trunk']['local_0'].values():
      leaf[:] = 0
  else:
    for layer in ('hidden', 'linear'):
      params['head'][layer]['kernel'][:16] = 0
  found = observer.carried(params)
  assert found['trunk_share'] == {'gap': 0, 'mu': 0}
  assert found['constant_predictions'] == []
  dead = found['dead_channels']
  assert dead['silu_0'] == [16 if where == 'local' else 0, 16]
  assert dead['block_0_0/silu_1'] == [0, 8]
  *_, said, advice = words(found)
  assert said == (
    'gap, mu: the trunk carries under 5%. There the head predicts from the '
    'moments of the input alone: the convolutions do nothing.'
  )
  assert 'config.optim.learning_rate' in advice


def test_a_network_without_convolutions():
  model = models.build_model(RESNET | {'name': 'moments'}, 2)
  config, task = setting(model, Waves(), ('gap', 'mu'))
  vox = jax.vmap(Waves().raw)(task.molecules['validation'])
  optimizer = optim.make_optimizer(config.optim, 10)
  state = jax.device_get(train_step.init_state(model, optimizer, 0, vox))
  found = vitals.Observer(config, task).carried(state.params)
  assert found == {
    'trunk_share': {}, 'constant_predictions': [], 'dead_channels': {},
  }  # fmt: skip
  # No step yet, and kernels of zeros among them.
  ratios = dict.fromkeys(['head/out', 'head/hidden', 'head/linear'], 0.0)
  assert optim.update_over_weight(config, state) == ratios
  assert 'The network has no convolutions' in words(found)[-1]


def test_updates_are_those_of_the_rate_of_the_run():
  """Two steps as training takes them: compiled for a rate of 1."""
  config = types.SimpleNamespace(optim=OPTIM)
  optimizer = optim.make_optimizer(OPTIM, 10)
  rng = np.random.default_rng(0)

  def draw():
    kernel = rng.normal(size=(4, 3)).astype(np.float32)
    return {'hidden': {'kernel': kernel}}

  before = after = draw()
  opt_state = optimizer.init(before)
  for _ in range(2):
    before = after
    updates, opt_state = optimizer.update(draw(), opt_state, before)
    updates = jax.tree.map(lambda u: u * OPTIM.learning_rate, updates)
    after = jax.device_get(optax.apply_updates(before, updates))
  state = types.SimpleNamespace(params=after, opt_state=opt_state)
  old, new = (tree['hidden']['kernel'] for tree in (before, after))
  assert optim.update_over_weight(config, state) == {
    'hidden': pytest.approx(
      np.linalg.norm(new - old) / np.linalg.norm(new), rel=1e-5
    )
  }


def test_what_is_logged():
  carried = {
    'trunk_share': {'gap': 0.5},
    'constant_predictions': [],
    'dead_channels': {'silu_0': [1, 4], 'block_0_0/silu_0': [2, 8]},
  }
  lines = []
  run = types.SimpleNamespace(log=lambda *line: lines.append(line))
  vitals.log(carried, {'trunk/stem': 1e-3}, 7, run)
  assert lines == [
    (7, 'validation', 'trunk_share_gap', 0.5, ''),
    (7, 'validation', 'dead_channels', 0.25, ''),
    (7, 'validation', 'dead_silu_0', 0.25, ''),
    (7, 'validation', 'dead_block_0_0/silu_0', 0.25, ''),
    (7, 'train', 'update_over_weight_trunk/stem', 1e-3, ''),
  ]
