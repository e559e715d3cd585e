"""Fills tables with what becomes of the records of a source."""

import contextlib
import itertools
from collections.abc import Callable, Iterable

from tqdm import tqdm

from edjax.predict.inputs import Input
from edjax.predict.table import Table
from edjax.runtime import preemption


def fill(
  table: Table,
  given: Input,
  label: str,
  chunk: int,
  rows_of: Callable[[int, list], Iterable[list]],
) -> None:
  """Appends the rows that a table lacks, each as soon as it is there.

  Args:
    table: one that may have rows already.
    given: the source.
    label: of the progress bar.
    chunk: records that `rows_of` gets at once.
    rows_of: (number of the first, pairs of id and outcome) -> their rows.

  Raises:
    preemption.PreemptedError: SIGTERM or Ctrl-C; the rows so far are written.
  """
  from data_builders.support import worker_pool

  total, done = len(given.ids), table.rows
  if done:
    print(f'{done} rows of {table.path} are there already', flush=True)
  with contextlib.ExitStack() as stack:
    asked_to_stop = stack.enter_context(preemption.noticed())
    bar = stack.enter_context(
      tqdm(desc=label, total=total, initial=done, unit=f' {given.noun}',
           dynamic_ncols=True)
    )  # fmt: skip
    outcomes = worker_pool.map_ordered(
      given.function, given.jobs[done:], chunk=given.chunk
    )
    stack.enter_context(contextlib.closing(outcomes))
    pairs = zip(given.ids[done:], outcomes, strict=True)
    while some := list(itertools.islice(pairs, chunk)):
      for row in rows_of(done, some):
        table.append([row])
        bar.update()
        done += 1
        if asked_to_stop() and done < total:
          raise preemption.PreemptedError(
            f'stopped: {done} of {total} {given.noun} are in {table.path}; the '
            'same command goes on from there'
          )
