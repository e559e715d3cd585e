"""Every configuration loads, resolves and traces; every mistake is named."""

import pathlib
import re

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from configs import default, molecules_base, pdbbind_base, qm9_base
from edjax import config as configuration
from edjax import datasets, models
from edjax.config import ConfigError, schema
from edjax.config.representation import dataset_variant, make_voxelizer

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TASKS = {
  'qm9': ('', 'smoke', 'qm9_cpu', 'full'),
  'pdbbind': ('', 'ligands', 'paper_like', 'full'),
  'molecules': ('', 'full'),
}
FILES = {
  task: sorted((REPOSITORY / 'configs').glob(f'{task}_[adgs]*.py'))
  for task in TASKS
}
EVERY = [
  pytest.param(path, variant, id=f'{path.stem}-{variant}')
  for task, variants in TASKS.items()
  for path in FILES[task]
  for variant in variants
]


def load(path, variant=''):
  scope = {}
  exec(compile(path.read_text(), str(path), 'exec'), scope)
  config = scope['get_config'](variant)
  if config.data.name == 'molecules':  # what a user has to say
    config.data.source, config.data.targets = 'a.sdf', ('y',)
  return config


@pytest.mark.parametrize('task', TASKS)
def test_there_are_four_files(task):
  names = [p.stem.removeprefix(f'{task}_') for p in FILES[task]]
  assert names == ['atoms', 'density', 'gradient', 'shape']


@pytest.mark.parametrize(('path', 'variant'), EVERY)
def test_every_config_resolves_and_traces(path, variant):
  config = configuration.resolve(load(path, variant))
  voxelizer = make_voxelizer(config.representation)
  assert voxelizer.kinds == (path.stem.rsplit('_', 1)[1],)
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


@pytest.mark.parametrize(
  ('task', 'variant'),
  [(t, v) for t, variants in TASKS.items() for v in variants],
)
def test_the_four_differ_in_the_representation_alone(task, variant):
  flat = [configuration.flatten(load(path, variant)) for path in FILES[task]]
  for other in flat[1:]:
    differing = {k for k in flat[0] if flat[0][k] != other[k]}
    assert differing == {'representation.channels'}


def test_unknown_variant():
  with pytest.raises(ValueError, match="'smoke'"):
    qm9_base.get_config('tiny')
  with pytest.raises(ValueError, match="'paper_like'"):
    pdbbind_base.get_config('tiny')
  with pytest.raises(ValueError, match="'full'"):
    molecules_base.get_config('tiny')


def test_molecules_of_the_user_need_their_file():
  config = molecules_base.get_config()
  config.data.targets = ('y',)
  with pytest.raises(ConfigError, match=r'config\.data\.source is missing'):
    configuration.resolve(config)
  config.data.source = 'a.csv'
  configuration.resolve(config)
  config.data.split_column = 'part'
  with pytest.raises(ConfigError, match=r"split_column goes with .*'column'"):
    configuration.resolve(config)
  config.data.split = 'column'
  configuration.resolve(config)


def test_rules_and_default_have_the_same_fields():
  config = default.get_config()
  fields = set(configuration.flatten(config))
  assert fields == set(schema.rules_of(config))


# Described together with the field above them.
SHARE_A_COMMENT = {
  'data.test_fraction', 'data.smiles_column', 'data.charge_column',
  'data.unpaired_column', 'data.fold', 'data.noise', 'data.max_clashes',
  'representation.spacing',
  'model.blocks', 'model.dropout', 'optim.warmup_fraction',
  'optim.final_fraction', 'optim.b2', 'train.checkpoint_every',
}  # fmt: skip


def test_every_field_is_documented():
  text = (REPOSITORY / 'configs' / 'default.py').read_text()
  for field in configuration.flatten(default.get_config()):
    group, name = field.split('.')[:2]
    group = {'eval': 'evaluation'}.get(group, group)
    above = re.search(rf'(.*)\n\s+{group}\.{name} = ', text)
    assert above, f'{field} is not set'
    described = above[1].strip().startswith('#')
    assert described != (field in SHARE_A_COMMENT), field


def test_every_field_is_read():
  sources = '\n'.join(
    p.read_text()
    for p in (REPOSITORY / 'edjax').rglob('*.py')
    if p.name not in ('consistency.py', 'resolve.py', 'schema.py')
  )
  builders = '\n'.join(
    p.read_text() for p in (REPOSITORY / 'data_builders').rglob('*.py')
  )
  settings = {x for one in datasets.DATASETS.values() for x in one.settings}
  for field in configuration.flatten(default.get_config()):
    group, name = field.split('.')[:2]
    if name in settings:
      assert f"settings['{name}']" in builders, f'{field} is read nowhere'
      continue
    # config.optim.b1, optim.b1, or config['b1'] where config is a group; what
    # `models.registry` gives a module by name.
    group = 'self' if group == 'model' and name != 'name' else group
    read = rf"({group}|config)(\.{name}\b|\['{name}'\])"
    assert re.search(read, sources), f'{field} is read nowhere'
  assert not re.search(r"(optim|config)(\.b3\b|\['b3'\])", sources)


@pytest.mark.parametrize(
  ('field', 'value', 'complaint'),
  [
    ('data.name', 'qm8', 'config.data.name must be one of'),
    ('data.targets', ('gap', 'mass'), r"config.data.targets has \['mass'\]"),
    ('data.targets', ('alpha',), "config.data.targets has"),
    ('data.train_size', 12.5, 'above 1 it is a whole number'),
    ('data.split', 'dimenet', "is not for qm9_mini, which has 'random'"),
    ('data.split', 'clusters', 'is not for qm9_mini'),
    ('data.origin', 'ligand', "data.origin='ligand' is not for qm9_mini"),
    ('data.origin', 'charge', 'data.origin must be one of'),
    ('data.fold', 5, r'data.fold=5 is not one of 0 to 4'),
    ('data.parts', ('ligand',), 'data.parts is for complexes'),
    ('data.hydrogens', True, 'data.hydrogens is for complexes'),
    ('data.units', ('eV',), 'targets of qm9_mini have their units'),
    ('data.affinity_unit', 'nM', 'affinity_unit is for pdbbind, not for qm9'),
    ('data.affinity_unit', 'kcal', 'data.affinity_unit must be one of'),
    ('data.max_pk_difference', 1.0, 'is for pdbbind and pdbbind_ligands, not'),
    ('data.max_pk_difference', -0.1, 'max_pk_difference must be >= 0'),
    ('data.map_periodic', 'yes', 'for molecules and pdbbind and complexes'),
    ('data.map_periodic', 'maybe', 'data.map_periodic must be one of'),
    ('data.max_map_missing', 1.5, 'data.max_map_missing must be >= 0'),
    ('representation.groups', True, 'representation.groups is for complexes'),
    ('representation.density', 'map', "density='map': qm9_mini has none"),
    ('data.split', 'file', 'config.data.split_file goes with'),
    ('data.validation_fraction', 0.95, 'leave no training set'),
    ('representation.channels', ('electrons',), 'channels has'),
    ('representation.channels', ('density', 'density'), 'twice'),
    ('representation.spacing', 0.0, 'spacing must be > 0'),
    ('representation.grid_size', 30, 'grid_size must be a multiple of 8'),
    ('representation.widths.shape', 0.05, 'widths.shape must be >= 0.1'),
    ('representation.supersample', 0, 'supersample must be >= 1'),
    ('representation.smooth', 0.2, 'a blur of 0.2 Å is too narrow for voxels'),
    ('model.kernels', 'tied', 'config.model.kernels must be one of'),
    ('model.blocks', (1, 1), 'config.model: .* one entry per stage'),
    ('model.local', 0, 'config.model.local must be >= 1'),
    ('optim.name', 'sgd', "optim.name must be one of .*'muon', 'adamw'"),
    ('optim.learning_rate', -1.0, 'learning_rate must be > 0'),
    ('optim.learning_rate', float('nan'), 'learning_rate must be > 0'),
    ('optim.b1', 1.0, 'config.optim.b1 must be >= 0 and < 1'),
    ('optim.ema_decay', 1.0, 'config.optim.ema_decay must be >= 0 and < 1'),
    ('representation.spacing', float('inf'), 'spacing must be > 0 and finite'),
    ('train.batch_size', 30, 'cannot be split over 4 devices'),
    ('train.seed', -1, 'config.train.seed must be >= 0'),
    ('eval.rotations', 0, 'config.eval.rotations must be >= 1'),
    ('data.delta', 'gfn1', r"one of \['', .*'gfn2', 'gfn2_kernel'\]"),
    ('data.noise', 0.1, "noise=0.1 goes with .*'noise', not with 'published'"),
    ('data.geometry', 'noise', 'needs config.data.noise above 0'),
    ('data.geometry', 'dft', 'data.geometry must be one of'),
    ('data.subset_seed', -1, 'config.data.subset_seed must be >= 0'),
    ('data.validation_share', 0.6, 'validation_share must be >= 0 and <= 0.5'),
    ('train.weights', 'first', r"weights must be one of \['best', 'last'\]"),
    ('train.patience', -1, 'config.train.patience must be >= 0'),
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


@pytest.mark.parametrize(
  'section', ['model', 'representation', 'representation.transforms']
)
def test_a_value_in_place_of_a_section_is_named(section):
  config = default.get_config().to_dict()
  *path, name = section.split('.')
  (config[path[0]] if path else config)[name] = '1e999'
  with pytest.raises(ConfigError, match=rf'config\.{section}: no such field'):
    configuration.resolve(ConfigDict(config))


def test_contradictions():
  config = default.get_config()
  config.representation.density = 'deformation'
  config.representation.transforms.density = 'log1p'
  config.augment.rotate = False
  config.train.patience = 2
  config.train.weights = 'last'
  with pytest.raises(ConfigError) as error:
    configuration.resolve(config)
  assert 'log1p cannot take density' in str(error.value)
  assert 'config.eval.rotations' in str(error.value)
  assert 'config.train.patience stops at the best' in str(error.value)


@pytest.mark.parametrize(
  ('changes', 'complaint'),
  [
    ({'model.name': 'cnn3d', 'representation.grid_size': 8}, 'grid_size >= 16'),
    (
      {
        'representation.channels': ('atoms',),
        'representation.elements': ('H', 'Xx'),
      },
      "config.representation: .*'Xx'",
    ),
    (
      {
        'representation.channels': ('noise',),
        'representation.transforms.noise': 'log1p',
      },
      'log1p cannot take noise',
    ),
    ({'data.split': 'file', 'data.split_file': 'no.txt'}, 'does not exist'),
    ({'train.steps_per_call': 7}, 'is no multiple of config.train.steps_per'),
    (
      {'optim.loss': 'log_loss', 'data.delta': 'composition'},
      r"data\.delta='composition' is for numbers: .* targets are classes",
    ),
  ],
)  # fmt: skip
def test_impossible_combinations_are_named(changes, complaint):
  config = default.get_config()
  config.update_from_flattened_dict(changes)
  with pytest.raises(ConfigError, match=complaint):
    configuration.resolve(config)


@pytest.mark.parametrize(
  ('changes', 'complaint'),
  [
    ({'data.delta': 'gfn2'}, "delta='gfn2' is not for pdbbind"),
    ({'data.geometry': 'gfn2'}, "geometry='gfn2' is not for pdbbind"),
    ({'representation.channels': ('homo',)}, 'pdbbind has no HOMO and LUMO'),
    ({'data.origin': 'valence'}, "origin='valence' is not for pdbbind"),
    ({'data.split': 'size'}, "split='size' is not for pdbbind"),
    ({'data.map_columns': ('FWT',)}, 'must name amplitudes and phases'),
    (
      {'data.hydrogens': True, 'representation.density': 'xtb'},
      'has no hydrogens of the files',
    ),
    (
      {'representation.grid_size': 40},
      r'box of 40 \* 0.75 Å shows atoms up to 29.0 Å .* within 24 Å',
    ),
    (
      {'augment.translate': 1.0, 'representation.smooth': 0.5},
      'shows atoms up to 25.5 Å',
    ),
    (
      {'data.name': 'pdbbind_ligands', 'data.download': True},
      'nothing to fetch',
    ),
    (
      {'data.name': 'pdbbind_ligands', 'data.affinity_unit': 'nM'},
      'data.affinity_unit is for pdbbind, not for pdbbind_ligands',
    ),
    (
      {
        'representation.channels': ('atoms', 'density'),
        'representation.density': 'xtb',
      },
      r"\['atoms'\] would see the hydrogens",
    ),
    (
      {'representation.density': 'xtb', 'data.parts': ('pocket',)},
      "without 'ligand' has no orbitals",
    ),
    (
      {'representation.density': 'xtb', 'representation.groups': False},
      'groups must be True',
    ),
    (
      {
        'representation.density': 'map',
        'representation.groups': False,
        'data.parts': ('ligand',),
      },
      'a map is of ligand and pocket together',
    ),
    ({'representation.density': 'map'}, "groups: the density 'map'"),
    ({'data.split': 'published'}, 'split_file goes with'),
    ({'data.split': 'cormorant'}, 'is not for pdbbind'),
  ],
)
def test_impossible_complexes_are_named(changes, complaint):
  config = load(REPOSITORY / 'configs' / 'pdbbind_density.py')
  config.update_from_flattened_dict(changes)
  with pytest.raises(ConfigError, match=complaint):
    configuration.resolve(config)


def test_orbitals_of_ligands_beside_or_without_pockets():
  config = load(REPOSITORY / 'configs' / 'pdbbind_density.py')
  assert dataset_variant(config) == 'heavy'
  config.representation.density = 'xtb'
  assert dataset_variant(configuration.resolve(config)) == 'orbitals'
  config.data.parts = ('ligand',)
  config.representation.groups = False
  config.augment.translate = 2.0  # no pocket that could be cut off
  configuration.resolve(config)
  config.representation.density = 'promolecule'
  config.data.hydrogens = True
  assert dataset_variant(configuration.resolve(config)) == 'hydrogens'


@pytest.mark.parametrize(
  ('changes', 'complaint'),
  [
    ({'data.delta': 'gfn2_kernel'}, "delta='gfn2_kernel': .* no GFN2-xTB"),
    ({'data.geometry': 'gfn2'}, "geometry='gfn2': .* geometries in the files"),
    ({'representation.channels': ('density', 'elf')}, 'no GFN2-xTB, whose orb'),
    ({'representation.channels': ('homo',)}, 'no GFN2-xTB, whose orbitals'),
    ({'data.map_columns': ('FWT',)}, 'must name amplitudes and phases'),
  ],
)
def test_impossible_maps_of_molecules_are_named(changes, complaint):
  config = load(REPOSITORY / 'configs' / 'molecules_density.py')
  config.representation.density = 'map'
  configuration.resolve(config)
  config.update_from_flattened_dict(changes)
  with pytest.raises(ConfigError, match=complaint):
    configuration.resolve(config)


def test_inputs_of_a_study_on_maps_have_the_same_molecules():
  """Also those that do not read the maps; others need xTB."""
  config = load(REPOSITORY / 'configs' / 'molecules_atoms.py')
  assert dataset_variant(configuration.resolve(config)) == ''
  config.representation.density = 'map'
  assert dataset_variant(configuration.resolve(config)) == 'maps'


@pytest.mark.parametrize(('path', 'variant'), EVERY)
def test_variants_resolve_on_accelerators(path, variant, monkeypatch):
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  train = configuration.resolve(load(path, variant)).train
  assert 1 < train.steps_per_call <= 20
  for end in (train.eval_every, train.checkpoint_every, train.steps):
    assert end % train.steps_per_call == 0


def test_resolve_leaves_its_argument_alone_and_freezes():
  config = default.get_config()
  resolved = configuration.resolve(config)
  assert config.train.steps_per_call == 0
  assert resolved.train.steps_per_call == 1
  assert (config.data.origin, resolved.data.origin) == ('', 'valence')
  complexes = load(REPOSITORY / 'configs' / 'pdbbind_density.py')
  assert configuration.resolve(complexes).data.origin == 'ligand'
  with pytest.raises(AttributeError):
    resolved.train.steps = 3


def test_values_can_be_overridden_on_the_command_line():
  """ml_collections refuses to override None and lists."""
  for name, value in configuration.flatten(default.get_config()).items():
    assert isinstance(value, (str, bool, int, float, tuple)), name


def flat(mol, grid, supersample):
  """A field of a user: a constant."""
  del supersample
  return jnp.full((grid.size,) * 3, 2.0) + 0 * mol.coords_A3.sum()


def test_functions_among_the_channels_become_names():
  config = default.get_config()
  config.representation.channels = ('density', flat)
  resolved = configuration.resolve(config)
  assert resolved.representation.channels == ('density', 'flat')
  voxelizer = make_voxelizer(resolved.representation)
  assert voxelizer.channel_names == ('density', 'flat')
  assert voxelizer.transforms == ('none', 'arcsinh')
  config.representation.channels = ('density', 'hills')
  with pytest.raises(ConfigError, match=r"has \['hills'\]; known are .*'flat'"):
    configuration.resolve(config)
  config.representation.channels = (lambda mol, grid, n: None,)
  with pytest.raises(ConfigError, match='channels: a channel of your own'):
    configuration.resolve(config)
