"""SDF and mol2 records: RDKit's molecule, or the table of atoms alone."""

from typing import Any, NamedTuple

import numpy as np

from data_builders.pdbbind.readers import mol2, plausibility, sdf, types
from edjax.chem import elements

_MOL2_START = '@<TRIPOS>MOLECULE'
_BONDS = ('SINGLE', 'DOUBLE', 'TRIPLE', 'AROMATIC', 'DATIVE')
# Coordinates that are read twice may differ by rounding, Å.
_MOVED_A = 1e-3
# The columns of a PDB file end at 9999 Å.
_FARTHEST_A = 1e5
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
    note: a remark for the manifest.
  """

  numbers: np.ndarray
  coords: np.ndarray
  molecule: Any
  formal_charge: int | None
  refusal: str
  note: str = ''


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

  RDKit reads the bonds; numbers, elements and coordinates of its atoms are
  compared with the text. Its atoms and bonds are plain: counts of hydrogens
  and rings of bonds that a file states make queries of them in RDKit, which
  neither get hydrogens nor count as what they are.

  Args:
    text: one record.
    kind: 'sdf' or 'mol2'.
    name: of the file, for messages.

  Raises:
    types.ComplexError: no atoms, fewer atoms than the record announces, an
      unknown element or one that contradicts the atom's name, a coordinate
      that is no number, no heavy atom, or no 3-D geometry (see
      `plausibility.check`).
  """
  from rdkit import rdBase

  types_A = None
  if kind == 'mol2':
    (symbols, coords), types_A = mol2.atoms(text, name)
  else:
    symbols, coords = sdf.atoms(text, name)
  numbers_A, coords_A3 = _checked(symbols, coords, name)
  with rdBase.BlockLogs():
    molecule = _read(text, symbols, types_A)
    refusal = mol2.unclear_bond(text) if kind == 'mol2' else ''
    refusal = refusal or _unclear(molecule, numbers_A, coords_A3)
    if not refusal:
      molecule = _definite(molecule, text, types_A)
    plausibility.check(
      None if refusal else molecule,
      numbers_A,
      coords_A3,
      kind == 'sdf' and sdf.says_flat(text),
      name,
    )
    if refusal:
      return Record(numbers_A, coords_A3, None, None, refusal)
    return _sanitized(molecule, numbers_A, coords_A3, kind)


def _read(text, symbols, types_A):
  """Returns RDKit's molecule of an SDF (types_A is None) or mol2 record."""
  from rdkit import Chem

  if types_A is None:
    read, text = Chem.MolFromMolBlock, sdf.without_neighbour_counts(text)
  else:
    read, text = Chem.MolFromMol2Block, mol2.for_rdkit(text, types_A, symbols)
  try:
    return read(text, sanitize=False, removeHs=False)
  except (RuntimeError, ValueError):
    return None


def _definite(molecule, text, types_A):
  """Returns a copy without queries that knows which hydrogens it lacks."""
  molecule = _plain(molecule)
  if types_A is None:
    _give_aromatic_hydrogens(molecule, sdf.stated_hydrogens(text))
  else:
    mol2.complete(molecule, types_A)
  for atom in molecule.GetAtoms():
    # RDKit would complete a sodium ion without its charge to NaH.
    if atom.GetAtomicNum() in elements.METALS:
      atom.SetNoImplicit(True)
  return molecule


def _sanitized(molecule, numbers_A, coords_A3, kind) -> Record:
  from rdkit import Chem

  charge = Chem.GetFormalCharge(molecule)
  try:
    Chem.SanitizeMol(molecule)
  # Bad molecules raise ValueError, violated assumptions RuntimeError.
  except (ValueError, RuntimeError) as error:
    # A mol2 file has no formal charges; RDKit derives them from the bonds.
    known = charge if kind == 'sdf' else None
    reason = ' '.join(str(error).split())
    return Record(numbers_A, coords_A3, None, known, reason)
  return Record(numbers_A, coords_A3, molecule, charge, '')


def _unclear(molecule, numbers_A, coords_A3) -> str:
  """Returns why RDKit's molecule is not the text's; '' where it is."""
  if molecule is None or not molecule.GetNumConformers():
    return 'RDKit cannot read it'
  read_A = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
  if read_A != numbers_A.tolist():
    return f'RDKit reads other atoms ({len(read_A)} of {len(numbers_A)})'
  moved_A3 = molecule.GetConformer().GetPositions() - coords_A3
  if np.abs(moved_A3).max() > _MOVED_A:
    return 'RDKit reads other coordinates'
  for bond in molecule.GetBonds():
    if str(bond.GetBondType()) not in _BONDS:
      i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
      return f'the bond of atoms {i + 1} and {j + 1} has no definite order'
  return ''


def _give_aromatic_hydrogens(molecule, stated) -> None:
  """Gives aromatic nitrogen the hydrogen that its record states, in place.

  From bonds alone RDKit cannot tell which nitrogen of a ring has it.
  """
  for atom, count in zip(molecule.GetAtoms(), stated, strict=False):
    if atom.GetAtomicNum() == 7 and atom.GetIsAromatic():
      there = sum(n.GetAtomicNum() == 1 for n in atom.GetNeighbors())
      if count > there:
        atom.SetNumExplicitHs(count - there)


def _plain(molecule):
  """Returns an editable copy without queries."""
  from rdkit import Chem

  copy = Chem.RWMol()
  for atom in molecule.GetAtoms():
    plain = atom
    if atom.HasQuery():
      plain = Chem.Atom(atom.GetAtomicNum())
      plain.SetFormalCharge(atom.GetFormalCharge())
      plain.SetIsotope(atom.GetIsotope())
      plain.SetNumRadicalElectrons(atom.GetNumRadicalElectrons())
      plain.SetIsAromatic(atom.GetIsAromatic())
    copy.AddAtom(plain)
  for bond in molecule.GetBonds():
    ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
    copy.AddBond(*ends, bond.GetBondType())
    copy.GetBondBetweenAtoms(*ends).SetIsAromatic(bond.GetIsAromatic())
  copy.AddConformer(molecule.GetConformer())
  return copy


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
  bad_A = ~(np.abs(coords_A3) < _FARTHEST_A).all(axis=1)  # NaN is bad too
  if bad_A.any():
    i = int(np.argmax(bad_A))
    raise types.ComplexError(
      f'{name}: atom {i + 1}: coordinates are not finite, or beyond '
      f'{_FARTHEST_A:g} Å: {" ".join(f"{x:g}" for x in coords_A3[i])}'
    )
  if not (numbers_A > 1).any():
    raise types.ComplexError(f'{name}: no atom heavier than hydrogen')
  return numbers_A, coords_A3
