"""TFDS builder of PDBbind's protein-ligand complexes."""

import json
import pathlib
import time
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data_builders.molecules import builder
from data_builders.molecules import records as records_lib
from data_builders.pdbbind import (
  complexes,
  downloads,
  examples,
  manifest,
  sources,
)
from data_builders.pdbbind.readers import ligand
from data_builders.support import worker_pool as workers_lib
from edjax import datasets
from edjax.runtime import paths


class Builder(builder.Base, skip_registration=True):
  """All complexes in one TFDS split, `molecules`; see README.md."""

  name = 'edjax_pdbbind'
  VERSION = tfds.core.Version('1.1.0')
  BUILDER_CONFIGS: ClassVar = [
    tfds.core.BuilderConfig(name=name, description=description)
    for name, description in (
      ('heavy', 'heavy atoms of ligand and pocket'),
      ('hydrogens', 'with the hydrogens of the files'),
      ('orbitals', 'with the GFN2-xTB orbitals of the ligand'),
      ('maps', 'with experimental maps about the ligand'),
    )
  ]
  description = 'Protein-ligand complexes with measured affinities'
  homepage: str | None = 'https://www.pdbbind-plus.org.cn'
  summary = staticmethod(examples.summary)
  # The function that makes a complex of a job, and the one that clusters them.
  _function = 'data_builders.pdbbind.complexes:read'
  _cluster = staticmethod(examples.by_sequence)

  def __init__(self, *, config=None, download=False, settings=None, **kwargs):
    """Opens the dataset.

    Args:
      config: name of one of BUILDER_CONFIGS; None is 'heavy'.
      download: whether to fetch the entries (and maps) that the index names and
        the manual directory lacks.
      settings: values of `Dataset.settings`, by name, where they are not the
        defaults. Those with 'map' in their names are of the variant 'maps'.
      **kwargs: see `builder.Base`.
    """
    config = config or 'heavy'
    self._download = download
    dataset = datasets.DATASETS[self.name.removeprefix('edjax_')]
    self._settings = {
      name: value
      for name, value in {**dataset.settings, **(settings or {})}.items()
      if config == 'maps' or 'map' not in name
    }
    self._options = complexes.options_of(config, self._settings)
    super().__init__(config=self._tfds_config(config), **kwargs)

  def _tfds_config(self, variant: str) -> str | tfds.core.BuilderConfig:
    """Returns the TFDS configuration of a variant."""
    return variant

  def _target_features(self) -> dict:
    """Returns the features of the targets, by name."""
    return {'pk': records_lib.double()}

  def changes(self, report: dict) -> list[str]:
    """Compares the manual directory with the sources of a dataset.

    Tables and lists are compared by their contents, structures by names and
    sizes. A directory without an index is no difference. A dataset that was
    built without downloads is not the one that is asked for with them, nor is
    one of other settings.

    Args:
      report: of the dataset.

    Returns:
      A line for each difference.
    """
    # Tuples are lists in the report.
    lines = [
      f'config.data.{name} was {report["settings"][name]!r} and is {value!r}'
      for name, value in json.loads(json.dumps(self._settings)).items()
      if report['settings'][name] != value
    ]
    try:
      inputs = self._sources()
    except FileNotFoundError:
      return lines
    if inputs.sha256 != report['sources_sha256']:
      lines.append(
        f'{inputs.directory} now holds {inputs.summary()}, then it was '
        f'{report["sources"]}; contents of tables, or names or sizes of files '
        'have changed'
      )
    if self._download and not report['download']:
      lines.append('nothing was downloaded for it')
    return lines

  def _sources(self) -> sources.Sources:
    return sources.complexes_in(
      self._manual_dir, self._download, self._settings
    )

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.description,
      homepage=self.homepage,
      features=self._all_features(),
      disable_shuffling=True,
    )

  def _all_features(self) -> tfds.features.FeaturesDict:
    descriptors = [f'ligand_{name}' for name in ligand.DESCRIPTORS]
    return records_lib.features(
      ('map_spacing', *examples.COLUMNS, *descriptors),
      b_factors=records_lib.double((None,)),
      **self._target_features(),
      n_ligand=tfds.features.Tensor(shape=(), dtype=np.int32),
      map_values=tfds.features.Tensor(
        shape=(None,), dtype=np.float32, encoding='zlib'
      ),
      map_points=tfds.features.Tensor(shape=(), dtype=np.int32),
    )

  def _generate_examples(self):
    start = time.time()
    inputs = self._sources()
    print(f'{self.name}: {inputs.summary()} in {inputs.directory}', flush=True)
    for folder, reason in inputs.unreadable:
      print(f'{self.name}: {folder} cannot be read ({reason})', flush=True)
    rows, jobs = self._jobs(inputs)
    finish = str(self.data_dir), self._facts(inputs), start
    if not self._on_beam:
      return self._here(inputs, rows, jobs, finish)
    from data_builders.pdbbind import on_beam  # Beam is an extra

    return on_beam.Complexes(
      self._function, jobs, self._cluster, rows, inputs, finish
    )

  def _here(self, inputs: sources.Sources, rows, jobs, finish):
    """Makes the records in processes of this machine."""
    values = list(
      workers_lib.map_ordered(
        self._function, jobs, self._workers, 4, 'complexes'
      )
    )
    rows, sequences = examples.gather(
      map(examples.outcome, jobs, values), rows, inputs.directory
    )
    clustered = self._cluster(sequences, inputs.together, self._workers)
    content = 0
    for value in values:
      if not isinstance(value, workers_lib.Failure):
        example = examples.example(
          value, clustered[0], inputs.refined, inputs.core
        )
        content += records_lib.example_hash(example)
        yield example['index'], example
    directory, facts, start = finish
    examples.finish(directory, facts, rows, clustered, content, start)

  def _jobs(self, inputs: sources.Sources):
    """Returns the manifest's rows by id, and the jobs in order of ids."""
    rows, jobs = {}, []
    for pdb_id, entry in sorted(inputs.entries.items()):
      rows[pdb_id] = manifest.row(entry)
    for pdb_id, reason in inputs.excluded.items():
      rows[pdb_id] |= {'status': 'excluded', 'reason': reason}
    for pdb_id in inputs.files.keys() - inputs.entries.keys():
      rows[pdb_id] = {
        'id': pdb_id, 'status': 'not in the index',
        'reason': f'no line of {inputs.index.name} names it',
      }  # fmt: skip
    wanted = [pdb_id for pdb_id, row in rows.items() if 'status' not in row]
    files, refused = dict(inputs.files), {}
    if self._download:
      if paths.is_remote(self._data_dir_root):
        raise ValueError(
          'entries are downloaded to this machine: build with a data_dir here, '
          'or download them into manual_dir beforehand'
        )
      folder = pathlib.Path(self._data_dir_root) / 'downloads' / self.name
      files, refused = downloads.complete(
        wanted, files, folder, maps=self._options.maps
      )
    for pdb_id in wanted:
      if pdb_id not in files or pdb_id in refused:
        nothing = inputs.unusable.get(pdb_id, 'no ligand file and no entry')
        reason = refused.get(pdb_id, nothing)
        rows[pdb_id] |= {'status': 'no files', 'reason': reason}
        continue
      jobs.append((files[pdb_id], inputs.entries[pdb_id], self._options))
    return rows, jobs

  def _facts(self, inputs: sources.Sources) -> dict:
    """Returns the report's entries on the sources."""
    return {
      'dataset': self.name,
      'sources': inputs.summary(),
      'sources_sha256': inputs.sha256,
      'download': self._download,
      'settings': self._settings,
      'index': str(inputs.index),
      'index_skipped': [list(line) for line in inputs.skipped],
      'index_notes': [list(line) for line in inputs.notes],
      'ignored_files': len(inputs.ignored),
      'unreadable_folders': [
        f'{folder}: {reason}' for folder, reason in inputs.unreadable
      ],
    }
