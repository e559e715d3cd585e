"""Readers of users' files, on files that the tests make up."""

import gzip

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from rdkit import Chem
from rdkit.Chem import rdDepictor, rdDistGeom
from support import made_up_ligands

from data_builders.own import sources
from data_builders.own.types import Options

WATER = ase.Atoms(
  'OH2', [[0, 0, 0.117], [0, 0.757, -0.471], [0, -0.757, -0.471]]
)


def read(path, **options):
  return list(sources.read(path, Options(**options)))


def embedded(smiles):
  molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
  assert rdDistGeom.EmbedMolecule(molecule, randomSeed=7) == 0
  return molecule


def sdf(path, molecules, *, v3000=False):
  """Writes [(molecule, title, properties)] as SDF."""
  with Chem.SDWriter(str(path)) as writer:
    writer.SetForceV3000(v3000)
    for molecule, title, properties in molecules:
      copy = Chem.Mol(molecule)
      copy.SetProp('_Name', title)
      for name, value in properties.items():
        copy.SetProp(name, value)
      writer.write(copy)
  return path


def test_smiles_of_a_table(tmp_path):
  path = tmp_path / 'own.csv'
  path.write_bytes(
    # A byte order mark, semicolons, quotation marks, an empty line and cell.
    b'\xef\xbb\xbfCanonical SMILES; pIC50;Comment\r\n'
    b'OCC;5.1;"a; b"\r\n\r\n'
    b'C[N+](C)(C)C;;\r\n'
    b'[CH3];>4;radical\r\n'
  )
  first, ion, radical = read(path)
  assert (first.example_id, first.index) == ('own_0001', 1)
  assert first.where == 'own.csv, line 2'
  assert first.smiles == 'CCO'
  assert first.numbers is None
  assert dict(first.values) == {
    'Canonical SMILES': 'OCC', 'pIC50': '5.1', 'Comment': 'a; b',
  }  # fmt: skip
  assert (ion.charge, ion.unpaired, ion.values['pIC50']) == (1, 0, '')
  assert ion.where == 'own.csv, line 4'
  assert (radical.charge, radical.unpaired) == (0, 1)
  assert not any(raw.problem for raw in (first, ion, radical))


def test_names_are_ids_where_they_differ(tmp_path):
  path = tmp_path / 'a.csv'
  path.write_text('Name,smiles\nx,C\ny,CC\n')
  assert [raw.example_id for raw in read(path)] == ['x', 'y']
  path.write_text('Name,smiles\nx,C\nx,CC\n')
  assert [raw.example_id for raw in read(path)] == ['a_0001', 'a_0002']


@pytest.mark.parametrize('header', [False, True])
def test_smi_files(tmp_path, header):
  """With a header or without, as RDKit reads the SMILES and first names."""
  path = tmp_path / 'a.smi'
  lines = ['CCO ethyl alcohol', '', '# no molecule', 'C[NH3+]\tamine', 'xyz 3']
  path.write_text('\n'.join([*(['SMILES Name'] if header else []), *lines]))
  first, ion, bad = read(path)
  supplier = Chem.SmilesMolSupplier(str(path), ' \t', titleLine=header)
  for raw, molecule in zip((first, ion), supplier, strict=False):
    assert raw.smiles == Chem.MolToSmiles(molecule)
    assert raw.example_id.split()[0] == molecule.GetProp('_Name')
  assert first.example_id == 'ethyl alcohol'
  assert (ion.charge, ion.where) == (1, f'a.smi, line {4 + header}')
  assert "RDKit cannot read the SMILES 'xyz'" in bad.problem


def test_columns_of_a_smi_file(tmp_path):
  path = tmp_path / 'a.smi.gz'
  path.write_bytes(gzip.compress(b'smiles\ty\tname\nC\t2\ta b\nCC\t3\n'))
  one, two = read(path)
  assert (one.values['y'], two.values['y']) == ('2', '3')
  assert (one.example_id, two.example_id) == (
    'a_0001',
    'a_0002',
  )  # one lacks it
  assert one.values['name'] == 'a b'


def test_smiles_beside_a_geometry_are_a_text(tmp_path):
  """The atoms are those of the XYZ file, and bonds are not known."""
  ase.io.write(tmp_path / 'w.xyz', WATER, plain=True)
  (tmp_path / 'values.csv').write_text('id,smiles,y\nw,CCO,1\n')
  (raw,) = read(tmp_path)
  assert not raw.problem
  np.testing.assert_array_equal(raw.numbers, [8, 1, 1])
  assert (raw.smiles, raw.values['smiles']) == ('', 'CCO')


def test_parquet_and_tsv_are_as_csv(tmp_path):
  import pyarrow
  import pyarrow.parquet

  (tmp_path / 'a.tsv').write_text('id\tsmiles\ty\nx\tCCO\t1.5\nz\tCC\t\n')
  table = {'id': ['x', 'z'], 'smiles': ['CCO', 'CC'], 'y': [1.5, None]}
  pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / 'a.parquet')
  for name in ('a.tsv', 'a.parquet'):
    one, two = read(tmp_path / name)
    assert (one.example_id, two.example_id) == ('x', 'z')
    assert (one.smiles, two.smiles) == ('CCO', 'CC')
    assert (float(one.values['y']), two.values['y']) == (1.5, '')


@pytest.mark.parametrize(
  ('smiles', 'charge', 'words'),
  [
    ('', '', "column 'smiles' is empty"),
    ('C1CC', '', "cannot read the SMILES 'C1CC'"),
    ('CCO.Cl', '', 'several molecules'),
    ('C*', '', 'no element'),
    ('CCO', '1', "column 'charge' has 1"),
    ('CCO', 'x', "has 'x', no whole number"),
  ],
)
def test_rows_that_cannot_be_used_have_a_reason(
  tmp_path, smiles, charge, words
):
  path = tmp_path / 'a.csv'
  path.write_text(f'smiles,charge,y\n{smiles},{charge},1\nCC,,\n')
  bad, good = read(path)
  assert words in bad.problem
  assert good.problem == ''
  assert good.smiles == 'CC'


def test_a_row_with_a_separator_too_many(tmp_path):
  path = tmp_path / 'a.csv'
  path.write_text('smiles,y\nCC,1,5\nCC,2\n')
  bad, good = read(path)
  assert 'needs quotation marks' in bad.problem
  assert not good.problem


@pytest.mark.parametrize('v3000', [False, True])
@pytest.mark.parametrize('packed', [False, True])
def test_sdf(tmp_path, v3000, packed):
  glycine, alcohol = embedded('[NH3+]CC(=O)O'), embedded('C[C@H](O)F')
  path = sdf(
    tmp_path / 'a.sdf',
    [(glycine, 'gly', {'pKa': '2.3', 'note': 'two\nlines'}),
     (Chem.RemoveHs(alcohol), 'alc', {'pKa': ''})],
    v3000=v3000,
  )  # fmt: skip
  if packed:
    data = path.read_bytes()
    path = tmp_path / 'a.sdf.gz'
    path.write_bytes(gzip.compress(data))
  one, two = read(path)
  assert (one.example_id, two.example_id) == ('gly', 'alc')
  assert two.where == f'{path.name}, record 2'
  assert (one.charge, one.smiles, one.notes) == (1, '[NH3+]CC(=O)O', '')
  assert dict(one.values) == {'pKa': '2.3', 'note': 'two lines'}
  np.testing.assert_array_equal(
    one.numbers, [atom.GetAtomicNum() for atom in glycine.GetAtoms()]
  )
  np.testing.assert_allclose(
    one.coords, glycine.GetConformer().GetPositions(), atol=1e-4
  )
  # Its five hydrogens come back near where they were; the others stay.
  assert two.notes == '5 hydrogens added'
  assert two.smiles == 'C[C@H](O)F'
  bonded = np.linalg.norm(two.coords[0] - two.coords[4:7], axis=1)
  np.testing.assert_allclose(bonded, 1.09, atol=0.03)


def test_sdf_titles_that_repeat_are_no_ids(tmp_path):
  water = embedded('O')
  path = sdf(tmp_path / 'w.sdf', [(water, 'x', {}), (water, 'x', {'ID': 'y'})])
  assert [raw.example_id for raw in read(path)] == ['w_0001', 'y']


@pytest.mark.parametrize('coordinates', ['2D', 'zero'])
def test_sdf_without_geometry(tmp_path, coordinates):
  molecule = Chem.MolFromSmiles('CC(C)O')
  if coordinates == '2D':
    rdDepictor.Compute2DCoords(molecule)
  path = sdf(
    tmp_path / 'a.sdf', [(molecule, 'a', {}), (embedded('O'), 'b', {})]
  )
  bad, good = read(path)
  assert 'no coordinates in space' in bad.problem
  assert not good.problem


def test_extended_xyz(tmp_path):
  path = tmp_path / 'a.xyz'
  frame = WATER.copy()
  frame.info = {'id': 'w', 'charge': 0, 'gap': 7.5, 'label': 'b c'}
  frame.calc = SinglePointCalculator(frame, energy=-76.4, dipole=[0, 0, 1])
  periodic = WATER.copy()
  periodic.set_cell([5, 5, 5])
  periodic.pbc = True
  ase.io.write(path, [frame, periodic], format='extxyz')
  one, two = read(path)
  assert (one.example_id, two.example_id) == ('w', 'a_0002')
  assert one.where == 'a.xyz, frame 1'
  assert one.values['energy'] == -76.4
  assert (one.values['gap'], one.values['label']) == (7.5, 'b c')
  assert 'dipole' not in one.values
  np.testing.assert_array_equal(one.numbers, [8, 1, 1])
  np.testing.assert_allclose(one.coords, WATER.positions)
  assert 'periodic' in two.problem


def test_plain_xyz_with_a_bad_frame(tmp_path):
  path = tmp_path / 'a.xyz'
  path.write_text('1\nneon\nNe 0 0 0\n\n1\nx\nNe 0 0\n1\n\nNe 0 0 nan\n')
  good, bad, nan = read(path)
  assert not good.problem
  assert 'ASE cannot read it' in bad.problem
  assert 'not finite' in nan.problem


@pytest.mark.parametrize(
  ('symbols', 'coords', 'complete'),
  [
    ('CCO', [[0, 0, 0], [1.5, 0, 0], [2.0, 1.3, 0]], False),  # ethanol
    ('OCO', [[-1.16, 0, 0], [0, 0, 0], [1.16, 0, 0]], True),
    ('CC', [[0, 0, 0], [1.5, 0, 0]], True),  # C2 is a molecule
    ('CNH', [[0, 0, 0], [1.16, 0, 0], [-1.07, 0, 0]], True),
  ],
)
def test_hydrogens_that_are_missing(tmp_path, symbols, coords, complete):
  path = tmp_path / 'a.xyz'
  ase.io.write(path, ase.Atoms(symbols, coords), plain=True)
  (raw,) = read(path)
  assert (raw.problem == '') == complete
  assert complete or 'hydrogens' in raw.problem


def test_a_folder_with_a_table(tmp_path):
  ase.io.write(tmp_path / 'w.xyz', WATER, plain=True)
  (tmp_path / 'deeper').mkdir()
  sdf(tmp_path / 'deeper' / 'e.sdf', [(embedded('CC[O-]'), '', {'y': '9'})])
  (tmp_path / 'm.mol2').write_text(
    made_up_ligands.mol2(*made_up_ligands.METHANOL)
  )
  ase.io.write(tmp_path / 'alone.xyz', WATER, plain=True)
  (tmp_path / 'values.csv').write_text(
    'Mol_ID,y,charge\nw,1.5,\ne,2,-1\nm,3,0\ngone,4,\n'
  )
  found = {raw.example_id: raw for raw in read(tmp_path)}
  assert list(found) == ['alone', 'm', 'w', 'e', 'gone']
  assert [raw.index for raw in found.values()] == [1, 2, 3, 4, 5]
  assert found['w'].values['y'] == '1.5'
  assert found['e'].values['y'] == '2'  # the table's
  assert (found['e'].charge, found['e'].smiles) == (-1, 'CC[O-]')
  assert sorted(found['m'].numbers) == [1, 1, 1, 1, 6, 8]
  assert "no row of values.csv has the id 'alone'" in found['alone'].problem
  assert 'has no file named gone' in found['gone'].problem
  assert not any(found[name].problem for name in 'wem')


def test_the_digest_follows_contents(tmp_path):
  ase.io.write(tmp_path / 'w.xyz', WATER, plain=True)
  before = sources.sha256(tmp_path)
  (tmp_path / 'notes.txt').write_text('not read')
  assert sources.sha256(tmp_path) == before
  (tmp_path / 'values.csv').write_text('id,y\nw,1\n')
  with_table = sources.sha256(tmp_path)
  (tmp_path / 'values.csv').write_text('id,y\nw,2\n')
  assert len({before, with_table, sources.sha256(tmp_path)}) == 3


@pytest.mark.parametrize(
  ('name', 'text', 'words'),
  [
    ('a.pdf', 'x', 'of no known kind'),
    ('a.csv', '', 'is empty'),
    ('a.csv', 'smiles,y\n', 'no rows'),
    ('a.csv', 'smi,y\nC,1\n', "no column of SMILES .* it has 'smi', 'y'"),
    ('a.csv', 'smiles,y,y\nC,1,2\n', "several columns 'y'"),
    ('a.csv', 'smiles,SMILES\nC,C\n', "which column is smiles: 'smiles', 'SMI"),
    ('a.sdf', ' \n', 'is empty'),
    ('a.smi', '\n# x\n', 'is empty'),
    ('a.smi', 'smiles name\n', 'no rows'),
    ('a.xyz', '\n', 'is empty'),
    ('a.xyz', 'C 0 0 0\n', "line 1: 'C 0 0 0' is no number of atoms"),
    ('a.xyz', '2\n\nC 0 0 0\n', 'the file ends after 1'),
    ('a.parquet', 'PAR1', 'cannot be read'),
    ('a.sdf.gz', 'no gzip', None),  # its contents tell, not its name
  ],
)
def test_files_that_cannot_be_read(tmp_path, name, text, words):
  (tmp_path / name).write_text(text)
  if words is None:
    assert 'V2000' in read(tmp_path / name)[0].problem
    return
  with pytest.raises(ValueError, match=words):
    read(tmp_path / name)


def test_a_file_that_is_not_there_and_a_folder_without_molecules(tmp_path):
  with pytest.raises(
    FileNotFoundError, match=r'there is no .*a.csv; .* holds no'
  ):
    read(tmp_path / 'a.csv')
  with pytest.raises(ValueError, match='holds no file'):
    read(tmp_path)


def test_a_column_that_is_not_there(tmp_path):
  (tmp_path / 'a.csv').write_text('smiles,total charge,name\nC,0,a\n')
  with pytest.raises(ValueError, match=r"no column 'nam'.* mean 'name'"):
    read(tmp_path / 'a.csv', id='nam')
  (raw,) = read(tmp_path / 'a.csv', id='NAME')
  assert raw.example_id == 'a'
