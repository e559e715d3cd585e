"""Downloads of entries and maps that the manual directory lacks."""

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
  """Fetches the files that are missing from the wwPDB and PDBe.

  Files are fetched once, so that an interrupted download continues where it
  stopped; sizes and hashes are recorded beside the files.

  Args:
    pdb_ids: of the complexes.
    files: of the manual directory, by id.
    directory: where downloads go.
    maps: whether to fetch 2Fo-Fc maps too.

  Returns:
    The files of all ids, and id -> why nothing could be fetched.
  """
  from tqdm import tqdm

  directory = pathlib.Path(directory)
  available, refused = dict(files), {}
  for pdb_id in tqdm(list(pdb_ids), desc='downloads', unit=' entries'):
    one = available.get(pdb_id, types.Files(pdb_id))
    try:
      if not (one.structure or one.ligand_sdf or one.ligand_mol2):
        entry = wwpdb.fetch_entry(pdb_id, directory)
        one = available[pdb_id] = one._replace(structure=entry)
      if maps and one.density_map is None:
        path = wwpdb.fetch_map(pdb_id, directory)
        available[pdb_id] = one._replace(density_map=path)
    # An answer that is not HTTP raises HTTPException, which is no OSError.
    except (OSError, ValueError, http.client.HTTPException) as error:
      refused[pdb_id] = f'download failed: {error}'
  return available, refused
