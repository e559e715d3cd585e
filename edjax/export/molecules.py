"""Molecules of users' files with what fields need, in the files' frames.

The one place that knows what kinds of sources there are: `--mode predict` reads
the same ones.
"""

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from edjax import datasets
from edjax.config import ConfigError
from edjax.config.consistency import default_origin
from edjax.config.representation import dataset_variant
from edjax.data import packed_dataset, padded
from edjax.export.volume import MAP_UNIT
from edjax.fields import channels
from edjax.molecule import LIGAND, POCKET, Molecule, frame_origin
from edjax.task import selection_of

# Padded lengths are multiples of these, so that molecules of other sizes share
# a compiled program.
_LENGTHS = {'ligand': 8, 'pocket': 64, 'orbitals': 8}
# Molecules that a worker gets at once.
_AT_ONCE = 16
# Fields of `own.types.Options`; those of config.data have _column at their end.
_COLUMNS = ('id', 'smiles', 'charge', 'unpaired')


class Source(NamedTuple):
  """What a file or folder holds.

  Attributes:
    ids: of the records, in order.
    function: 'module:name', see `worker_pool.map_ordered`; it returns a
      `records.Calculated`.
    jobs: its arguments for each record.
    sha256: of the contents.
    chunk: jobs that a worker gets at once.
  """

  ids: Sequence[str]
  function: str
  jobs: Sequence[tuple]
  sha256: str
  chunk: int


def read(config, path: str) -> Source:
  """Reads the records of a file or folder.

  Args:
    config: of a run: names of columns, geometry.
    path: see `data_builders.own.sources.read`.

  Raises:
    ConfigError: the source cannot be used, or the configuration is for others.
    OSError: it cannot be read.
  """
  from data_builders.own import records, sources
  from data_builders.own.types import Options

  if datasets.DATASETS[config.data.name].is_complexes:
    raise ConfigError(
      f'a configuration for {config.data.name} cannot export files: --mode '
      'export reads no complexes yet; edjax.export.volumes takes their '
      'molecules'
    )
  columns = {name: config.data[f'{name}_column'] for name in _COLUMNS}
  try:
    sha256 = sources.sha256(path)
    raws = list(sources.read(path, Options(**columns)))
  except ValueError as error:
    raise ConfigError(f'--input={path}: {error}') from error
  geometry = dataset_variant(config)
  return Source(
    [raw.example_id for raw in raws],
    records.FUNCTION,
    [(raw, geometry) for raw in raws],
    sha256,
    _AT_ONCE,
  )


@contextlib.contextmanager
def calculated(source: Source, first: int) -> Iterator[Iterator]:
  """Runs the jobs of records, in processes that end with the block.

  Args:
    source: the records.
    first: number of records to pass over.

  Yields:
    An iterator of (id, `Calculated` or `Failure`).
  """
  from data_builders.support import worker_pool

  outcomes = worker_pool.map_ordered(
    source.function, source.jobs[first:], chunk=source.chunk
  )
  with contextlib.closing(outcomes):
    yield zip(source.ids[first:], outcomes, strict=True)


def failure(outcome) -> str:
  """Returns why there is no molecule; '' where there is one."""
  from data_builders.support import worker_pool

  if not isinstance(outcome, worker_pool.Failure):
    return ''
  kind, _, reason = outcome.reason.partition(': ')
  is_known = kind in ('RecordError', 'ComplexError')
  return reason if is_known else outcome.reason


def map_unit(config) -> str:
  """Returns the unit of the maps of a configuration's molecules.

  Those of complexes are divided by their standard deviation when they are read.
  """
  if datasets.DATASETS[config.data.name].is_complexes:
    return channels.DENSITIES['map'].unit
  return MAP_UNIT


def molecules(examples, needs: Collection[str], config) -> list[Molecule]:
  """Makes molecules, equally padded, with their origins in the files.

  Args:
    examples: of `Calculated`.
    needs: data that fields need, of `fields.channels`.
    config: of a run: origin of frames, parts of complexes.
  """
  origin = config.data.origin or default_origin(config.data.name)
  selection = dataclasses.replace(
    selection_of(config),
    orbitals=channels.ORBITALS in needs,
    frontier=channels.FRONTIER in needs,
    maps=channels.MAP in needs,
    origin=origin,
  )
  with tempfile.TemporaryDirectory(prefix='edjax-') as scratch:
    directory = pathlib.Path(scratch) / 'pack'
    packed_dataset.write(directory, examples, 'export')
    pack = packed_dataset.open_pack(directory)
    rows = range(len(pack))
    tight = padded.padding_of(pack, list(rows), selection)
    roomy = {
      name: -(-getattr(tight, name) // step) * step
      for name, step in _LENGTHS.items()
    }
    batch = padded.make_molecules(
      pack, list(rows), dataclasses.replace(tight, **roomy), selection
    )
    return [_placed(batch, pack, row, origin) for row in rows]


def _placed(batch: Molecule, pack, row: int, origin: str) -> Molecule:
  """Returns a molecule of a batch, with the origin that its frame has."""
  begin, end = pack.atom_offsets[row : row + 2]
  groups_A = [
    LIGAND if i < pack.ligand_counts[row] else POCKET
    for i in range(end - begin)
  ]
  origin_3 = frame_origin(
    pack.numbers[begin:end], pack.positions[begin:end], groups_A, origin
  )
  one = jax.tree.map(lambda x: jnp.asarray(x[row]), batch)
  return dataclasses.replace(one, origin_3=jnp.asarray(origin_3, jnp.float32))
