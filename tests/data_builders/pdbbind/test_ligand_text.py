"""What the text of a ligand file says, and what is read of it."""

import numpy as np
import pytest
from support import made_up_ligands as made_up
from support.made_up_ligands import METHANOL, embedded, files, sdf, tables

from data_builders.pdbbind.readers import ligand, types

# Proflavine, an amide with pyridone and chlorine, an acid, a sulfonamide.
SMILES = (
  'Nc1ccc2cc3ccc(N)cc3nc2c1', 'O=C1C=CC(NC(=O)c2c(Cl)cccc2Cl)=CN1',
  'CCCC(C)C(=O)O', 'CNS(=O)(=O)c1ccncc1',
)  # fmt: skip


def of_smiles(smiles, found):
  """(descriptors, count of each element) of a SMILES."""
  from rdkit import Chem

  right = Chem.MolFromSmiles(smiles)
  numbers = [atom.GetAtomicNum() for atom in Chem.AddHs(right).GetAtoms()]
  return ligand.descriptors(right, found.atoms), np.bincount(numbers)


def check_is(smiles, found, log):
  """Plain atoms, descriptors of the SMILES, all its hydrogens for xTB."""
  assert not any(atom.HasQuery() for atom in found.molecule.GetAtoms())
  assert not any(bond.HasQuery() for bond in found.molecule.GetBonds())
  expected, counts = of_smiles(smiles, found)
  values = ligand.descriptors(found.molecule, found.atoms)
  assert values == pytest.approx(expected, abs=1e-6)
  completed, words = ligand.for_xtb(found)
  assert (words, completed.charge) == (log, 0)
  np.testing.assert_array_equal(np.bincount(completed.numbers), counts)


@pytest.mark.parametrize('smiles', SMILES)
@pytest.mark.parametrize('has_hydrogens', [True, False])
@pytest.mark.parametrize('counts', [True, False])
def test_counts_of_neighbours_make_no_queries(
  tmp_path, smiles, has_hydrogens, counts
):
  from rdkit import Chem

  molecule = embedded(smiles, has_hydrogens)
  if not counts:  # nothing tells which aromatic nitrogen has a hydrogen
    Chem.Kekulize(molecule, clearAromaticFlags=True)
  text = made_up.with_counts(sdf(*tables(molecule)), molecule, counts)
  found = ligand.read_ligand(files(tmp_path, text))
  assert found.source.endswith('.sdf')
  check_is(smiles, found, 'file' if has_hydrogens else 'added')


def v3000(smiles, atom='', bond=''):
  """A record without hydrogens whose atoms and bonds have these words."""
  from rdkit import Chem

  molecule = embedded(smiles, hydrogens=False)
  Chem.Kekulize(molecule)
  lines = Chem.MolToV3KMolBlock(molecule).splitlines()
  for block, words in (('ATOM', atom), ('BOND', bond)):
    first = lines.index(f'M  V30 BEGIN {block}') + 1
    for i in range(first, lines.index(f'M  V30 END {block}')):
      lines[i] += words
  return '\n'.join([*lines, '$$$$', ''])


@pytest.mark.parametrize('smiles', SMILES)
def test_v3000_with_queries(tmp_path, smiles):
  text = v3000(smiles, atom=' HCOUNT=1', bond=' TOPO=1')
  check_is(smiles, ligand.read_ligand(files(tmp_path, text)), 'added')


@pytest.mark.parametrize('symbol', ['L', 'A', 'Q', '*', 'R#'])
def test_atoms_of_no_one_element_are_refused(tmp_path, symbol):
  atoms, bonds = METHANOL
  text = sdf([(symbol, '', atoms[0][2]), *atoms[1:]], bonds)
  with pytest.raises(types.ComplexError, match='atom 1: unknown element'):
    ligand.read_ligand(files(tmp_path, text))
  text = v3000('CCO').replace('M  V30 1 C ', 'M  V30 1 [C,N] ')
  with pytest.raises(types.ComplexError, match='atom 1: unknown element'):
    ligand.read_ligand(files(tmp_path, text))


def test_v3000_records_that_are_cut(tmp_path):
  text = v3000('CCO')
  assert 'COUNTS 3 2' in text
  for old, new, words in (
    ('COUNTS 3 2', 'COUNTS 4 2', '3 atoms where 4 are announced'),
    ('M  V30 1 C', 'M  V30 1 C x', 'no V3000 atom'),
  ):
    with pytest.raises(types.ComplexError, match=words):
      ligand.read_ligand(files(tmp_path, text.replace(old, new)))


@pytest.mark.parametrize('order', [5, 6, 7, 8])
def test_sdf_bonds_without_one_order_are_none(tmp_path, order):
  atoms, bonds = METHANOL
  text = sdf(atoms, [*bonds[:-1], (3, 6, order)])
  found = ligand.read_ligand(files(tmp_path, text))
  assert (found.molecule, found.formal_charge) == (None, None)
  assert 'bond of atoms 3 and 6 has no definite order' in found.problems[0]


@pytest.mark.parametrize('order', ['un', 'du', 'nc', '4', ''])
def test_mol2_bonds_without_one_order_are_none(tmp_path, order):
  """RDKit charges their atoms, or leaves the bonds out."""
  atoms, bonds = METHANOL
  text = made_up.mol2(atoms, [*bonds[:-1], (3, 6, order)])
  found = ligand.read_ligand(files(tmp_path, None, text))
  assert (found.molecule, found.formal_charge) == (None, None)
  assert f'a bond of type {order or "none"}, which' in found.problems[0]
  assert ligand.for_xtb(found) == (None, 'file:no_bonds')
  both = files(tmp_path, sdf(atoms, bonds), text)
  assert ligand.read_ligand(both).formal_charge == 0


def typed(smiles, types_of, hydrogens=False):
  """A mol2 record with a type for each element or atom (C2)."""
  atoms, bonds = tables(embedded(smiles, hydrogens))
  typed_atoms = [
    (symbol, types_of.get(f'{symbol}{i}') or types_of[symbol], xyz)
    for i, (symbol, _, xyz) in enumerate(atoms, 1)
  ]
  bonds = [
    (i, j, 'ar' if order == 4 or typed_atoms[j - 1][1] == 'O.co2' else order)
    for i, j, order in bonds
  ]
  return made_up.mol2(typed_atoms, bonds)


@pytest.mark.parametrize('hydrogens', [True, False])
@pytest.mark.parametrize(
  ('smiles', 'types_of'),
  [
    ('Clc1ccccc1', {'C': 'ca', 'Cl': 'cl', 'H': 'ha'}),
    ('Clc1c(Cl)c(Cl)c(Cl)c(Cl)c1Cl', {'C': 'ca', 'Cl': 'cl'}),
    ('Brc1ccncc1', {'C': 'cp', 'Br': 'br', 'N': 'nb', 'H': 'h4'}),
    ('CCOC', {'C': 'c3', 'O': 'os', 'H': 'h1'}),
    ('CSC', {'C': 'c3', 'S': 'ss', 'H': 'h1'}),
  ],
)
def test_types_of_gaff_are_its_elements(tmp_path, smiles, types_of, hydrogens):
  text = typed(smiles, types_of, hydrogens)
  found = ligand.read_ligand(files(tmp_path, None, text))
  has_them = hydrogens or 'H' not in types_of
  check_is(smiles, found, 'file' if has_them else 'added')


@pytest.mark.parametrize(
  ('kind', 'name', 'words'),
  [
    ('CA', 'X', "unknown element symbol 'CA'"),  # Amber's carbon, or calcium
    ('CT', 'C', "unknown element symbol 'CT'"),
    ('zn', 'X', "unknown element symbol 'zn'"),
    ('Ca', 'C', 'name and type contradict each other'),
    ('N.3', 'C', 'name and type contradict each other'),
    ('nc', 'C', 'name and type contradict each other'),
  ],
)
def test_types_that_may_be_several_elements_are_refused(
  tmp_path, kind, name, words
):
  atoms, bonds = METHANOL
  text = made_up.mol2([(name, kind, atoms[0][2]), *atoms[1:]], bonds)
  with pytest.raises(types.ComplexError, match=f'atom 1.*{words}'):
    ligand.read_ligand(files(tmp_path, None, text))


def test_an_atom_without_bonds_is_calcium_or_carbon(tmp_path):
  def read(kind):
    text = made_up.mol2([('CA', kind, (0, 0, 0))], [])
    return ligand.read_ligand(files(tmp_path, None, text))

  assert read('Ca').atoms.numbers.tolist() == [20]
  with pytest.raises(types.ComplexError, match="unknown element symbol 'ca'"):
    read('ca')


@pytest.mark.parametrize(
  ('smiles', 'types_of', 'charge'),
  [
    ('CCO', {'C': 'C.3', 'O': 'O.3'}, 0),
    ('NCCS', {'C': 'C.3', 'N': 'N.3', 'S': 'S.3'}, 0),
    ('CC(=O)[O-]', {'C': 'C.3', 'C2': 'C.2', 'O': 'O.co2'}, -1),
  ],
)
def test_mol2_without_hydrogens(tmp_path, smiles, types_of, charge):
  text = typed(smiles, types_of)
  found = ligand.read_ligand(files(tmp_path, None, text))
  assert found.formal_charge == charge
  completed, log = ligand.for_xtb(found)
  assert (log, completed.charge) == ('added', charge)
  expected, counts = of_smiles(smiles, found)
  np.testing.assert_array_equal(np.bincount(completed.numbers), counts)
  values = ligand.descriptors(found.molecule, found.atoms)
  assert values == pytest.approx(expected, abs=1e-6)


def test_mol2_with_polar_hydrogens_alone(tmp_path):
  """As of united atoms: carbon lacks its own, the charge stays."""
  atoms, _ = METHANOL
  text = made_up.mol2([atoms[0], atoms[2], atoms[5]], [(1, 2, 1), (2, 3, 1)])
  completed, log = ligand.for_xtb(
    ligand.read_ligand(files(tmp_path, None, text))
  )
  assert (log, completed.charge) == ('added', 0)
  assert completed.numbers.tolist() == [6, 8, 1, 1, 1, 1]


def drawn(smiles, says, shift=(0, 0, 0), turn_33=None):
  """SDF of a drawing in a plane."""
  from rdkit import Chem
  from rdkit.Chem import rdDepictor

  molecule = Chem.MolFromSmiles(smiles)
  rdDepictor.Compute2DCoords(molecule)
  atoms, bonds = tables(molecule)
  turn_33 = np.eye(3) if turn_33 is None else turn_33
  atoms = [(s, k, turn_33 @ xyz + shift) for s, k, xyz in atoms]
  text = sdf(atoms, bonds)
  return text.replace('made up\n\n', f'made up\n{"  edjax":20}{says}\n', 1)


@pytest.mark.parametrize('shift', [(0, 0, 0), (3, 4, 5)])
@pytest.mark.parametrize('turned', [False, True])
def test_drawings_are_no_poses(tmp_path, shift, turned):
  axes_33 = np.linalg.qr(np.arange(9.0).reshape(3, 3) ** 2 + np.eye(3))[0]
  turn_33 = axes_33 if turned else None
  for smiles, says, words in (
    ('CC(C)CO', '2D', 'dimension code is 2D'),
    ('c1ccccc1Cl', '2D', 'dimension code is 2D'),
    ('CC(C)CO', '3D', 'atom 2 is a tetrahedral carbon'),
    ('CC(C)CO', '', 'atom 2 is a tetrahedral carbon'),
  ):
    text = drawn(smiles, says, shift, turn_33)
    with pytest.raises(types.ComplexError, match=f'lie in a plane.*{words}'):
      ligand.read_ligand(files(tmp_path, text))


def test_planar_molecules_may_lie_in_a_plane(tmp_path):
  for smiles in ('c1ccccc1Cl', 'NC(=N)N', 'CCO', 'C=CC=C'):
    text = drawn(smiles, '3D')
    assert ligand.read_ligand(files(tmp_path, text)).molecule is not None
  # What is no drawing is not refused for its dimension code.
  text = sdf(*tables(embedded('CC(C)CO'))).replace(
    'made up\n\n', f'made up\n{"":20}2D\n', 1
  )
  assert ligand.read_ligand(files(tmp_path, text)).molecule is not None
  # The bonds of an amidine that lost its double bond are no tetrahedron.
  lost = drawn('NC(=N)N', '3D').replace('  2  3  2', '  2  3  1')
  assert ligand.read_ligand(files(tmp_path, lost)).molecule is not None


@pytest.mark.parametrize('unit', [1 / 0.529177, 0.1, 0.66])
def test_coordinates_in_other_units(tmp_path, unit):
  """In bohr, in nm, and drawn with bonds of length 1."""
  atoms, bonds = tables(embedded('CC(C)CO'))
  atoms = [(s, k, xyz * unit) for s, k, xyz in atoms]
  with pytest.raises(types.ComplexError, match='coordinates are not in Å'):
    ligand.read_ligand(files(tmp_path, sdf(atoms, bonds)))


def test_a_bond_that_is_none(tmp_path):
  atoms, bonds = tables(embedded('CCCCCCCC', hydrogens=False))
  far = [*atoms[:-1], ('C', 'C', np.add(atoms[-2][2], (0, 4.3, 0)))]
  with pytest.raises(types.ComplexError, match=r'bonded, and 4\.30 Å apart'):
    ligand.read_ligand(files(tmp_path, sdf(far, bonds)))


def two(first, second, shift):
  """SDF of two molecules as one ligand."""
  atoms, bonds = tables(embedded(first))
  others, more = tables(embedded(second))
  n_atoms = len(atoms)
  more = [(i + n_atoms, j + n_atoms, order) for i, j, order in more]
  return sdf([*atoms, *made_up.moved(others, shift)], [*bonds, *more])


def test_ions_and_solvent_far_from_the_ligand_are_left_out(tmp_path):
  alone = ligand.read_ligand(files(tmp_path, sdf(*tables(embedded(SMILES[0])))))
  for other in ('Cl', 'O', 'CS(=O)(=O)O'):
    text = two(SMILES[0], other, (0, 0, 38))
    found = ligand.read_ligand(files(tmp_path, text))
    np.testing.assert_array_equal(found.atoms.numbers, alone.atoms.numbers)
    assert 'more than 6 Å from the others and left out' in found.problems[0]
    check_is(SMILES[0], found, 'file')
  # The charge is that of what is left.
  text = two(SMILES[0], '[Cl-]', (0, 0, 38)).replace(
    'M  END', 'M  CHG  1  28  -1\nM  END'
  )
  assert ligand.read_ligand(files(tmp_path, text)).formal_charge == 0


def test_which_of_two_far_molecules_is_the_ligand_is_not_guessed(tmp_path):
  text = two('CCCC(C)C(=O)O', 'CCCCO', (0, 0, 38))
  with pytest.raises(types.ComplexError, match=r'5 of 13 .*may be either'):
    ligand.read_ligand(files(tmp_path, text))


def test_molecules_that_touch_are_one_ligand(tmp_path):
  found = ligand.read_ligand(files(tmp_path, two(SMILES[0], 'O', (0, 0, 4))))
  assert len(ligand.heavy(found.atoms).numbers) == 17
  assert 'the ligand is 2 molecules' in found.problems[0]
