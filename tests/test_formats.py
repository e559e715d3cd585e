"""Files of molecules, against the programs that wrote or read them."""

import gzip

import ase.build
import ase.io
import gemmi
import numpy as np
import pytest
from rdkit import Chem
from support import cubes, made_up_ligands, made_up_pockets

from edjax import molecule
from edjax.chem import units


def in_file_frame(mol):
  return np.asarray(mol.coords_A3) + np.asarray(mol.origin_3)


@pytest.mark.parametrize('name', ['a.xyz', 'a.extxyz', 'a.xyz.gz'])
def test_the_first_frame_of_xyz(tmp_path, name):
  frames = [ase.build.molecule(one) for one in ('CH3OH', 'H2O')]
  kind = 'extxyz' if 'ext' in name else 'xyz'
  ase.io.write(tmp_path / name, frames, format=kind)
  mol = molecule.read(tmp_path / name, max_atoms=8)
  np.testing.assert_array_equal(mol.numbers_A[:6], frames[0].numbers)
  np.testing.assert_allclose(
    in_file_frame(mol)[:6], frames[0].positions, atol=1e-6
  )
  assert mol.numbers_A.shape == (8,)


@pytest.mark.parametrize('name', ['a.sdf', 'b.MOL', 'c.sdf.gz', 'd.mol2'])
def test_molecules_with_bonds(tmp_path, name):
  full = made_up_ligands.embedded('CC(=O)[O-]')
  if 'mol2' in name:
    text = made_up_ligands.mol2(*made_up_ligands.tables(full))
  else:
    text = Chem.MolToMolBlock(full) + '$$$$\n'
  data = text.encode()
  (tmp_path / name).write_bytes(
    gzip.compress(data) if name.endswith('gz') else data
  )
  mol = molecule.read(tmp_path / name)
  np.testing.assert_array_equal(mol.numbers_A, [6, 6, 8, 8, 1, 1, 1])
  np.testing.assert_allclose(
    in_file_frame(mol), full.GetConformer().GetPositions(), atol=1e-4
  )


def test_a_file_without_hydrogens_is_refused(tmp_path):
  heavy = made_up_ligands.embedded('CCO', hydrogens=False)
  path = tmp_path / 'heavy.sdf'
  path.write_text(Chem.MolToMolBlock(heavy))
  with pytest.raises(ValueError, match=r'heavy\.sdf: 6 hydrogens are implicit'):
    molecule.read(path)


ALTERNATIVES = [
  *made_up_pockets.residue('ALA', label='A', occ=0.4, b=10),
  *made_up_pockets.residue('ALA', (0.5, 0, 0), label='B', occ=0.6, b=30),
  *made_up_pockets.residue('GLY', (9, 0, 0), number=2, b=15),
]


@pytest.mark.parametrize('name', ['x.pdb', 'x.ent', 'x.cif'])
def test_structures_have_b_factors(tmp_path, name):
  text = '\n'.join([*ALTERNATIVES, 'END', ''])
  structure = gemmi.read_pdb_string(text)
  structure.setup_entities()
  if name.endswith('cif'):
    text = structure.make_mmcif_document().as_string()
  (tmp_path / name).write_text(text)
  mol = molecule.read(tmp_path / name)
  first, second = structure[0][0]
  expected = [a for a in first if a.altloc == 'B'] + list(second)
  np.testing.assert_allclose(
    in_file_frame(mol), [a.pos.tolist() for a in expected], atol=1e-5
  )
  np.testing.assert_array_equal(
    mol.numbers_A, [a.element.atomic_number for a in expected]
  )
  np.testing.assert_array_equal(mol.b_factors_A, [30] * 5 + [15] * 5)


def test_a_cube_has_its_density(tmp_path):
  made = cubes.density(cubes.WATER, step=0.4)
  cubes.write(tmp_path / 'water.cube', made)
  mol = molecule.read(tmp_path / 'water.cube')
  np.testing.assert_allclose(
    in_file_frame(mol), made.coords * units.BOHR_A, atol=1e-5
  )
  np.testing.assert_allclose(
    mol.density_map.values_XYZ,
    made.values / units.BOHR_A**3,
    rtol=1e-4,
    atol=1e-6,
  )
  # The map moves with the atoms.
  np.testing.assert_allclose(
    np.asarray(mol.density_map.origin_3 + mol.origin_3),
    made.origin * units.BOHR_A,
    atol=1e-5,
  )


@pytest.mark.parametrize(
  ('name', 'text', 'message'),
  [
    ('a.docx', 'x', r'a\.docx is of no known kind: \.xyz'),
    ('a.xyz', '', r'a\.xyz is empty'),
    ('a.xyz', '2\n\nH 0 0 0\n', r'2 atoms are announced'),
    ('a.xyz', '1\n\nH 0 0 zero\n', r'a\.xyz: ASE cannot read'),
    (
      'a.xyz',
      '1\nLattice="9 0 0 0 9 0 0 0 9"\nHe 0 0 0\n',
      r'a\.xyz: the atoms are periodic.*pbc="F F F"',
    ),
    ('a.sdf', 'no molecule', r'a\.sdf, record 1: no V2000'),
    ('a.pdb', 'REMARK\n', r'a\.pdb: no atoms'),
    ('a.cube', 'x\n', r'a\.cube'),
  ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, text, message):
  (tmp_path / name).write_text(text)
  with pytest.raises(ValueError, match=message):
    molecule.read(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path):
  with pytest.raises(FileNotFoundError, match=r'there is no file .*b\.xyz'):
    molecule.read(tmp_path / 'b.xyz')


def test_the_module_has_no_other_names():
  with pytest.raises(AttributeError, match='no attribute'):
    _ = molecule.reads
