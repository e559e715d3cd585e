"""Columns of users' files: found by name, and read as numbers."""

import difflib
import math
import re
from collections.abc import Collection, Mapping, Sequence

from data_builders.own.types import Options, RecordError

# Names without blanks, signs and case, by field of `Options`.
USUAL = {
  'id': ('id', 'molid', 'moleculeid', 'molname', 'compoundid', 'chemblid',
         'moleculechemblid', 'cid'),
  'smiles': ('smiles', 'canonicalsmiles', 'isomericsmiles'),
  'charge': ('charge', 'totalcharge', 'formalcharge'),
  'unpaired': ('unpaired', 'unpairedelectrons', 'uhf'),
}  # fmt: skip


# Names of columns whose cells are ids where they are all there and differ.
_TITLES = ('name', 'title', 'compound', 'compoundname')


def found(names: Collection[str], options: Options, where: str) -> Options:
  """Returns the names of the columns as the file has them; '' for none.

  Args:
    names: of the file's columns.
    options: names that were asked for.
    where: name of the file, for messages.

  Raises:
    ValueError: a column that was named is not there, or two have a usual name.
  """
  return Options(
    *(
      named(names, wanted, where) if wanted else _usual(names, field, where)
      for field, wanted in options._asdict().items()
    )
  )


def named(names: Collection[str], wanted: str, where: str) -> str:
  """Returns the column that was asked for, as the file writes it.

  Args:
    names: of the file's columns.
    wanted: a name, in any case where that is clear.
    where: name of the file, for the message.

  Raises:
    ValueError: there is none; names those that there are.
  """
  if wanted in names:
    return wanted
  alike = [name for name in names if name.lower() == wanted.lower()]
  if len(alike) == 1:
    return alike[0]
  raise ValueError(missing(names, wanted, where))


def missing(names: Collection[str], wanted: str, where: str) -> str:
  """Says that a column is not there, and which there are."""
  text = f'{where} has no column {wanted!r}; it has {listed(names)}'
  near = difflib.get_close_matches(wanted, names, 1)
  return text + (f'. Did you mean {near[0]!r}?' if near else '')


def check_targets(
  targets: Sequence[str], counts: Mapping[str, Mapping[str, int]], where: str
) -> None:
  """Checks that targets are columns of numbers.

  Args:
    targets: names.
    counts: column -> number of records whose cell is a number, by 'numbers';
      see `selection.count`.
    where: name of the file, for the message.

  Raises:
    ValueError: a target is no such column; names those that there are.
  """
  for name in targets:
    if name not in counts:
      raise ValueError(f'target: {missing(counts, name, where)}')
    if not counts[name]['numbers']:
      raise ValueError(
        f'target: the column {name!r} of {where} has no number that can be used'
      )


def listed(names: Collection[str]) -> str:
  """Returns the first names of columns as a text."""
  names = list(names)
  more = f' and {len(names) - 20} more' if len(names) > 20 else ''
  return ', '.join(map(repr, names[:20])) + more if names else 'none'


def _usual(names, field: str, where: str) -> str:
  alike = [name for name in names if is_usual(name, field)]
  if len(alike) > 1:
    raise ValueError(
      f'{where}: which column is {field}: {", ".join(map(repr, alike))}? '
      f'Name it with config.data.{field}_column'
    )
  return alike[0] if alike else ''


def is_usual(name: str, field: str) -> bool:
  """Returns whether a column has a usual name of a field of `Options`."""
  return _plain(name) in USUAL[field]


def _plain(name: str) -> str:
  return re.sub(r'[^a-z0-9]', '', name.lower())


def text_of(values: Mapping, column: str) -> str:
  """Returns what a record has in a column, as text; '' without the column."""
  return str(values.get(column, '')).strip() if column else ''


def number(value: str | float) -> float:
  """Returns the number of a cell; NaN where it is empty or no finite number."""
  if isinstance(value, str) and '_' in value:
    return math.nan  # Python reads 1_000
  try:
    read = float(value)
  except (TypeError, ValueError):
    return math.nan
  return read if math.isfinite(read) else math.nan


def whole(values: Mapping, column: str) -> int | None:
  """Returns the whole number in a column; None where the cell is empty.

  Raises:
    RecordError: it is no whole number.
  """
  text = text_of(values, column)
  if not text or text.lower() == 'nan':
    return None
  value = number(text)
  if not value.is_integer():
    raise RecordError(f'column {column!r} has {text!r}, no whole number')
  return int(value)


def ids(rows: Sequence[Mapping], column: str, stem: str) -> list[str]:
  """Returns the ids of records.

  Those of the column, or numbers ('stem_0001') where it is empty. Without one,
  names where there are such, see `ids_of_titles`.

  Args:
    rows: [N] column -> cell.
    column: of ids; '' for none.
    stem: of the file's name.
  """
  if column:
    given = [text_of(row, column) for row in rows]
    return [text or numbered(stem, i) for i, text in enumerate(given, 1)]
  named = [
    name for name in (rows[0] if rows else ()) if _plain(name) in _TITLES
  ]
  title = named[0] if named else ''
  return ids_of_titles([text_of(row, title) for row in rows], stem)


def ids_of_titles(titles: Sequence[str], stem: str) -> list[str]:
  """Returns titles as ids if they are all there and differ; else numbers."""
  if all(titles) and len(set(titles)) == len(titles):
    return list(titles)
  return [numbered(stem, i) for i in range(1, len(titles) + 1)]


def numbered(stem: str, number: int) -> str:
  """Returns the id of a record that has none."""
  return f'{stem}_{number:04d}'
