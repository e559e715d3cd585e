"""Records, manifest and report of users' molecules.

The functions are shared by builds in this process and on Apache Beam.
"""

import collections
import dataclasses
from typing import Any

import numpy as np

from data_builders import xtb
from data_builders.molecules import records as records_lib
from data_builders.molecules.records import Calculated
from data_builders.own import builders, columns, selection
from data_builders.own.types import Raw
from data_builders.support import manifest
from data_builders.support import worker_pool as workers_lib
from edjax import datasets

_COLUMNS = ('id', 'where', 'status', 'reason', 'notes')
# Kinds of `datasets.MAP_KINDS`, with the number of electrons.
_WORDS = {
  'sigma': 'in standard deviations',
  'valence': 'of {} valence electrons',
  'all_electron': 'of all {} electrons',
  'electrons': 'of {} electrons',
}


def example(
  raw: Raw,
  outcome: Calculated | workers_lib.Failure,
  selected: selection.Selected,
) -> dict[str, Any] | None:
  """Returns the record of a molecule; None where it failed."""
  if isinstance(outcome, workers_lib.Failure):
    return None
  values = [columns.number(raw.values.get(n, '')) for n in selected.counts]
  return outcome.example | {
    'values': np.array(values, np.float64),
    selection.PART: np.float64(selection.part_of(raw, selected.split_column)),
  }


@dataclasses.dataclass
class Tally:
  """What became of the molecules; those of parts can be merged.

  Attributes:
    notes: index -> notes, of the molecules in the dataset.
    failures: index -> reason, of the others.
    xtb_seconds: on one core, of the written molecules.
    content: sum of `records.example_hash`.
    densities: kind of the densities of files -> how many, of the written
      molecules.
  """

  notes: dict[int, str] = dataclasses.field(default_factory=dict)
  failures: dict[int, str] = dataclasses.field(default_factory=dict)
  xtb_seconds: float = 0.0
  content: int = 0
  densities: collections.Counter = dataclasses.field(
    default_factory=collections.Counter
  )

  def add(self, raw: Raw, outcome, made: dict[str, Any] | None) -> None:
    """Counts a molecule with what `example` made of it."""
    if made is None:
      kind, _, reason = outcome.reason.partition(': ')
      known = kind in ('RecordError', 'XtbError', 'ValueError')
      self.failures[raw.index] = reason if known else outcome.reason
      return
    notes = [outcome.notes]
    self.xtb_seconds += outcome.xtb_seconds
    self.content += records_lib.example_hash(made)
    if 'map_kind' in made:
      kind = datasets.MAP_KINDS[int(made['map_kind'])]
      self.densities[kind] += 1
      of_kind = _WORDS[kind].format(f'{made["map_electrons"]:.4g}')
      notes.append(f'density {of_kind}')
    self.notes[raw.index] = '; '.join(filter(None, notes))

  def merge(self, other: 'Tally') -> None:
    """Adds the counts of another part."""
    self.notes |= other.notes
    self.failures |= other.failures
    self.xtb_seconds += other.xtb_seconds
    self.content += other.content
    self.densities += other.densities


def finish(
  tally: Tally,
  selected: selection.Selected,
  directory: str,
  facts: dict[str, Any],
  start: float,
) -> None:
  """Writes manifest and report beside a complete dataset.

  Args:
    tally: of all molecules.
    selected: the records.
    directory: of the dataset.
    facts: further entries of the report.
    start: of the build, `time.time()`.

  Raises:
    XtbError: not one molecule could be done.
  """
  rows = [_row(raw, tally) for raw in selected.raws]
  left_out = [row for row in rows if row['status'] != 'kept']
  if not tally.notes:
    raise xtb.XtbError(
      f'not one of {len(rows)} molecules could be calculated; the first: '
      f'{left_out[0]["where"]}: {left_out[0]["reason"]}'
    )
  manifest.write(directory, _COLUMNS, rows)
  report = facts | {
    'method': 'densities of files'
    if tally.densities
    else f'{xtb.METHOD}, tblite {xtb.version()}',
    'densities': dict(tally.densities),
    'read': len(rows),
    'written': len(tally.notes),
    'failed': len(left_out),
    'failures': [
      {'id': row['id'], 'where': row['where'], 'reason': row['reason']}
      for row in left_out
    ],
    'columns': selected.counts,
    'xtb_seconds_per_molecule': tally.xtb_seconds / len(tally.notes),
  }
  # Records hold values in the order of these names.
  names = records_lib.example_hash({'columns': '\n'.join(selected.counts)})
  records_lib.save_report(directory, report, tally.content + names, start)


def _row(raw: Raw, tally: Tally) -> dict[str, str]:
  reason = raw.problem or tally.failures.get(raw.index, '')
  return {
    'id': raw.example_id,
    'where': raw.where,
    'status': 'left out' if reason else 'kept',
    'reason': reason,
    'notes': raw.notes if reason else tally.notes[raw.index],
  }


def summary(report: dict[str, Any]) -> str:
  """Returns a report as a few lines for the user."""
  lines = [
    f'{report["dataset"]}: {report["written"]} of {report["read"]} records of '
    f'{report["source"]}'
  ]
  lines += _of_densities(report)
  lines += builders.of_columns(report['columns'])
  if report['failed']:
    lines.append(
      f'{report["failed"]} are left out, and {manifest.NAME} beside the '
      'dataset says why:'
    )
    lines += builders.first(
      [f'{r["where"]}: {r["reason"]}' for r in report['failures']]
    )
  return '\n'.join(lines)


def _of_densities(report: dict[str, Any]) -> list[str]:
  """Returns lines on densities that were read, or passed by."""
  counts = report.get('densities', {})
  lines = []
  if counts:
    kinds = (f'{n} {_WORDS[kind].format("")}' for kind, n in counts.items())
    text = ', '.join(sorted(kinds)).replace('  ', ' ')
    lines.append(f'densities: {text}')
  if {'valence', 'all_electron'} <= {*counts}:
    lines.append(
      '  a network can tell these apart: if it is not what you want to learn '
      'from, leave one kind'
    )
  if unread := report.get('unread_densities', 0):
    lines.append(
      f'{unread} densities of files are not read, and GFN2-xTB calculates '
      "others: config.representation.density='map' reads them"
    )
  return lines
