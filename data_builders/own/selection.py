"""Which records of a source are used, and which of its columns."""

import collections
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from data_builders.own import columns, records
from data_builders.own.types import Raw

# Column of a record: the part of a split that the source gives it, a place in
# PARTS; NaN where it gives none.
PART = 'split_part'
# Names of parts, and what users write for them.
PARTS = (
  ('train', 'training'),
  ('validation', 'valid', 'val', 'dev'),
  ('test', 'testing'),
)
# Columns of records that no column of a user may replace.
_RESERVED = (
  'xtb_energy', 'xtb_gap', 'xtb_dipole', 'xtb_levels', PART, *records.COLUMNS,
  'example_id', 'index', 'numbers', 'positions', 'orbitals', 'n_orbitals',
  'orbital_width', 'frontier', 'n_homo', 'n_lumo', 'smiles', 'values',
  'map_values', 'map_shape', 'map_origin', 'map_steps', 'map_kind',
  'map_electrons',
)  # fmt: skip
# Å to which coordinates of duplicates agree: files round them.
_DIGITS = 3


def numeric(raws: Iterable[Raw]) -> tuple[str, ...]:
  """Returns the columns of which at least one usable record has a number."""
  names = {}
  for raw in raws:
    if not raw.problem:
      for name, value in raw.values.items():
        if name not in names and not math.isnan(columns.number(value)):
          names[name] = True
  return tuple(sorted(name for name in names if name not in _RESERVED))


def count(
  raws: Iterable[Raw], names: Sequence[str]
) -> dict[str, dict[str, int]]:
  """Counts the cells of usable records in some columns.

  Returns:
    name -> {'numbers': ..., 'empty': ..., 'no_number': ...}.
  """
  counts = {name: collections.Counter() for name in names}
  for raw in raws:
    for name in names if not raw.problem else ():
      value = raw.values.get(name, '')
      if not math.isnan(columns.number(value)):
        counts[name]['numbers'] += 1
      else:
        counts[name]['no_number' if str(value).strip() else 'empty'] += 1
  kinds = ('numbers', 'empty', 'no_number')
  return {n: {kind: c[kind] for kind in kinds} for n, c in counts.items()}


def mostly_numbers(cells: Mapping[str, int]) -> bool:
  """Returns whether a column is of numbers, and has cells that are none.

  Args:
    cells: see `count`.
  """
  return cells['numbers'] >= cells['no_number'] > 0


def noted(raws: Sequence[Raw], counts: Mapping[str, Mapping]) -> list[Raw]:
  """Notes cells that are no numbers, in columns that are mostly numbers."""
  mostly = [name for name, cells in counts.items() if mostly_numbers(cells)]
  result = []
  for raw in raws:
    cells = {n: str(raw.values.get(n, '')).strip() for n in mostly}
    notes = [
      f'{name}: {text!r} is no number'
      for name, text in cells.items()
      if text and math.isnan(columns.number(text))
    ]
    notes = '; '.join(filter(None, [raw.notes, *notes]))
    result.append(raw._replace(notes=notes))
  return result


def without_duplicates(raws: Iterable[Raw]) -> list[Raw]:
  """Gives records that occur before them a problem.

  Two are duplicates with one id, with one SMILES of which both geometries are
  made, or with the same atoms at the same places.
  """
  seen, result = {}, []
  for raw in raws:
    keys = [('id', raw.example_id)]
    if not raw.problem:
      keys.append(_content(raw))
    first = next((seen[key] for key in keys if key in seen), None)
    if first is not None and not raw.problem:
      what = 'id' if keys[0] in seen else 'molecule'
      raw = raw._replace(
        problem=f'duplicate: the same {what} as {first.where} '
        f'({first.example_id})'
      )
    elif not raw.problem:
      seen.update(dict.fromkeys(keys, raw))
    result.append(raw)
  return result


def _content(raw: Raw) -> tuple:
  if raw.numbers is None:
    return 'smiles', raw.smiles, raw.unpaired
  coords = np.round(raw.coords, _DIGITS) + 0.0  # no -0
  state = raw.charge, raw.unpaired
  return 'atoms', raw.numbers.tobytes(), coords.tobytes(), *state


def divided(raws: Iterable[Raw], column: str, where: str) -> list[Raw]:
  """Gives records without a part of the split a problem.

  Args:
    raws: the records.
    column: that holds the parts.
    where: name of the source, for messages.

  Raises:
    ValueError: there is no such column, or a cell is none of PARTS.
  """
  raws = list(raws)
  names = list(dict.fromkeys(name for raw in raws for name in raw.values))
  column = columns.named(names, column, where)
  result = []
  for raw in raws:
    text = columns.text_of(raw.values, column)
    if text and math.isnan(part_of(raw, column)):
      raise ValueError(
        f'{raw.where}: column {column!r} has {text!r}; it holds train, '
        'validation or test'
      )
    if not text and not raw.problem:
      raw = raw._replace(problem=f'column {column!r} is empty')
    result.append(raw)
  return result


def part_of(raw: Raw, column: str) -> float:
  """Returns the place in PARTS of a record's part; NaN for none."""
  text = columns.text_of(raw.values, column).lower()
  for place, words in enumerate(PARTS):
    if text in words:
      return float(place)
  return math.nan


@dataclasses.dataclass(frozen=True)
class Selected:
  """The records of a source, looked through.

  Attributes:
    raws: all, in order; those that are left out have a problem.
    counts: see `count`, of the columns of numbers.
    split_column: as the source writes it; '' for none.
  """

  raws: list[Raw]
  counts: dict[str, dict[str, int]]
  split_column: str


def select(raws: Iterable[Raw], split_column: str, where: str) -> Selected:
  """Looks through the records of a source.

  Args:
    raws: as they were read.
    split_column: name of the column with the parts of a split; '' for none.
    where: name of the source, for messages.

  Raises:
    ValueError: see `divided`; or not one record can be used.
  """
  raws = without_duplicates(raws)
  if split_column:
    raws = divided(raws, split_column, where)
    names = dict.fromkeys(name for raw in raws for name in raw.values)
    split_column = columns.named(list(names), split_column, where)
  if all(raw.problem for raw in raws):
    first = [f'{raw.where}: {raw.problem}' for raw in raws[:3]]
    raise ValueError(
      f'not one of the {len(raws)} records of {where} can be used; the first '
      f'reasons: {"; ".join(first)}'
    )
  counts = count(raws, numeric(raws))
  return Selected(noted(raws, counts), counts, split_column)
