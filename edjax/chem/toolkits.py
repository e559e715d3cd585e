"""Atoms of the molecules of RDKit and ASE, by the methods of these objects.

Neither has to be installed.
"""

import numpy as np


def of_rdkit(molecule, conformer: int = -1) -> tuple[np.ndarray, np.ndarray]:
  """Returns the atoms of an RDKit molecule.

  Args:
    molecule: rdkit.Chem.Mol with all hydrogens as atoms.
    conformer: id of the conformer; -1 is the first.

  Returns:
    [A] atomic numbers and [A, 3] coordinates, Å.

  Raises:
    ValueError: there is no such conformer, it is a drawing in a plane, or
      hydrogens or elements are left open; the message says what to do.
  """
  ids = [one.GetId() for one in molecule.GetConformers()]
  if not ids:
    raise ValueError(
      'the RDKit molecule has no conformer: make one '
      '(rdDistGeom.EmbedMolecule), or read it from a file with coordinates'
    )
  if conformer != -1 and conformer not in ids:
    raise ValueError(
      f'the RDKit molecule has no conformer {conformer}; it has {ids}'
    )
  chosen = molecule.GetConformer(conformer)
  if not chosen.Is3D():
    raise ValueError(
      'the conformer of the RDKit molecule is marked as a drawing in a plane '
      '(2D): make one in space (rdDistGeom.EmbedMolecule), or mark it '
      '(conformer.Set3D(True)) where the molecule is flat'
    )
  check_complete(molecule)
  numbers_A = np.array([a.GetAtomicNum() for a in molecule.GetAtoms()])
  return _without_dummies(numbers_A), np.array(chosen.GetPositions())


def check_complete(molecule) -> None:
  """Checks that all hydrogens of an RDKit molecule are atoms.

  Raises:
    ValueError: some are implicit, or RDKit has not counted them.
  """
  if molecule.NeedsUpdatePropertyCache():
    raise ValueError(
      'RDKit has not counted the hydrogens of the molecule: call '
      'Chem.SanitizeMol(mol), after rdDetermineBonds.DetermineBonds(mol) where '
      'it has no bonds'
    )
  missing = sum(atom.GetTotalNumHs() for atom in molecule.GetAtoms())
  if missing:
    raise ValueError(
      f'{missing} hydrogens are implicit: make atoms of them with '
      'Chem.AddHs(mol, addCoords=True)'
    )


def of_ase(atoms) -> tuple[np.ndarray, np.ndarray]:
  """Returns the atoms of an ase.Atoms.

  Returns:
    [A] atomic numbers and [A, 3] coordinates, Å.

  Raises:
    ValueError: it is periodic, or has dummy atoms.
  """
  if np.any(atoms.get_pbc()):
    raise ValueError(
      'the atoms are periodic, and edjax reads molecules: where the cell is a '
      'mere box about one, call atoms.set_pbc(False) of ASE, or write '
      'pbc="F F F" beside Lattice in an extended XYZ file'
    )
  numbers_A = np.array(atoms.get_atomic_numbers())
  return _without_dummies(numbers_A), np.array(atoms.get_positions())


def _without_dummies(numbers_A: np.ndarray) -> np.ndarray:
  if np.any(numbers_A == 0):
    raise ValueError(
      f'atom {int(np.argmax(numbers_A == 0))} is a dummy atom, of no element: '
      'leave it out'
    )
  return numbers_A
