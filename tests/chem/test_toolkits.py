"""Molecules of RDKit and ASE, against these programs' own coordinates."""

import ase
import ase.build
import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDepictor, rdDistGeom

from edjax.molecule import Molecule


def in_file_frame(mol):
  return np.asarray(mol.coords_A3) + np.asarray(mol.origin_3)


@pytest.fixture
def ethanol():
  molecule = Chem.AddHs(Chem.MolFromSmiles('CCO'))
  rdDistGeom.EmbedMultipleConfs(molecule, 3, randomSeed=1)
  return molecule


@pytest.mark.parametrize('conformer', [-1, 0, 2])
def test_a_conformer_of_rdkit(ethanol, conformer):
  mol = Molecule.from_rdkit(ethanol, conformer, max_atoms=12, index=7)
  expected_A3 = ethanol.GetConformer(conformer).GetPositions()
  np.testing.assert_allclose(in_file_frame(mol)[:9], expected_A3, atol=1e-5)
  np.testing.assert_array_equal(mol.numbers_A, [6, 6, 8, *[1] * 6, *[0] * 3])
  assert int(mol.index) == 7
  other_A3 = ethanol.GetConformer(1).GetPositions()  # the negative control
  assert np.abs(in_file_frame(mol)[:9] - other_A3).max() > 0.1


def test_what_rdkit_leaves_open_is_refused(ethanol):
  bare = Chem.MolFromSmiles('CCO')
  with pytest.raises(ValueError, match='no conformer: make one'):
    Molecule.from_rdkit(bare)
  with pytest.raises(ValueError, match=r'no conformer 5; it has \[0, 1, 2\]'):
    Molecule.from_rdkit(ethanol, 5)
  drawn = Chem.Mol(ethanol)
  rdDepictor.Compute2DCoords(drawn)
  with pytest.raises(ValueError, match='a drawing in a plane'):
    Molecule.from_rdkit(drawn)
  heavy = Chem.RemoveHs(ethanol)
  with pytest.raises(
    ValueError, match=r'6 hydrogens are implicit.*AddHs\(mol, addCoords=True\)'
  ):
    Molecule.from_rdkit(heavy)
  full = Chem.AddHs(heavy, addCoords=True)
  assert Molecule.from_rdkit(full).numbers_A.shape == (9,)
  with pytest.raises(ValueError, match=r'SanitizeMol\(mol\)'):
    Molecule.from_rdkit(Chem.MolFromXYZBlock('1\n\nHe 0 0 0\n'))
  dummy = Chem.AddHs(Chem.MolFromSmiles('C*'))
  dummy.AddConformer(Chem.Conformer(dummy.GetNumAtoms()))
  with pytest.raises(ValueError, match='atom 1 is a dummy atom'):
    Molecule.from_rdkit(dummy)


def test_atoms_of_ase():
  atoms = ase.build.molecule('CH3CHO')
  mol = Molecule.from_ase(atoms, center=False)
  np.testing.assert_allclose(mol.coords_A3, atoms.positions, atol=1e-6)
  np.testing.assert_array_equal(mol.numbers_A, atoms.numbers)
  # A box about a molecule is no crystal.
  atoms.set_cell([20, 20, 20])
  assert Molecule.from_ase(atoms).numbers_A.shape == (7,)
  atoms.set_pbc((False, False, True))
  with pytest.raises(ValueError, match=r'periodic.*set_pbc\(False\)'):
    Molecule.from_ase(atoms)
  with pytest.raises(ValueError, match='atom 1 is a dummy atom'):
    Molecule.from_ase(ase.Atoms('HX', [[0, 0, 0], [0, 0, 1]]))
