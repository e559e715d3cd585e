"""Roles of files by name: PDBbind's folders and the wwPDB's names.

PDBbind: <id>_protein.pdb, <id>_pocket.pdb, <id>_ligand.sdf, <id>_ligand.mol2.
wwPDB: <id>.cif, <id>.pdb, <id>.ent, pdb<id>.ent and <id>.ccp4. Each plain or
gzipped, in one folder or in folders inside folders, in upper or lower case.
"""

import os
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from data_builders.pdbbind.readers import types
from edjax.runtime import reading

# Role and names, in order of preference. Names that go on after _protein are
# prepared copies (_protein_processed); _env16 is a
# protein cropped to the residues within 16 Å of the ligand. Names of maps are
# those of PDBe, of PDB-REDO (_final), of phased data (_phases, _sigmaa), and of
# the wwPDB's coefficients and structure factors; difference maps (_diff, _fofc)
# have no role.
_NAMES = (
  ('protein', r'_protein\.(pdb|cif)'),
  ('protein', r'_protein[._-].*\.(pdb|cif)'),
  ('protein', r'_env\d+\.(pdb|cif)'),
  ('pocket', r'_pocket\.(pdb|cif)'),
  ('ligand_sdf', r'_ligand\.sdf'),
  ('ligand_mol2', r'_ligand\.mol2'),
  ('structure', r'\.(cif|mmcif)'),
  ('structure', r'\.(pdb|ent)'),
  ('density_map', r'\.(ccp4|map|mrc)'),
  ('density_map', r'[_-]2fofc([._-].*)?\.(ccp4|map|mrc|mtz)'),
  ('density_map', r'([_-](phases|final|sigmaa))?\.mtz'),
  ('density_map', r'_validation_2fo-fc_map_coef\.cif'),
  ('density_map', r'[_-]sf\.(cif|ent)'),
)
_PATTERNS = tuple(
  (role, re.compile(rf'(pdb)?([0-9][a-z0-9]{{3}}){name}(\.gz)?', re.IGNORECASE))
  for role, name in _NAMES
)
# The EMDB's maps have numbers of their own; their folder may have the id.
_OF_EMDB = re.compile(r'emd_\d+\.map(\.gz)?', re.IGNORECASE)
_DATA = re.compile(
  r'.*\.(pdb|ent|cif|mmcif|sdf|mol2|ccp4|map|mrc|mtz)(\.gz)?', re.IGNORECASE
)
# Roles whose files may have another frame in another folder.
_TOGETHER = ('protein', 'pocket', 'ligand_sdf', 'ligand_mol2')


class Contents(NamedTuple):
  """The contents of a folder.

  Attributes:
    files: id -> its files, sorted by id.
    ignored: (path, reason) of structures and maps that are not used.
  """

  files: dict[str, types.Files]
  ignored: tuple[tuple[pathlib.Path, str], ...]


def find(manual_dir) -> Contents:
  """Finds the files of complexes in a folder and those below it.

  Where one folder has two files for one role, the first of these is taken:
  the name without additions, .pdb before .cif (entries of the wwPDB the other
  way round), plain before gzipped. Where two folders have PDBbind's files of
  one id, one of them gives all (their frames may differ): one with a ligand
  and a protein or pocket before others, then the first by path. An entry of
  the wwPDB or a map may lie in a folder of its own; the first by path is
  taken. Files that are not used are listed.

  Args:
    manual_dir: the folder. Hidden folders in it are passed over, and links
      are followed.

  Raises:
    NotADirectoryError: there is no such folder.
  """
  manual_dir = pathlib.Path(manual_dir)
  if not manual_dir.is_dir():
    raise NotADirectoryError(f'{manual_dir} is no folder')
  candidates = {}  # id -> folder -> role -> [(rank, path)], folders in order
  ignored = []
  for path in _walk(manual_dir):
    match = _match(path.name) or _of_folder(path)
    if match:
      pdb_id, role, rank = match
      folders = candidates.setdefault(pdb_id, {})
      roles = folders.setdefault(path.parent, {})
      roles.setdefault(role, []).append((rank, str(path), path))
    elif _DATA.fullmatch(path.name):
      ignored.append((path, 'no name of PDBbind or the wwPDB'))
  files = {}
  for pdb_id in sorted(candidates):
    files[pdb_id] = _choose(pdb_id, candidates[pdb_id], ignored)
  return Contents(files, tuple(sorted(ignored)))


def read_text(path) -> str:
  """Reads the text of a file, gzipped or not (its first bytes tell).

  Raises:
    types.ComplexError: the file is not there, empty, cut off or no text.
  """
  path = pathlib.Path(path)
  try:
    data = reading.unpacked(path)
  except ValueError as error:
    raise types.ComplexError(str(error)) from error
  except OSError as error:
    raise types.ComplexError(f'{path.name}: {error.strerror}') from error
  if not data.strip():
    raise types.ComplexError(f'{path.name} is empty')
  if b'\0' in data:
    raise types.ComplexError(f'{path.name} is no text file')
  # One character for each byte keeps the columns in place.
  return data.decode('ascii', errors='replace').replace('\ufffd', '?')


def _walk(top: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields the files below a folder, folders in the order of their paths."""
  seen = set()  # a link may lead back up
  for folder, folders, names in os.walk(top, followlinks=True):
    real = os.path.realpath(folder)
    if real in seen:
      folders.clear()
      continue
    seen.add(real)
    folders[:] = sorted(name for name in folders if not name.startswith('.'))
    for name in sorted(names):
      yield pathlib.Path(folder) / name


def _match(name: str):
  for rank, (role, pattern) in enumerate(_PATTERNS):
    match = pattern.fullmatch(name)
    if match:
      plain = name.lower().removesuffix('.gz')
      rank = (rank, plain.endswith('cif'), plain != name.lower())
      return match.group(2).lower(), role, rank
  return None


def _of_folder(path: pathlib.Path):
  name = path.parent.name.lower()
  if _OF_EMDB.fullmatch(path.name) and re.fullmatch(r'[0-9][a-z0-9]{3}', name):
    return name, 'density_map', (len(_PATTERNS), False, path.suffix == '.gz')
  return None


def _choose(pdb_id, folders, ignored) -> types.Files:
  """Picks the files of one id; adds the others to `ignored`."""
  chosen = {}
  ours = {
    folder: [role for role in _TOGETHER if role in roles]
    for folder, roles in folders.items()
    if any(role in roles for role in _TOGETHER)
  }
  home = min(ours, key=lambda f: not _is_complete(ours[f]), default=None)
  for folder, roles in folders.items():
    for role in sorted(roles):
      paths = sorted(roles[role])
      if role in _TOGETHER:
        first = paths[0][2] if folder == home else None
        reason = f'{pdb_id} is taken from {home}'
      else:
        first = None if role in chosen else paths[0][2]
        reason = f'{chosen.get(role, first)} comes first'
      if first:
        chosen[role] = first
        reason = f'{first.name} comes first'
      ignored += [(path, reason) for *_, path in paths if path != first]
  return types.Files(pdb_id, **chosen)


def _is_complete(roles) -> bool:
  return ('ligand_sdf' in roles or 'ligand_mol2' in roles) and (
    'protein' in roles or 'pocket' in roles
  )
