"""Checks a configuration before anything is computed.

`configs/default.py` says what each field means; the rules here say what it
may be. Every complaint names the field.
"""

import difflib
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
from ml_collections import ConfigDict, FrozenConfigDict

from edjax import voxelize

CHANNELS, DENSITIES = voxelize.CHANNELS, voxelize.DENSITIES
TRANSFORMS = tuple(voxelize.TRANSFORMS)
COMPLEXES = ('pdbbind', 'pdbbind_ligands')
QM9_SPLITS = ('cormorant', 'dimenet')
PDBBIND_SPLITS = ('clusters', 'time', 'refined_core', 'published')
# Those that read config.data.split_file.
_FILE_SPLITS = ('file', 'published')

Rule = Callable[[Any], str]


class ConfigError(ValueError):
  """A mistake in the configuration, or a run directory of another one."""


def _is(kind: type, value) -> bool:
  if kind is float:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
  return isinstance(value, kind) and (kind is bool or value is not True)


def _number(
  kind: type, low, high=math.inf, *, open_low=False, open_high=False
) -> Rule:
  above, below = '>' if open_low else '>=', '<' if open_high else '<='
  bounds = f'{above} {low}'
  bounds += ' and finite' if high == math.inf else f' and {below} {high}'

  def rule(value):
    if not _is(kind, value) or value is False:
      return f'must be a {kind.__name__}, not {value!r}'
    inside = low <= value <= high and math.isfinite(value)
    on_edge = (open_low and value == low) or (open_high and value == high)
    return '' if inside and not on_edge else f'must be {bounds}, not {value!r}'

  return rule


def _one_of(*names: str) -> Rule:
  return lambda value: (
    '' if value in names else f'must be one of {list(names)}, not {value!r}'
  )


def _some_of(*names: str) -> Rule:
  def rule(value):
    if not isinstance(value, tuple) or not value:
      return f'must be a tuple of some of {list(names)}, not {value!r}'
    if len(set(value)) < len(value):
      return f'names something twice: {value!r}'
    unknown = [v for v in value if v not in names]
    return f'has {unknown}; known are {list(names)}' if unknown else ''

  return rule


def _text(value):
  return '' if isinstance(value, str) else f'must be a string, not {value!r}'


def _flag(value):
  return (
    '' if isinstance(value, bool) else f'must be True or False, not {value!r}'
  )


def _names(value):
  ok = isinstance(value, tuple) and all(isinstance(v, str) for v in value)
  return '' if ok and value else f'must be a tuple of names, not {value!r}'


def _counts(low: int) -> Rule:
  def rule(value):
    ok = isinstance(value, tuple) and all(
      _is(int, v) and v >= low for v in value
    )
    if ok and value:
      return ''
    return f'must be a tuple of whole numbers >= {low}, not {value!r}'

  return rule


_POSITIVE = _number(float, 0, open_low=True)
_SHARE = _number(float, 0, 1)
_DECAY = _number(float, 0, 1, open_high=True)
_COUNT = _number(int, 1)
_SEED = _number(int, 0, 2**31 - 1)

RULES: Mapping[str, Rule] = {
  'data.name': _one_of('qm9', 'qm9_mini', *COMPLEXES),
  'data.data_dir': _text,
  'data.manual_dir': _text,
  'data.split': _one_of('random', 'size', 'file', *QM9_SPLITS, *PDBBIND_SPLITS),
  'data.split_file': _text,
  'data.validation_fraction': _SHARE,
  'data.test_fraction': _SHARE,
  'data.targets': _names,
  'data.train_size': _POSITIVE,
  'data.memory_gib': _number(float, 0),
  'data.subset_seed': _SEED,
  # Above one half, two labels would leave nothing to train with.
  'data.validation_share': _number(float, 0, 0.5),
  'data.max_eval': _number(int, 0),
  'data.folds': _number(int, 3),
  'data.fold': _number(int, 0),
  'data.split_year': _number(int, 1900, 2100),
  'data.seed': _SEED,
  'data.parts': _some_of('ligand', 'pocket'),
  'data.hydrogens': _flag,
  'data.geometry': _one_of('published', 'gfn2', 'noise'),
  'data.noise': _number(float, 0, 1),
  'data.shuffle_labels': _flag,
  'data.delta': _one_of('', 'composition', 'gfn2'),
  'data.download': _flag,
  'data.workers': _number(int, 0),
  'representation.channels': _some_of(*CHANNELS),
  'representation.density': _one_of(*DENSITIES),
  'representation.grid_size': _COUNT,
  'representation.spacing': _POSITIVE,
  'representation.supersample': _number(int, 1, 8),
  'representation.blur': _number(float, 0),
  'representation.smooth': _number(float, 0),
  'representation.use_b_factors': _flag,
  'representation.groups': _flag,
  'representation.elements': _names,
  'representation.binary': _flag,
  'representation.shape_radius': _number(float, 0),
  'representation.widths.atoms': _POSITIVE,
  'representation.widths.shape': _number(float, 0.1),
  **{f'representation.transforms.{c}': _one_of(*TRANSFORMS) for c in CHANNELS},
  'augment.rotate': _flag,
  'augment.translate': _number(float, 0),
  'model.name': _one_of('resnet3d', 'cnn3d', 'moments'),
  'model.widths': _counts(1),
  'model.blocks': _counts(0),
  'model.stem': _COUNT,
  'model.local': _COUNT,
  'model.kernels': _one_of('isotropic', 'free'),
  'model.input_powers': _flag,
  'model.input_moments': _flag,
  'model.head_width': _COUNT,
  'model.dropout': _number(float, 0, 0.99),
  'model.dtype': _one_of('float32', 'bfloat16'),
  'optim.name': _one_of('muon', 'adamw'),
  'optim.loss': _one_of('mse', 'mae', 'huber'),
  'optim.learning_rate': _POSITIVE,
  'optim.warmup_fraction': _SHARE,
  'optim.final_fraction': _SHARE,
  'optim.weight_decay': _number(float, 0),
  'optim.b1': _DECAY,
  'optim.b2': _DECAY,
  'optim.clip_norm': _POSITIVE,
  'optim.skip_nonfinite': _number(int, 0),
  'optim.ema_decay': _DECAY,
  'train.batch_size': _COUNT,
  'train.steps': _COUNT,
  'train.steps_per_call': _number(int, 0),
  'train.eval_every': _COUNT,
  'train.checkpoint_every': _COUNT,
  'train.weights': _one_of('best', 'last'),
  'train.patience': _number(int, 0),
  'train.device_data_gib': _number(float, 0),
  'train.seed': _SEED,
  'eval.rotations': _COUNT,
  'eval.batch_size': _COUNT,
  'eval.bootstrap': _number(int, 100),
}


def flatten(config: Mapping, prefix: str = '') -> dict[str, Any]:
  """{'data.name': ...}: one level, fields joined by dots."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, (Mapping, ConfigDict, FrozenConfigDict)):
      flat |= flatten(value, f'{prefix}{key}.')
    else:
      flat[f'{prefix}{key}'] = value
  return flat


def resolve(config: ConfigDict) -> FrozenConfigDict:
  """Checks every field and fills in what was left to choose.

  Args:
    config: as made by a file of configs/.

  Returns:
    A frozen copy: `train.steps_per_call` chosen for the devices at hand.

  Raises:
    ConfigError: a field is unknown, missing, of a wrong type or value, or
      fields contradict each other. All complaints at once.
  """
  config = ConfigDict(config, convert_dict=True).copy_and_resolve_references()
  flat = flatten(config)
  complaints = []
  for name in sorted(flat.keys() - RULES.keys()):
    near = difflib.get_close_matches(name, RULES, 1)
    hint = f' (did you mean config.{near[0]}?)' if near else ''
    complaints.append(f'config.{name}: no such field{hint}')
  for name in RULES:
    complaint = RULES[name](flat[name]) if name in flat else 'is missing'
    if complaint:
      complaints.append(f'config.{name} {complaint}')
  if not complaints:
    complaints = _contradictions(config)
  if complaints:
    raise ConfigError('\n'.join(['wrong configuration:', *complaints]))
  if not config.train.steps_per_call:
    config.train.steps_per_call = _steps_per_call(config.train)
  return FrozenConfigDict(config)


# What a call has to end at.
_ENDS = ('eval_every', 'checkpoint_every', 'steps')


def _steps_per_call(train) -> int:
  """One on CPU, else at most 20, so that calls end where they have to."""
  if jax.default_backend() == 'cpu':
    return 1
  return math.gcd(20, *(train[field] for field in _ENDS))


def _contradictions(config) -> list[str]:
  from data_builders import targets  # layer 3 imports builders lazily

  found = []
  known = targets.TARGETS[config.data.name]
  unknown = [t for t in config.data.targets if t not in known]
  if unknown:
    found.append(
      f'config.data.targets has {unknown}; {config.data.name} has '
      f'{sorted(known)}'
    )
  if len(set(config.data.targets)) < len(config.data.targets):
    found.append('config.data.targets names a target twice')
  split, split_file = config.data.split, config.data.split_file
  for names, datasets in ((QM9_SPLITS, ('qm9',)), (PDBBIND_SPLITS, COMPLEXES)):
    if split in names and config.data.name not in datasets:
      found.append(
        f'config.data.split={split!r} is for {" and ".join(datasets)} alone'
      )
  if (split in _FILE_SPLITS) != bool(split_file):
    found.append(
      f'config.data.split_file goes with config.data.split in {_FILE_SPLITS}, '
      'and only these'
    )
  elif split_file:
    exists = pathlib.Path(split_file).is_file()
    if not exists and not pathlib.Path(split_file).is_dir():
      found.append(f'config.data.split_file={split_file!r} is not there')
  if config.data.fold >= config.data.folds:
    found.append(
      f'config.data.fold={config.data.fold} is not one of 0 to '
      f'{config.data.folds - 1} (config.data.folds)'
    )
  if (config.data.geometry == 'noise') != (config.data.noise > 0):
    found.append(
      f'config.data.noise={config.data.noise} goes with config.data.geometry='
      f"'noise', not with {config.data.geometry!r}"
      if config.data.noise
      else "config.data.geometry='noise' needs config.data.noise above 0"
    )
  found += _complexes(config)
  if config.data.validation_fraction + config.data.test_fraction >= 1:
    found.append(
      'config.data.validation_fraction and test_fraction leave no training set'
    )
  size = config.data.train_size
  if size > 1 and size != int(size):
    found.append(f'config.data.train_size={size}: above 1 it is a whole number')
  if config.train.patience and config.train.weights != 'best':
    found.append(
      'config.train.patience stops at the best weights: it needs config.train.'
      "weights='best'"
    )
  per_call = config.train.steps_per_call
  for field in _ENDS:
    if per_call and config.train[field] % per_call:
      found.append(
        f'config.train.{field}={config.train[field]} is no multiple of '
        f'config.train.steps_per_call={per_call}'
      )
  found += _unbuildable(config)
  devices = jax.device_count()  # of all processes
  for part in ('train', 'eval'):
    if config[part].batch_size % devices:
      found.append(
        f'config.{part}.batch_size={config[part].batch_size} cannot be split '
        f'over {devices} devices'
      )
  if not config.augment.rotate and config.eval.rotations != 1:
    found.append(
      'config.eval.rotations is above 1, but config.augment.rotate is off'
    )
  return found


def _complexes(config) -> list[str]:
  """What only complexes have, and what they cannot have."""
  data, representation = config.data, config.representation
  from_density = {'density', 'gradient'} & set(representation.channels)
  of_orbitals = from_density and representation.density in (
    'xtb', 'deformation',
  )  # fmt: skip
  found = []
  if data.name not in COMPLEXES:
    for field, value, none in (
      ('data.parts', data.parts, ('ligand', 'pocket')),
      ('data.hydrogens', data.hydrogens, False),
      ('data.download', data.download, False),
      ('representation.groups', representation.groups, False),
      ('representation.use_b_factors', representation.use_b_factors, False),
    ):
      if value != none:
        found.append(
          f'config.{field} is for complexes, and {data.name} has none'
        )
    if representation.density == 'map':
      found.append(f"config.representation.density='map': {data.name} has none")
    return found
  from data_builders.pdbbind import complexes
  from edjax import task  # task reads configurations

  if data.geometry != 'published':
    found.append(
      f'config.data.geometry={data.geometry!r}: {data.name} has the published '
      'one alone'
    )
  if data.delta == 'gfn2':
    found.append(
      f"config.data.delta='gfn2': {data.name} has no GFN2 energies; there is "
      "'composition', of the ligand"
    )
  if data.split == 'size':
    # Its test set is what has the most atoms: here a single complex.
    found.append(f"config.data.split='size' is not for {data.name}")
  if data.download and data.name == 'pdbbind_ligands':
    found.append('config.data.download: there is nothing to fetch for ligands')
  variant = task.dataset_variant(config)
  if data.hydrogens and variant != 'hydrogens':
    found.append(
      'config.data.hydrogens: the dataset for config.representation.density='
      f'{representation.density!r} has no hydrogens of the files'
    )
  radius = task.seen_radius(config)
  if 'pocket' in data.parts and radius > complexes.RADIUS:
    found.append(
      'config.representation: with its tails and config.augment.translate, a '
      f'box of {representation.grid_size} * {representation.spacing} Å shows '
      f"atoms up to {radius:.1f} Å from the ligand's centre, and the dataset "
      f'holds those within {complexes.RADIUS:g} Å; make it smaller'
    )
  if of_orbitals:
    # The orbitals come with the ligand's hydrogens, which the pocket lacks.
    atoms = {'atoms', 'shape', 'valence'} & set(representation.channels)
    if atoms:
      found.append(
        f'config.representation.channels: {sorted(atoms)} would see the '
        "hydrogens that density='xtb' brings along; use 'promolecule' beside "
        'them'
      )
    if 'ligand' not in data.parts:
      found.append(
        "config.data.parts without 'ligand' has no orbitals for "
        f'config.representation.density={representation.density!r}'
      )
    if 'pocket' in data.parts and not representation.groups:
      found.append(
        'config.representation.groups must be True for density='
        f'{representation.density!r} of complexes: a valence density and the '
        "pocket's promolecule are not added"
      )
  if from_density and representation.density == 'free_atoms':
    found.append(
      "config.representation.density='free_atoms' stands beside 'xtb' of whole "
      f"molecules; {data.name} has 'promolecule'"
    )
  if from_density and representation.density == 'map':
    if data.name == 'pdbbind_ligands':
      found.append("config.representation.density='map': ligands have none")
    if set(data.parts) != {'ligand', 'pocket'}:
      found.append(
        'config.data.parts: a map is of ligand and pocket together, which '
        "config.representation.density='map' cannot take apart"
      )
  return found


def _unbuildable(config) -> list[str]:
  """What the voxelizer or the network refuses."""
  from edjax import models, task  # task reads configurations

  found = []
  try:
    task.make_voxelizer(config.representation)
  except ValueError as error:
    found.append(f'config.representation: {error}')
  try:
    models.build_model(config.model, len(config.data.targets))
  except ValueError as error:
    found.append(f'config.model: {error}')
  size = config.representation.grid_size
  if config.model.name == 'cnn3d' and size < models.CNN3D_MIN_SIZE:
    found.append(
      f'config.representation.grid_size={size} is below '
      f'{models.CNN3D_MIN_SIZE}, the smallest that cnn3d can take'
    )
  if config.model.name == 'resnet3d':
    shrink = config.model.stem * 2 ** (len(config.model.widths) - 1)
    if size % shrink:
      found.append(
        f'config.representation.grid_size={size} is no multiple of {shrink}, '
        'by which config.model.stem and the stages shrink it'
      )
  return found
