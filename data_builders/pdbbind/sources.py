"""Contents of a manual directory: index, files, lists of ids."""

import hashlib
import pathlib
from typing import NamedTuple

from data_builders.pdbbind import sequence_clusters
from data_builders.pdbbind.readers import index, layout, ligand, types
from data_builders.support.download import file_sha256
from edjax.data import pdb_ids

# Identity from which sequences belong to one cluster, as in the splits by
# sequence of ATOM3D and others.
IDENTITY = 0.3
# A user's file of ids that are one cluster, as GEMS publishes CASF's.
_TOGETHER = 'clusters_casf*.json'
_LIGANDS = 'ligands*.sdf'

INSTRUCTIONS = (
  'PDBbind may not be passed on: get the index and the structure files of a '
  'release from https://www.pdbbind-plus.org.cn (free for academic use, after '
  'registration) and unpack both, as they are, into one directory. Name it '
  'with --config.data.manual_dir=DIR, where it then holds an INDEX_*_data.* '
  'file and, for each complex, <id>/<id>_ligand.sdf and <id>/<id>_protein.pdb.'
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
    skipped: lines of the index that could not be read.
    notes: remarks on its lines.
    ignored: structures and maps that are not used, with the reason.
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
  skipped: tuple = ()
  notes: tuple = ()
  ignored: tuple = ()
  refined: frozenset = frozenset()
  core: frozenset = frozenset()
  together: tuple = ()

  def summary(self) -> str:
    """Returns the sources in a few words, for messages."""
    return (
      f'{len(self.entries)} rows of {self.index.name} and files of '
      f'{len(self.files)} ids'
    )


def complexes_in(manual_dir, download: bool = False) -> Sources:
  """Finds the sources of complexes in the manual directory.

  Args:
    manual_dir: of the user; '' for none.
    download: whether structures that are not there will be fetched.

  Raises:
    FileNotFoundError: it is not there, or has no index of affinities, or no
      structure and none will be fetched; the message says what to get and
      where to put it.
    ValueError: the index cannot be read.
  """
  root = pathlib.Path(manual_dir or '.').expanduser()
  index_files = index.find_indices(root) if manual_dir and root.is_dir() else ()
  tables = [one for one in index_files if one.content == 'data']
  if not tables:
    raise FileNotFoundError(
      f'no PDBbind in {manual_dir or "(no directory named)"}: {INSTRUCTIONS}'
    )
  table = index.read_index(tables[0].path)
  here = layout.find(root)
  if not here.files and not download:
    raise FileNotFoundError(
      f'{root} has {tables[0].path.name}, but no structures: {INSTRUCTIONS}'
    )
  files = {
    pdb_id: one
    for pdb_id, one in here.files.items()
    if one.structure or one.ligand_sdf or one.ligand_mol2
  }
  lists = [one.path for one in index_files if one.kind in ('refined', 'core')]
  groups = sorted(root.rglob(_TOGETHER))
  together = tuple(
    group
    for path in groups
    for group in sequence_clusters.read_casf_clusters(path)
  )
  return Sources(
    directory=root,
    index=tables[0].path,
    entries={entry.pdb_id: entry for entry in table.entries},
    excluded=index.excluded(table.entries),
    skipped=table.skipped,
    notes=table.notes,
    files=files,
    ignored=here.ignored,
    refined=_ids(index_files, 'refined'),
    core=_ids(index_files, 'core'),
    together=together,
    sha256=_digest(root, {tables[0].path, *lists, *groups}, files),
  )


def ligands_in(manual_dir) -> Sources:
  """Finds a set of ligands: one SDF file with affinities in its tags.

  Args:
    manual_dir: of the user; '' for none. The file is `ligands*.sdf`, gzipped
      or not, directly in it.

  Raises:
    FileNotFoundError: there is no such file; the message says what it holds.
    ValueError: there are several, or it cannot be read.
  """
  root = pathlib.Path(manual_dir or '.').expanduser()
  paths = sorted([*root.glob(_LIGANDS), *root.glob(f'{_LIGANDS}.gz')])
  if not manual_dir or not paths:
    raise FileNotFoundError(
      f'no {_LIGANDS} in {manual_dir or "(no directory named)"}: put one SDF '
      'file there, gzipped or not, whose records have the tags pdb_id and pK '
      '(and measure, year), and name the directory with '
      '--config.data.manual_dir=DIR'
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
    excluded=index.excluded(entries),
    sha256=_digest(root, paths, {}),
    files={},
  )


def _ids(index_files, kind: str) -> frozenset:
  """Returns the ids of the newest lists and tables of a kind."""
  of_kind = [one for one in index_files if one.kind == kind]
  newest = max((one.year for one in of_kind), default=0)
  ids = set()
  for one in of_kind:
    if one.year == newest and one.content == 'data':
      ids |= {entry.pdb_id for entry in index.read_index(one.path).entries}
    elif one.year == newest:
      ids |= set(pdb_ids.read_ids(one.path))
  return frozenset(ids)


def _digest(root, tables, files) -> str:
  """Hashes tables by content, structures by size: reading all takes minutes."""
  structures = [path for one in files.values() for path in one[1:] if path]
  lines = [f'{p.relative_to(root)} {p.stat().st_size}' for p in structures]
  lines += [f'{p.relative_to(root)} {file_sha256(p)}' for p in tables]
  return hashlib.sha256('\n'.join(sorted(lines)).encode()).hexdigest()
