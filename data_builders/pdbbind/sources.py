"""Contents of a manual directory: index, files, lists of ids."""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from data_builders.pdbbind import sequence_clusters
from data_builders.pdbbind.readers import index, layout, ligand, types
from data_builders.support.download import file_sha256
from edjax import datasets
from edjax.data import pdb_ids
from edjax.runtime import reading

# Identity from which sequences belong to one cluster, as in the splits by
# sequence of ATOM3D and others.
IDENTITY = 0.3
# A user's file of ids that are one cluster, as GEMS publishes CASF's.
_TOGETHER = 'clusters_casf*.json'
_LIGANDS = 'ligands*.sdf'
_SETTINGS = datasets.DATASETS['pdbbind'].settings

INSTRUCTIONS = (
  'PDBbind may not be passed on: get the index and the structure files of a '
  'release from https://www.pdbbind-plus.org.cn (free for academic use, after '
  'registration) and unpack both, as they are, into one directory. Name it '
  'with --config.data.manual_dir=DIR, where it then holds an INDEX_* file, '
  'CoreSet.dat or index.csv (columns for id and pK) and, for each complex, '
  '<id>/<id>_ligand.sdf and <id>/<id>_protein.pdb.'
)


class Sources(NamedTuple):
  """The files that a dataset is made from.

  Attributes:
    directory: that holds them.
    index: the file of affinities.
    entries: PDB id -> its row, of all rows.
    excluded: PDB id -> why its value is not used.
    sha256: of the contents of tables and lists, and of the names and sizes of
      structures.
    files: PDB id -> files.
    unusable: id -> why none of its files can be used.
    skipped: lines of the index that could not be read.
    notes: remarks on its lines.
    ignored: structures and maps that are not used, with the reason.
    unreadable: folders that could not be listed, with the reason.
    refined: ids of the refined set, as far as the directory names them.
    core: ids of the core set.
    together: groups of ids that are one cluster whatever their sequences.
  """

  directory: pathlib.Path
  index: pathlib.Path
  entries: dict[str, types.Entry]
  excluded: dict[str, str]
  sha256: str
  files: dict[str, types.Files]
  unusable: dict[str, str]
  skipped: tuple = ()
  notes: tuple = ()
  ignored: tuple = ()
  unreadable: tuple = ()
  refined: frozenset = frozenset()
  core: frozenset = frozenset()
  together: tuple = ()

  def summary(self) -> str:
    """Returns the sources in a few words, for messages."""
    return (
      f'{len(self.entries)} rows of {self.index.name} and files of '
      f'{len(self.files)} ids'
    )


def complexes_in(
  manual_dir,
  download: bool = False,
  settings: Mapping[str, Any] = _SETTINGS,
) -> Sources:
  """Finds the sources of complexes in the manual directory.

  Args:
    manual_dir: of the user; '' for none.
    download: whether structures that are not there will be fetched.
    settings: `affinity_unit`, see `index.read_index`, and `max_pk_difference`,
      see `index.excluded`.

  Raises:
    FileNotFoundError: it is not there, or has no index of affinities, or no
      structure of it and none will be fetched; the message says what lies
      there, what to get and where to put it.
    ValueError: the index cannot be read.
  """
  root = pathlib.Path(manual_dir or '.').expanduser()
  index_files = index.find_indices(root) if manual_dir and root.is_dir() else ()
  tables = [one for one in index_files if one.content == 'data']
  if not tables:
    found = reading.found_in(root) if manual_dir else 'no directory is named'
    raise FileNotFoundError(f'no index of PDBbind: {found}. {INSTRUCTIONS}')
  table = index.read_index(tables[0].path, settings['affinity_unit'])
  entries = {entry.pdb_id: entry for entry in table.entries}
  here = layout.find(root, {key: one.ligand for key, one in entries.items()})
  files = {
    pdb_id: one
    for pdb_id, one in here.files.items()
    if one.structure or one.ligand_sdf or one.ligand_mol2
  }
  if not download and not (files.keys() | here.unusable) & entries.keys():
    raise FileNotFoundError(
      f'no structures of the {len(entries)} complexes of '
      f'{tables[0].path.name}, such as {next(iter(entries))}: '
      f'{reading.found_in(root)}. {INSTRUCTIONS}'
    )
  lists = [one.path for one in index_files if one.kind in ('refined', 'core')]
  groups = [p for p in reading.below(root).files if p.match(_TOGETHER)]
  together = tuple(
    group
    for path in groups
    for group in sequence_clusters.read_casf_clusters(path)
  )
  return Sources(
    directory=root,
    index=tables[0].path,
    entries=entries,
    excluded=index.excluded(table.entries, settings['max_pk_difference']),
    skipped=table.skipped,
    notes=table.notes,
    files=files,
    ignored=here.ignored,
    unusable=here.unusable,
    unreadable=here.unreadable,
    refined=_ids(index_files, 'refined'),
    core=_ids(index_files, 'core'),
    together=together,
    sha256=_digest(root, {tables[0].path, *lists, *groups}, files),
  )


def ligands_in(manual_dir, settings: Mapping[str, Any] = _SETTINGS) -> Sources:
  """Finds a set of ligands: one SDF file with affinities in its tags.

  Args:
    manual_dir: of the user; '' for none. The file is `ligands*.sdf`, gzipped
      or not, directly in it.
    settings: `max_pk_difference`, see `index.excluded`.

  Raises:
    FileNotFoundError: there is no such file; the message says what it holds.
    ValueError: there are several, or it cannot be read.
  """
  root = pathlib.Path(manual_dir or '.').expanduser()
  paths = sorted([*root.glob(_LIGANDS), *root.glob(f'{_LIGANDS}.gz')])
  if not manual_dir or not paths:
    found = reading.found_in(root) if manual_dir else 'no directory is named'
    raise FileNotFoundError(
      f'no {_LIGANDS}: {found}. Put one SDF file there, gzipped or not, whose '
      'records have the tags pdb_id and pK (and measure, year), and name the '
      'directory with --config.data.manual_dir=DIR'
    )
  if len(paths) > 1:
    raise ValueError(
      f'{root} has several {_LIGANDS}: {[p.name for p in paths]}'
    )
  entries = ligand.read_set_entries(paths[0])
  by_id = {entry.pdb_id: entry for entry in entries}
  if len(by_id) != len(entries):
    raise ValueError(f'{paths[0]}: a pdb_id occurs twice')
  return Sources(
    directory=root,
    index=paths[0],
    entries=by_id,
    excluded=index.excluded(entries, settings['max_pk_difference']),
    sha256=_digest(root, paths, {}),
    files={},
    unusable={},
  )


def _ids(index_files, kind: str) -> frozenset:
  """Returns the ids of the newest lists and tables of a kind."""
  of_kind = [one for one in index_files if one.kind == kind]
  newest = max((one.version for one in of_kind), default=None)
  ids = set()
  for one in of_kind:
    if one.version == newest and one.content == 'data':
      ids |= {entry.pdb_id for entry in index.read_index(one.path).entries}
    elif one.version == newest:
      ids |= set(pdb_ids.read_ids(one.path))
  return frozenset(ids)


def _digest(root, tables, files) -> str:
  """Hashes tables by content, structures by size: reading all takes minutes."""
  structures = [path for one in files.values() for path in one[1:] if path]
  lines = [f'{p.relative_to(root)} {p.stat().st_size}' for p in structures]
  lines += [f'{p.relative_to(root)} {file_sha256(p)}' for p in tables]
  return hashlib.sha256('\n'.join(sorted(lines)).encode()).hexdigest()
