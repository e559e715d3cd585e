"""Reads ids of complexes, and lists of them in files."""

import pathlib
import re

from edjax.runtime import reading

_ID = re.compile(r'[1-9][a-z0-9]{3}')
# Ids of one's own complexes: words that can be names of files.
_OWN = re.compile(r'\w[\w.+-]{0,99}')
# What spreadsheets make of the PDB id 1e66.
_EXPONENT = re.compile(r'\d(\.\d+)?e[+-]\d+')


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


def key(text: str) -> str:
  """Returns what two writings of one id have in common: the lower case."""
  return text.strip().lower()


def complex_id(text) -> str:
  """Returns the id of a complex in lower case: a PDB id, or one of one's own.

  Raises:
    ValueError: it is no text, has other characters than letters, digits and
      _ . + - or more than 100, or is a number that a spreadsheet made of a PDB
      id.
  """
  key = text.strip().lower() if isinstance(text, str) else ''
  if _EXPONENT.fullmatch(key):
    raise ValueError(
      f'{text!r} is a number, which a spreadsheet may have made of a PDB id'
    )
  if not _OWN.fullmatch(key):
    raise ValueError(
      f'{text!r} is no id of a complex (letters, digits and _ . + -)'
    )
  return key


def read_ids(path) -> tuple[str, ...]:
  """Reads a list of ids of complexes, the first word of every line.

  Id lists (`INDEX_core.2016`, ATOM3D's and DiffDock's), `INDEX_*_name` and
  `INDEX_*_data` files are such lists. '#' starts a comment, and what follows a
  PDB id and an underscore is ignored (`1G9V_RQ3` is 1g9v with its ligand).

  Args:
    path: of the file.

  Returns:
    Ids in lower case, in the order of the file.

  Raises:
    ValueError: a line does not start with an id, an id is repeated, there is
      none, or all are row numbers (as in ATOM3D's `*_indices.txt`).
    FileNotFoundError: there is no such file.
  """
  path = pathlib.Path(path)
  ids = {}
  for number, line in enumerate(text_of(path).splitlines(), 1):
    fields = line.partition('#')[0].split()
    if fields:
      before = fields[0].partition('_')[0]
      try:
        key = complex_id(before if is_pdb_id(before) else fields[0])
      except ValueError as error:
        raise ValueError(f'{path}, line {number}: {error}') from None
      if key in ids:
        raise ValueError(f'{path}, line {number}: {key} again')
      ids[key] = number
  if not ids:
    raise ValueError(f'{path} has no ids')
  # A few PDB ids are numbers (1914), but never all of a list.
  if all(key.isdecimal() for key in ids):
    raise ValueError(f'{path} has numbers of rows where ids are needed')
  return tuple(ids)


def text_of(path) -> str:
  """Reads a file of PDBbind; bytes that are not UTF-8 are replaced."""
  # References in some versions have other encodings.
  return reading.text(path, errors='replace')
