"""Molecules of users' files with what fields need, in the files' frames."""

import contextlib
import dataclasses
import pathlib
import tempfile
import types
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from edjax import datasets
from edjax.config import ConfigError
from edjax.config.consistency import default_origin
from edjax.data import packed_dataset, padded
from edjax.export.volume import MAP_UNIT
from edjax.fields import channels
from edjax.molecule import LIGAND, POCKET, Molecule, frame_origin
from edjax.predict import inputs
from edjax.task import data_checks, selection_of

# Padded lengths are multiples of these, so that molecules of other sizes share
# a compiled program.
_LENGTHS = {'ligand': 8, 'pocket': 64, 'orbitals': 8}


class _Member(NamedTuple):
  """A configuration in place of a run, of which `inputs` asks no more."""

  config: Any
  kept: Any = types.SimpleNamespace(names=(), units=(), classes=False)


def read(config, needs: Collection[str], path: str) -> inputs.Input:
  """Reads the records of a file or folder, as predictions do.

  Args:
    config: of a run: kind of data, names of columns, geometry.
    needs: data that fields need, of `fields.channels`.
    path: see `inputs.read`.

  Raises:
    ConfigError: the source cannot be used.
    OSError: it cannot be read.
  """
  try:
    return inputs.read([_Member(with_needs(config, needs))], path)
  except ConfigError:
    raise
  except ValueError as error:
    raise ConfigError(f'--input={path}: {error}') from error


def with_needs(config, needs: Collection[str]):
  """Returns a configuration whose molecules have what fields need.

  Args:
    config: of a run, whose own fields may need less or something else.
    needs: see `read`.
  """
  of_needs = {channels.MAP: 'map', **dict.fromkeys(channels.BY_XTB, 'xtb')}
  density = next((of_needs[need] for need in of_needs if need in needs), '')
  if not density:
    return config
  changed = ConfigDict(config.to_dict())
  changed.representation.channels = ('density',)
  changed.representation.density = density
  return changed


@contextlib.contextmanager
def calculated(source: inputs.Input, first: int) -> Iterator[Iterator]:
  """Runs the jobs of records, in processes that end with the block.

  Args:
    source: what was read.
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


def failure(outcome, needs: Collection[str], config) -> str:
  """Returns why there is no molecule; '' where there is one.

  Args:
    outcome: `Calculated` or `Failure`.
    needs: see `read`.
    config: of a run.
  """
  from data_builders.support import worker_pool

  if isinstance(outcome, worker_pool.Failure):
    kind, _, reason = outcome.reason.partition(': ')
    is_known = kind in ('RecordError', 'ComplexError')
    return reason if is_known else outcome.reason
  # In a batch they would be padded with zeros, which are no density.
  is_bare = channels.ORBITALS in needs and not outcome.example['n_orbitals']
  replaced = data_checks.replaces_orbitals(config.representation)
  return outcome.notes if is_bare and not replaced else ''


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
    # Where not one ligand has orbitals, they are zeros, not absent.
    roomy['orbitals'] = max(roomy['orbitals'], int(selection.orbitals))
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
