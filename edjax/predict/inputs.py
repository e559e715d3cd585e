"""What is predicted from files: ids, and the jobs of workers."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from edjax import datasets
from edjax.config import ConfigError
from edjax.config.representation import dataset_variant
from edjax.predict.model import Model

# Complexes that a worker gets at once: they take up to seconds each.
_COMPLEXES = 4
# Molecules that a worker gets at once.
_MOLECULES = 16
# Fields of `Options` of molecules; those of config.data have _column at their
# end.
_COLUMNS = ('id', 'smiles', 'charge', 'unpaired')


class Input(NamedTuple):
  """What is predicted.

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


def read(members: Sequence[Model], source: str) -> Input:
  """Reads what a source has for the runs.

  Args:
    members: of one run, or of an ensemble.
    source: for runs on molecules see `data_builders.own.sources.read`, on
      complexes and on ligands alone see `data_builders.own.new_complexes`.

  Raises:
    ConfigError: the runs do not go together, or read files in different ways.
    ValueError: the source cannot be used.
    OSError: it cannot be read.
  """
  kinds = {model.config.data.name: _kind(model) for model in members}
  if len({*kinds.values()}) > 1:
    raise ConfigError(
      'the runs are of other kinds of data: '
      f'{" and ".join(sorted(kinds))} cannot be predicted together'
    )
  return next(iter(kinds.values()))(members, source)


def _kind(model: Model):
  dataset = datasets.DATASETS[model.config.data.name]
  if dataset.has_pockets:
    return _complexes
  return _ligands if dataset.is_complexes else _molecules


def _molecules(members: Sequence[Model], source: str) -> Input:
  from data_builders.own import records, sources
  from data_builders.own.types import Options

  columns = [f'{name}_column' for name in _COLUMNS]
  data = _common(members, ('geometry', 'noise', *columns))
  options = Options(*(data[name] for name in columns))
  sha256 = sources.sha256(source)
  raws = list(sources.read(source, options))
  geometry = dataset_variant(members[0].config)
  return Input(
    'molecules',
    [raw.example_id for raw in raws],
    records.FUNCTION,
    [(raw, geometry) for raw in raws],
    sha256,
    _MOLECULES,
  )


def _complexes(members: Sequence[Model], source: str) -> Input:
  from data_builders.own import new_complexes

  dataset = datasets.DATASETS['complexes']
  limits = dataset.settings.keys() - {'source', 'id_column', 'split_column'}
  data, options = _of_pipeline(members, ('id_column', *sorted(limits)))
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


def _ligands(members: Sequence[Model], source: str) -> Input:
  from data_builders.own import new_complexes

  _, options = _of_pipeline(members, ())
  jobs = new_complexes.of_ligands(source, options)
  return Input(
    'ligands',
    jobs.ids,
    new_complexes.OF_LIGAND,
    jobs.arguments,
    jobs.sha256,
    _COMPLEXES,
  )


def _of_pipeline(members, fields):
  """Returns `config.data`, and the contents of the runs' datasets."""
  from data_builders.pdbbind import complexes

  data = _common(members, fields)
  variants = {dataset_variant(model.config) for model in members}
  if len(variants) > 1:
    raise ConfigError(
      'the runs read other variants of complexes: '
      f'{" and ".join(sorted(variants))}'
    )
  settings = {name: data[name] for name in fields}
  return data, complexes.options_of(variants.pop(), settings)


def _common(members: Sequence[Model], fields: Collection[str]):
  """Returns `config.data` of the runs, of which some fields must be the same.

  Raises:
    ConfigError: they differ, or the runs have other targets.
  """
  first = members[0]
  of_first = first.kept.names, first.kept.units, first.kept.classes
  for model in members:
    if (model.kept.names, model.kept.units, model.kept.classes) != of_first:
      raise ConfigError(
        'the runs have other targets or units: '
        f'{", ".join(first.kept.names)} and {", ".join(model.kept.names)}'
      )
    for field in fields:
      if model.config.data[field] != first.config.data[field]:
        raise ConfigError(
          f'the runs have other config.data.{field}: '
          f'{first.config.data[field]!r} and {model.config.data[field]!r}'
        )
  return first.config.data
