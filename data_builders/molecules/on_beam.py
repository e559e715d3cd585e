"""Builds of datasets as pipelines of Apache Beam, on one machine or many.

The records are those of a build without Beam: the same functions make them.
Only this file and its namesakes in the builders' directories import Beam.
"""

import contextlib
import os
import pathlib
import shlex
import time
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import tensorflow_datasets as tfds
from apache_beam.options import pipeline_options

from data_builders.molecules import records as records_lib
from data_builders.support import worker_pool as workers_lib

# Molecules of one element of a pipeline: half a second of xTB.
CHUNK = 64


def download_config(flags: str) -> tfds.download.DownloadConfig:
  """Returns the configuration of `download_and_prepare` with flags of Beam.

  Args:
    flags: of Beam, as in its documentation, separated by blanks:
      '--runner=FlinkRunner --flink_master=host:8081 ...'.

  Raises:
    ValueError: the quotation marks do not match, a word is no flag, or the
      value of one is impossible.
  """
  words = shlex.split(flags)
  # Beam's workers log each of their steps; a flag of the user overrides this.
  quiet = '--default_sdk_harness_log_level=WARNING'
  for word in words:
    if not word.startswith('--'):
      raise ValueError(
        f'beam: {word!r} is no flag of Beam; they look like --runner=NAME'
      )
  options = pipeline_options.PipelineOptions([quiet, *words])
  try:
    options.get_all_options()
  except SystemExit as error:  # argparse's, which has said why
    raise ValueError(f'beam: {flags!r} cannot be understood') from error
  return tfds.download.DownloadConfig(beam_options=options)


@contextlib.contextmanager
def naming_errors() -> Iterator[None]:
  """Turns an error of a pipeline into one whose message is its last line.

  Some runners raise the traceback of a worker as text.

  Raises:
    ValueError: in the place of RuntimeError.
  """
  try:
    yield
  except RuntimeError as error:
    lines = [line for line in str(error).splitlines() if line.strip()]
    raise ValueError(f'Apache Beam: {lines[-1] if lines else error}') from error


def importable_by_workers():
  """Lets worker processes import edjax wherever they are started."""
  root = str(pathlib.Path(__file__).resolve().parents[2])
  paths = filter(None, [root, os.environ.get('PYTHONPATH')])
  return workers_lib.environment('PYTHONPATH', os.pathsep.join(paths))


class Calls(beam.PTransform):
  """Calls function(*item) of every item; gives a collection of (item, value).

  The value is a `worker_pool.Failure` where the function raised or its process
  died. Each of Beam's workers calls the function in a process of its own, so
  that a bad item does not end the bundle that it is in.
  """

  def __init__(self, function: str, items: Sequence, chunk: int = CHUNK):
    """Plans nothing yet.

    Args:
      function: 'module:name', importable on the workers.
      items: argument tuples that pickle can carry.
      chunk: items of one element.
    """
    super().__init__()
    self._function = function
    self._chunks = [
      (start, items[start : start + chunk])
      for start in range(0, len(items), chunk)
    ]

  def expand(self, pipeline):
    """Turns the items into (item, value)."""
    return (
      pipeline
      | 'Items' >> beam.Create(self._chunks)
      | 'Call' >> beam.ParDo(_Call(self._function))
    )


class _Call(beam.DoFn):
  """Calls the function and counts, for runners that show their progress."""

  def __init__(self, function: str):
    super().__init__()
    self._function = function
    self._done = beam.metrics.Metrics.counter('edjax', 'done')
    self._failed = beam.metrics.Metrics.counter('edjax', 'failed')

  def setup(self):
    self._pool = workers_lib.Pool(self._function)

  def process(self, chunk):
    start, items = chunk
    for item, value in zip(items, self._pool.run(start, items), strict=True):
      failed = isinstance(value, workers_lib.Failure)
      (self._failed if failed else self._done).inc()
      yield item, value

  def teardown(self):
    self._pool.close()


class Molecules(beam.PTransform):
  """`records.examples` as a pipeline: (index, example), and the report."""

  def __init__(
    self,
    records: Sequence[records_lib.Record],
    directory: str,
    facts: dict[str, Any],
    variant: str = '',
  ):
    """Plans nothing yet.

    Args:
      records: the molecules.
      directory: of the report; the workers must reach it.
      facts: further entries of the report.
      variant: of the geometry, see `geometries`.

    Raises:
      ValueError: an example id occurs twice.
    """
    super().__init__()
    records_lib.check_ids(records)
    self._items = [(record, variant) for record in records]
    self._report = facts, directory, variant, time.time()

  def expand(self, pipeline):
    """Makes (index, example) of every molecule that xTB could do."""
    outcomes = pipeline | Calls(records_lib.FUNCTION, self._items)
    _ = (
      outcomes
      | 'Count' >> beam.Map(_tally)
      | 'Together' >> beam.CombineGlobally(merged, records_lib.Tally)
      | 'Report' >> beam.Map(records_lib.write_report, *self._report)
    )
    return outcomes | 'Examples' >> beam.FlatMap(_example)


def _tally(outcome):
  (record, _), value = outcome
  tally = records_lib.Tally()
  tally.add(record, value)
  return tally


def merged(tallies, kind: type):
  """Returns the counts of all parts; `kind` makes those of none."""
  whole = kind()
  for tally in tallies:
    whole.merge(tally)
  return whole


def _example(outcome):
  (record, _), value = outcome
  if not isinstance(value, workers_lib.Failure):
    yield record.index, value.example
