"""The manifest: a row for every complex, with its status and the reason."""

import csv
import io
import json
from collections.abc import Iterable, Mapping

from etils import epath

from data_builders.pdbbind.readers import types

NAME = 'manifest.csv'
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
    'pk': entry.pk,
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
    rows: with keys of COLUMNS; missing ones stay empty, mappings are written as
      JSON.

  Raises:
    ValueError: a row has a key that is no column.
  """
  text = io.StringIO(newline='')
  writer = csv.DictWriter(text, COLUMNS, restval='')
  writer.writeheader()
  for row in sorted(rows, key=lambda row: row['id']):
    writer.writerow(
      {
        key: json.dumps(value, sort_keys=True)
        if isinstance(value, Mapping)
        else value
        for key, value in row.items()
      }
    )
  path = epath.Path(directory) / NAME
  path.write_bytes(text.getvalue().encode('utf-8'))
