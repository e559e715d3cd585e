"""Roles of files by name: layouts of published sets, and the wwPDB's names.

PDBbind: <id>_protein.pdb, <id>_pocket.pdb, <id>_ligand.sdf, <id>_ligand.mol2.
HiQBind and PoseBusters name the ligand after the id, and HiQBind its place:
<id>_<code>_<chain>_<number>_ligand_refined.sdf, <id>_<code>_ligand.sdf.
wwPDB: <id>.cif, <id>.pdb, <id>.ent, pdb<id>.ent and <id>.ccp4. Each plain or
gzipped, in one folder or in folders inside folders, in upper or lower case.
"""

import codecs
import pathlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from data_builders.pdbbind.readers import types
from edjax.data import pdb_ids
from edjax.runtime import reading

# Role and names, in order of preference. HiQBind's _refined files belong
# together; other names that go on after _protein are prepared copies
# (_protein_processed); _env16 is a protein cropped to the residues within 16 Å
# of the ligand. Names of maps are those of PDBe, of PDB-REDO (_final), of
# phased data (_phases, _sigmaa), and of the wwPDB's coefficients and structure
# factors; difference maps (_diff, _fofc) have no role.
_NAMES = (
  ('protein', r'_protein_refined\.(pdb|cif)'),
  ('protein', r'_protein\.(pdb|cif)'),
  ('protein', r'_protein[._-].*\.(pdb|cif)'),
  ('protein', r'_env\d+\.(pdb|cif)'),
  ('pocket', r'_pocket\.(pdb|cif)'),
  ('ligand_sdf', r'_ligand_refined\.sdf'),
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
  (role, re.compile(rf'(?P<stem>.+?){name}(\.gz)?', re.IGNORECASE))
  for role, name in _NAMES
)
# The EMDB's maps have numbers of their own; their folder may have the id.
_OF_EMDB = re.compile(r'emd_\d+\.map(\.gz)?', re.IGNORECASE)
_DATA = re.compile(
  r'.*\.(pdb|ent|cif|mmcif|sdf|mol2|ccp4|map|mrc|mtz)(\.gz)?', re.IGNORECASE
)
# The id, the code of the ligand, and its place.
_CODES = r'[a-z0-9]{1,5}(-[a-z0-9]{1,5})*'
_OF_LIGAND = re.compile(
  rf'(?P<id>.+?)_(?P<code>{_CODES})(_[a-z0-9]+_[\d-]+[a-z]?)?'
)
# Roles whose files may have another frame in another folder.
_TOGETHER = ('protein', 'pocket', 'ligand_sdf', 'ligand_mol2')


class Contents(NamedTuple):
  """The contents of a folder.

  Attributes:
    files: id -> its files, sorted by id.
    ignored: (path, reason) of structures and maps that are not used.
    unusable: id -> why none of its files can be used.
    unreadable: (folder, reason) of those that could not be listed.
  """

  files: dict[str, types.Files]
  ignored: tuple[tuple[pathlib.Path, str], ...]
  unusable: dict[str, str]
  unreadable: tuple[tuple[pathlib.Path, str], ...]


def find(manual_dir, ligands: Mapping[str, str] | None = None) -> Contents:
  """Finds the files of complexes in a folder and those below it.

  Where one folder has two files for one role, the first of these is taken:
  the name without additions, .pdb before .cif (entries of the wwPDB the other
  way round), plain before gzipped. Where two folders have PDBbind's files of
  one id, one of them gives all (their frames may differ): one with a ligand
  and a protein or pocket before others, then the first by path. An entry of
  the wwPDB or a map may lie in a folder of its own; the first by path is
  taken. Files that are not used are listed.

  Where names have the code of the ligand, files of another ligand than that of
  the index are not used; nor are those of several where it does not say one.

  Args:
    manual_dir: the folder. Hidden files and folders in it are passed over, and
      links are followed.
    ligands: id -> name of its ligand in the index, '' for none. Ids that are
      none of the PDB are known from here alone.

  Raises:
    NotADirectoryError: there is no such folder.
  """
  manual_dir = pathlib.Path(manual_dir)
  if not manual_dir.is_dir():
    raise NotADirectoryError(f'{manual_dir} is no folder')
  ligands = ligands or {}
  matches, ignored, unusable = {}, [], {}
  below = reading.below(manual_dir)
  for path in below.files:
    match = _match(path, ligands)
    if match:
      matches.setdefault(match.id, []).append((match, path))
    elif _DATA.fullmatch(path.name):
      ignored.append((path, 'no name of a known layout, or an unknown id'))
  files = {}
  for pdb_id, found in sorted(matches.items()):
    reason = _other_ligand(found, ligands.get(pdb_id, ''))
    used = {}  # folder -> role -> [(rank, name, path)], folders in order
    for match, path in found:
      if match.code and match.code in reason:
        ignored.append((path, reason[match.code]))
        unusable[pdb_id] = reason[match.code]
      else:
        roles = used.setdefault(path.parent, {})
        roles.setdefault(match.role, []).append((match.rank, str(path), path))
    if used:
      files[pdb_id] = _choose(pdb_id, used, ignored)
  for folder, reason in below.unreadable:
    unusable[folder.name.lower()] = f'{folder} cannot be read: {reason}'
  return Contents(files, tuple(sorted(ignored)), unusable, below.unreadable)


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
  if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
    data = data.decode('utf-16', errors='replace').encode('utf-8')
  data = data.removeprefix(codecs.BOM_UTF8)
  if b'\0' in data:
    raise types.ComplexError(f'{path.name} is no text file')
  # One character for each byte keeps the columns in place.
  return data.decode('ascii', errors='replace').replace('\ufffd', '?')


class _Match(NamedTuple):
  """What the name of a file says; ids and codes in lower case."""

  id: str
  code: str
  role: str
  rank: tuple


def _match(path: pathlib.Path, known: Mapping[str, str]) -> _Match | None:
  name, folder = path.name, path.parent.name.lower()
  for rank, (role, pattern) in enumerate(_PATTERNS):
    match = pattern.fullmatch(name)
    named = match and _named(match['stem'].lower(), role, known)
    if named:
      plain = name.lower().removesuffix('.gz')
      rank = (rank, plain.endswith('cif'), plain != name.lower())
      return _Match(*named, role, rank)
  if _OF_EMDB.fullmatch(name) and (
    folder in known or pdb_ids.is_pdb_id(folder)
  ):
    rank = (len(_PATTERNS), False, name.lower().endswith('.gz'))
    return _Match(folder, '', 'density_map', rank)
  return None


def _named(stem: str, role: str, known) -> tuple[str, str] | None:
  """Returns id and code of the ligand ('' for none)."""
  for key in (stem, stem.removeprefix('pdb')):
    if key in known or pdb_ids.is_pdb_id(key):
      return key, ''
  match = _OF_LIGAND.fullmatch(stem) if role in _TOGETHER else None
  if match and (match['id'] in known or pdb_ids.is_pdb_id(match['id'])):
    return match['id'], match['code']
  return None


def _other_ligand(found: list[tuple[_Match, pathlib.Path]], name: str) -> dict:
  """Returns code -> why it is not the ligand of the index."""
  codes = sorted({match.code for match, _ in found if match.code})
  wanted = name.strip('_').lower()
  listed = ', '.join(codes).upper()
  is_code = re.fullmatch(_CODES, wanted)
  if is_code and not re.fullmatch(r'\d+-mer', wanted):
    reason = f'the ligand of the index is {name}, those of the files {listed}'
    return {code: reason for code in codes if code != wanted}
  if len(codes) > 1:
    reason = f'files of several ligands ({listed}): the index must name one'
    return dict.fromkeys(codes, reason)
  return {}


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
