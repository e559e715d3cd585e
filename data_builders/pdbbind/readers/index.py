"""PDBbind's index files: complexes and their affinities.

The `INDEX_*` files of PDBbind 2013 to 2020 (pdbbind.org.cn, `index/` of the
downloads) are texts with one complex a line:

  PDB code, resolution, release year, -logKd/Ki, Kd/Ki // reference (ligand)
  3zzf  2.20  2012   0.40  Ki=400mM      // 3zzf.pdf (NLG)

pK is the fourth column, checked against the fifth. Lines that cannot be read
are listed with the reason.
"""

import csv
import math
import os
import pathlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from data_builders.pdbbind.readers.types import Entry
from edjax.data import pdb_ids

UNITS = {'fM': 1e-15, 'pM': 1e-12, 'nM': 1e-9, 'uM': 1e-6, 'mM': 1e-3, 'M': 1.0}
# The indices round to two decimals (off by 0.005 at most in all of 2016 and
# 2020); tables made from them also round twice or cut off.
TOLERANCE = 0.011
# Values outside are no pK but nM or kcal/mol: the indices have 0.40 to 15.22.
RANGE = (-2.0, 18.0)
# Names of columns, without spaces and underscores, in lower case. There is no
# 'logkd': the sign would be wrong.
COLUMNS = {
  'pdb_id': ('id', 'pdb', 'pdbid', 'pdbcode'),
  'pk': ('pk', 'pkd', 'pki', '-logkd/ki', '-log(kd/ki)', 'affinity',
         'neglogaff'),
  'ligand': ('ligand', 'ligandcode', 'ligandid', 'ligandname'),
  'measure': ('measure', 'measurement'),
  'resolution': ('resolution',),
  'year': ('year', 'releaseyear'),
}  # fmt: skip
_KINDS = ('general', 'refined', 'core')
_NAME = re.compile(
  r'INDEX_(general|refined|core)(?:_(?:PL|set))?(_data|_name)?\.(\d{4})',
  re.IGNORECASE,
)
_MEASURED = re.compile(
  r'(Kd|Ki|IC50)(<=|>=|[=~<>])(\d+\.?\d*(?:[eE][-+]?\d+)?)(fM|pM|nM|uM|mM|M)'
)
# One pair of brackets, with at most one pair inside it.
_BRACKETS = re.compile(r'\(((?:[^()]|\([^()]*\))*)\)')


class Line(NamedTuple):
  """A remark on a line.

  Attributes:
    line: its number, from 1.
    reason: starts with the PDB id, where there is one.
  """

  line: int
  reason: str


class Index(NamedTuple):
  """A file of affinities.

  Attributes:
    entries: in the order of the file, one per PDB id.
    skipped: lines that became no entry.
    notes: remarks on lines that did: pK and measure disagree, the ligand has
      no name, or there is text after it ('incomplete ligand structure').
  """

  entries: tuple[Entry, ...]
  skipped: tuple[Line, ...]
  notes: tuple[Line, ...]


class IndexFile(NamedTuple):
  """A file that a manual directory holds.

  Attributes:
    path: of the file.
    kind: 'general', 'refined', 'core' or 'csv'.
    content: 'data' (affinities: `read_index`) or 'ids' (`read_ids` only).
    year: of the version of PDBbind; 0 for csv.
  """

  path: pathlib.Path
  kind: str
  content: str
  year: int


def read_index(path) -> Index:
  """Reads affinities from an `INDEX_*_data` file or a csv.

  A csv (its name ends in .csv) has a header, with commas, semicolons or tabs;
  columns are known by the names in `COLUMNS`, whatever their case, spaces and
  underscores. PDB id and pK are needed; ligand, measure ('Ki=0.4uM', or only
  'Ki'), resolution and year may be missing. Other columns are ignored.

  Args:
    path: of the file.

  Returns:
    Entries, and remarks on lines.

  Raises:
    ValueError: no line could be read, or columns are missing or ambiguous.
    FileNotFoundError: there is no such file.
  """
  path = pathlib.Path(path)
  rows = _csv_rows(path) if path.suffix.lower() == '.csv' else _rows(path)
  entries, skipped, notes, first = [], [], [], {}
  for number, read in rows:
    try:
      entry, remarks = read()
      if entry.pdb_id in first:
        raise ValueError(
          f'{entry.pdb_id}: again (line {first[entry.pdb_id]} counts)'
        )
    except ValueError as error:
      skipped.append(Line(number, str(error)))
      continue
    first[entry.pdb_id] = number
    entries.append(entry._replace(source=f'{path.name}:{number}'))
    notes.extend(Line(number, f'{entry.pdb_id}: {text}') for text in remarks)
  if not entries:
    why = '; '.join(f'line {n}: {reason}' for n, reason in skipped[:3])
    raise ValueError(
      f'{path} has no line with an affinity ({why or "it is empty"}); lists of '
      'ids alone are read by read_ids'
    )
  return Index(tuple(entries), tuple(skipped), tuple(notes))


def excluded(entries: Iterable[Entry]) -> dict[str, str]:
  """Returns PDB id -> reason of entries whose relation only bounds a value."""
  return {
    entry.pdb_id: f'{entry.measure}{entry.relation} is only a bound'
    for entry in entries
    if entry.relation not in ('=', '~')
  }


def find_indices(manual_dir) -> tuple[IndexFile, ...]:
  """Finds files of ids and affinities in a directory, sorted by preference.

  Order: `index.csv` directly in the directory, which somebody wrote on
  purpose; files with affinities, by kind (general before refined before core:
  the larger set holds the smaller), of a kind the newest; other csv files
  with columns for PDB id and pK; then lists of ids. Equals are sorted by depth
  and name. Files of protein-protein or nucleic acid complexes
  (`INDEX_general_PP_data`) are not among them. Directories of complexes (named
  by a PDB id) are not entered.

  Args:
    manual_dir: the directory.

  Returns:
    The files, best first; () for none.
  """
  root = pathlib.Path(manual_dir)
  files = []
  for where, directories, names in os.walk(root):
    directories[:] = sorted(d for d in directories if not pdb_ids.is_pdb_id(d))
    for name in sorted(names):
      path = pathlib.Path(where, name)
      match = _NAME.match(name)
      if match:
        kind, content, year = match.groups()
        content = 'data' if (content or '').lower() == '_data' else 'ids'
        files.append(IndexFile(path, kind.lower(), content, int(year)))
      elif path.suffix.lower() == '.csv' and _is_index(path):
        files.append(IndexFile(path, 'csv', 'data', 0))

  def rank(one: IndexFile):
    depth = len(one.path.relative_to(root).parts)
    named = one.kind == 'csv' and depth == 1 and one.path.stem == 'index'
    kinds = (*_KINDS, 'csv')
    return (
      not named,
      one.content != 'data',
      kinds.index(one.kind),
      -one.year,
      depth,
      str(one.path),
    )

  return tuple(sorted(files, key=rank))


def checked_pk(text: str) -> float:
  """Parses a pK.

  Raises:
    ValueError: it is no number, or outside RANGE.
  """
  try:
    value = float(text)
  except ValueError:
    raise ValueError(f'pK {text!r} is not a number') from None
  # NaN is not inside either.
  if not RANGE[0] <= value <= RANGE[1]:
    raise ValueError(
      f'pK {text} is outside {RANGE[0]:g} to {RANGE[1]:g}; it must be -log10 '
      'of mol/l'
    )
  return value


def _rows(path):
  """Yields (number, function that reads it) of each line with content."""
  for number, line in enumerate(pdb_ids.text_of(path).splitlines(), 1):
    if line.strip() and not line.lstrip().startswith('#'):
      yield number, lambda line=line: _read_line(line)


def _read_line(line: str) -> tuple[Entry, list[str]]:
  data, _, comment = line.partition('//')
  words = data.split()
  key = pdb_ids.pdb_id(words[0] if words else '')
  if len(words) < 5:
    raise ValueError(
      f'{key}: {len(words)} columns where at least 5 are needed (id, '
      'resolution, year, -log, measure)'
    )
  bracket = _BRACKETS.search(comment)
  ligand = bracket[1].strip() if bracket else ''
  rest = [' '.join(words[5:])]
  rest.append('' if ligand else 'no name of a ligand')
  if bracket:
    rest.append(comment[bracket.end() :].strip(' \t,;'))
  return _entry(key, words[3], words[4], words[1], words[2], ligand, rest)


def _csv_rows(path):
  lines = pdb_ids.text_of(path).splitlines()
  delimiter = _delimiter(lines[0] if lines else '')
  reader = csv.reader(lines, delimiter=delimiter)
  columns = _columns(next(reader, []), path)
  for row in reader:
    if any(cell.strip() for cell in row):
      yield reader.line_num, lambda row=row: _read_row(row, columns)


def _read_row(row: list[str], columns: dict) -> tuple[Entry, list[str]]:
  def cell(name):
    place = columns.get(name, len(row))
    return row[place].strip() if place < len(row) else ''

  return _entry(
    pdb_ids.pdb_id(cell('pdb_id')),
    cell('pk'),
    cell('measure'),
    cell('resolution'),
    cell('year'),
    cell('ligand'),
    [],
  )


def _delimiter(header: str) -> str:
  return max(',;\t', key=header.count)


def _columns(header: list[str], path) -> dict[str, int]:
  plain = [re.sub(r'[\s_]', '', name).lower() for name in header]
  columns = {}
  for name, accepted in COLUMNS.items():
    places = [i for i, text in enumerate(plain) if text in accepted]
    if len(places) > 1:
      both = ', '.join(header[i] for i in places)
      raise ValueError(f'{path}: which column is {name}: {both}?')
    if places:
      columns[name] = places[0]
  for name in ('pdb_id', 'pk'):
    if name not in columns:
      raise ValueError(
        f'{path} has no column for {name} (one of '
        f'{", ".join(COLUMNS[name])}; spaces, underscores and case do not '
        f'matter); it has {", ".join(header) or "none"}'
      )
  return columns


def _is_index(path) -> bool:
  with open(path, encoding='utf-8-sig', errors='replace') as file:
    header = file.readline().rstrip('\r\n')
  try:
    _columns(next(csv.reader([header], delimiter=_delimiter(header)), []), path)
  except ValueError:
    return False
  return True


def _entry(
  key, pk, written, resolution, year, ligand, rest
) -> tuple[Entry, list[str]]:
  """Makes an entry without its source from texts; returns remarks too."""
  try:
    value = checked_pk(pk)
    measure, relation, measured = _measured(written)
    known = {'resolution': _resolution(resolution), 'year': _year(year)}
  except ValueError as error:
    raise ValueError(f'{key}: {error}') from None
  remarks = [text for text in rest if text]
  if abs(value - measured) > TOLERANCE:
    remarks.append(f'pK {pk}, but {written} is {measured:.2f}')
  entry = Entry(
    pdb_id=key,
    ligand=ligand,
    pk=value,
    measure=measure,
    relation=relation,
    source='',
    **known,
  )
  return entry, remarks


def _measured(written: str) -> tuple[str, str, float]:
  """Parses measure, relation and pK (NaN where no value is written)."""
  if written in ('', 'Kd', 'Ki', 'IC50'):
    return written, '=', math.nan
  match = _MEASURED.fullmatch(written)
  if not match or float(match[3]) == 0:
    raise ValueError(
      f'cannot read {written!r} (Kd, Ki or IC50; = ~ < > <= or >=; a '
      f'number above 0; {", ".join(UNITS)})'
    )
  measure, relation, value, unit = match.groups()
  return measure, relation, -math.log10(float(value) * UNITS[unit])


def _resolution(text: str) -> float:
  if text.upper() in ('', 'NMR', 'NAN'):
    return math.nan
  try:
    return float(text)
  except ValueError:
    raise ValueError(
      f'resolution {text!r} is neither a number nor NMR'
    ) from None


def _year(text: str) -> int:
  if text == '':
    return 0
  if not re.fullmatch(r'(19|20)\d\d', text):
    raise ValueError(f'{text!r} is not a year')
  return int(text)
