"""Molecules of .smi files: a SMILES and a name on each line."""

import pathlib
from collections.abc import Iterator

from data_builders.own import columns, smiles, tables
from data_builders.own.types import Options, Raw
from edjax.runtime import reading


def read(path, options: Options) -> Iterator[Raw]:
  """Reads a file of SMILES and names; see `sources.read`."""
  path = pathlib.Path(path)
  return smiles.of_table(path, table_of(path), options)


def table_of(path) -> tables.Table:
  """Reads the lines of a file as a table.

  As in RDKit's SmilesMolSupplier, blanks and tabs separate columns, and empty
  lines and those that begin with # are passed over. A first line that begins
  with a name of SMILES columns is a header, so that nobody has to say whether
  there is one; without it the columns are smiles and name. The last column has
  the rest of the line, since names have blanks.

  Raises:
    ValueError: it is empty, or no text.
  """
  path = pathlib.Path(path)
  text = reading.decoded(reading.unpacked(path), path, 'replace')
  lines = [
    (number, line.strip())
    for number, line in enumerate(text.splitlines(), 1)
    if line.strip() and not line.startswith('#')
  ]
  if not lines:
    raise ValueError(f'{path} is empty')
  names = ['smiles', 'name']
  if columns.is_usual(lines[0][1].split()[0], 'smiles'):
    names = lines[0][1].split()
    lines = lines[1:]
  if not lines:
    raise ValueError(f'{path} has no rows below its header')
  rows = []
  for number, line in lines:
    cells = dict.fromkeys(names, '')
    cells.update(zip(names, line.split(None, len(names) - 1), strict=False))
    rows.append(tables.Row(f'{path.name}, line {number}', cells))
  return tables.Table(names, rows)
