"""The build of users' molecules as a pipeline of Apache Beam."""

from typing import Any

import apache_beam as beam

from data_builders.molecules import on_beam
from data_builders.own import examples, selection


class Molecules(beam.PTransform):
  """Makes (index, example) of every usable molecule; writes the report."""

  def __init__(
    self,
    function: str,
    jobs: list[tuple],
    selected: selection.Selected,
    finish: tuple[Any, ...],
  ):
    """Plans nothing yet.

    Args:
      function: 'module:name' that makes a record, see `records.FUNCTION`.
      jobs: its arguments.
      selected: the records of the source.
      finish: directory, facts and start for `examples.finish`.
    """
    super().__init__()
    self._calls = on_beam.Calls(function, jobs)
    self._selected, self._finish = selected, finish

  def expand(self, pipeline):
    """Makes (index, example)."""
    outcomes = pipeline | self._calls
    made = outcomes | 'Examples' >> beam.Map(_made, self._selected)
    _ = (
      made
      | 'Count' >> beam.MapTuple(_tally)
      | 'Together' >> beam.CombineGlobally(on_beam.merged, examples.Tally)
      | 'Report' >> beam.Map(examples.finish, self._selected, *self._finish)
    )
    return made | 'Kept' >> beam.FlatMapTuple(_kept)


def _made(item_and_outcome, selected):
  (raw, _), outcome = item_and_outcome
  return raw, outcome, examples.example(raw, outcome, selected)


def _tally(raw, outcome, made):
  tally = examples.Tally()
  tally.add(raw, outcome, made)
  return tally


def _kept(raw, outcome, made):
  del raw, outcome
  if made is not None:
    yield made['index'], made
