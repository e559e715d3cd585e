"""PDBbind's index files: complexes and their affinities.

The `INDEX_*` files of PDBbind 2013 to 2020 (pdbbind.org.cn, `index/` of the
downloads) are texts with one complex a line:

  PDB code, resolution, release year, -logKd/Ki, Kd/Ki // reference (ligand)
  3zzf  2.20  2012   0.40  Ki=400mM      // 3zzf.pdf (NLG)

Release 2020R1 (`INDEX_general_PL.2020R1.lst`) has no column with -log. CASF's
`CoreSet.dat` has the number of a cluster of targets in place of reference and
ligand. pK is the fourth column, checked against the fifth, or follows from it.
Lines that cannot be read are listed with the reason.
"""

import contextlib
import itertools
import math
import pathlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from data_builders.pdbbind.readers import affinities, tables
from data_builders.pdbbind.readers.types import Entry
from edjax import datasets
from edjax.data import pdb_ids
from edjax.runtime import reading

# The indices round to two decimals (off by 0.005 at most in all of 2016 and
# 2020); tables made from them also round twice or cut off.
TOLERANCE = 0.011
# Difference of pK and affinity from which one of them is an error rather than
# rounding or another measurement of the same (`config.data.max_pk_difference`).
MAX_DIFFERENCE = datasets.DATASETS['pdbbind'].settings['max_pk_difference']
_UNKNOWN = ('', 'NAN', 'NA', 'N/A', '.', '?', '-')
_KINDS = ('general', 'refined', 'core')
_NAME = re.compile(
  r'INDEX_(general|refined|core)(?:_(?:PL|set))?(_data|_name)?'
  r'\.(\d{4})(?:R(\d+))?(?:\.(?:lst|txt|dat))?',
  re.IGNORECASE,
)
_CORE_SET = re.compile(r'CoreSet\.dat', re.IGNORECASE)
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
    version: year and revision of PDBbind or CASF, (2020, 1) for 2020R1; zeros
      where the name does not say.
  """

  path: pathlib.Path
  kind: str
  content: str
  version: tuple[int, int] = (0, 0)


def read_index(path, affinity_unit: str = '') -> Index:
  """Reads affinities from an `INDEX_*` file, `CoreSet.dat`, .csv or .tsv.

  A table has a header, with commas, semicolons or tabs; columns are known by
  the names in `tables.COLUMNS`, whatever their case, spaces and underscores. An
  id and pK, or an affinity with a unit, are needed; ligand, measure
  ('Ki=0.4uM', or only 'Ki'), resolution and year may be missing. Other columns
  are ignored.

  Args:
    path: of the file.
    affinity_unit: see `tables.rows`.

  Returns:
    Entries, and remarks on lines.

  Raises:
    ValueError: no line could be read, or columns are missing or ambiguous.
    FileNotFoundError: there is no such file.
  """
  path = pathlib.Path(path)
  if path.suffix.lower() in tables.SUFFIXES:
    rows = (
      (number, lambda read=read: _entry(*read(), rest=[]))
      for number, read in tables.rows(path, affinity_unit)
    )
  else:
    rows = _rows(path)
  entries, skipped, notes, first = {}, [], [], {}
  for number, read in rows:
    try:
      entry, remarks = read()
      if entry == entries.get(entry.pdb_id):
        continue  # tables with a line for each copy of a ligand
      if entry.pdb_id in first:
        raise ValueError(
          f'{entry.pdb_id}: again (line {first[entry.pdb_id]} counts)'
        )
    except ValueError as error:
      skipped.append(Line(number, str(error)))
      continue
    first[entry.pdb_id] = number
    entries[entry.pdb_id] = entry
    notes.extend(Line(number, f'{entry.pdb_id}: {text}') for text in remarks)
  if not entries:
    why = '; '.join(f'line {n}: {reason}' for n, reason in skipped[:3])
    raise ValueError(
      f'{path} has no line with an affinity ({why or "it is empty"}); lists of '
      'ids alone are read by read_ids'
    )
  return Index(
    tuple(
      entry._replace(source=f'{path.name}:{first[key]}')
      for key, entry in entries.items()
    ),
    tuple(skipped),
    tuple(notes),
  )


def excluded(
  entries: Iterable[Entry], max_difference: float = MAX_DIFFERENCE
) -> dict[str, str]:
  """Returns id -> reason of entries whose value is not used.

  Args:
    entries: of an index.
    max_difference: between pK and the affinity stated beside it, in pK.
  """
  reasons = {}
  for entry in entries:
    if entry.relation not in ('=', '~'):
      reasons[entry.pdb_id] = f'{entry.measure}{entry.relation} is only a bound'
    elif abs(entry.pk - entry.stated) > max_difference:  # False for NaN
      reasons[entry.pdb_id] = (
        f'pK {entry.pk:.2f} contradicts the stated {entry.measure or "value"}, '
        f'which is {entry.stated:.2f} (config.data.max_pk_difference='
        f'{max_difference:g})'
      )
  return reasons


def find_indices(manual_dir) -> tuple[IndexFile, ...]:
  """Finds files of ids and affinities in a directory, sorted by preference.

  Order: `index.csv` directly in the directory, which somebody wrote on
  purpose; files with affinities, by kind (general before refined before core:
  the larger set holds the smaller), of a kind the newest; other tables with
  columns for ids and affinities; then lists of ids. Equals are sorted by depth
  and name. Files of protein-protein or nucleic acid complexes
  (`INDEX_general_PP_data`) are not among them, nor those in folders of
  complexes (named by a PDB id).

  Args:
    manual_dir: the directory.

  Returns:
    The files, best first; () for none.
  """
  root = pathlib.Path(manual_dir)
  files = []
  for path in reading.below(root).files:
    folders = path.relative_to(root).parts[:-1]
    # A folder that is named by digits alone is one of a year.
    if not any(pdb_ids.is_pdb_id(f) and not f.isdecimal() for f in folders):
      files += _index_file(path, '/'.join(folders))

  def rank(one: IndexFile):
    depth = len(one.path.relative_to(root).parts)
    named = one.kind == 'csv' and depth == 1 and one.path.stem == 'index'
    kinds = (*_KINDS, 'csv')
    year, revision = one.version
    return (
      not named,
      one.content != 'data',
      kinds.index(one.kind),
      -year,
      -revision,
      depth,
      str(one.path),
    )

  return tuple(sorted(files, key=rank))


def _index_file(path, folders: str) -> list[IndexFile]:
  """Returns what a file is, in a list; an empty one for other files."""
  match = _NAME.fullmatch(path.name)
  if match:
    kind, content, year, revision = match.groups()
    content = {'_data': 'data', '_name': 'ids'}.get((content or '').lower())
    content = content or ('data' if _has_affinities(path) else 'ids')
    version = int(year), int(revision or 0)
    return [IndexFile(path, kind.lower(), content, version)]
  if _CORE_SET.fullmatch(path.name) and _has_affinities(path):
    years = re.findall(r'CASF-?(\d{4})', folders, re.IGNORECASE)
    version = int(years[-1]) if years else 0, 0
    return [IndexFile(path, 'core', 'data', version)]
  if tables.is_table(path):
    return [IndexFile(path, 'csv', 'data')]
  return []


def _has_affinities(path) -> bool:
  """Returns whether one of the first lines is one of an index."""
  for _, read in itertools.islice(_rows(path), 10):
    with contextlib.suppress(ValueError):
      return bool(read())
  return False


def _rows(path):
  """Yields (number, function that reads it) of each line with content."""
  for number, line in enumerate(pdb_ids.text_of(path).splitlines(), 1):
    if line.strip() and not line.lstrip().startswith('#'):
      yield number, lambda line=line: _read_line(line)


def _read_line(line: str) -> tuple[Entry, list[str]]:
  data, slashes, comment = line.partition('//')
  words = data.split()
  key = pdb_ids.complex_id(words[0] if words else '')
  if len(words) > 3 and set(words[3]) & set('=<>~'):
    words.insert(3, '')  # 2020R1 has no -log
  if len(words) < 5:
    raise ValueError(
      f'{key}: {len(words)} columns where at least 4 are needed (id, '
      'resolution, year, -log if known, measure)'
    )
  _, resolution, year, pk, written, *more = words
  if more and affinities.unit_of(more[0]):
    written += more.pop(0)  # 'Ki=12 nM'
  try:
    affinity = affinities.measured(written)
  except ValueError as error:
    raise ValueError(f'{key}: {error}') from None
  bracket = _BRACKETS.search(comment)
  ligand = bracket[1].strip() if bracket else ''
  if not slashes and len(more) == 1 and more[0].isdecimal():
    rest = []  # CoreSet.dat
  else:
    rest = [' '.join(more), '' if ligand else 'no name of a ligand']
  if bracket:
    rest.append(comment[bracket.end() :].strip(' \t,;'))
  return _entry(key, pk, affinity, resolution, year, ligand, rest)


def _entry(
  key, pk, affinity, resolution, year, ligand, rest
) -> tuple[Entry, list[str]]:
  """Makes an entry without its source from texts; returns remarks too."""
  try:
    stated = affinity.pk
    if not pk and not math.isnan(stated):
      pk = f'{stated:.{affinities.DECIMALS}f}'
    value = affinities.checked_pk(pk)
    known = {'resolution': _resolution(resolution), 'year': _year(year)}
  except ValueError as error:
    raise ValueError(f'{key}: {error}') from None
  remarks = [text for text in rest if text]
  if abs(value - stated) > TOLERANCE:
    measure = affinity.measure or 'value'
    remarks.append(f'pK {pk}, but the stated {measure} is {stated:.2f}')
  entry = Entry(
    pdb_id=key,
    ligand=ligand,
    pk=value,
    measure=affinity.measure,
    relation=affinity.relation,
    source='',
    stated=stated,
    **known,
  )
  return entry, remarks


def _resolution(text: str) -> float:
  if text.upper() in (*_UNKNOWN, 'NMR'):
    return math.nan
  try:
    return float(text)
  except ValueError:
    raise ValueError(
      f'resolution {text!r} is neither a number nor NMR'
    ) from None


def _year(text: str) -> int:
  if text.upper() in _UNKNOWN:
    return 0
  if not re.fullmatch(r'(19|20)\d\d(\.0)?', text):  # pandas writes 2012.0
    raise ValueError(f'{text!r} is not a year')
  return int(text[:4])
