"""TFDS builder of PDBbind's protein-ligand complexes."""

import collections
import hashlib
import json
import pathlib
import time
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data_builders import records as records_lib
from data_builders import workers as workers_lib
from data_builders.pdbbind import (
  clusters,
  complexes,
  downloads,
  ligand,
  manifest,
  sources,
)

# Numbers beside the atoms, as float64 columns: what to learn, what splits go
# by, flags (0 or 1), and how much of a 24 Å box the file of the pocket fills.
COLUMNS = (
  'pk', 'year', 'resolution', 'approximate', 'ic50', 'cluster', 'refined',
  'core', 'box_filled',
)  # fmt: skip


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

  def __init__(
    self,
    *,
    manual_dir='',
    workers=None,
    config='heavy',
    download=False,
    **kwargs,
  ):
    """Opens the dataset.

    Args:
      manual_dir: where PDBbind's files lie.
      workers: processes (default: as many as there are cores).
      config: name of one of BUILDER_CONFIGS.
      download: fetch the entries (and maps) that the index names and the
        manual directory lacks.
      **kwargs: for TFDS: data_dir, ...
    """
    self._manual_dir = manual_dir
    self._workers = workers
    self._download = download
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
          **{name: double() for name in COLUMNS},
          **descriptors,
        }
      ),
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {'molecules': self._generate_examples()}

  def _generate_examples(self):
    start = time.monotonic()
    found = self._sources()
    print(f'{self.name}: {found.summary()} in {found.directory}', flush=True)
    rows, kept = self._read(found)
    if not kept:
      reasons = [row['reason'] for row in rows.values()][:3]
      raise ValueError(
        f'not one complex of {found.directory} could be used; the first '
        f'reasons: {reasons}'
      )
    cluster_of, cluster_facts = self._clusters(kept, found)
    digest = hashlib.sha256()
    for item in kept:
      row = rows[item.entry.pdb_id]
      row['cluster'] = cluster_of[item.entry.pdb_id]
      example = _example(item, cluster_of, found)
      records_lib.update_digest(digest, example)
      yield example['index'], example
    manifest.write(self.data_dir, rows.values())
    self._report(found, rows, cluster_facts, digest, start)

  def _read(self, found: sources.Sources):
    """Rows of the manifest by id, and the complexes, in order of the ids."""
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
    results = complexes.in_workers('read', jobs, self._workers, 'complexes')
    entries = [entry for _, entry, _ in jobs]
    return rows, note_outcomes(rows, entries, results)

  def _clusters(self, kept, found: sources.Sources):
    """Cluster of each complex, and what the report says of them."""
    sequences = {item.entry.pdb_id: item.sequences for item in kept}
    cluster_of = clusters.cluster(
      sequences,
      identity=sources.IDENTITY,
      also_together=found.together,
      workers=self._workers,
    )
    facts = {
      'clusters': len(set(cluster_of.values())),
      'cluster_identity': sources.IDENTITY,
      'without_chain': list(clusters.without_chain(sequences)),
      'casf_clusters_merged': len(found.together),
    }
    return cluster_of, facts

  def _report(self, found, rows, cluster_facts, digest, start) -> None:
    counts = collections.Counter(row['status'] for row in rows.values())
    xtb = collections.Counter(
      row['xtb'].split(':')[0].split()[-1] if row.get('xtb') else 'off'
      for row in rows.values()
      if row['status'] == 'kept'
    )
    report = {
      'dataset': self.name,
      'sources': found.summary(),
      'sources_sha256': found.sha256,
      'download': self._download,
      'index': str(found.index),
      'index_skipped': [list(line) for line in found.skipped],
      'index_notes': [list(line) for line in found.notes],
      'ignored_files': len(found.ignored),
      'rows': len(rows),
      'status': dict(counts),
      'written': counts['kept'],
      'xtb': dict(xtb),
      **cluster_facts,
      'seconds': round(time.monotonic() - start, 1),
      'sha256': digest.hexdigest(),
    }
    path = pathlib.Path(self.data_dir) / records_lib.REPORT
    path.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
    text = ', '.join(f'{n} {status}' for status, n in sorted(counts.items()))
    print(
      f'{self.name}: {len(rows)} ids: {text}; {cluster_facts["clusters"]} '
      f'clusters. {manifest.NAME} and {records_lib.REPORT} beside the '
      'dataset say why',
      flush=True,
    )


def note_outcomes(rows: dict, entries, results) -> list[complexes.Complex]:
  """Writes what became of each complex into its row of the manifest.

  Args:
    rows: of the manifest, by id; changed in place.
    entries: of the complexes that were tried.
    results: a `Complex` or a `workers.Failure` each.

  Returns:
    The complexes that can be used.
  """
  kept = []
  for entry, result in zip(entries, results, strict=True):
    row = rows[entry.pdb_id]
    if not isinstance(result, workers_lib.Failure):
      row |= {'status': 'kept', **result.row}
      kept.append(result)
      continue
    # Any other error is not the file's: it has not been thought of.
    kind, _, reason = result.reason.partition(': ')
    row |= (
      {'status': 'unreadable', 'reason': reason}
      if kind == 'ComplexError'
      else {'status': 'failed', 'reason': result.reason}
    )
  return kept


def index_of(pdb_id: str) -> int:
  """A number for a PDB id: its four characters in base 36."""
  return int(pdb_id, 36)


def _example(item: complexes.Complex, cluster_of, found) -> dict:
  entry = item.entry
  n_orbitals, _, width = item.orbitals.shape
  return {
    'example_id': entry.pdb_id,
    'index': index_of(entry.pdb_id),
    'numbers': item.numbers,
    'positions': item.coords,
    'b_factors': item.b_factors,
    'n_ligand': item.n_ligand,
    'orbitals': item.orbitals.ravel(),
    'n_orbitals': n_orbitals,
    'orbital_width': width,
    'map_values': item.map_values.ravel(),
    'map_points': len(item.map_values),
    'map_spacing': item.map_spacing,
    'pk': float(entry.pk),
    'year': float(entry.year),
    'resolution': float(entry.resolution),
    'approximate': float(entry.relation == '~'),
    'ic50': float(entry.measure == 'IC50'),
    'cluster': float(index_of(cluster_of[entry.pdb_id])),
    'refined': float(entry.pdb_id in found.refined),
    'core': float(entry.pdb_id in found.core),
    'box_filled': item.row.get('box_filled', 1.0),
    **{f'ligand_{name}': v for name, v in item.descriptors.items()},
  }
