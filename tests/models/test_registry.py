"""A new network and a new loss: a definition and a line in a registry each."""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import default
from edjax import config as configuration
from edjax import models, optim
from edjax.config import ConfigError
from edjax.config.representation import make_voxelizer
from edjax.molecule import Molecule, stack
from edjax.runtime import compile_cache, parallel
from edjax.train import train_step


class Toy(nn.Module):
  """A dense layer of the mean voxel."""

  toy_width: Annotated[int, 1]
  activation: Literal['relu', 'silu'] = 'relu'
  slope: Annotated[float, 0, 0.5] = 0.25

  def check(self, grid_3):
    if min(grid_3) < 4:
      raise ValueError(f'toy needs 4 voxels, the grid is {grid_3}')

  @nn.compact
  def __call__(self, vox_BXYZC, train):
    del train
    mean_BF = nn.Dense(self.toy_width)(vox_BXYZC.mean((1, 2, 3)))
    return getattr(nn, self.activation)(mean_BF) + self.slope * mean_BF


def cubed(prediction_BT, target_BT):
  return jnp.abs(prediction_BT - target_BT) ** 3


@pytest.fixture
def config(monkeypatch):
  """A configuration of the toy network and the toy loss, not resolved."""
  monkeypatch.setitem(models.MODELS, 'toy', models.Architecture(Toy))
  monkeypatch.setitem(optim.LOSSES, 'cubed', cubed)
  config = default.get_config()
  config.data.targets = ('gap', 'mu')
  config.representation.channels = ('shape',)
  config.representation.grid_size = 4
  config.representation.spacing = 2.0
  config.model.name = 'toy'
  config.model.toy_width = 3
  config.optim.loss = 'cubed'
  return config


def test_a_new_network_and_loss_take_a_step(config):
  config.model.slope = 0.5
  config = configuration.resolve(config)
  # Left out, at its default.
  assert config.model.activation == 'relu'
  model = models.build_model(config.model, 2)
  assert model.trunk == Toy(3, 'relu', 0.5)
  assert model.head.head_width == config.model.head_width

  mol = Molecule.from_arrays([6, 8], [[0.0, 0, 0], [1.2, 0, 0]])
  molecules, labels_BT = stack([mol, mol]), np.ones((2, 2), np.float32)
  voxelizer = make_voxelizer(config.representation)
  sample = jax.vmap(voxelizer)(molecules)
  optimizer = optim.make_optimizer(config.optim, config.train.steps)
  state = train_step.init_state(model, optimizer, 0, sample)
  step = train_step.make_train_step(config, model, optimizer, voxelizer)
  inputs = compile_cache.step_inputs(config, voxelizer)
  one = jax.jit(
    jax.vmap(step, in_axes=(None, 0, 0, None), axis_name=parallel.AXIS)
  )
  batch = jax.tree.map(lambda x: x[None], (molecules, labels_BT))
  after, loss = one(state, *batch, inputs)
  # It starts at 0, and 1 cubed is 1.
  np.testing.assert_allclose(loss, 1, rtol=1e-6)
  head = after.params['head']
  assert np.abs(head['out']['bias']).max() > 0


@pytest.mark.parametrize(
  ('field', 'value', 'complaint'),
  [
    ('toy_width', 0, 'config.model.toy_width must be >= 1'),
    ('activation', 'tanh', r"activation must be one of \['relu', 'silu'\]"),
    ('slope', 0.6, 'config.model.slope must be >= 0 and <= 0.5'),
    ('slop', 0.1, r'did you mean config.model.slope\?'),
    ('head_width', 0, 'config.model.head_width must be >= 1'),
  ],
)
def test_its_fields_are_checked(config, field, value, complaint):
  config.model.slope = 0.5
  config.model[field] = value
  with pytest.raises(ConfigError, match=complaint):
    configuration.resolve(config)


def test_its_grid_is_checked_and_missing_fields_are_named(config):
  config.representation.grid_size = 3
  with pytest.raises(ConfigError, match=r'model: toy needs 4 voxels'):
    configuration.resolve(config)
  del config.model.toy_width
  with pytest.raises(ConfigError, match=r'model\.toy_width is missing'):
    configuration.resolve(config)


def test_unregistered_names_are_refused():
  """Negative control: without the lines in the registries."""
  config = default.get_config()
  config.model.name, config.optim.loss = 'toy', 'cubed'
  with pytest.raises(ConfigError, match=r"must be one of .*, not 'toy'"):
    configuration.resolve(config)
  with pytest.raises(ConfigError, match=r"must be one of .*, not 'cubed'"):
    configuration.resolve(config)
