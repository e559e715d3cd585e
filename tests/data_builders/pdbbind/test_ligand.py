"""Ligands: sdf, then mol2, then bare atoms; hydrogens for GFN2-xTB."""

import csv
import gzip

import numpy as np
import pytest
from support.made_up_ligands import METHANOL, embedded, files, mol2, sdf

from data_builders import xtb
from data_builders.pdbbind.readers import layout, ligand, types


def five_valent(atoms, bonds):
  """The same molecule with a bond that RDKit refuses."""
  return sdf(atoms, [(i, j, 3 if n == 1 else k) for n, (i, j, k) in
                     enumerate(bonds)])  # fmt: skip


def test_sdf_as_it_is(tmp_path):
  found = ligand.read_ligand(files(tmp_path, sdf(*METHANOL)))
  assert found.atoms.numbers.tolist() == [6, 1, 8, 1, 1, 1]
  np.testing.assert_allclose(
    found.atoms.coords, [xyz for *_, xyz in METHANOL[0]], atol=1e-9
  )
  assert found.molecule.GetNumAtoms() == 6
  assert (found.formal_charge, found.problems) == (0, ())
  assert found.source == '1abc_ligand.sdf'
  heavy = ligand.heavy(found.atoms)
  assert heavy.numbers.tolist() == [6, 8]
  assert len(heavy.coords) == len(heavy.occupancies) == 2
  # C and O weigh 12.011 and 15.999 u.
  expected = (12.011 * 0.70 - 15.999 * 0.73) / (12.011 + 15.999)
  assert ligand.centre(found.atoms)[0] == pytest.approx(expected, rel=1e-4)


def test_charge_comes_from_the_file(tmp_path):
  atoms = [('C', '', (0, 0, 0)), ('N', '', (1.5, 0, 0))]
  charged = sdf(atoms, [(1, 2, 1)]).replace(
    'M  END', 'M  CHG  1   2   1\nM  END'
  )
  assert ligand.read_ligand(files(tmp_path, charged)).formal_charge == 1
  neutral = sdf(atoms, [(1, 2, 1)])
  assert ligand.read_ligand(files(tmp_path, neutral)).formal_charge == 0


def test_mol2_where_the_sdf_is_refused(tmp_path):
  found = ligand.read_ligand(
    files(tmp_path, five_valent(*METHANOL), mol2(*METHANOL))
  )
  assert found.source == '1abc_ligand.mol2'
  assert found.molecule is not None
  assert found.atoms.numbers.tolist() == [6, 1, 8, 1, 1, 1]
  (problem,) = found.problems
  assert problem.startswith('1abc_ligand.sdf: Explicit valence')
  # The sdf comes first where nothing is wrong with it.
  both = files(tmp_path, sdf(*METHANOL), mol2(*METHANOL))
  assert ligand.read_ligand(both).source == '1abc_ligand.sdf'


def test_atoms_alone_where_both_are_refused(tmp_path):
  bad_mol2 = mol2(METHANOL[0], [(1, 99, 1)])
  found = ligand.read_ligand(files(tmp_path, five_valent(*METHANOL), bad_mol2))
  assert found.molecule is None
  assert found.source == '1abc_ligand.sdf'
  assert found.atoms.numbers.tolist() == [6, 1, 8, 1, 1, 1]
  assert [p.split(':')[0] for p in found.problems] == [
    '1abc_ligand.sdf', '1abc_ligand.mol2'
  ]  # fmt: skip


@pytest.mark.parametrize('kind', ['sdf', 'mol2'])
def test_table_of_atoms_where_rdkit_reads_nothing(tmp_path, kind):
  """A bond to an atom that is not there."""
  atoms = METHANOL[0]
  write = {'sdf': sdf, 'mol2': mol2}[kind]
  text = write([*atoms[:-1], ('Cl', 'Cl', atoms[-1][2])], [(1, 99, 1)])
  found = ligand.read_ligand(files(tmp_path, **{f'{kind}_text': text}))
  assert found.atoms.numbers.tolist() == [6, 1, 8, 1, 1, 17]
  np.testing.assert_allclose(
    found.atoms.coords, [xyz for *_, xyz in atoms], atol=1e-9
  )
  assert found.formal_charge is None
  assert found.problems == (f'1abc_ligand.{kind}: RDKit cannot read it',)


def broken(kind, what):
  """A file that is no single molecule of known elements somewhere."""
  atoms, bonds = METHANOL
  write = {'sdf': sdf, 'mol2': mol2}[kind]
  good = write(atoms, bonds)
  if what == 'empty':
    return '\n'
  if what == 'two':
    return good + good
  if what == 'none':
    return write([], [])
  if what == 'nan':
    return good.replace('0.7000', '   nan')
  if what == 'infinite':
    return good.replace('0.7000', '   inf')
  if what == 'huge':
    return good.replace('0.7000', ' 1e300')
  if what == 'garbage':
    return good.replace('0.7000', '0.7x00')
  if what == 'element':
    return write([('Qq', 'Qq', (0, 0, 0)), *atoms[1:]], bonds)
  if what == 'dummy':
    return write([('*', 'Du', (0, 0, 0)), *atoms[1:]], bonds)
  if what == 'hydrogen':
    return write([atoms[1], atoms[3]], [(1, 2, 1)])
  if what == 'cut':
    return '\n'.join(good.splitlines()[: {'sdf': 7, 'mol2': 10}[kind]])
  raise AssertionError(what)


@pytest.mark.parametrize(
  ('what', 'words'),
  [
    ('empty', 'is empty'),
    ('two', 'holds 2 molecules where one is expected'),
    ('none', 'no atoms'),
    ('nan', 'not finite|no atom: '),
    ('infinite', 'not finite|no atom: '),
    ('huge', 'atom 1: coordinates are not finite, or beyond 100000 Å'),
    ('garbage', 'no atom: '),
    ('element', "atom 1: unknown element symbol 'Qq'"),
    ('dummy', 'atom 1: unknown element symbol'),
    ('hydrogen', 'no atom heavier than hydrogen'),
    ('cut', '3 atoms where 6 are announced'),
  ],
)
@pytest.mark.parametrize('kind', ['sdf', 'mol2'])
def test_bad_files_raise_by_name_or_give_way_to_the_other(
  tmp_path, kind, what, words
):
  bad = {f'{kind}_text': broken(kind, what)}
  with pytest.raises(types.ComplexError, match=words) as caught:
    ligand.read_ligand(files(tmp_path, **bad))
  assert f'1abc_ligand.{kind}' in str(caught.value)
  if kind == 'sdf':
    found = ligand.read_ligand(
      files(tmp_path, bad['sdf_text'], mol2(*METHANOL))
    )
    assert found.source == '1abc_ligand.mol2'
    assert found.problems == (str(caught.value),)


def test_both_bad_names_both(tmp_path):
  both = files(tmp_path, broken('sdf', 'empty'), broken('mol2', 'two'))
  with pytest.raises(
    types.ComplexError, match=r'_ligand\.sdf is empty; .*_ligand\.mol2 holds 2'
  ):
    ligand.read_ligand(both)


def test_no_file_raises():
  with pytest.raises(types.ComplexError, match=r'no 1abc_ligand\.sdf'):
    ligand.read_ligand(types.Files('1abc'))


def molecule(smiles, hydrogens=True):
  """(RDKit's molecule with coordinates, Ligand)."""
  from rdkit import Chem

  full = embedded(smiles, hydrogens)
  n_atoms = full.GetNumAtoms()
  atoms = types.Atoms(
    np.array([atom.GetAtomicNum() for atom in full.GetAtoms()], np.int32),
    full.GetConformer().GetPositions(),
    np.zeros(n_atoms),
    np.ones(n_atoms),
  )
  charge = Chem.GetFormalCharge(full)
  return types.Ligand(atoms, charge, full, 'made up', ())


def test_descriptors_of_aspirin():
  """Values of PubChem (CID 2244, computed by Cactvs) where it has the same."""
  found = molecule('CC(=O)Oc1ccccc1C(=O)O')
  values = ligand.descriptors(found.molecule, found.atoms)
  assert tuple(values) == ligand.DESCRIPTORS
  assert values['heavy_atoms'] == 13
  assert values['tpsa'] == pytest.approx(63.6, abs=0.05)
  assert (values['donors'], values['formal_charge']) == (1, 0)
  assert (values['rings'], values['aromatic_rings']) == (1, 1)
  # C9H8O4 weighs 180.16 u, 8 H 8.064 u.
  assert values['heavy_weight'] == pytest.approx(180.16 - 8.064, abs=0.01)
  assert values['fraction_sp3'] == pytest.approx(1 / 9)


@pytest.mark.parametrize(
  ('neutral', 'ionised'),
  [
    ('CC(=O)O', 'CC(=O)[O-]'),
    ('NCCC(=O)O', '[NH3+]CCC(=O)[O-]'),
    ('NC(=N)c1ccccc1', 'NC(=[NH2+])c1ccccc1'),
  ],
)
def test_descriptors_do_not_tell_how_a_file_is_protonated(neutral, ionised):
  values = []
  for smiles in (neutral, ionised):
    for hydrogens in (True, False):
      found = molecule(smiles, hydrogens)
      values.append(ligand.descriptors(found.molecule, found.atoms))
      charge = values[-1].pop('formal_charge')
      assert charge == found.formal_charge
  assert values[0] == values[1] == values[2] == values[3]
  other = molecule('CCN')
  assert ligand.descriptors(other.molecule, other.atoms) != values[0]


def test_descriptors_without_bonds():
  found = molecule('CCO')
  values = ligand.descriptors(None, found.atoms)
  full = ligand.descriptors(found.molecule, found.atoms)
  for name in ('heavy_atoms', 'heavy_weight'):
    assert values.pop(name) == full[name]
  assert values
  assert np.isnan(list(values.values())).all()


@pytest.mark.parametrize(
  ('smiles', 'formula'),
  [
    ('c1ccccc1', {6: 6, 1: 6}),
    ('CC(=O)[O-]', {6: 2, 8: 2, 1: 3}),
    ('C[N+](C)(C)CC', {6: 5, 7: 1, 1: 14}),
  ],
)
def test_missing_hydrogens_are_added(smiles, formula):
  found = molecule(smiles, hydrogens=False)
  completed, log = ligand.for_xtb(found)
  assert log == 'added'
  counts = np.bincount(completed.numbers)
  assert {z: int(counts[z]) for z in np.flatnonzero(counts)} == formula
  n_heavy = len(found.atoms.numbers)
  np.testing.assert_array_equal(completed.coords[:n_heavy], found.atoms.coords)
  assert (completed.numbers[n_heavy:] == 1).all()
  assert completed.charge == found.formal_charge
  apart = np.linalg.norm(
    completed.coords[n_heavy:, None] - completed.coords[:n_heavy], axis=-1
  )
  # C-H bonds are 1.09 Å; the nearest heavy atom is the one bound.
  assert np.abs(apart.min(axis=1) - 1.09).max() < 0.03
  xtb.run(*completed)  # takes it: electrons are even, no atoms collide


def converted(found):
  """As some converters write it: double bonds, charges at P, N and S gone."""
  atoms = [
    (atom.GetSymbol(), '', xyz)
    for atom, xyz in zip(
      found.molecule.GetAtoms(), found.atoms.coords, strict=True
    )
  ]
  bonds = []
  for bond in found.molecule.GetBonds():
    ends = bond.GetBeginAtom(), bond.GetEndAtom()
    lost = {'N', 'P', 'S'} & {end.GetSymbol() for end in ends}
    order = 1 if lost else int(bond.GetBondTypeAsDouble())
    bonds.append((*(end.GetIdx() + 1 for end in ends), order))
  return sdf(atoms, bonds)


@pytest.mark.parametrize(
  ('smiles', 'charge', 'formula'),
  [
    ('CO[P+](O)(O)O', 0, {6: 1, 8: 4, 15: 1, 1: 5}),
    ('OP(=O)(O)OC[P+](O)(O)O', 0, {6: 1, 8: 7, 15: 2, 1: 6}),
    ('CCC(N)=[NH2+]', 1, {6: 3, 7: 2, 1: 9}),
    ('CNC(N)=[NH2+]', 1, {6: 2, 7: 3, 1: 8}),
    ('CCS(C)=O', 0, {6: 3, 8: 1, 16: 1, 1: 8}),
    ('CC[S+](C)O', 0, {6: 3, 8: 1, 16: 1, 1: 8}),
  ],
)
def test_double_bonds_that_were_lost(tmp_path, smiles, charge, formula):
  """No hydrogen goes to P, S or C, and the charge is the group's."""
  found = ligand.read_ligand(files(tmp_path, converted(molecule(smiles))))
  assert found.formal_charge == 0
  completed, log = ligand.for_xtb(found)
  assert (log, completed.charge) == ('repaired', charge)
  counts = np.bincount(completed.numbers)
  assert {z: int(counts[z]) for z in np.flatnonzero(counts)} == formula
  heavy = ligand.heavy(found.atoms)
  np.testing.assert_array_equal(
    completed.coords[: len(heavy.numbers)], heavy.coords
  )
  # Gaps of radicals are near 0, of such groups they are electronvolts.
  assert xtb.run(*completed).gap > 2
  # Descriptors are those of the molecule that was converted.
  neutral = {'CO[P+](O)(O)O': 'COP(=O)(O)O', 'CC[S+](C)O': 'CCS(C)=O',
             'OP(=O)(O)OC[P+](O)(O)O': 'OP(=O)(O)OCP(=O)(O)O'}  # fmt: skip
  right = molecule(neutral.get(smiles, smiles))
  expected = ligand.descriptors(right.molecule, right.atoms)
  values = ligand.descriptors(found.molecule, found.atoms)
  for name in set(values) - {'formal_charge'}:
    assert values[name] == pytest.approx(expected[name]), name


@pytest.mark.parametrize('smiles', ['COP(=O)(O)O', 'CC(N)=N', 'CC(N)N'])
def test_sound_groups_are_not_repaired(smiles):
  """P=O and C=N that are there, and an aminal, which has four bonds."""
  assert ligand.for_xtb(molecule(smiles))[1] == 'file'
  assert ligand.for_xtb(molecule(smiles, hydrogens=False))[1] == 'added'


def test_hydrogens_of_the_file_are_kept_behind_the_heavy_atoms(tmp_path):
  found = ligand.read_ligand(files(tmp_path, sdf(*METHANOL)))
  completed, log = ligand.for_xtb(found)
  assert log == 'file'
  assert completed.numbers.tolist() == [6, 8, 1, 1, 1, 1]
  np.testing.assert_array_equal(
    completed.coords, found.atoms.coords[[0, 2, 1, 3, 4, 5]]
  )


def radical():
  """Methanol without the hydrogen of O, whose valence the file says is 1."""
  atoms, bonds = METHANOL
  return sdf(atoms[:-1], bonds[:-1], valences={3: 1})


def test_odd_electrons_try_mol2_then_reprotonation(tmp_path):
  shifted = [(s, k, np.add(xyz, 0.02)) for s, k, xyz in METHANOL[0]]
  given = files(tmp_path, radical(), mol2(shifted, METHANOL[1]))
  found = ligand.read_ligand(given)
  assert found.source == '1abc_ligand.sdf'
  completed, log = ligand.for_xtb(found, given)
  assert log == 'file:odd mol2'
  assert completed.numbers.tolist() == [6, 8, 1, 1, 1, 1]
  heavy = ligand.heavy(found.atoms).coords
  np.testing.assert_array_equal(completed.coords[:2], heavy)
  assert ligand.for_xtb(found)[1] == 'file:odd reprotonated'
  completed, _ = ligand.for_xtb(found)
  assert completed.numbers.tolist() == [6, 8, 1, 1, 1, 1]
  o_h = np.linalg.norm(completed.coords[2:] - completed.coords[1], axis=1)
  assert o_h.min() == pytest.approx(0.97, abs=0.05)


def test_hydrogens_of_the_file_that_collide_are_not_used(tmp_path):
  atoms, bonds = METHANOL
  close = [*atoms[:3], (*atoms[3][:2], np.add(atoms[1][2], 0.1)), *atoms[4:]]
  found = ligand.read_ligand(files(tmp_path, sdf(close, bonds)))
  completed, log = ligand.for_xtb(found)
  assert log == 'file:collision reprotonated'
  xtb.run(*completed)


def test_a_mol2_of_another_molecule_is_not_used(tmp_path):
  far = [(s, k, np.add(xyz, 1.0)) for s, k, xyz in METHANOL[0]]
  given = files(tmp_path, radical(), mol2(far, METHANOL[1]))
  found = ligand.read_ligand(given)
  _, log = ligand.for_xtb(found, given)
  assert log == 'file:odd mol2:other_atoms reprotonated'
  given.ligand_mol2.write_text('')
  assert ligand.for_xtb(found, given)[1].split()[1] == 'mol2:failed'


def test_nothing_helps_a_sodium_atom(tmp_path):
  found = ligand.read_ligand(files(tmp_path, sdf([('Na', '', (0, 0, 0))], [])))
  completed, log = ligand.for_xtb(found)
  assert completed is None
  assert log == 'file:odd reprotonated:odd'


def test_without_bonds_the_atoms_of_the_file_are_used_if_they_fit(tmp_path):
  found = ligand.read_ligand(files(tmp_path, five_valent(*METHANOL)))
  assert found.molecule is None
  completed, log = ligand.for_xtb(found)
  assert (log, completed.charge) == ('file', 0)
  assert completed.numbers.tolist() == [6, 8, 1, 1, 1, 1]
  assert ligand.for_xtb(found._replace(formal_charge=1)) == (None, 'file:odd')
  unknown = found._replace(formal_charge=None)
  assert ligand.for_xtb(unknown) == (None, 'file:no_bonds')
  bare = found._replace(atoms=ligand.heavy(found.atoms))
  assert ligand.for_xtb(bare) == (None, 'file:no_bonds')


def test_set_of_ligands(tmp_path):
  tags = '>  <pdb_id>\n{}\n\n>  <pK>\n{}\n\n>  <measure>\n{}\n\n$$$$\n'
  good = sdf(*METHANOL).replace('$$$$\n', '')
  bad = good.replace('0.7000', '   nan')
  refused = five_valent(*METHANOL).replace('$$$$\n', '')
  path = tmp_path / 'set.sdf.gz'
  path.write_bytes(gzip.compress((
    good + tags.format('1ABC', '6.4', 'Ki=0.4uM')
    + bad + tags.format('2abc', '5', 'Kd<1uM')
    + refused + tags.format('3abc', '-1.5', '')
  ).encode()))  # fmt: skip
  (one, first), (two, second), (three, third) = ligand.read_ligand_set(path)
  assert (one.pdb_id, one.pk, one.measure, one.relation) == (
    '1abc', 6.4, 'Ki', '='
  )  # fmt: skip
  assert (two.measure, two.relation) == ('Kd', '<')
  assert (three.pk, three.measure, three.year) == (-1.5, '', 0)
  assert np.isnan(three.resolution)
  assert first.molecule is not None
  assert isinstance(second, types.ComplexError)
  assert 'set.sdf.gz, record 2 (2abc): atom 1: ' in str(second)
  assert third.molecule is None
  assert 'record 3 (3abc): Explicit valence' in third.problems[0]
  assert ligand.read_set_entries(path) == [one, two, three]
  for pdb_id, pk, complaint in (
    ('1abc', 'unknown', 'is not a number'), ('1abc', 'nan', 'outside -2 to 18'),
    ('1abc', '25000', 'outside -2 to 18'), ('x/y', '5', 'is no id of'),
  ):  # fmt: skip
    path.write_text(good + tags.format(pdb_id, pk, ''))
    with pytest.raises(types.ComplexError, match=rf'record 1: no.*{complaint}'):
      list(ligand.read_ligand_set(path))


@pytest.fixture(scope='module')
def real(shared_data):
  found = layout.find(shared_data / 'pdbbind').files
  return {i: (f, ligand.read_ligand(f)) for i, f in found.items()}


def test_real_ligands(shared_data, real):
  """Against the table that another program run made of the same files."""
  with open(shared_data / 'pdbbind' / 'manifest.csv', newline='') as file:
    rows = {row['id']: row for row in csv.DictReader(file)}
  assert set(rows) == set(real)
  for pdb_id, (_, found) in real.items():
    row = rows[pdb_id]
    n_heavy = len(ligand.heavy(found.atoms).numbers)
    assert n_heavy == int(row['n_heavy']), pdb_id
    # Its aromatic ring cannot be kekulized: query atoms hid that.
    if row['sdf'] == 'sanitized' and pdb_id != '4hge':
      expected = f'{pdb_id}_ligand.sdf', False
    elif row['mol2'] == 'sanitized':
      expected = f'{pdb_id}_ligand.mol2', False
    else:
      expected = f'{pdb_id}_ligand.sdf', True
    assert (found.source, found.molecule is None) == expected
  bare = [i for i, (_, found) in real.items() if found.molecule is None]
  assert bare == ['1cbr', '3qlb']


def test_real_ligands_for_xtb(real):
  logs = {}
  for pdb_id, (given, found) in real.items():
    completed, log = ligand.for_xtb(found, given)
    logs.setdefault(log, []).append(pdb_id)
    electrons = int(completed.numbers.sum()) - completed.charge
    assert electrons % 2 == 0, pdb_id
    if found.molecule is not None:
      values = ligand.descriptors(found.molecule, found.atoms)
      assert np.isfinite(list(values.values())).all(), pdb_id
  assert len(logs['file']) > 350
  # 10gs and 2wti lack some hydrogens; the others come without any.
  assert logs['added'] == ['10gs', '1lee', '2wti', '3str', '6moa']
  assert len(logs['repaired']) == 26
  assert logs.keys() - {'file', 'added', 'repaired'} == {
    'file:collision mol2:collision reprotonated'
  }


def test_added_hydrogens_give_nearly_the_energy_of_the_files(real):
  """Three small ligands, their hydrogens taken away and added again.

  Other torsions and unrelaxed bonds are worth well below 0.1 Ha; a hydrogen
  that collides, or an electron pair that is missing, is not.
  """
  from rdkit import Chem

  small = sorted(
    (len(found.atoms.numbers), i)
    for i, (_, found) in real.items()
    if found.molecule is not None and (found.atoms.numbers == 1).any()
  )
  for _, pdb_id in small[:3]:
    found = real[pdb_id][1]
    own, log = ligand.for_xtb(found)
    assert log == 'file'
    bare = Chem.RemoveHs(found.molecule)
    again, log = ligand.for_xtb(
      found._replace(molecule=bare, atoms=ligand.heavy(found.atoms))
    )
    assert log == 'added'
    assert sorted(again.numbers) == sorted(own.numbers)
    assert xtb.run(*again).energy == pytest.approx(
      xtb.run(*own).energy, abs=0.1
    )


def test_real_set_of_ligands(shared_data):
  """Against the csv that was made with it."""
  folder = shared_data / 'pdbbind'
  with open(folder / 'ligands_refined2019.csv', newline='') as file:
    rows = list(csv.DictReader(file))
  found = list(ligand.read_ligand_set(folder / 'ligands_refined2019.sdf.gz'))
  assert len(found) == len(rows) == 4461
  for row, (entry, item) in zip(rows, found, strict=True):
    assert (entry.pdb_id, entry.pk) == (row['id'], float(row['pK']))
    if entry.pdb_id == '1qbv':
      assert '4.29 Å apart' in str(item)
      continue
    heavy = ligand.heavy(item.atoms)
    assert len(heavy.numbers) == int(row['n_heavy'])
    centroid = [float(row[x]) for x in ('cx', 'cy', 'cz')]
    np.testing.assert_allclose(heavy.coords.mean(0), centroid, atol=1e-3)
    assert (item.molecule is not None) == (row['rdkit'] == 'sanitized')
