"""What the TFDS builders of datasets of molecules have in common."""

import tensorflow_datasets as tfds

from data_builders.molecules import geometries
from data_builders.molecules import records as records_lib
from data_builders.support import shards


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """All molecules in one TFDS split, `molecules`."""

  # TFDS would look for a file of check sums with importlib_resources, which it
  # does not require.
  url_infos = None
  summary = staticmethod(records_lib.summary)
  _example_writer = shards.example_writer

  def __init__(
    self,
    *,
    manual_dir='',
    workers=None,
    config='',
    on_beam=False,
    **kwargs,
  ):
    """Opens the dataset.

    Args:
      manual_dir: where files lie that were fetched by hand; '' is nowhere.
      workers: xTB processes (default: as many as there are cores).
      config: variant of the geometry, see `data_builders.molecules.geometries`.
      on_beam: whether it will be prepared by Apache Beam.
      **kwargs: for TFDS: data_dir, ...
    """
    self._manual_dir = manual_dir
    self._workers = workers
    self._variant = geometries.check(config)
    self._on_beam = on_beam
    if config:
      kwargs['config'] = tfds.core.BuilderConfig(
        name=config, description='see data_builders/molecules/geometries.py'
      )
    super().__init__(**kwargs)

  def _split_generators(self, dl_manager):
    del dl_manager
    return {'molecules': self._generate_examples()}

  def _generated(self, records, facts):
    """What TFDS takes of the records: examples, or a pipeline of Beam."""
    where = self.data_dir, facts
    if self._on_beam:
      from data_builders.molecules import on_beam  # Beam is an extra

      return on_beam.Molecules(records, *where, self._variant)
    return records_lib.examples(records, *where, self._workers, self._variant)
