"""Reads PDB ids, and lists of them in files."""

import pathlib
import re

_ID = re.compile(r'[1-9][a-z0-9]{3}')


def is_pdb_id(text: str) -> bool:
  """Returns whether a text is a digit 1 to 9 and three digits or letters."""
  return _ID.fullmatch(text.lower()) is not None


def pdb_id(text: str) -> str:
  """Returns a PDB id in lower case.

  Raises:
    ValueError: it is no PDB id (see `is_pdb_id`).
  """
  key = text.strip().lower()
  if not is_pdb_id(key):
    raise ValueError(f'{text.strip()!r} is not a PDB id')
  return key


def read_ids(path) -> tuple[str, ...]:
  """Reads a list of PDB ids, the first word of every line.

  Id lists (`INDEX_core.2016`, ATOM3D's and DiffDock's), `INDEX_*_name` and
  `INDEX_*_data` files are such lists. '#' starts a comment, and text after an
  underscore is ignored (`1G9V_RQ3` is 1g9v with its ligand).

  Args:
    path: of the file.

  Returns:
    Ids in lower case, in the order of the file.

  Raises:
    ValueError: a line does not start with a PDB id, an id is repeated, there is
      none, or all are row numbers (as in ATOM3D's `*_indices.txt`).
    FileNotFoundError: there is no such file.
  """
  path = pathlib.Path(path)
  ids = {}
  for number, line in enumerate(text_of(path).splitlines(), 1):
    fields = line.partition('#')[0].split()
    if fields:
      try:
        key = pdb_id(fields[0].partition('_')[0])
      except ValueError as error:
        raise ValueError(f'{path}, line {number}: {error}') from None
      if key in ids:
        raise ValueError(f'{path}, line {number}: {key} again')
      ids[key] = number
  if not ids:
    raise ValueError(f'{path} has no ids')
  # A few PDB ids are numbers (1914), but never all of a list.
  if all(key.isdecimal() for key in ids):
    raise ValueError(f'{path} has numbers of rows where PDB ids are needed')
  return tuple(ids)


def text_of(path) -> str:
  """Reads a file of PDBbind; bytes that are not UTF-8 are replaced."""
  # References in some versions have other encodings.
  return path.read_text(encoding='utf-8-sig', errors='replace')
