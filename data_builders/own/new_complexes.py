"""Complexes and ligands without values, for predictions.

They pass through the pipeline of the datasets; of each the job of a worker is
made here, and what becomes of it.
"""

import hashlib
import os
import pathlib
from typing import NamedTuple

import numpy as np

from data_builders.molecules.records import Calculated
from data_builders.own import (
  columns,
  complex_rows,
  complexes,
  folders,
  molblocks,
  tables,
)
from data_builders.own.types import Options, RecordError
from data_builders.pdbbind import complexes as pipeline
from data_builders.pdbbind import examples
from data_builders.pdbbind.readers import ligand, types
from data_builders.support.download import file_sha256
from edjax.data import pdb_ids
from edjax.runtime import reading

# The functions that worker processes run on each job.
FUNCTION = 'data_builders.own.new_complexes:calculate'
OF_LIGAND = 'data_builders.own.new_complexes:calculate_ligand'


class Jobs(NamedTuple):
  """What a source has for predictions.

  Attributes:
    ids: of the complexes, as the source writes them.
    arguments: of the worker's function, for each.
    sha256: of the contents of all files, in hexadecimal.
  """

  ids: list[str]
  arguments: list[tuple]
  sha256: str


def of_complexes(
  source, options: pipeline.Options, id_column: str = '', lower: bool = False
) -> Jobs:
  """Finds the complexes of a table or folder.

  Args:
    source: see `complex_rows.listed`; a folder needs no table.
    options: contents of the run's dataset.
    id_column: of the table.
    lower: whether the run's dataset has its ids in lower case, from which the
      rotations follow.

  Raises:
    ValueError, FileNotFoundError: see `complex_rows.listed`.
  """
  found = complex_rows.listed(
    source, id_column=id_column, maps=options.maps, table_needed=False
  )
  arguments, paths = [], set()
  for one in found.complexes:
    name = pdb_ids.key(one.name) if lower else one.name
    entry = complexes.entry(name, one.row)
    arguments.append((one.files, entry, options, one.problem))
    paths |= {x for x in one.files or () if isinstance(x, pathlib.Path)}
  if found.index.is_file():
    paths.add(found.index)
  ids = [one.name for one in found.complexes]
  return Jobs(ids, arguments, _digest(paths, found.index.parent))


def of_ligands(source, options: pipeline.Options) -> Jobs:
  """Splits a file of bound ligands without proteins.

  Ids are those of a property pdb_id or with a usual name, else the titles where
  they differ, else numbers.

  Args:
    source: SDF, MOL or mol2, gzipped or not.
    options: contents of the run's dataset.

  Raises:
    ValueError: it is another kind of file, or damaged.
    FileNotFoundError: there is no such file.
  """
  path = pathlib.Path(source).expanduser()
  if not path.exists():
    raise FileNotFoundError(
      f'there is no {path}; {reading.found_in(path.parent)}'
    )
  kind = molblocks.KINDS.get(folders.suffix(path))
  if path.is_dir() or not kind:
    raise ValueError(
      f'{path} is no file of bound ligands: {", ".join(molblocks.KINDS)} '
      '(.gz too)'
    )
  texts = molblocks.split(path, kind)
  values = [molblocks.properties(text) for text in texts]
  names = dict.fromkeys(name for row in values for name in row)
  column = next((name for name in names if name.lower() == 'pdb_id'), '')
  of = columns.found(names, Options(id=column), str(path))
  ids = molblocks.ids_of(path, texts, values, of.id)
  arguments = [
    (text, kind, f'{path.name}, record {i}', pdb_ids.key(name), options)
    for i, (name, text) in enumerate(zip(ids, texts, strict=True), 1)
  ]
  return Jobs(ids, arguments, file_sha256(path))


def calculate(
  files: types.Files | None,
  entry: types.Entry,
  options: pipeline.Options,
  problem: str = '',
) -> Calculated:
  """Makes the record of a complex.

  Args:
    files: None where `problem` says why there are none.
    entry: its id.
    options: contents of the run's dataset.
    problem: '' where there are files.

  Raises:
    RecordError: `problem`.
    types.ComplexError: it is unusable; the message names file and reason.
  """
  if files is None:
    raise RecordError(problem)
  return _calculated(pipeline.read(files, entry, options), options)


def calculate_ligand(
  text: str, kind: str, where: str, name: str, options: pipeline.Options
) -> Calculated:
  """Makes the record of a ligand without a protein.

  Args:
    text: of its record in the file.
    kind: 'sdf' or 'mol2'.
    where: name of the record, for messages.
    name: its id.
    options: contents of the run's dataset.

  Raises:
    types.ComplexError: it is unusable.
  """
  one = ligand.of_text(text, kind, where, where)
  entry = complexes.entry(name, tables.Row(where, {}))
  return _calculated(pipeline.from_ligand(one, entry, options), options)


def _calculated(made: pipeline.Complex, options) -> Calculated:
  """Returns the record as a pack needs it: numbers in float64."""
  name = made.entry.pdb_id
  example = examples.example(made, {name: name}, (), ())
  example = {
    key: np.float64(value) if isinstance(value, float) else value
    for key, value in example.items()
  }
  notes = [made.row['ligand_problems']]
  if options.orbitals and not len(made.orbitals):
    notes.append(f'no GFN2-xTB orbitals of the ligand ({made.row["xtb"]})')
  filled = round(made.row.get('box_filled', 1), 2)
  if filled < 1:
    notes.append(f'the protein was cut: it fills {filled:.0%} of a 24 Å box')
  return Calculated(example, 0.0, '; '.join(filter(None, notes)))


def _digest(paths, root: pathlib.Path) -> str:
  lines = [
    f'{os.path.relpath(path, root)} {file_sha256(path)}'
    for path in sorted(paths)
  ]
  return hashlib.sha256('\n'.join(lines).encode()).hexdigest()
