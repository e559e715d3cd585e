"""Base classes of the TFDS builders."""

import tensorflow_datasets as tfds

from data_builders.molecules import geometries
from data_builders.molecules import records as records_lib
from data_builders.support import shards
from edjax.datasets import DATASETS


class Base(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """A dataset in one TFDS split, `molecules`, made from files of the user."""

  # TFDS would look for a file of check sums with importlib_resources, which it
  # does not require.
  url_infos = None
  _example_writer = shards.example_writer

  def __init__(self, *, manual_dir='', workers=None, on_beam=False, **kwargs):
    """Opens the dataset.

    Args:
      manual_dir: directory of files that were fetched by hand; '' for none.
      workers: processes (default: as many as there are cores).
      on_beam: whether it will be prepared by Apache Beam.
      **kwargs: for TFDS: data_dir, ...
    """
    self._manual_dir = manual_dir
    self._workers = workers
    self._on_beam = on_beam
    super().__init__(**kwargs)

  def _split_generators(self, dl_manager):
    del dl_manager
    return {'molecules': self._generate_examples()}


class Builder(Base, skip_registration=True):
  """Molecules with GFN2-xTB orbitals, in a geometry of `geometries`."""

  summary = staticmethod(records_lib.summary)
  description: str
  homepage: str | None = None

  def __init__(self, *, config='', **kwargs):
    """Opens the dataset.

    Args:
      config: variant of the geometry, see `data_builders.molecules.geometries`.
      **kwargs: see `Base`.
    """
    geometries.noise_of(config)  # raises for a variant that there is not
    self._variant = config
    if config:
      kwargs['config'] = tfds.core.BuilderConfig(
        name=config, description='see data_builders/molecules/geometries.py'
      )
    super().__init__(**kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    targets = DATASETS[self.name.removeprefix('edjax_')].targets
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.description,
      homepage=self.homepage,
      features=records_lib.features(
        ('xtb_energy', 'xtb_gap', *targets),
        smiles=tfds.features.Text(),
        frontier=records_lib.floats(),
        n_homo=records_lib.whole(),
        n_lumo=records_lib.whole(),
        xtb_dipole=records_lib.double((3,)),
        xtb_levels=records_lib.double((2 * records_lib.LEVELS,)),
      ),
      disable_shuffling=True,
    )

  def _generated(self, records, facts):
    """Returns examples of the records for TFDS, or a pipeline of Beam."""
    where = self.data_dir, facts
    if self._on_beam:
      from data_builders.molecules import on_beam  # Beam is an extra

      return on_beam.Molecules(records, *where, self._variant)
    return records_lib.examples(records, *where, self._workers, self._variant)
