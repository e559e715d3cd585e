"""Tables and folders of users' own complexes, as sources of PDBbind's pipeline.

A table has a row for each complex: an id, the paths of protein and ligand
(relative to the table), perhaps of a map, and columns of numbers. In a folder
the names of files are the ids in its table.
"""

import hashlib
import math
import os
import pathlib
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from data_builders.own import columns, folders, selection, tables
from data_builders.own.types import Options
from data_builders.pdbbind import sources
from data_builders.pdbbind.readers import types
from data_builders.support.download import file_sha256
from edjax.data import pdb_ids
from edjax.runtime import reading

# Role of a file -> its kinds, and for each the field of `types.Files`.
_KINDS = {
  'protein': dict.fromkeys(('.pdb', '.ent', '.cif', '.mmcif'), 'protein'),
  'ligand': {
    **dict.fromkeys(('.sdf', '.sd', '.mol'), 'ligand_sdf'),
    '.mol2': 'ligand_mol2',
  },
  'map': dict.fromkeys(('.ccp4', '.map', '.mrc', '.mtz'), 'density_map'),
}


class Found(NamedTuple):
  """The complexes of a source.

  Attributes:
    inputs: for PDBbind's pipeline. The values of an entry are those of the
      columns in `counts`.
    counts: columns of numbers, see `selection.count`.
  """

  inputs: sources.Sources
  counts: dict[str, dict[str, int]]


def located(source: str | os.PathLike) -> pathlib.Path:
  """Returns the path of a source.

  Raises:
    FileNotFoundError: there is none.
    ValueError: it is neither a folder nor a table.
  """
  path = pathlib.Path(source).expanduser()
  if not path.exists():
    raise FileNotFoundError(
      f'there is no {path}; {reading.found_in(path.parent)}'
    )
  if not path.is_dir() and folders.suffix(path) not in tables.SUFFIXES:
    raise ValueError(
      f'{path} is neither a table ({", ".join(tables.SUFFIXES)}) nor a folder '
      'of files ID.pdb and ID.sdf with a table'
    )
  return path


def find(
  source: str | os.PathLike,
  reserved: Collection[str] = (),
  *,
  id_column: str = '',
  split_column: str = '',
  maps: bool = False,
) -> Found:
  """Reads the table of a source and looks for the files that it names.

  A row whose files are not there, or whose id is that of a row before it, is
  kept with the reason.

  Args:
    source: the table or folder.
    reserved: names that columns of numbers may not have.
    id_column: name of the column of ids; '' for one with a usual name, and
      numbers where there is none.
    split_column: name of the column with the parts of a split; '' for none.
    maps: whether every complex needs a map.

  Raises:
    FileNotFoundError: there is no such source.
    ValueError: the table is damaged or lacks a column, or has none of the parts
      in split_column; the folder has no table or several; or no row has its
      files.
  """
  path = located(source)
  index = _table_in(path) if path.is_dir() else path
  table = tables.read(index)
  rows, where = table.rows, str(index)
  of = columns.found(table.names, Options(id=id_column), where)
  needed = ('protein', 'ligand', *(['map'] if maps else []))
  if not path.is_dir():
    files_of = _InTable(index, table.names, needed)
  elif of.id:
    files_of = _InFolder(path, needed)
  else:
    raise ValueError(
      f'{where} has no column of ids, which are the names of the files (named '
      f'id, or by config.data.id_column); it has {columns.listed(table.names)}'
    )
  if split_column:
    split_column = columns.named(table.names, split_column, where)
    rows = selection.divided(rows, split_column, where)
  names = [n for n in selection.numeric(rows) if n not in reserved]
  counts = selection.count(rows, names)
  if split_column:
    counts |= {
      selection.PART: {'numbers': len(rows), 'empty': 0, 'no_number': 0}
    }
  ids = columns.ids(
    [row.values for row in rows], of.id, index.name.partition('.')[0]
  )
  entries, files, unusable, excluded, first = {}, {}, {}, {}, {}
  for row, name in zip(rows, ids, strict=True):
    before = first.setdefault(pdb_ids.key(name), row.where)
    if before != row.where:
      name = f'{name} ({row.where})'
      excluded[name] = f'its id is that of {before} (case does not matter)'
    entries[name] = _entry(name, row, names, split_column)
    try:
      if row.problem:
        raise ValueError(f'{row.where}: {row.problem}')
      files[name] = types.Files(name, **files_of(row, name))
    except ValueError as error:
      unusable[name] = str(error)
  if not files:
    reasons = '; '.join(list(unusable.values())[:3])
    raise ValueError(
      f'not one of the {len(rows)} complexes of {where} has its files; the '
      f'first reasons: {reasons}'
    )
  inputs = sources.Sources(
    directory=index.parent,
    index=index,
    entries=entries,
    excluded=excluded,
    sha256=_digest(index, files),
    files=files,
    unusable=unusable,
  )
  return Found(inputs, counts)


def _table_in(folder: pathlib.Path) -> pathlib.Path:
  found = [
    path
    for path in sorted(folder.iterdir())
    if folders.suffix(path) in tables.SUFFIXES and path.name[0] != '.'
  ]
  if len(found) != 1:
    has = columns.listed(path.name for path in found)
    raise ValueError(
      f'{folder} must have one table with ids and values, directly in it; it '
      f'has {has} ({reading.found_in(folder)})'
    )
  return found[0]


class _InTable:
  """The files of a row whose paths stand in the table."""

  def __init__(self, index: pathlib.Path, names, needed: Collection[str]):
    self._root, self._needed = index.parent, needed
    there = {name.lower() for name in names}
    self._columns = {
      role: columns.named(names, role, str(index))
      for role in _KINDS
      if role in needed or role in there
    }

  def __call__(self, row: tables.Row, name: str) -> dict[str, pathlib.Path]:
    """Returns fields of `types.Files`; ValueError names row and column."""
    del name
    return dict(self._files(row))

  def _files(self, row) -> Iterator[tuple[str, pathlib.Path]]:
    for role, column in self._columns.items():
      text = columns.text_of(row.values, column)
      where = f'{row.where}, column {column!r}'
      if not text and role in self._needed:
        raise ValueError(f'{where}: the cell is empty')
      if not text:
        continue
      path = self._root / pathlib.Path(text).expanduser()
      if not path.is_file():
        raise ValueError(f'{where}: there is no file {path}')
      kinds = _KINDS[role]
      if role == 'map':  # of which the reader knows more kinds
        yield 'density_map', path
      elif folders.suffix(path) in kinds:
        yield kinds[folders.suffix(path)], path
      else:
        raise ValueError(
          f'{where}: {path.name} is none of {", ".join(kinds)} (.gz too)'
        )


class _InFolder:
  """The files of a row that have its id as their name."""

  def __init__(self, folder: pathlib.Path, needed: Collection[str]):
    self._folder, self._needed, self._found = folder, needed, {}
    for path in reading.below(folder).files:
      stem = path.name.removesuffix('.gz').rpartition('.')[0]
      for role, kinds in _KINDS.items():
        if folders.suffix(path) in kinds:
          fields = self._found.setdefault(pdb_ids.key(stem), {})
          fields.setdefault((role, kinds[folders.suffix(path)]), path)

  def __call__(self, row: tables.Row, name: str) -> dict[str, pathlib.Path]:
    """Returns fields of `types.Files`; ValueError says what is missing."""
    found = self._found.get(pdb_ids.key(name), {})
    for needed in self._needed:
      if not any(role == needed for role, _ in found):
        kinds = ' or '.join(f'{name}{kind}' for kind in _KINDS[needed])
        raise ValueError(f'{row.where}: {self._folder} has no {kinds}')
    return {field: path for (_, field), path in found.items()}


def _entry(name, row: tables.Row, names, split_column) -> types.Entry:
  of_any_case = {column.lower(): cell for column, cell in row.values.items()}
  year = columns.number(of_any_case.get('year', ''))
  values = [columns.number(row.values.get(n, '')) for n in names]
  if split_column:
    values.append(selection.part_of(row, split_column))
  return types.Entry(
    pdb_id=name,
    ligand='',
    pk=math.nan,
    measure='',
    relation='=',
    resolution=columns.number(of_any_case.get('resolution', '')),
    year=0 if math.isnan(year) else int(year),
    source=row.where,
    values=tuple(values),
  )


def _digest(index: pathlib.Path, files: Mapping[str, types.Files]) -> str:
  """Hashes the table by content, structures by name and size."""
  paths = {path for one in files.values() for path in one[1:] if path}
  lines = [
    f'{os.path.relpath(path, index.parent)} {path.stat().st_size}'
    for path in sorted(paths)
  ]
  text = '\n'.join([file_sha256(index), *lines])
  return hashlib.sha256(text.encode()).hexdigest()
