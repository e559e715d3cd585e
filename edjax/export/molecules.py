"""Molecules of users' files with what fields need, in the files' frames."""

import dataclasses
import pathlib
import tempfile
from collections.abc import Collection

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from edjax import datasets
from edjax.config.consistency import default_origin
from edjax.data import packed_dataset, padded
from edjax.fields import channels
from edjax.molecule import LIGAND, POCKET, Molecule, frame_origin
from edjax.predict import inputs
from edjax.task import data_checks, selection_of


def with_needs(config, needs: Collection[str]):
  """Returns a configuration whose molecules have what fields need.

  Args:
    config: of a run, whose own fields may need less or something else.
    needs: data that fields need, of `fields.channels`.
  """
  of_needs = {channels.MAP: 'map', **dict.fromkeys(channels.BY_XTB, 'xtb')}
  density = next((of_needs[need] for need in of_needs if need in needs), '')
  if not density:
    return config
  changed = ConfigDict(config.to_dict())
  changed.representation.channels = ('density',)
  changed.representation.density = density
  return changed


def failure(outcome, needs: Collection[str], config) -> str:
  """Returns why there is no molecule; '' where there is one.

  Args:
    outcome: `Calculated` or `Failure`.
    needs: see `with_needs`.
    config: of a run.
  """
  if reason := inputs.failure(outcome):
    return reason
  # In a batch they would be padded with zeros, which are no density.
  is_bare = channels.ORBITALS in needs and not outcome.example['n_orbitals']
  replaced = data_checks.replaces_orbitals(config.representation)
  return outcome.notes if is_bare and not replaced else ''


def map_unit(example) -> str:
  """Returns the unit of the map of a `Calculated.example`, if it has one.

  Those of complexes are divided by their standard deviation when they are read,
  and say nothing else.
  """
  kind = datasets.MAP_KINDS[int(example.get('map_kind', 0))]
  return channels.DENSITIES['map'].unit if kind == 'sigma' else 'e/Å^3'


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
    rows = list(range(len(pack)))
    padding = padded.roomier(padded.padding_of(pack, rows, selection))
    batch = padded.make_molecules(pack, rows, padding, selection)
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
