"""SDF and mol2 records: RDKit's molecule, or the table of atoms alone.

SDF: BIOVIA, CTFile formats 2020, V2000 atom block (columns 1-10, 11-20,
21-30 coordinates, 32-34 symbol). Mol2: Tripos Mol2 file format, 2009.
"""

from typing import Any, NamedTuple

import numpy as np

from data_builders.pdbbind.readers import types
from edjax.chem import elements

_MOL2_START = '@<TRIPOS>MOLECULE'
_MOL2_ATOMS = '@<TRIPOS>ATOM'
_ISOTOPES = {'D': 1, 'T': 1}  # names of hydrogen that are no element symbols


class Record(NamedTuple):
  """One molecule of a file.

  Attributes:
    numbers: [A] atomic numbers, int32.
    coords: [A, 3] Å, float64.
    molecule: RDKit's, sanitised, all hydrogens of the file as atoms; None
      where RDKit refuses it.
    formal_charge: as the bonds or charges of the file have it; None where
      there is none to rely on.
    refusal: why `molecule` is None; '' where it is not.
  """

  numbers: np.ndarray
  coords: np.ndarray
  molecule: Any
  formal_charge: int | None
  refusal: str


def split(text: str, kind: str) -> list[str]:
  """Splits a file into the texts of molecules; kind is 'sdf' or 'mol2'."""
  if kind == 'mol2':
    starts = text.split(_MOL2_START)[1:]
    return [_MOL2_START + part for part in starts]
  records = [[]]
  for line in text.splitlines():
    if line.startswith('$$$$'):
      records.append([])
    else:
      records[-1].append(line)
  return ['\n'.join(r) + '\n' for r in records if any(x.strip() for x in r)]


def parse(text: str, kind: str, name: str) -> Record:
  """Reads one molecule.

  Args:
    text: one record.
    kind: 'sdf' or 'mol2'.
    name: of the file, for messages.

  Raises:
    types.ComplexError: no atoms, fewer atoms than the record announces, an
      unknown element, a coordinate that is no number, or no heavy atom.
  """
  from rdkit import Chem, rdBase

  with rdBase.BlockLogs():
    read = Chem.MolFromMolBlock if kind == 'sdf' else Chem.MolFromMol2Block
    try:
      molecule = read(text, sanitize=False, removeHs=False)
    except (RuntimeError, ValueError):
      molecule = None
    if molecule is None or not molecule.GetNumConformers():
      table = _sdf_atoms if kind == 'sdf' else _mol2_atoms
      numbers_A, coords_A3 = _checked(*table(text, name), name)
      return Record(numbers_A, coords_A3, None, None, 'RDKit cannot read it')
    symbols = [atom.GetSymbol() for atom in molecule.GetAtoms()]
    coords_A3 = molecule.GetConformer().GetPositions()
    numbers_A, coords_A3 = _checked(symbols, coords_A3, name)
    charge = Chem.GetFormalCharge(molecule)
    for atom in molecule.GetAtoms():
      # RDKit would complete a sodium ion without its charge to NaH.
      if atom.GetAtomicNum() in elements.METALS:
        atom.SetNoImplicit(True)
    try:
      Chem.SanitizeMol(molecule)
    # Bad molecules raise ValueError, violated assumptions RuntimeError.
    except (ValueError, RuntimeError) as error:
      # A mol2 file has no formal charges; RDKit derives them from the bonds.
      known = charge if kind == 'sdf' else None
      reason = ' '.join(str(error).split())
      return Record(numbers_A, coords_A3, None, known, reason)
  return Record(numbers_A, coords_A3, molecule, charge, '')


def _checked(symbols, coords, name) -> tuple[np.ndarray, np.ndarray]:
  if len(symbols) == 0:
    raise types.ComplexError(f'{name}: no atoms')
  numbers = []
  for i, symbol in enumerate(symbols):
    try:
      numbers.append(_ISOTOPES.get(symbol) or elements.atomic_number(symbol))
    except ValueError as error:
      raise types.ComplexError(f'{name}: atom {i + 1}: {error}') from error
  numbers_A = np.array(numbers, np.int32)
  coords_A3 = np.array(coords, np.float64).reshape(-1, 3)
  bad_A = ~np.isfinite(coords_A3).all(axis=1)
  if bad_A.any():
    i = int(np.argmax(bad_A))
    raise types.ComplexError(
      f'{name}: atom {i + 1}: coordinates are not finite: {coords_A3[i]}'
    )
  if not (numbers_A > 1).any():
    raise types.ComplexError(f'{name}: no atom heavier than hydrogen')
  return numbers_A, coords_A3


def _sdf_atoms(text, name) -> tuple[list, list]:
  lines = text.splitlines()
  counts = lines[3] if len(lines) > 3 else ''
  if not counts[:3].strip().isdigit():
    raise types.ComplexError(
      f'{name}: no V2000 counts in line 4: {counts[:20]!r}'
    )
  n_atoms = int(counts[:3])
  symbols, coords = [], []
  for number, line in enumerate(lines[4 : 4 + n_atoms], 5):
    try:
      coords.append([float(line[i : i + 10]) for i in (0, 10, 20)])
    except ValueError as error:
      raise types.ComplexError(
        f'{name}, line {number} of the record: no atom: {line[:40]!r}'
      ) from error
    symbols.append(line[31:34].strip())
  _check_count(len(symbols), n_atoms, name)
  return symbols, coords


def _mol2_atoms(text, name) -> tuple[list, list]:
  lines = text.splitlines()
  counts = lines[2].split() if len(lines) > 2 else []
  if not counts or not counts[0].isdigit() or _MOL2_ATOMS not in lines:
    raise types.ComplexError(f'{name}: no mol2 molecule with atoms')
  symbols, coords = [], []
  start = lines.index(_MOL2_ATOMS) + 1
  for number, line in enumerate(lines[start:], start + 1):
    if line.startswith('@'):
      break
    words = line.split()
    if not words:
      continue
    try:
      coords.append([float(word) for word in words[2:5]])
      symbols.append(words[5].split('.')[0])
    except (ValueError, IndexError) as error:
      raise types.ComplexError(
        f'{name}, line {number} of the record: no atom: {line[:40]!r}'
      ) from error
  _check_count(len(symbols), int(counts[0]), name)
  return symbols, coords


def _check_count(count, announced, name):
  if count != announced:
    raise types.ComplexError(
      f'{name}: {count} atoms where {announced} are announced: cut off?'
    )
