"""Tables of affinities of one's own: columns, known by their names."""

import csv
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from data_builders.pdbbind.readers import affinities
from edjax.data import pdb_ids
from edjax.runtime import reading

SUFFIXES = ('.csv', '.tsv')
# Names of columns, without spaces and underscores, in lower case. There is no
# 'logkd': the sign would be wrong. Those of HiQBind and ChEMBL are among them.
COLUMNS = {
  'id': ('id', 'pdb', 'pdbid', 'pdbcode'),
  'pk': ('pk', 'pkd', 'pki', 'pic50', '-logkd/ki', '-log(kd/ki)', 'neglogaff',
         'logka', 'pchemblvalue'),
  'ligand': ('ligand', 'ligandcode', 'ligandid', 'ligandname'),
  'measure': ('measure', 'measurement', 'bindingaffinitymeasurement',
              'standardtype'),
  'relation': ('relation', 'bindingaffinitysign', 'standardrelation'),
  'unit': ('unit', 'units', 'bindingaffinityunit', 'standardunits'),
  'resolution': ('resolution',),
  'year': ('year', 'releaseyear'),
}  # fmt: skip
# Bytes that hold the header.
_HEAD = 2**16
# A column of values: 'Ki (nM)', 'affinity_uM', 'Kd', ...
_VALUE = re.compile(
  r'(affinity|bindingaffinity(?:value)?|standardvalue|kd|ki|ic50)'
  r'[\[(]?((?:[fpnumµμ]?m)?)[\])]?'
)


class Row(NamedTuple):
  """The texts of a row; '' for columns that the table lacks.

  Attributes:
    id: of the complex, in lower case.
    pk: -log10 of mol/l.
    affinity: measure, relation and value.
    resolution: as written.
    year: as written.
    ligand: as written.
  """

  id: str
  pk: str
  affinity: affinities.Affinity
  resolution: str
  year: str
  ligand: str


class _Columns(NamedTuple):
  """Where the columns are.

  Attributes:
    places: name of COLUMNS or 'value' -> number of the column.
    unit: of the values; '' where each row has its own, or there are none.
    measure: that the name of the column of values says.
  """

  places: dict[str, int]
  unit: str
  measure: str


def is_table(path) -> bool:
  """Returns whether a table has columns of ids and of affinities."""
  path = pathlib.Path(path)
  if path.suffix.lower() not in SUFFIXES:
    return False
  with path.open('rb') as file:
    head = file.read(_HEAD)
  try:
    _, header = next(_cells(reading.decoded(head, path, 'replace'), path))
    # Any unit: a table that lacks one is found, to be refused by name.
    _columns(header, path, affinity_unit='pK')
  except ValueError:
    return False
  return True


def rows(
  path, affinity_unit: str = ''
) -> Iterator[tuple[int, Callable[[], Row]]]:
  """Yields the number of each line with content, and a function that reads it.

  Args:
    path: of the table, with a header, and commas, semicolons or tabs.
    affinity_unit: 'pK' or a key of `affinities.UNITS`, of a column of
      affinities whose header does not say it.

  Raises:
    ValueError: columns are missing or ambiguous, or the unit is unknown; the
      functions raise it for a row that cannot be read.
  """
  cells = _cells(pdb_ids.text_of(path), path)
  columns = _columns(next(cells)[1], path, affinity_unit)
  for number, row in cells:
    if any(cell.strip() for cell in row):
      yield number, lambda row=row: _row(row, columns)


def _cells(text: str, path) -> Iterator[tuple[int, list[str]]]:
  lines = text.splitlines() or ['']
  reader = csv.reader(lines, delimiter=max(',;\t', key=lines[0].count))
  with reading.naming(path):
    for row in reader:
      yield reader.line_num, row


def _columns(header: list[str], path, affinity_unit: str) -> _Columns:
  plain = [re.sub(r'[\s_]', '', name).lower() for name in header]
  places = {}
  for name, accepted in COLUMNS.items():
    _place(places, name, [text in accepted for text in plain], header, path)
  if 'id' not in places:
    raise _missing(path, 'ids', COLUMNS['id'], header)
  values = [_VALUE.fullmatch(text) for text in plain]
  known = [bool(m and (m[2] or 'unit' in places)) for m in values]
  if 'pk' in places:
    # Values without a unit, or several columns, say nothing beside pK.
    known = [one and sum(known) == 1 for one in known]
  elif not any(known):
    if not any(values) and 'measure' not in places:
      raise _missing(path, 'affinities', COLUMNS['pk'], header)
    known = [bool(m) for m in values]
  _place(places, 'value', known, header, path)
  if 'value' not in places:
    return _Columns(places, '', '')
  match = values[places['value']]
  measure = match[1] if match[1] in ('kd', 'ki', 'ic50') else ''
  unit = affinities.unit_of(match[2])
  if unit or 'unit' in places:
    return _Columns(places, unit, measure)
  if not affinity_unit:
    raise ValueError(
      f'{path}: the column {header[places["value"]]} does not say its unit; '
      "name it (such as 'Ki (nM)', or pK for -log10 of mol/l), or set "
      'config.data.affinity_unit'
    )
  if affinity_unit == 'pK':
    places['pk'] = places.pop('value')
    return _Columns(places, '', '')
  return _Columns(places, affinity_unit, measure)


def _place(places, name, is_it, header, path) -> None:
  """Adds the place of a column, if there is one."""
  found = [i for i, one in enumerate(is_it) if one]
  if len(found) > 1:
    both = ', '.join(header[i] for i in found)
    raise ValueError(f'{path}: which column is {name}: {both}?')
  if found:
    places[name] = found[0]


def _missing(path, what, accepted, header) -> ValueError:
  return ValueError(
    f'{path} has no column for {what} (one of {", ".join(accepted)}; spaces, '
    'underscores and case do not matter); it has '
    f'{", ".join(header) or "none"}'
  )


def _row(row: list[str], columns: _Columns) -> Row:
  def cell(name):
    place = columns.places.get(name, len(row))
    return row[place].strip() if place < len(row) else ''

  key = pdb_ids.complex_id(cell('id'))
  try:
    affinity = _affinity(cell, columns)
  except ValueError as error:
    raise ValueError(f'{key}: {error}') from None
  others = (cell(name) for name in ('resolution', 'year', 'ligand'))
  return Row(key, cell('pk'), affinity, *others)


def _affinity(cell, columns: _Columns) -> affinities.Affinity:
  affinity = affinities.measured(cell('measure') or columns.measure)
  relation = cell('relation').strip("'")  # ChEMBL's "'='"
  if relation not in ('', *affinities.RELATIONS):
    raise ValueError(f'unknown relation {relation!r}')
  affinity = affinity._replace(relation=relation or affinity.relation)
  if not cell('value'):
    return affinity
  try:
    unit = columns.unit or affinities.unit_of(cell('unit'))
    if not unit:
      raise ValueError(f'unknown unit {cell("unit")!r}')
    return affinities.value(relation + cell('value'), unit, affinity.measure)
  except ValueError:
    if not cell('pk'):
      raise
    return affinity  # 'n.d.' beside a pK
