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
)
from data_builders.own.types import Options
from data_builders.support import worker_pool as workers_lib
from edjax.datasets import DATASETS

# Molecules that a worker gets at once: of 50 atoms, three seconds.
_CHUNK = 8


class Builder(builder.Builder, skip_registration=True):
  """All molecules in one TFDS split, `molecules`."""

  name = 'edjax_molecules'
  VERSION = tfds.core.Version('1.0.0')
  description = "Molecules of a user's files with GFN2-xTB orbitals"
  summary = staticmethod(examples.summary)

  def __init__(self, *, config=None, settings=None, targets=(), **kwargs):
    """Opens the dataset of a source.

    The contents of the source and the settings are in the name of the TFDS
    configuration, so that another file, or a changed one, is another dataset.

    Args:
      config: variant of the geometry, see `data_builders.molecules.geometries`.
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
    self._source = sources.located(self._settings['source'])
    self._sha256 = sources.sha256(self._source)
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
    return builders.config_name(
      self._source.name,
      [self._source.name, self._sha256],
      self._settings,
      variant,
    )

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
      sources.read(self._source, self._options()),
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
    finish = str(self.data_dir), facts, start
    jobs = [(raw, self._variant) for raw in selected.raws if not raw.problem]
    if self._on_beam:
      from data_builders.own import on_beam  # Beam is an extra

      return on_beam.Molecules(jobs, selected, finish)
    return self._here(jobs, selected, finish)

  def _here(self, jobs, selected, finish):
    """Makes the records in processes of this machine."""
    tally = examples.Tally()
    outcomes = workers_lib.map_ordered(
      records.FUNCTION, jobs, self._workers, _CHUNK, 'GFN2-xTB'
    )
    for (raw, _), outcome in zip(jobs, outcomes, strict=True):
      example = examples.example(raw, outcome, selected)
      tally.add(raw, outcome, example)
      if example is not None:
        yield example['index'], example
    examples.finish(tally, selected, *finish)
