"""Predicts what files hold, as a table that a killed command goes on."""

import contextlib
import itertools
import math
import pathlib
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from edjax.config import ConfigError
from edjax.data import packed_dataset
from edjax.predict import conformal, inputs
from edjax.predict.flags import flags
from edjax.predict.model import Model, load
from edjax.predict.table import Table
from edjax.runtime import preemption

# Rows that are written together.
_CHUNK = 256


def predict_files(workdirs: Sequence[str], source: str, output: str) -> int:
  """Writes the predictions of runs for the molecules or complexes of files.

  Args:
    workdirs: of one run, or of the members of an ensemble.
    source: see `inputs.read`.
    output: CSV file; one that the same runs have begun for the same source is
      continued.

  Returns:
    Number of rows with a prediction.

  Raises:
    ConfigError: the runs do not go together, or the source or the output cannot
      be used.
    preemption.PreemptedError: SIGTERM or Ctrl-C; the rows so far are written.
    OSError: something cannot be read or written.
  """
  from data_builders.support import worker_pool

  members = [load(workdir) for workdir in workdirs]
  _check_targets(members)
  given = inputs.read([model.config for model in members], source)
  made_of = {
    'runs': [model.kept.sha256() for model in members],
    'input': given.sha256,
  }
  half_T = conformal.half_widths([model.kept for model in members])
  with contextlib.ExitStack() as stack:
    table = stack.enter_context(Table(output, _header(members), made_of))
    if table.rows:
      print(f'{table.rows} rows of {output} are there already', flush=True)
    asked_to_stop = stack.enter_context(preemption.noticed())
    bar = stack.enter_context(
      tqdm(desc='predict', total=len(given.ids), initial=table.rows,
           unit=f' {given.noun}', dynamic_ncols=True)
    )  # fmt: skip
    todo = given.ids[table.rows :]
    outcomes = worker_pool.map_ordered(
      given.function, given.jobs[table.rows :], chunk=given.chunk
    )
    stack.enter_context(contextlib.closing(outcomes))
    done = table.rows
    for pairs in _chunks(zip(todo, outcomes, strict=True), bar):
      table.append(_rows(members, half_T, pairs))
      done += len(pairs)
      if asked_to_stop() and done < len(given.ids):
        raise preemption.PreemptedError(
          f'stopped: {done} of {len(given.ids)} {given.noun} are in {output}; '
          'the same command goes on from there'
        )
    bar.close()
    return _summary(table, members, half_T, given.noun)


def _check_targets(members: Sequence[Model]) -> None:
  """Raises ConfigError where the runs have other targets or units."""
  first = members[0].kept
  for model in members:
    kept = model.kept
    if (kept.names, kept.units, kept.classes) != (
      first.names, first.units, first.classes
    ):  # fmt: skip
      raise ConfigError(
        'the runs have other targets or units: '
        f'{", ".join(first.names)} and {", ".join(kept.names)}'
      )


def _chunks(pairs, bar) -> Iterator[list]:
  """Yields lists of pairs; the bar follows each pair."""

  def counted():
    for pair in pairs:
      bar.update()
      yield pair

  one_by_one = counted()
  while chunk := list(itertools.islice(one_by_one, _CHUNK)):
    yield chunk


def _columns(members: Sequence[Model]) -> tuple[str, ...]:
  """Returns the ends of the names of each target's columns, in order."""
  several = ('_sd_ensemble',) if len(members) > 1 else ()
  interval = () if members[0].kept.classes else ('_low', '_high')
  return ('', '_unit', '_sd_rotations', *several, *interval)


def _header(members: Sequence[Model]) -> list[str]:
  ends = _columns(members)
  names = [f'{name}{end}' for name in members[0].kept.names for end in ends]
  header = ['id', *names, 'flags', 'error']
  if len({*header}) < len(header):
    raise ConfigError(f'two columns of the output would be equal: {header}')
  return header


def _rows(members, half_T, pairs) -> list[list]:
  """Returns the rows of a chunk of (id, outcome of its calculation)."""
  examples, errors = {}, {}
  for i, (_, outcome) in enumerate(pairs):
    if reason := inputs.refusal(members, outcome):
      errors[i] = reason
    else:
      examples[i] = outcome.example
  predicted = _predicted(members, half_T, examples)
  empty = [''] * (len(_header(members)) - 3)
  rows = []
  for i, (name, outcome) in enumerate(pairs):
    if i in errors:
      rows.append([name, *empty, '', errors[i]])
      continue
    cells, of_row = predicted[i]
    if not all(math.isfinite(x) for x in cells[:: len(_columns(members))]):
      reason = 'the prediction is not finite'
      rows.append([name, *empty, of_row, reason])
      continue
    notes = '; '.join(filter(None, [of_row, outcome.notes]))
    rows.append([name, *map(_text, cells), notes, ''])
  return rows


def _predicted(members, half_T, examples) -> dict[int, tuple[list, str]]:
  """Predicts examples: number -> cells of the targets, flags."""
  if not examples:
    return {}
  with tempfile.TemporaryDirectory(prefix='edjax-') as scratch:
    directory = pathlib.Path(scratch) / 'pack'
    packed_dataset.write(directory, examples.values(), 'predict')
    source = packed_dataset.open_pack(directory)
    try:
      found = [model.predict_pack(source) for model in members]
    except ValueError as error:
      raise ConfigError(f'the baseline of the run: {error}') from error
    of_rows = flags(members, source)
  mean_MNT = np.stack([p.mean_NT for p in found])
  # Over rotations, of a member.
  sd_NT = np.sqrt(np.mean([p.sd_NT**2 for p in found], 0))
  mean_NT, interval = mean_MNT.mean(0), not members[0].kept.classes
  cells = {}
  for row, i in enumerate(examples):
    of_targets = []
    for t, unit in enumerate(found[0].units):
      of_targets += [mean_NT[row, t], unit, sd_NT[row, t]]
      if len(members) > 1:
        of_targets.append(mean_MNT[:, row, t].std(ddof=1))
      if interval:
        of_targets += [mean_NT[row, t] - half_T[t], mean_NT[row, t] + half_T[t]]
    cells[i] = of_targets, of_rows[row]
  return cells


def _text(cell) -> str:
  """Returns a cell; '' for NaN, the spread of a single rotation."""
  if isinstance(cell, str):
    return cell
  return '' if math.isnan(cell) else f'{cell:.10g}'


def _summary(table: Table, members, half_T, noun: str) -> int:
  """Prints what the table has; returns the number of predictions."""
  rows = table.read()
  predicted = sum(not row['error'] for row in rows)
  flagged = sum(bool(row['flags']) for row in rows)
  lines = [
    f'{table.path}: {predicted} of {len(rows)} {noun} predicted'
    + (
      f', {len(rows) - predicted} not (column error)' * (predicted < len(rows))
    )
    + (f', {flagged} with flags' if flagged else '')
  ]
  if not members[0].kept.classes:
    widths = ', '.join(
      f'{name} ± {half:.3g} {unit}'.rstrip()
      for name, half, unit in zip(
        members[0].kept.names, half_T, members[0].kept.units, strict=True
      )
    )
    lines.append(
      f'{conformal.LEVEL:.0%} intervals, from errors on validation molecules: '
      f'{widths}'
    )
    if any(model.kept.weights_by_validation for model in members):
      lines.append(
        'These molecules have also chosen the weights: the intervals are '
        'somewhat too narrow.'
      )
  print('\n'.join(lines), flush=True)
  return predicted
