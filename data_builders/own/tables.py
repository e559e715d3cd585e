"""Tables: CSV, TSV and Parquet, gzipped or not."""

import csv
import io
import pathlib
from typing import NamedTuple

from data_builders.own import columns
from edjax.runtime import reading

SUFFIXES = ('.csv', '.tsv', '.parquet')


class Row(NamedTuple):
  """A row of a table.

  Attributes:
    where: name of the file and number of the line.
    values: column -> cell.
    problem: why it cannot be read; '' where it can.
  """

  where: str
  values: dict[str, str | float]
  problem: str = ''


class Table(NamedTuple):
  """A table.

  Attributes:
    names: of its columns.
    rows: without empty ones.
  """

  names: list[str]
  rows: list[Row]


def read(path) -> Table:
  """Reads a table with a header.

  Args:
    path: CSV or TSV (commas, semicolons or tabs; the header tells), or Parquet.

  Raises:
    ValueError: it is empty or damaged, or two columns have one name.
    OSError: it cannot be read.
  """
  path = pathlib.Path(path)
  is_parquet = path.suffix.lower() == '.parquet'
  names, rows = (_parquet if is_parquet else _delimited)(path)
  twice = sorted({name for name in names if names.count(name) > 1})
  if twice:
    raise ValueError(
      f'{path} has several columns {columns.listed(twice)}: rename them'
    )
  if not rows:
    raise ValueError(f'{path} has no rows below its header')
  return Table(names, rows)


def _delimited(path) -> tuple[list[str], list[Row]]:
  text = reading.decoded(reading.unpacked(path), path, 'replace')
  header = text.lstrip().partition('\n')[0]
  if not header.strip():
    raise ValueError(f'{path} is empty')
  reader = csv.reader(
    io.StringIO(text.lstrip(), newline=''),
    delimiter=max(',;\t', key=header.count),
  )
  with reading.naming(path):
    names = [name.strip() for name in next(reader)]
    rows = [
      _row(names, cells, f'{path.name}, line {reader.line_num}')
      for cells in reader
      if any(cell.strip() for cell in cells)
    ]
  return names, rows


def _row(names, cells, where) -> Row:
  values = dict.fromkeys(names, '')
  values.update(zip(names, (cell.strip() for cell in cells), strict=False))
  if any(cell.strip() for cell in cells[len(names) :]):
    return Row(
      where,
      values,
      f'the row has {len(cells)} cells and the header {len(names)}: a text '
      'with a separator needs quotation marks',
    )
  return Row(where, values)


def _parquet(path) -> tuple[list[str], list[Row]]:
  import pyarrow
  import pyarrow.parquet

  try:
    table = pyarrow.parquet.read_table(path)
  except pyarrow.ArrowInvalid as error:
    raise ValueError(f'{path} cannot be read: {error}') from error
  rows = [
    Row(
      f'{path.name}, row {i}',
      {name: _cell(value) for name, value in values.items()},
    )
    for i, values in enumerate(table.to_pylist(), 1)
  ]
  return table.column_names, rows


def _cell(value) -> str | float:
  if value is None:
    return ''
  return float(value) if isinstance(value, (bool, int, float)) else str(value)
