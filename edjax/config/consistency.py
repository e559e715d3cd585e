"""Whether the fields of a configuration fit together."""

import pathlib

import jax

from edjax import datasets, models, optim
from edjax.config import schema
from edjax.config.representation import (
  dataset_variant,
  density_source,
  make_voxelizer,
  needs_frontier,
  needs_orbitals,
  parts_of,
  seen_radius,
)

# Fields whose steps have to be the last ones of a call.
ENDS = ('eval_every', 'checkpoint_every', 'steps')


def contradictions(config) -> list[str]:
  """Returns a sentence for each contradiction between fields."""
  errors = []
  data = config.data
  dataset = datasets.DATASETS[data.name]
  errors += _targets(data)
  errors += _classes(config)
  for field, known in (
    ('split', dataset.splits),
    ('geometry', dataset.geometries),
    ('delta', ('', *dataset.deltas)),
  ):
    if data[field] not in known:
      errors.append(
        f'config.data.{field}={data[field]!r} is not for {data.name}, which '
        f'has {", ".join(map(repr, known))}'
      )
  split, split_file = data.split, data.split_file
  if (split in schema.FILE_SPLITS) != bool(split_file):
    errors.append(
      'config.data.split_file goes with config.data.split in '
      f'{schema.FILE_SPLITS}, and only these'
    )
  elif split_file:
    exists = pathlib.Path(split_file).is_file()
    if not exists and not pathlib.Path(split_file).is_dir():
      errors.append(f'config.data.split_file={split_file!r} does not exist')
  if 'source' in dataset.settings and not data.source:
    errors.append(
      'config.data.source is missing: the file or folder of your '
      f'{data.name} (docs/own_molecules.md)'
    )
  if 'split_column' in dataset.settings and (
    (split == 'column') != bool(data.split_column)
  ):
    errors.append(
      "config.data.split_column goes with config.data.split='column', and only "
      'this'
    )
  if config.data.fold >= config.data.folds:
    errors.append(
      f'config.data.fold={config.data.fold} is not one of 0 to '
      f'{config.data.folds - 1} (config.data.folds)'
    )
  if (config.data.geometry == 'noise') != (config.data.noise > 0):
    errors.append(
      f'config.data.noise={config.data.noise} goes with config.data.geometry='
      f"'noise', not with {config.data.geometry!r}"
      if config.data.noise
      else "config.data.geometry='noise' needs config.data.noise above 0"
    )
  errors += _complexes(config)
  if config.data.validation_fraction + config.data.test_fraction >= 1:
    errors.append(
      'config.data.validation_fraction and test_fraction leave no training set'
    )
  size = config.data.train_size
  if size > 1 and size != int(size):
    errors.append(
      f'config.data.train_size={size}: above 1 it is a whole number'
    )
  if config.train.patience and config.train.weights != 'best':
    errors.append(
      'config.train.patience stops at the best weights: it needs config.train.'
      "weights='best'"
    )
  per_call = config.train.steps_per_call
  for field in ENDS:
    if per_call and config.train[field] % per_call:
      errors.append(
        f'config.train.{field}={config.train[field]} is no multiple of '
        f'config.train.steps_per_call={per_call}'
      )
  errors += _unbuildable(config)
  devices = jax.device_count()  # of all processes
  for part in ('train', 'eval'):
    if config[part].batch_size % devices:
      errors.append(
        f'config.{part}.batch_size={config[part].batch_size} cannot be split '
        f'over {devices} devices'
      )
  if not config.augment.rotate and config.eval.rotations != 1:
    errors.append(
      'config.eval.rotations is above 1, but config.augment.rotate is off'
    )
  return errors


def default_origin(name: str) -> str:
  """Returns the origin of frames in a dataset: with pockets, on the ligand."""
  return 'ligand' if datasets.DATASETS[name].has_pockets else 'valence'


def _targets(data) -> list[str]:
  """Returns mistakes in the targets and their units."""
  dataset = datasets.DATASETS[data.name]
  errors = []
  if len(set(data.targets)) < len(data.targets):
    errors.append('config.data.targets names a target twice')
  if dataset.open_targets:
    if len(data.units) not in (0, len(data.targets)):
      errors.append(
        f'config.data.units={data.units!r}: one unit for each of '
        f'config.data.targets={data.targets!r}, or none'
      )
    return errors
  unknown = [t for t in data.targets if t not in dataset.targets]
  if unknown:
    errors.append(
      f'config.data.targets has {unknown}; {data.name} has '
      f'{sorted(dataset.targets)}'
    )
  if data.units:
    errors.append(
      f'config.data.units={data.units!r}: the targets of {data.name} have '
      'their units in edjax/datasets.py'
    )
  return errors


def _classes(config) -> list[str]:
  """Returns mistakes in fields that classes cannot have."""
  if config.optim.loss != optim.CLASSES:
    return []
  return [
    f'config.data.{field}={config.data[field]!r} is for numbers: with '
    f"config.optim.loss='{optim.CLASSES}' targets are classes, 0 and 1"
    for field in ('delta', 'units')
    if config.data[field]
  ]


def _settings(data) -> list[str]:
  """Returns mistakes in settings that other datasets have."""
  of_others = {}  # setting and its default -> names of datasets
  for name, dataset in datasets.DATASETS.items():
    for setting in dataset.settings.items():
      of_others.setdefault(setting, []).append(name)
  return [
    f'config.data.{field} is for {" and ".join(names)}, not for {data.name}'
    for (field, default), names in of_others.items()
    if data.name not in names and data[field] != default
  ]


def _complexes(config) -> list[str]:
  """Returns contradictions between complexes and the representation."""
  data, representation = config.data, config.representation
  source = density_source(representation)
  errors = _settings(data)
  if len(data.map_columns) not in (0, 2):
    errors.append(
      f'config.data.map_columns={data.map_columns!r} must name amplitudes and '
      "phases, such as ('FC', 'PHIC')"
    )
  dataset = datasets.DATASETS[data.name]
  if data.origin and (data.origin == 'ligand') != dataset.has_pockets:
    errors.append(
      f'config.data.origin={data.origin!r} is not for {data.name}: frames of '
      "complexes and maps lie on the 'ligand', others on the centre of "
      "'valence' charge or of 'mass'"
    )
  if not dataset.is_complexes:
    for field, value, none in (
      ('data.parts', data.parts, ('ligand', 'pocket')),
      ('data.hydrogens', data.hydrogens, False),
      ('data.download', data.download, False),
      ('representation.groups', representation.groups, False),
      ('representation.use_b_factors', representation.use_b_factors, False),
    ):
      if value != none:
        errors.append(
          f'config.{field} is for complexes, and {data.name} has none'
        )
    if representation.density == 'map':
      errors += _maps_of_molecules(data, representation)
    return errors
  if needs_frontier(representation):
    errors.append(
      f'config.representation.channels: {data.name} has no HOMO and LUMO'
    )
  if data.download and not dataset.has_pockets:
    errors.append('config.data.download: there is nothing to fetch for ligands')
  if data.download and dataset.open_targets:
    errors.append(
      'config.data.download: your own complexes are nowhere to be fetched'
    )
  variant = dataset_variant(config)
  if data.hydrogens and variant != 'hydrogens':
    errors.append(
      'config.data.hydrogens: the dataset for config.representation.density='
      f'{representation.density!r} has no hydrogens of the files'
    )
  radius = seen_radius(config)
  if 'pocket' in data.parts and radius > dataset.radius:
    errors.append(
      'config.representation: with its tails and config.augment.translate, a '
      f'box of {representation.grid_size} * {representation.spacing} Å shows '
      f"atoms up to {radius:.1f} Å from the ligand's centre, and the dataset "
      f'holds those within {dataset.radius:g} Å; make it smaller'
    )
  if needs_orbitals(representation):
    # The orbitals come with the ligand's hydrogens, which the pocket lacks.
    atoms = [
      part.name
      for part in parts_of(representation)
      if part.has_groups and not part.of_density and not part.needs
    ]
    if atoms:
      errors.append(
        f'config.representation.channels: {atoms} would see the '
        "hydrogens that density='xtb' adds to ligands alone; with them use "
        "density='promolecule'"
      )
    if 'ligand' not in data.parts:
      errors.append(
        "config.data.parts without 'ligand' has no orbitals for "
        f'config.representation.density={representation.density!r}'
      )
    if 'pocket' in data.parts and not representation.groups:
      errors.append(
        'config.representation.groups must be True for density='
        f'{representation.density!r} of complexes: a valence density and the '
        "pocket's promolecule cannot share a channel"
      )
  if source == 'free_atoms':
    errors.append(
      f"config.representation.density='free_atoms' is not for {data.name}; use "
      "'promolecule'"
    )
  if source == 'map':
    if not dataset.has_pockets:
      errors.append("config.representation.density='map': ligands have none")
    if set(data.parts) != {'ligand', 'pocket'}:
      errors.append(
        'config.data.parts: a map is of ligand and pocket together: '
        "config.representation.density='map' needs both"
      )
  return errors


def _maps_of_molecules(data, representation) -> list[str]:
  """Returns contradictions where densities of molecules are in files."""
  maps = "config.representation.density='map'"
  if not datasets.DATASETS[data.name].has_maps:
    return [f'{maps}: {data.name} has none']
  errors = []
  if needs_orbitals(representation) or needs_frontier(representation):
    errors.append(
      f'config.representation.channels={representation.channels!r}: {maps} '
      'runs no GFN2-xTB, whose orbitals some of them need'
    )
  if data.geometry != 'published':
    errors.append(
      f'config.data.geometry={data.geometry!r}: {maps} has densities of the '
      "geometries in the files, 'published'"
    )
  if data.delta.startswith('gfn2'):
    errors.append(
      f'config.data.delta={data.delta!r}: {maps} runs no GFN2-xTB; take '
      "'composition' or ''"
    )
  return errors


def _unbuildable(config) -> list[str]:
  """Returns the errors of building the voxelizer and the network."""
  errors = []
  try:
    make_voxelizer(config.representation)
  except ValueError as error:
    errors.append(f'config.representation: {error}')
  try:
    model = models.build_model(config.model, len(config.data.targets))
    model.check(config.representation.grid_size)
  except ValueError as error:
    errors.append(f'config.model: {error}')
  return errors
