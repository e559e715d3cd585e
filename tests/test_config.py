"""Every configuration loads, resolves and traces; every mistake is named."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import config_flags

from configs import default, qm9_base
from edjax import config as configuration
from edjax import models, task
from edjax.config import ConfigError

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
FILES = sorted((REPOSITORY / 'configs').glob('qm9_[adgs]*.py'))
VARIANTS = ('', 'smoke', 'qm9_cpu', 'full')


def load(path, variant=''):
  scope = {}
  exec(compile(path.read_text(), str(path), 'exec'), scope)
  return scope['get_config'](variant)


def test_there_are_four_files():
  names = [p.stem for p in FILES]
  assert names == ['qm9_atoms', 'qm9_density', 'qm9_gradient', 'qm9_shape']


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_every_config_resolves_and_traces(path, variant):
  config = configuration.resolve(load(path, variant))
  voxelizer = task.make_voxelizer(config.representation)
  assert voxelizer.channels == (path.stem.removeprefix('qm9_'),)
  model = models.build_model(config.model, len(config.data.targets))
  grid = config.representation.grid_size
  vox = jax.ShapeDtypeStruct(
    (2, grid, grid, grid, voxelizer.num_channels), jnp.float32
  )

  def run(key, vox):
    params = model.init(key, vox, train=False)
    return model.apply(params, vox, train=False)

  out = jax.eval_shape(run, jax.random.key(0), vox)
  assert out.shape == (2, len(config.data.targets))
  assert out.dtype == jnp.float32


@pytest.mark.parametrize('variant', VARIANTS)
def test_the_four_differ_in_the_representation_alone(variant):
  flat = [configuration.flatten(load(path, variant)) for path in FILES]
  for other in flat[1:]:
    differing = {k for k in flat[0] if flat[0][k] != other[k]}
    assert differing == {'representation.channels'}


def test_unknown_variant():
  with pytest.raises(ValueError, match="'smoke'"):
    qm9_base.get_config('tiny')


def test_rules_and_default_have_the_same_fields():
  fields = configuration.flatten(default.get_config())
  assert set(fields) == set(configuration.RULES)


def test_every_field_is_documented_and_read():
  text = (REPOSITORY / 'configs' / 'default.py').read_text()
  sources = [
    p.read_text()
    for p in (REPOSITORY / 'edjax').glob('*.py')
    if p.name != 'config.py'
  ]
  for field in configuration.flatten(default.get_config()):
    name = field.split('.')[-1]
    if field.startswith(('representation.transforms', 'representation.widths')):
      name = field.split('.')[-2]
    comment_above = re.search(rf'#[^\n]*\n(\s+\w+\.\w+ =.*\n)*.*\b{name}', text)
    assert comment_above, f'{field} has no comment'
    assert any(re.search(rf'\b{name}\b', s) for s in sources), (
      f'{field} is read nowhere'
    )


@pytest.mark.parametrize(
  ('field', 'value', 'complaint'),
  [
    ('data.name', 'qm8', 'config.data.name must be one of'),
    ('data.targets', ('gap', 'mass'), r"config.data.targets has \['mass'\]"),
    ('data.targets', ('alpha',), "config.data.targets has"),
    ('data.train_size', 12.5, 'above 1 it is a whole number'),
    ('data.split', 'dimenet', "defined for 'qm9' alone"),
    ('data.split', 'file', 'config.data.split_file goes with'),
    ('data.validation_fraction', 0.95, 'leave no training set'),
    ('representation.channels', ('electrons',), 'channels has'),
    ('representation.channels', ('density', 'density'), 'twice'),
    ('representation.spacing', 0.0, 'spacing must be > 0'),
    ('representation.grid_size', 30, 'grid_size=30 is no multiple of 8'),
    ('representation.supersample', 0, 'supersample must be >= 1'),
    ('model.norm', 'batch', 'config.model.norm must be one of'),
    ('model.blocks', (1, 1), 'of one length'),
    ('optim.learning_rate', -1.0, 'learning_rate must be > 0'),
    ('optim.learning_rate', float('nan'), 'learning_rate must be > 0'),
    ('train.batch_size', 30, 'cannot be split over 4 devices'),
    ('train.seed', -1, 'config.train.seed must be >= 0'),
    ('eval.rotations', 0, 'config.eval.rotations must be >= 1'),
  ],
)  # fmt: skip
def test_wrong_values_are_named(field, value, complaint):
  config = default.get_config()
  *path, name = field.split('.')
  part = config
  for key in path:
    part = part[key]
  part[name] = value
  with pytest.raises(ConfigError, match=complaint):
    configuration.resolve(config)


def test_unknown_and_missing_fields_are_named_together():
  config = default.get_config()
  config.optim.learning_rat = 0.1
  del config.train.steps
  config.unlock()
  with pytest.raises(ConfigError) as error:
    configuration.resolve(config)
  assert 'did you mean config.optim.learning_rate?' in str(error.value)
  assert 'config.train.steps is missing' in str(error.value)


def test_contradictions():
  config = default.get_config()
  config.representation.density = 'deformation'
  config.representation.transforms.density = 'log1p'
  config.augment.rotate = False
  with pytest.raises(ConfigError) as error:
    configuration.resolve(config)
  assert 'negative' in str(error.value)
  assert 'config.eval.rotations' in str(error.value)


def test_steps_fill_whole_calls():
  config = default.get_config()
  config.train.steps_per_call = 7
  with pytest.raises(ConfigError, match='no multiple of'):
    configuration.resolve(config)


def test_resolve_leaves_its_argument_alone_and_freezes():
  config = default.get_config()
  resolved = configuration.resolve(config)
  assert config.train.steps_per_call == 0
  assert resolved.train.steps_per_call == 1
  with pytest.raises(AttributeError):
    resolved.train.steps = 3


def test_values_can_be_overridden_on_the_command_line():
  """ml_collections refuses to override None and lists."""
  for name, value in configuration.flatten(default.get_config()).items():
    assert isinstance(value, (str, bool, int, float, tuple)), name


def test_config_flags_parse_variants():
  flag = config_flags.get_config_filename
  assert flag is not None
  config = load(FILES[1], 'qm9_cpu')
  assert config.data.name == 'qm9'
  assert np.isclose(config.data.train_size, 4000)
