"""TFDS builder of complexes of users' own files."""

import tensorflow_datasets as tfds

from data_builders.molecules import records as records_lib
from data_builders.own import builders, columns, complexes
from data_builders.pdbbind import examples, pdbbind_dataset_builder, sources


class Builder(pdbbind_dataset_builder.Builder, skip_registration=True):
  """All complexes in one TFDS split, `molecules`.

  Files are read as PDBbind's, see data_builders/pdbbind/README.md; ids, paths
  and values are those of the user's table.
  """

  name = 'edjax_complexes'
  VERSION = tfds.core.Version('1.0.0')
  BUILDER_CONFIGS = ()  # they have the source in their names
  description = "Complexes of a user's files"
  homepage = None

  def __init__(self, *, targets=(), **kwargs):
    """Opens the dataset of a source.

    The table, the names and sizes of the files and the settings are in the name
    of the TFDS configuration, so that a changed source is another dataset.

    Args:
      targets: columns of the table that have to hold numbers.
      **kwargs: see `pdbbind_dataset_builder.Builder`; `config` is 'heavy',
        'hydrogens', 'orbitals' or 'maps'. The setting 'source' is the table or
        folder.

    Raises:
      ValueError: there is no source, or it cannot be read.
      FileNotFoundError: the source is not there.
    """
    self._targets = targets
    super().__init__(**kwargs)

  @staticmethod
  def summary(report: dict) -> str:
    """Returns a report as a few lines for the user."""
    remarks = [': '.join(note) for note in report['index_notes']]
    return '\n'.join(
      [
        examples.summary(report),
        *builders.of_columns(report['columns']),
        *builders.first(remarks),
        *builders.first(report['without_files']),
      ]
    )

  def changes(self, report: dict) -> list[str]:
    """Returns no difference: another source or setting has another name."""
    self._check_targets(report['columns'])
    return []

  def _tfds_config(self, variant: str) -> tfds.core.BuilderConfig:
    builders.check_source(self._settings, 'table or folder of your complexes')
    reserved = frozenset(self._all_features())
    self._found = complexes.find(
      self._settings['source'],
      reserved,
      id_column=self._settings['id_column'],
      split_column=self._settings['split_column'],
      maps=self._options.maps,
    )
    inputs = self._found.inputs
    name = builders.config_name(
      inputs.index.name, [inputs.sha256], self._settings, variant
    )
    return tfds.core.BuilderConfig(name=name, description=str(inputs.index))

  def _sources(self) -> sources.Sources:
    self._check_targets(self._found.counts)
    return self._found.inputs

  def _check_targets(self, counts) -> None:
    where = str(self._found.inputs.index)
    if taken := sorted(set(self._targets) & set(self._all_features())):
      raise ValueError(
        f'target: {taken[0]!r} is a name that edjax uses itself: rename that '
        f'column of {where}'
      )
    columns.check_targets(self._targets, counts, where)

  def _target_features(self) -> dict:
    # Of the columns that the report lists.
    return {'values': records_lib.double((None,))}

  def _facts(self, inputs: sources.Sources) -> dict:
    return super()._facts(inputs) | {
      'source': str(inputs.index),
      'columns': self._found.counts,
      'without_files': list(inputs.unusable.values()),
    }
