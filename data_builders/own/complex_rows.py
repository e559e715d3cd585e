"""Complexes of users' tables and folders: ids, files and rows of values.

A table has a row for each complex: an id, the paths of protein and ligand
(relative to the table), perhaps of a map, and columns of numbers. In a folder
the names of files are the ids. An SDF file with several ligands makes a complex
of each.
"""

import collections
import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from data_builders.own import columns, complex_files, molblocks, tables
from data_builders.own.types import Options
from data_builders.pdbbind.readers import types
from edjax.data import pdb_ids
from edjax.runtime import reading


class Listed(NamedTuple):
  """A complex of a source.

  Attributes:
    name: its id.
    row: of the table. Of one of several ligands in a file `where` names the
      record, and the values are its properties, or what the row has.
    files: None where one that is needed is not there.
    problem: why there are no files; '' where there are.
  """

  name: str
  row: tables.Row
  files: types.Files | None
  problem: str = ''


class Source(NamedTuple):
  """The complexes of a source.

  Attributes:
    index: its table; of a folder without one, the folder.
    id_column: as the table writes it; '' for none.
    complexes: in order of rows and records.
    notes: (place, remark) on rows whose values count for several ligands.
  """

  index: pathlib.Path
  id_column: str
  complexes: list[Listed]
  notes: tuple[tuple[str, str], ...]


def listed(
  source: str | os.PathLike,
  *,
  id_column: str = '',
  maps: bool = False,
  table_needed: bool = True,
) -> Source:
  """Reads the table of a source and looks for the files that it names.

  Ids of the ligands in a file are their titles, where each has one that no
  other complex of the source has; else the row's id with the number of the
  record ('ID_0001').

  Args:
    source: the table or folder.
    id_column: name of the column of ids; '' for one with a usual name, and
      numbers where there is none.
    maps: whether every complex needs a map.
    table_needed: whether a folder must have a table. Without one, every name of
      a file is an id.

  Raises:
    FileNotFoundError: there is no such source.
    ValueError: the table is damaged or lacks a column, or the folder has no
      table that is needed, or several, or no files.
  """
  path = complex_files.located(source)
  needed = ('protein', 'ligand', *(['map'] if maps else []))
  index = complex_files.table_in(path, table_needed) if path.is_dir() else path
  if index.is_dir():
    files_of = complex_files.InFolder(path, needed)
    ids = files_of.ids()
    rows = [tables.Row(name, {}) for name in ids]
    id_column = ''
  else:
    table, where = tables.read(index), str(index)
    rows = table.rows
    id_column = columns.found(table.names, Options(id=id_column), where).id
    if not path.is_dir():
      files_of = complex_files.InTable(index, table.names, needed)
    elif id_column:
      files_of = complex_files.InFolder(path, needed)
    else:
      raise ValueError(
        f'{where} has no column of ids, which are the names of the files '
        '(named id, or by config.data.id_column); it has '
        f'{columns.listed(table.names)}'
      )
    stem = index.name.partition('.')[0]
    ids = columns.ids([row.values for row in rows], id_column, stem)
  found, notes = [], []
  for row, name in zip(rows, ids, strict=True):
    one = _of_row(row, name, files_of)
    ligands = _expanded(one)
    found.append((one, ligands))
    notes += _remark(one, ligands, id_column)
  return Source(index, id_column, _named(found), tuple(notes))


def _of_row(row: tables.Row, name: str, files_of) -> Listed:
  if row.problem:
    return Listed(name, row, None, f'{row.where}: {row.problem}')
  try:
    return Listed(name, row, types.Files(name, **files_of(row, name)))
  except ValueError as error:
    return Listed(name, row, None, str(error))


def _expanded(one: Listed) -> list[tuple[str, Listed, Mapping[str, str]]]:
  """Returns `_ligand` of each ligand of a file; [] where there is only one."""
  path = one.files and one.files.ligand_sdf
  if not path:
    return []
  try:
    if not reading.unpacked(path).partition(b'$$$$')[2].strip():
      return []  # most files, done fast
    records = molblocks.split(path, 'sdf')
  except (ValueError, OSError):  # the reader of ligands says what is wrong
    return []
  if len(records) < 2:
    return []
  return [_ligand(one, *item) for item in enumerate(records, 1)]


def _ligand(one: Listed, number: int, text: str):
  """Returns title, complex and properties with a value of a record."""
  stated = {k: v for k, v in molblocks.properties(text).items() if v}
  row = tables.Row(
    f'{one.row.where}, record {number} of {one.files.ligand_sdf.name}',
    {**one.row.values, **stated},
  )
  name = columns.numbered(one.name, number)
  # A mol2 file beside it holds one ligand, and nobody knows which.
  files = one.files._replace(record=number, ligand_mol2=None)
  return text.partition('\n')[0].strip(), Listed(name, row, files), stated


def _remark(one: Listed, ligands, id_column: str) -> Iterator[tuple[str, str]]:
  """Yields a remark where numbers of a row count for several ligands."""
  for name, cell in one.row.values.items():
    n = sum(name not in stated for *_, stated in ligands)
    if n and name != id_column and not math.isnan(columns.number(cell)):
      file = one.files.ligand_sdf.name
      yield one.row.where, f'{name} {cell} counts for {n} ligands of {file}'


def _named(found) -> list[Listed]:
  """Gives the ligands of files their ids; see `listed`."""
  count = collections.Counter(
    pdb_ids.key(name)
    for one, ligands in found
    for name in ([title for title, *_ in ligands] or [one.name])
  )
  result = []
  for one, ligands in found:
    titles = [title for title, *_ in ligands]
    are_ids = all(title and count[pdb_ids.key(title)] == 1 for title in titles)
    for title, ligand, _ in ligands:
      name = title if are_ids else ligand.name
      files = ligand.files._replace(pdb_id=name)
      result.append(ligand._replace(name=name, files=files))
    if not ligands:
      result.append(one)
  return result
