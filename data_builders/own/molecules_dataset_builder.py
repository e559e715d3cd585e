"""TFDS builder of molecules of users' own files."""

import time

import tensorflow_datasets as tfds

from data_builders.molecules import builder
from data_builders.molecules import records as records_lib
from data_builders.own import (
  builders,
  columns,
  examples,
  records,
  selection,
  sources,
  ways,
)
from data_builders.own.types import Options
from data_builders.support import worker_pool as workers_lib
from edjax.datasets import DATASETS, MAP_LIMITS

# Molecules that a worker gets at once: of 50 atoms, three seconds.
_CHUNK = 8


class Builder(builder.Builder, skip_registration=True):
  """All molecules in one TFDS split, `molecules`."""

  name = 'edjax_molecules'
  VERSION = tfds.core.Version('1.0.0')
  description = "Molecules of a user's files with GFN2-xTB orbitals"
  without_xtb = (ways.MAPS,)
  summary = staticmethod(examples.summary)

  def __init__(self, *, config=None, settings=None, targets=(), **kwargs):
    """Opens the dataset of a source.

    The contents of the source and the settings are in the name of the TFDS
    configuration, so that another file, or a changed one, is another dataset.

    Args:
      config: variant of the geometry, see `data_builders.molecules.geometries`,
        or 'maps' for densities of files, without xTB.
      settings: values of `Dataset.settings`, by name, where they are not the
        defaults; 'source' is the file or folder.
      targets: columns of the source that have to hold numbers.
      **kwargs: see `builder.Base`.

    Raises:
      ValueError: there is no source, or its kind is unknown.
      FileNotFoundError: the source is not there.
    """
    known = DATASETS[self.name.removeprefix('edjax_')].settings
    self._settings = {**known, **(settings or {})}
    self._targets = targets
    builders.check_source(self._settings, 'file or folder of your molecules')
    self._way = ways.of(config or '', self._settings)
    self._source = sources.located(self._settings['source'])
    self._sha256 = sources.sha256(self._source, self._way.densities)
    super().__init__(config=config, **kwargs)

  def changes(self, report: dict) -> list[str]:
    """Returns no difference: another source or setting has another name."""
    columns.check_targets(self._targets, report['columns'], str(self._source))
    return []

  def _options(self) -> Options:
    return Options(
      id=self._settings['id_column'],
      smiles=self._settings['smiles_column'],
      charge=self._settings['charge_column'],
      unpaired=self._settings['unpaired_column'],
    )

  def _config_name(self, variant: str) -> str:
    settings = {
      name: value
      for name, value in self._settings.items()
      if self._way.densities or name not in MAP_LIMITS
    }
    return builders.config_name(
      self._source.name, [self._source.name, self._sha256], settings, variant
    )

  def _calculated(self) -> dict:
    if not self._way.densities:
      return super()._calculated()
    return {
      'map_values': records_lib.floats(),
      'map_shape': records_lib.whole((3,)),
      'map_origin': records_lib.double((3,)),
      'map_steps': records_lib.double((3, 3)),
      'map_kind': records_lib.double(),
      'map_electrons': records_lib.double(),
    }

  def _features(self) -> dict:
    names = (*records.COLUMNS, selection.PART)
    return {
      # Of the columns that the report lists.
      'values': records_lib.double((None,)),
      **{name: records_lib.double() for name in names},
    }

  def _generate_examples(self):
    start = time.time()
    selected = selection.select(
      sources.read(self._source, self._options(), self._way.densities),
      self._settings['split_column'],
      str(self._source),
    )
    columns.check_targets(self._targets, selected.counts, str(self._source))
    facts = {
      'dataset': self.name,
      'source': str(self._source),
      'source_sha256': self._sha256,
      'settings': self._settings,
      'geometry': self._variant or 'as in the file, or made of SMILES',
    }
    if self._way.densities:
      facts['geometry'] = 'as in the file'
    else:
      facts['unread_densities'] = sources.unread_densities(self._source)
    finish = str(self.data_dir), facts, start
    usable = [raw for raw in selected.raws if not raw.problem]
    jobs = [(raw, self._way.argument) for raw in usable]
    if self._on_beam:
      from data_builders.own import on_beam  # Beam is an extra

      return on_beam.Molecules(self._way.function, jobs, selected, finish)
    return self._here(jobs, selected, finish)

  def _here(self, jobs, selected, finish):
    """Makes the records in processes of this machine."""
    tally = examples.Tally()
    outcomes = workers_lib.map_ordered(
      self._way.function, jobs, self._workers, _CHUNK, self._way.label
    )
    for (raw, _), outcome in zip(jobs, outcomes, strict=True):
      example = examples.example(raw, outcome, selected)
      tally.add(raw, outcome, example)
      if example is not None:
        yield example['index'], example
    examples.finish(tally, selected, *finish)
