"""The manifest: a row for every complex, with its status and the reason."""

import math
from collections.abc import Iterable, Mapping

from data_builders.pdbbind.readers import types
from data_builders.support import manifest as table

NAME = table.NAME
COLUMNS = (
  'id', 'status', 'reason', 'pk', 'measure', 'relation', 'year', 'ligand',
  'index_line', 'cluster', 'ligand_file', 'ligand_atoms', 'ligand_charge',
  'ligand_problems', 'ligand_reach', 'pocket_file', 'pocket_atoms',
  'pocket_kept', 'pocket_dropped', 'pocket_problems', 'shortest_contact',
  'clashes', 'box_filled', 'xtb', 'map_missing', 'map_at_atoms',
  'sha256_protein', 'sha256_pocket', 'sha256_ligand_sdf',
  'sha256_ligand_mol2', 'sha256_structure', 'sha256_density_map',
)  # fmt: skip


def row(entry: types.Entry) -> dict:
  """Returns the columns that come from the index."""
  return {
    'id': entry.pdb_id,
    'pk': '' if math.isnan(entry.pk) else entry.pk,
    'measure': entry.measure,
    'relation': entry.relation,
    'year': entry.year,
    'ligand': entry.ligand,
    'index_line': entry.source,
  }


def write(directory, rows: Iterable[Mapping]) -> None:
  """Writes manifest.csv into a directory, sorted by id.

  Args:
    directory: of the dataset.
    rows: with keys of COLUMNS; see `support.manifest.write`.
  """
  table.write(directory, COLUMNS, sorted(rows, key=lambda row: row['id']))
