"""TFDS builder of PDBbind's protein-ligand complexes."""

import pathlib
import time
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data_builders.molecules import records as records_lib
from data_builders.pdbbind import (
  complexes,
  downloads,
  examples,
  manifest,
  sources,
)
from data_builders.pdbbind.readers import ligand
from data_builders.support import shards
from data_builders.support import worker_pool as workers_lib
from edjax.runtime import paths


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """All complexes in one TFDS split, `molecules`; see README.md."""

  name = 'edjax_pdbbind'
  VERSION = tfds.core.Version('1.0.0')
  BUILDER_CONFIGS: ClassVar = [
    tfds.core.BuilderConfig(name=name, description=description)
    for name, description in (
      ('heavy', 'heavy atoms of ligand and pocket'),
      ('hydrogens', 'with the hydrogens of the files'),
      ('orbitals', 'with the GFN2-xTB orbitals of the ligand'),
      ('maps', 'with experimental maps about the ligand'),
    )
  ]
  # TFDS would look for a file of check sums with importlib_resources, which it
  # does not require.
  url_infos = None
  summary = staticmethod(examples.summary)
  _example_writer = shards.example_writer
  # What makes a complex of a job, and how those are put into clusters.
  _function = 'data_builders.pdbbind.complexes:read'
  _cluster = staticmethod(examples.by_sequence)

  def __init__(
    self,
    *,
    manual_dir='',
    workers=None,
    config='heavy',
    download=False,
    on_beam=False,
    **kwargs,
  ):
    """Opens the dataset.

    Args:
      manual_dir: where PDBbind's files lie.
      workers: processes (default: as many as there are cores).
      config: name of one of BUILDER_CONFIGS.
      download: fetch the entries (and maps) that the index names and the
        manual directory lacks.
      on_beam: whether it will be prepared by Apache Beam.
      **kwargs: for TFDS: data_dir, ...
    """
    self._manual_dir = manual_dir
    self._workers = workers
    self._download = download
    self._on_beam = on_beam
    self._options = complexes.Options(
      hydrogens=config == 'hydrogens',
      orbitals=config == 'orbitals',
      maps=config == 'maps',
    )
    super().__init__(config=config, **kwargs)

  def changes(self, report: dict) -> list[str]:
    """How the manual directory differs from what a dataset was built from.

    Tables and lists are compared by their contents, structures by names and
    sizes. A directory without an index is no difference. A dataset that was
    built without downloads is not the one that is asked for with them.

    Args:
      report: of the dataset.

    Returns:
      A line for each difference.
    """
    try:
      found = self._sources()
    except FileNotFoundError:
      return []
    lines = []
    if found.sha256 != report['sources_sha256']:
      lines.append(
        f'{found.directory} now holds {found.summary()}, then it was '
        f'{report["sources"]}; contents of tables, or names or sizes of files '
        'have changed'
      )
    if self._download and not report['download']:
      lines.append('nothing was downloaded for it')
    return lines

  def _sources(self) -> sources.Sources:
    return sources.complexes_in(self._manual_dir, self._download)

  def _info(self) -> tfds.core.DatasetInfo:
    def tensor(shape, dtype, **kwargs):
      return tfds.features.Tensor(shape=shape, dtype=dtype, **kwargs)

    def double(shape=()):
      # As bytes: TFDS would round doubles to float32.
      return tensor(shape, np.float64, encoding='bytes')

    descriptors = {f'ligand_{name}': double() for name in ligand.DESCRIPTORS}
    return tfds.core.DatasetInfo(
      builder=self,
      description='Protein-ligand complexes with measured affinities',
      homepage='https://www.pdbbind-plus.org.cn',
      features=tfds.features.FeaturesDict(
        {
          'example_id': tfds.features.Text(),
          'index': tensor((), np.int64),
          'numbers': tensor((None,), np.int32),
          'positions': double((None, 3)),
          'b_factors': double((None,)),
          'n_ligand': tensor((), np.int32),
          'orbitals': tensor((None,), np.float32, encoding='bytes'),
          'n_orbitals': tensor((), np.int32),
          'orbital_width': tensor((), np.int32),
          'map_values': tensor((None,), np.float32, encoding='zlib'),
          'map_points': tensor((), np.int32),
          'map_spacing': double(),
          **{name: double() for name in examples.COLUMNS},
          **descriptors,
        }
      ),
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {'molecules': self._generate_examples()}

  def _generate_examples(self):
    start = time.time()
    found = self._sources()
    print(f'{self.name}: {found.summary()} in {found.directory}', flush=True)
    rows, jobs = self._jobs(found)
    finish = str(self.data_dir), self._facts(found), start
    if not self._on_beam:
      return self._here(found, rows, jobs, finish)
    from data_builders.pdbbind import on_beam  # Beam is an extra

    return on_beam.Complexes(
      self._function, jobs, self._cluster, rows, found, finish
    )

  def _here(self, found: sources.Sources, rows, jobs, finish):
    """Records made by processes of this machine."""
    results = workers_lib.map_ordered(
      self._function, jobs, self._workers, 4, 'complexes'
    )
    kept = {}
    for job, result in zip(jobs, results, strict=True):
      name = job[1].pdb_id
      rows[name] |= examples.outcome(result)
      if rows[name]['status'] == 'kept':
        kept[name] = result
    examples.check_any(rows, found.directory)
    clustered = self._cluster(
      {name: item.sequences for name, item in kept.items()},
      found.together,
      self._workers,
    )
    content = 0
    for item in kept.values():
      example = examples.example(item, clustered[0], found.refined, found.core)
      content += records_lib.example_hash(example)
      yield example['index'], example
    directory, facts, start = finish
    examples.finish(directory, facts, rows, clustered, content, start)

  def _jobs(self, found: sources.Sources):
    """Rows of the manifest by id, and what is to be read, in order of ids."""
    rows, jobs = {}, []
    for pdb_id, entry in sorted(found.entries.items()):
      rows[pdb_id] = manifest.row(entry)
    for pdb_id, reason in found.excluded.items():
      rows[pdb_id] |= {'status': 'excluded', 'reason': reason}
    for pdb_id in found.files.keys() - found.entries.keys():
      rows[pdb_id] = {
        'id': pdb_id, 'status': 'not in the index',
        'reason': f'no line of {found.index.name} names it',
      }  # fmt: skip
    wanted = [pdb_id for pdb_id, row in rows.items() if 'status' not in row]
    files, refused = dict(found.files), {}
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
        reason = refused.get(pdb_id, 'no ligand file and no entry')
        rows[pdb_id] |= {'status': 'no files', 'reason': reason}
        continue
      jobs.append((files[pdb_id], found.entries[pdb_id], self._options))
    return rows, jobs

  def _facts(self, found: sources.Sources) -> dict:
    """What the report says of the sources."""
    return {
      'dataset': self.name,
      'sources': found.summary(),
      'sources_sha256': found.sha256,
      'download': self._download,
      'index': str(found.index),
      'index_skipped': [list(line) for line in found.skipped],
      'index_notes': [list(line) for line in found.notes],
      'ignored_files': len(found.ignored),
    }
