"""What files hold for a run: ids, and the jobs of workers."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from edjax import datasets
from edjax.chem import elements
from edjax.config import ConfigError
from edjax.config.representation import dataset_variant, needs_orbitals
from edjax.predict.model import Model
from edjax.task import data_checks

# Complexes that a worker gets at once: they take up to seconds each.
_COMPLEXES = 4
# Molecules that a worker gets at once.
_MOLECULES = 16
# Fields of `Options` of molecules; those of config.data have _column at their
# end.
_COLUMNS = ('id', 'smiles', 'charge', 'unpaired')


class Input(NamedTuple):
  """What a source holds.

  Attributes:
    noun: 'molecules', 'complexes' or 'ligands'.
    ids: of the rows, in order.
    function: 'module:name', see `worker_pool.map_ordered`; it returns a
      `records.Calculated`.
    jobs: its arguments for each row.
    sha256: of the source.
    chunk: jobs that a worker gets at once.
  """

  noun: str
  ids: Sequence[str]
  function: str
  jobs: Sequence[tuple]
  sha256: str
  chunk: int


def read(configs: Sequence[ConfigDict], source: str) -> Input:
  """Reads what a source has for configurations.

  Args:
    configs: of one run, or of an ensemble.
    source: for runs on molecules see `data_builders.own.sources.read`, on
      complexes and on ligands alone see `data_builders.own.new_complexes`.

  Raises:
    ConfigError: the runs read files in different ways, or the source cannot be
      used.
    OSError: it cannot be read.
  """
  kinds = {config.data.name: _kind(config) for config in configs}
  if len({*kinds.values()}) > 1:
    raise ConfigError(
      'the runs are of other kinds of data: '
      f'{" and ".join(sorted(kinds))} cannot be predicted together'
    )
  try:
    return next(iter(kinds.values()))(configs, source)
  except ConfigError:
    raise
  except ValueError as error:
    raise ConfigError(f'--input={source}: {error}') from error


def failure(outcome) -> str:
  """Returns why a job has no `Calculated`; '' where it has."""
  from data_builders.support import worker_pool

  if not isinstance(outcome, worker_pool.Failure):
    return ''
  kind, _, reason = outcome.reason.partition(': ')
  is_known = kind in ('RecordError', 'ComplexError')
  return reason if is_known else outcome.reason


def refusal(members: Sequence[Model], outcome) -> str:
  """Says why runs cannot see what a job has calculated; '' if they can."""
  if reason := failure(outcome):
    return reason
  last = min(model.max_number for model in members)
  heaviest = int(np.max(outcome.example['numbers']))
  if heaviest > last:
    return (
      f'the input of the run knows elements up to {elements.SYMBOLS[last]}, '
      f'and this is {elements.SYMBOLS[heaviest]}'
    )
  if wrong := _wrong_unit(members, outcome.example):
    return wrong
  needed = any(
    needs_orbitals(model.config.representation)
    and not data_checks.replaces_orbitals(model.config.representation)
    for model in members
  )
  if needed and not outcome.example['n_orbitals']:
    return outcome.notes
  return ''


def _wrong_unit(members, example) -> str:
  """Says that a density of a file is in another unit than those of training."""
  if 'map_kind' not in example:
    return ''
  is_sigma = datasets.MAP_KINDS[int(example['map_kind'])] == 'sigma'
  if all(('sigma' in m.kept.geometries) == is_sigma for m in members):
    return ''
  units = 'standard deviations', 'e/Å^3'
  own, other = units if is_sigma else units[::-1]
  return f'its density is in {own}, and those of training are in {other}'


def _kind(config):
  dataset = datasets.DATASETS[config.data.name]
  if dataset.has_pockets:
    return _complexes
  return _ligands if dataset.is_complexes else _molecules


def _molecules(configs: Sequence[ConfigDict], source: str) -> Input:
  from data_builders.own import sources, ways
  from data_builders.own.types import Options

  variants = {dataset_variant(config) for config in configs}
  if len(variants) > 1 and ways.MAPS in variants:
    raise ConfigError(
      "a run with config.representation.density='map' and one without read "
      'other things of a molecule: predict with each alone'
    )
  columns = [f'{name}_column' for name in _COLUMNS]
  limits = datasets.MAP_LIMITS if ways.MAPS in variants else ()
  data = _common(configs, ('geometry', 'noise', *columns, *limits))
  options = Options(*(data[name] for name in columns))
  way = ways.of(dataset_variant(configs[0]), data)
  sha256 = sources.sha256(source, way.densities)
  raws = list(sources.read(source, options, way.densities))
  return Input(
    'molecules',
    [raw.example_id for raw in raws],
    way.function,
    [(raw, way.argument) for raw in raws],
    sha256,
    _MOLECULES,
  )


def _complexes(configs: Sequence[ConfigDict], source: str) -> Input:
  from data_builders.own import new_complexes

  dataset = datasets.DATASETS['complexes']
  limits = dataset.settings.keys() - {'source', 'id_column', 'split_column'}
  data, options = _of_pipeline(configs, ('id_column', *sorted(limits)))
  own_ids = datasets.DATASETS[data.name].open_targets
  jobs = new_complexes.of_complexes(
    source, options, data.id_column, lower=not own_ids
  )
  return Input(
    'complexes',
    jobs.ids,
    new_complexes.FUNCTION,
    jobs.arguments,
    jobs.sha256,
    _COMPLEXES,
  )


def _ligands(configs: Sequence[ConfigDict], source: str) -> Input:
  from data_builders.own import new_complexes

  _, options = _of_pipeline(configs, ())
  jobs = new_complexes.of_ligands(source, options)
  return Input(
    'ligands',
    jobs.ids,
    new_complexes.OF_LIGAND,
    jobs.arguments,
    jobs.sha256,
    _COMPLEXES,
  )


def _of_pipeline(configs, fields):
  """Returns `config.data`, and the contents of the runs' datasets."""
  from data_builders.pdbbind import complexes

  data = _common(configs, fields)
  variants = {dataset_variant(config) for config in configs}
  if len(variants) > 1:
    raise ConfigError(
      'the runs read other variants of complexes: '
      f'{" and ".join(sorted(variants))}'
    )
  settings = {name: data[name] for name in fields}
  return data, complexes.options_of(variants.pop(), settings)


def _common(configs: Sequence[ConfigDict], fields: Collection[str]):
  """Returns `config.data` of the runs, of which some fields must be the same.

  Raises:
    ConfigError: they differ.
  """
  first = configs[0].data
  for config in configs:
    for field in fields:
      if config.data[field] != first[field]:
        raise ConfigError(
          f'the runs have other config.data.{field}: '
          f'{first[field]!r} and {config.data[field]!r}'
        )
  return first
