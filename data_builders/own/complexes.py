"""Users' own complexes, as sources of PDBbind's pipeline."""

import hashlib
import math
import os
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from data_builders.own import columns, complex_rows, selection, tables
from data_builders.pdbbind import sources
from data_builders.pdbbind.readers import types
from data_builders.support.download import file_sha256
from edjax.data import pdb_ids


class Found(NamedTuple):
  """The complexes of a source.

  Attributes:
    inputs: for PDBbind's pipeline. The values of an entry are those of the
      columns in `counts`.
    counts: columns of numbers, see `selection.count`.
  """

  inputs: sources.Sources
  counts: dict[str, dict[str, int]]


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
  read = complex_rows.listed(source, id_column=id_column, maps=maps)
  listed, where = read.complexes, str(read.index)
  rows = [one.row for one in listed]
  if split_column:
    known = dict.fromkeys(name for row in rows for name in row.values)
    split_column = columns.named(list(known), split_column, where)
    rows = selection.divided(rows, split_column, where)
  reserved = {*reserved, read.id_column}
  names = [n for n in selection.numeric(rows) if n not in reserved]
  ids, excluded = _without_repeats([one.name for one in listed], rows)
  entries, files, unusable = {}, {}, {}
  for one, row, name in zip(listed, rows, ids, strict=True):
    entries[name] = entry(name, row, names, split_column)
    if row.problem:
      unusable[name] = f'{row.where}: {row.problem}'
    elif one.files is None:
      unusable[name] = one.problem
    else:
      files[name] = one.files._replace(pdb_id=name)
  if not files:
    reasons = '; '.join(list(unusable.values())[:3])
    raise ValueError(
      f'not one of the {len(rows)} complexes of {where} has its files; the '
      f'first reasons: {reasons}'
    )
  inputs = sources.Sources(
    directory=read.index.parent,
    index=read.index,
    entries=entries,
    excluded=excluded,
    sha256=_digest(read.index, files),
    files=files,
    unusable=unusable,
    notes=read.notes,
  )
  counts = selection.count(rows, names)
  if split_column:
    counts |= {
      selection.PART: {'numbers': len(rows), 'empty': 0, 'no_number': 0}
    }
  return Found(inputs, counts)


def _without_repeats(ids, rows) -> tuple[list[str], dict[str, str]]:
  """Returns ids that differ, and why those that did not are left out."""
  first, result, excluded = {}, [], {}
  for name, row in zip(ids, rows, strict=True):
    before = first.setdefault(pdb_ids.key(name), row.where)
    if before != row.where:
      name = f'{name} ({row.where})'
      excluded[name] = f'its id is that of {before} (case does not matter)'
    result.append(name)
  return result, excluded


def entry(
  name: str,
  row: tables.Row,
  names: Sequence[str] = (),
  split_column: str = '',
) -> types.Entry:
  """Makes the entry of a row, as PDBbind's pipeline has them.

  Args:
    name: its id.
    row: of the table.
    names: columns of numbers, which become the values.
    split_column: whose part is the last value; '' for none.
  """
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
  """Hashes the table by content, structures by name and size.

  Files with several ligands are hashed by content: they hold values.
  """
  paths = {
    path
    for one in files.values()
    for path in one
    if isinstance(path, pathlib.Path)
  }
  lines = [
    f'{os.path.relpath(path, index.parent)} {path.stat().st_size}'
    for path in sorted(paths)
  ]
  several = {one.ligand_sdf for one in files.values() if one.record}
  lines += map(file_sha256, sorted(several))
  text = '\n'.join([file_sha256(index), *lines])
  return hashlib.sha256(text.encode()).hexdigest()
