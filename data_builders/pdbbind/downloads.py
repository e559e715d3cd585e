"""Entries and maps that the manual directory lacks, fetched by id."""

import http.client
import pathlib
from collections.abc import Iterable, Mapping

from data_builders.pdbbind.readers import types, wwpdb


def complete(
  pdb_ids: Iterable[str],
  files: Mapping[str, types.Files],
  directory,
  maps: bool = False,
) -> tuple[dict[str, types.Files], dict[str, str]]:
  """Files of all ids, those that are missing from the wwPDB and PDBe.

  What was fetched before is not fetched again, so that an interrupted download
  goes on where it stopped; sizes and hashes are recorded beside the files.

  Args:
    pdb_ids: what is wanted.
    files: what is there.
    directory: where downloads go.
    maps: 2Fo-Fc maps too, for all of them.

  Returns:
    The files, and id -> why nothing could be fetched.
  """
  from tqdm import tqdm

  directory = pathlib.Path(directory)
  found, refused = dict(files), {}
  for pdb_id in tqdm(list(pdb_ids), desc='downloads', unit=' entries'):
    one = found.get(pdb_id, types.Files(pdb_id))
    try:
      if not (one.structure or one.ligand_sdf or one.ligand_mol2):
        entry = wwpdb.fetch_entry(pdb_id, directory)
        one = found[pdb_id] = one._replace(structure=entry)
      if maps and one.density_map is None:
        path = wwpdb.fetch_map(pdb_id, directory)
        found[pdb_id] = one._replace(density_map=path)
    # An answer that is no HTTP is an HTTPException, and no OSError.
    except (OSError, ValueError, http.client.HTTPException) as error:
      refused[pdb_id] = f'download failed: {error}'
  return found, refused
