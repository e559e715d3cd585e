"""The fields of a configuration and the rule of each.

`configs/default.py` explains the fields.
"""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from ml_collections import ConfigDict

from edjax import datasets, models, optim, transforms
from edjax.config import rules
from edjax.fields import channels
from edjax.molecule import ORIGINS

# Splits that read config.data.split_file.
FILE_SPLITS = ('file', 'published')

RULES: Mapping[str, rules.Rule] = {
  'data.data_dir': rules.text,
  'data.manual_dir': rules.text,
  'data.source': rules.text,
  'data.id_column': rules.text,
  'data.smiles_column': rules.text,
  'data.charge_column': rules.text,
  'data.unpaired_column': rules.text,
  'data.split_column': rules.text,
  'data.split_file': rules.text,
  'data.origin': rules.one_of('', *ORIGINS),
  'data.validation_fraction': rules.SHARE,
  'data.test_fraction': rules.SHARE,
  'data.targets': rules.names(),
  'data.units': rules.names(empty=True),
  'data.train_size': rules.POSITIVE,
  'data.memory_gib': rules.number(float, 0),
  'data.subset_seed': rules.SEED,
  # Above one half, two labels would leave nothing to train with.
  'data.validation_share': rules.number(float, 0, 0.5),
  'data.max_eval': rules.number(int, 0),
  'data.folds': rules.number(int, 3),
  'data.fold': rules.number(int, 0),
  'data.split_year': rules.number(int, 1900, 2100),
  'data.seed': rules.SEED,
  'data.parts': rules.some_of(('ligand', 'pocket')),
  'data.hydrogens': rules.flag,
  'data.noise': rules.number(float, 0, 1),
  'data.shuffle_labels': rules.flag,
  'data.download': rules.flag,
  'data.affinity_unit': rules.one_of(
    '', 'pK', 'M', 'mM', 'uM', 'nM', 'pM', 'fM'
  ),
  'data.max_pk_difference': rules.number(float, 0),
  'data.min_contact': rules.number(float, 0, 3),
  'data.max_clashes': rules.number(int, 0),
  'data.map_periodic': rules.one_of('', 'yes', 'no'),
  'data.map_columns': rules.names(empty=True),
  'data.min_map_coverage': rules.SHARE,
  'data.max_map_missing': rules.SHARE,
  'data.min_map_at_atoms': rules.number(float, -10),
  'data.workers': rules.number(int, 0),
  'representation.grid_size': rules.COUNT,
  'representation.spacing': rules.POSITIVE,
  'representation.supersample': rules.number(int, 1, 8),
  'representation.b_iso': rules.number(float, 0),
  'representation.smooth': rules.number(float, 0),
  'representation.use_b_factors': rules.flag,
  'representation.groups': rules.flag,
  'representation.elements': rules.names(),
  'representation.binary': rules.flag,
  'representation.truncated': rules.flag,
  'representation.shape_radius': rules.number(float, 0),
  'representation.widths.atoms': rules.POSITIVE,
  'representation.widths.shape': rules.number(float, 0.1),
  'augment.rotate': rules.flag,
  'augment.translate': rules.number(float, 0),
  'optim.learning_rate': rules.POSITIVE,
  'optim.warmup_fraction': rules.SHARE,
  'optim.final_fraction': rules.SHARE,
  'optim.weight_decay': rules.number(float, 0),
  'optim.b1': rules.DECAY,
  'optim.b2': rules.DECAY,
  'optim.clip_norm': rules.POSITIVE,
  'optim.skip_nonfinite': rules.number(int, 0),
  'optim.ema_decay': rules.DECAY,
  'train.batch_size': rules.COUNT,
  'train.steps': rules.COUNT,
  'train.steps_per_call': rules.number(int, 0),
  'train.eval_every': rules.COUNT,
  'train.checkpoint_every': rules.COUNT,
  'train.weights': rules.one_of('best', 'last'),
  'train.patience': rules.number(int, 0),
  'train.device_data_gib': rules.number(float, 0),
  'train.seed': rules.SEED,
  'eval.rotations': rules.COUNT,
  'eval.batch_size': rules.COUNT,
  'eval.bootstrap': rules.number(int, 100),
}


def rules_of(config: ConfigDict) -> dict[str, rules.Rule]:
  """Returns the rules of a configuration: field, joined by dots -> rule.

  Choices come from the registries as they are now. `config.model` has the
  fields of its network, and may have those of others. A channel needs no
  transform: `config.representation.make_voxelizer` has a default.
  """
  model = _section(config, 'model')
  fields = {
    field: kind
    for name in models.MODELS
    for field, kind in models.fields_of(name).items()
    if field in model
  }
  if model.get('name') in models.MODELS:
    fields |= models.fields_of(model.name)
  given = _section(_section(config, 'representation'), 'transforms')
  return {
    **RULES,
    'data.name': rules.one_of(*datasets.DATASETS),
    'data.split': rules.one_of(*datasets.names_of('splits')),
    'data.geometry': rules.one_of(*datasets.names_of('geometries')),
    'data.delta': rules.one_of('', *datasets.names_of('deltas')),
    'representation.channels': rules.some_of(channels.known()),
    'representation.density': rules.one_of(*channels.DENSITIES),
    **{
      f'representation.transforms.{name}': transform
      for name in channels.known()
      if name in given
    },
    'model.name': rules.one_of(*models.MODELS),
    **{f'model.{field}': _rule(kind.hint) for field, kind in fields.items()},
    'optim.name': rules.one_of(*optim.OPTIMIZERS),
    'optim.loss': rules.one_of(*optim.LOSSES),
  }


def transform(value) -> str:
  """Allows what `transforms.parse` reads."""
  try:
    transforms.parse(value)
  except (AttributeError, TypeError):
    return f'must be a string, not {value!r}'
  except ValueError as error:
    return f'={value!r}: {error}'
  return ''


def fill_model(config: ConfigDict) -> None:
  """Fills in the omitted fields of `config.model` that have a default."""
  model = _section(config, 'model')
  if model.get('name') not in models.MODELS:
    return
  with config.unlocked():
    for field, kind in models.fields_of(model.name).items():
      if field not in model and kind.default is not dataclasses.MISSING:
        model[field] = kind.default


def _section(config: ConfigDict, name: str) -> ConfigDict:
  """Returns a section; an empty one where there is none, or a value."""
  section = config.get(name)
  return section if isinstance(section, ConfigDict) else ConfigDict()


def _rule(hint: Any) -> rules.Rule:
  """Returns the rule of a type hint; see `models.Architecture`."""
  bounds = ()
  if typing.get_origin(hint) is Annotated:
    hint, *bounds = typing.get_args(hint)
  if typing.get_origin(hint) is Literal:
    return rules.one_of(*typing.get_args(hint))
  if hint in (int, float):
    return rules.number(hint, *bounds or (-float('inf'),))
  if hint == tuple[int, ...]:
    return rules.counts(*bounds or (-float('inf'),))
  return {bool: rules.flag, str: rules.text}[hint]
