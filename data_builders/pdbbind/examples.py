"""Records, manifest and report of complexes that were read.

The functions are shared by builds in this process and on Apache Beam.
"""

import collections
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from data_builders.molecules import records as records_lib
from data_builders.pdbbind import (
  complexes,
  manifest,
  sequence_clusters,
  sources,
)
from data_builders.pdbbind.readers import types
from data_builders.support import worker_pool as workers_lib
from edjax.data import pdb_ids

# Float64 columns beside the targets: properties that splits need, flags (0 or
# 1), and the share of a 24 Å box that the file of the pocket fills.
COLUMNS = (
  'year', 'resolution', 'approximate', 'ic50', 'cluster', 'refined', 'core',
  'box_filled',
)  # fmt: skip


def outcome(
  job: tuple, value: complexes.Complex | workers_lib.Failure
) -> tuple[str, dict[str, Any], dict[str, str] | None]:
  """Returns a complex's id, columns of the manifest, and sequences.

  Args:
    job: its second entry is the entry of the index.
    value: what became of it; a `Failure` has None for sequences.
  """
  name = job[1].pdb_id
  if not isinstance(value, workers_lib.Failure):
    return name, {'status': 'kept', **value.row}, value.sequences
  # Any other error is no known fault of a file.
  kind, _, reason = value.reason.partition(': ')
  if kind == 'ComplexError':
    return name, {'status': 'unreadable', 'reason': reason}, None
  return name, {'status': 'failed', 'reason': value.reason}, None


def gather(
  outcomes: Iterable[tuple], rows: Mapping[str, Mapping], directory
) -> tuple[dict[str, dict], dict[str, dict[str, str]]]:
  """Completes the rows of the manifest.

  Args:
    outcomes: of all complexes.
    rows: of the manifest, by id, with the columns of the index.
    directory: of the sources, for the message.

  Returns:
    The rows, and the sequences of the complexes that are kept, by id.

  Raises:
    ValueError: not one row is kept, or two ids have one number.
  """
  rows = {name: dict(row) for name, row in rows.items()}
  sequences = {}
  # In order of the ids, on which the names of clusters depend.
  for name, columns, own in sorted(outcomes, key=lambda outcome: outcome[0]):
    rows[name] |= columns
    if own is not None:
      sequences[name] = own
  if not sequences:
    reasons = [row['reason'] for row in rows.values()][:3]
    raise ValueError(
      f'not one complex of {directory} could be used; the first reasons: '
      f'{reasons}'
    )
  check_numbers(sequences)
  return rows, sequences


def by_sequence(sequences, together, workers) -> tuple[dict[str, str], dict]:
  """Clusters complexes by the sequences of their pockets' chains.

  Args:
    sequences: id -> chain -> sequence.
    together: groups of ids that are one cluster whatever their sequences.
    workers: processes.

  Returns:
    Id -> cluster, and entries of the report.
  """
  cluster_of = sequence_clusters.cluster(
    sequences,
    identity=sources.IDENTITY,
    also_together=together,
    workers=workers,
  )
  return cluster_of, {
    'clusters': len(set(cluster_of.values())),
    'cluster_identity': sources.IDENTITY,
    'without_chain': list(sequence_clusters.without_chain(sequences)),
    'casf_clusters_merged': len(together),
  }


def each_alone(sequences, together, workers) -> tuple[dict[str, str], dict]:
  """Makes each complex a cluster, where nothing is known of proteins."""
  del together, workers
  return {name: name for name in sequences}, {'clusters': len(sequences)}


def index_of(pdb_id: str) -> int:
  """Returns the number of an id, which uint32 holds.

  It is a PDB id's four characters in base 36, or above all of these a number
  from the SHA-256 of another id.
  """
  if pdb_ids.is_pdb_id(pdb_id):
    return int(pdb_id, 36)
  digest = int(hashlib.sha256(pdb_id.encode()).hexdigest(), 16)
  return 36**4 + digest % (2**32 - 36**4)


def check_numbers(ids: Iterable[str]) -> None:
  """Raises ValueError where two ids have one number.

  Of 1,000 ids that are none of the PDB this happens with a chance of 1e-4.
  """
  numbers = {}
  for name in ids:
    other = numbers.setdefault(index_of(name), name)
    if other != name:
      raise ValueError(
        f'{other} and {name} have one number: rename one of them'
      )


def example(
  item: complexes.Complex, cluster_of: Mapping[str, str], refined, core
) -> dict[str, Any]:
  """Makes the record of a complex.

  Args:
    item: as it was read.
    cluster_of: id -> cluster.
    refined: ids of the refined set.
    core: ids of the core set.
  """
  entry: types.Entry = item.entry
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
    **_targets(entry),
    'year': float(entry.year),
    'resolution': float(entry.resolution),
    'approximate': float(entry.relation == '~'),
    'ic50': float(entry.measure == 'IC50'),
    'cluster': float(index_of(cluster_of[entry.pdb_id])),
    'refined': float(entry.pdb_id in refined),
    'core': float(entry.pdb_id in core),
    'box_filled': item.row.get('box_filled', 1.0),
    **{f'ligand_{name}': v for name, v in item.descriptors.items()},
  }


def _targets(entry: types.Entry) -> dict[str, Any]:
  """Returns PDBbind's target, or those of a user in the order of columns."""
  if entry.values:
    return {'values': np.array(entry.values, np.float64)}
  return {'pk': float(entry.pk)}


def finish(
  directory,
  facts: Mapping[str, Any],
  rows: Mapping[str, dict],
  clustered: tuple[Mapping[str, str], Mapping],
  content: int,
  start: float,
) -> None:
  """Writes manifest and report beside a complete dataset.

  Args:
    directory: of the dataset.
    facts: entries of the report on the sources.
    rows: of the manifest, by id.
    clustered: id -> cluster, and entries of the report.
    content: sum of `records.example_hash` of the records.
    start: of the build, `time.time()`.
  """
  cluster_of, of_clusters = clustered
  if 'columns' in facts:
    # Records hold a user's values in the order of these names.
    names = '\n'.join(facts['columns'])
    content += records_lib.example_hash({'columns': names})
  manifest.write(
    directory,
    [
      row | ({'cluster': cluster_of[name]} if name in cluster_of else {})
      for name, row in rows.items()
    ],
  )
  report = {
    **facts,
    'rows': len(rows),
    'status': _counted(row['status'] for row in rows.values()),
    'written': sum(row['status'] == 'kept' for row in rows.values()),
    'xtb': _counted(
      row['xtb'].split(':')[0].split()[-1] if row.get('xtb') else 'off'
      for row in rows.values()
      if row['status'] == 'kept'
    ),
    **of_clusters,
  }
  records_lib.save_report(directory, report, content, start)


def _counted(words: Iterable[str]) -> dict[str, int]:
  return dict(collections.Counter(words))


def summary(report: Mapping[str, Any]) -> str:
  """Returns a report as one line for the user."""
  text = ', '.join(
    f'{n} {word}' for word, n in sorted(report['status'].items())
  )
  return (
    f'{report["dataset"]}: {report["rows"]} ids: {text}; {report["clusters"]} '
    f'clusters. {manifest.NAME} and {records_lib.REPORT} beside the dataset '
    'say why'
  )
