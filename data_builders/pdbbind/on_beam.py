"""The build of a dataset of complexes as a pipeline of Apache Beam."""

from collections.abc import Callable, Mapping
from typing import Any

import apache_beam as beam

from data_builders.molecules import on_beam
from data_builders.molecules import records as records_lib
from data_builders.pdbbind import examples, sources
from data_builders.support import worker_pool

# Complexes of one element of a pipeline: they take up to seconds each.
_CHUNK = 4


class Complexes(beam.PTransform):
  """Makes (index, example) of every usable complex; writes the report.

  All sequences are gathered in one place to be clustered; each complex then
  gets its cluster.
  """

  def __init__(
    self,
    function: str,
    jobs: list[tuple],
    cluster: Callable,
    rows: Mapping[str, Mapping],
    inputs: sources.Sources,
    finish: tuple[Any, ...],
  ):
    """Plans nothing yet.

    Args:
      function: 'module:name', which makes a `Complex` of a job.
      jobs: its arguments; the second is the entry of the index.
      cluster: `examples.by_sequence` or `each_alone`.
      rows: of the manifest, by id, with the columns of the index.
      inputs: the sources.
      finish: directory, facts and start for `examples.finish`.
    """
    super().__init__()
    self._function, self._jobs, self._cluster = function, jobs, cluster
    self._rows, self._inputs, self._finish = rows, inputs, finish

  def expand(self, pipeline):
    """Makes (index, example)."""
    inputs = self._inputs
    outcomes = pipeline | on_beam.Calls(self._function, self._jobs, _CHUNK)
    rows_and_sequences = (
      outcomes
      | 'Outcomes' >> beam.MapTuple(examples.outcome)
      | 'Together' >> beam.combiners.ToList()
      | 'Rows' >> beam.Map(examples.gather, self._rows, str(inputs.directory))
    )
    clustered = rows_and_sequences | 'Clusters' >> beam.Map(
      _clusters, self._cluster, inputs.together
    )
    pairs = (
      outcomes
      | 'Kept' >> beam.FlatMap(_kept)
      | 'Examples'
      >> beam.Map(
        _example,
        beam.pvalue.AsSingleton(clustered),
        inputs.refined,
        inputs.core,
      )
    )
    content = (
      pairs
      | beam.Values()
      | 'Hashes' >> beam.Map(records_lib.example_hash)
      | 'Content' >> beam.CombineGlobally(sum)
    )
    _ = content | 'Report' >> beam.Map(
      _finish,
      beam.pvalue.AsSingleton(rows_and_sequences),
      beam.pvalue.AsSingleton(clustered),
      self._finish,
    )
    return pairs


def _clusters(rows_and_sequences, cluster, together):
  _, sequences = rows_and_sequences
  return cluster(sequences, together, None)


def _kept(job_and_value):
  _, value = job_and_value
  if not isinstance(value, worker_pool.Failure):
    yield value


def _example(item, clustered, refined, core):
  record = examples.example(item, clustered[0], refined, core)
  return record['index'], record


def _finish(content, rows_and_sequences, clustered, where):
  directory, facts, start = where
  rows, _ = rows_and_sequences
  examples.finish(directory, facts, rows, clustered, content, start)
