"""A folder of files with a molecule each, and a table of their values."""

import pathlib
from collections.abc import Iterator

from data_builders.own import columns, molblocks, tables, xyz
from data_builders.own.types import Options, Raw, RecordError
from edjax.runtime import reading

XYZ = ('.xyz', '.extxyz')


def read(folder, options: Options) -> Iterator[Raw]:
  """Reads the molecules of a folder, in order of their names.

  A table in the folder has a row for each: its ids are the names of the files
  without suffix. Without a table the values are those of the files.

  Args:
    folder: files with a molecule each, and one table or none.
    options: see `sources.read`.
  """
  folder = pathlib.Path(folder)
  files, table = contents(folder)
  rows, of = {}, Options()
  if table is not None:
    rows, of = _by_id(table, options)
  missing = sorted(rows.keys() - files.keys())
  for index, (stem, path) in enumerate(files.items(), 1):
    raw = Raw(stem, index, path.name)
    if table is not None and stem not in rows:
      yield raw._replace(problem=f'no row of {table.name} has the id {stem!r}')
      continue
    yield _molecule(raw, path, rows.get(stem), of, options)
  for index, stem in enumerate(missing, len(files) + 1):
    row = rows[stem]
    problem = f'{folder} has no file named {stem} (.xyz, .sdf, .mol, .mol2)'
    yield Raw(stem, index, row.where, values=row.values, problem=problem)


def contents(folder) -> tuple[dict[str, pathlib.Path], pathlib.Path | None]:
  """Returns the molecules' files by name without suffix, and the table.

  Raises:
    ValueError: there is no molecule, several tables, or two files of one name.
  """
  folder = pathlib.Path(folder)
  files, found = {}, []
  for path in reading.below(folder).files:
    if suffix(path) in tables.SUFFIXES:
      found.append(path)
    elif suffix(path) in (*XYZ, *molblocks.KINDS):
      stem = path.name.removesuffix('.gz').rpartition('.')[0]
      if stem in files:
        raise ValueError(
          f'{folder} has {files[stem].name} and {path.name}, which have one '
          'name: leave one of them'
        )
      files[stem] = path
  if len(found) > 1:
    raise ValueError(
      f'{folder} has several tables ({columns.listed(p.name for p in found)}): '
      'leave the one with the values'
    )
  if not files:
    raise ValueError(
      f'no .xyz, .extxyz, .sdf, .mol or .mol2 file: {reading.found_in(folder)}'
    )
  return files, found[0] if found else None


def suffix(path: pathlib.Path) -> str:
  """Returns the suffix in lower case, without that of gzip."""
  return pathlib.Path(path.name.lower().removesuffix('.gz')).suffix


def _by_id(path, options) -> tuple[dict[str, tables.Row], Options]:
  table = tables.read(path)
  of = columns.found(table.names, options, str(path))
  if not of.id:
    raise ValueError(
      f"{path} has no column of ids, the files' names without suffix (named "
      f'id, or by config.data.id_column); it has {columns.listed(table.names)}'
    )
  rows = {}
  for row in table.rows:
    stem = columns.text_of(row.values, of.id)
    if stem in rows:
      raise ValueError(f'{row.where}: the id {stem!r} has an earlier row, too')
    rows[stem] = row
  return rows, of


def _molecule(raw: Raw, path, row, of: Options, options: Options) -> Raw:
  """Reads a file; `row` is the table's, None where there is no table."""
  try:
    kind = molblocks.KINDS.get(suffix(path))
    if kind:
      records = molblocks.split(path, kind)
      if len(records) != 1:
        raise RecordError(f'holds {len(records)} records, not one')
      values, molecule = molblocks.properties(records[0]), records[0]
    else:
      values, molecule = xyz.read_one(path)
    if row is None:
      of = columns.found(values, options, str(path))
    else:
      values = values | row.values
    raw = raw._replace(values=values)
    if row is not None and row.problem:
      raise RecordError(f'{row.where}: {row.problem}')
    if kind:
      return molblocks.with_molecule(raw, molecule, kind, of)
    return xyz.with_molecule(raw, molecule, of)
  except ValueError as error:
    return raw._replace(problem=str(error))
