"""Base classes of the TFDS builders."""

import contextlib
import math
import os
from collections.abc import Collection

import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle

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

  def __init__(
    self,
    *,
    manual_dir='',
    workers=None,
    on_beam=False,
    file_format=None,
    **kwargs,
  ):
    """Opens the dataset.

    Args:
      manual_dir: directory of files that were fetched by hand; '' for none.
      workers: processes (default: as many as there are cores).
      on_beam: whether it will be prepared by Apache Beam.
      file_format: of TFDS; None is array_record, which needs no TensorFlow.
      **kwargs: for TFDS: data_dir, ...
    """
    self._manual_dir = manual_dir
    self._workers = workers
    self._on_beam = on_beam
    super().__init__(file_format=file_format or 'array_record', **kwargs)

  def download_and_prepare(self, *, download_config=None, **kwargs):
    """Builds the dataset where it is missing; see TFDS.

    Args:
      download_config: of TFDS. Its manual_dir counts where the builder was
        given none.
      **kwargs: for TFDS.
    """
    if download_config and download_config.manual_dir:
      self._manual_dir = self._manual_dir or os.fspath(
        download_config.manual_dir
      )
    with _own_bars_and_memory():
      super().download_and_prepare(download_config=download_config, **kwargs)

  def _split_generators(self, dl_manager):
    del dl_manager
    return {'molecules': self._generate_examples()}


class Builder(Base, skip_registration=True):
  """Molecules with GFN2-xTB orbitals, in a geometry of `geometries`."""

  summary = staticmethod(records_lib.summary)
  description: str
  homepage: str | None = None
  # Variants whose densities do not come from xTB.
  without_xtb: Collection[str] = ()

  def __init__(self, *, config=None, **kwargs):
    """Opens the dataset.

    Args:
      config: variant of the geometry, see `data_builders.molecules.geometries`,
        or of `without_xtb`. None is ''.
      **kwargs: see `Base`.
    """
    config = config or ''
    if config not in self.without_xtb:
      geometries.noise_of(config)  # raises for a variant that there is not
    self._variant = config
    name = self._config_name(config)
    if name:
      kwargs['config'] = tfds.core.BuilderConfig(
        name=name, description='see data_builders/molecules/geometries.py'
      )
    super().__init__(**kwargs)

  def _create_builder_config(self, builder_config, version):
    """Takes a configuration as it is: TFDS warns of those made at run time."""
    if isinstance(builder_config, tfds.core.BuilderConfig):
      return builder_config
    return super()._create_builder_config(builder_config, version)

  def _config_name(self, variant: str) -> str:
    """Returns the name of the TFDS configuration of a variant; '' for none."""
    return variant

  def _features(self) -> dict:
    """Returns the features beside those of xTB, by name."""
    targets = DATASETS[self.name.removeprefix('edjax_')].targets
    return {name: records_lib.double() for name in targets}

  def _calculated(self) -> dict:
    """Returns the features of what xTB calculates, by name."""
    return {
      'xtb_energy': records_lib.double(),
      'xtb_gap': records_lib.double(),
      'frontier': records_lib.floats(),
      'n_homo': records_lib.whole(),
      'n_lumo': records_lib.whole(),
      'xtb_dipole': records_lib.double((3,)),
      'xtb_levels': records_lib.double((2 * records_lib.LEVELS,)),
    }

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.description,
      homepage=self.homepage,
      features=records_lib.features(
        (),
        smiles=tfds.features.Text(),
        **self._calculated(),
        **self._features(),
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


@contextlib.contextmanager
def _own_bars_and_memory():
  """Turns off TFDS's progress bars, and its sorting in files.

  Its bars know no totals; ours does. It would sort more than 1000 MiB of
  records in files, with TensorFlow; and all in one file, since our keys are
  small, which it then reads into memory to sort it.
  """
  before = shuffle.MAX_MEM_BUFFER_SIZE
  shuffle.MAX_MEM_BUFFER_SIZE = math.inf
  tfds.disable_progress_bar()
  try:
    yield
  finally:
    shuffle.MAX_MEM_BUFFER_SIZE = before
    tfds.enable_progress_bar()
