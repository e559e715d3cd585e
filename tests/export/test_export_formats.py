"""Other programs read the files back: values, axes, places, units."""

import ase.io.cube
import gemmi
import numpy as np
import pytest
from support import made_up_volumes

from data_builders import cube_files
from edjax import export
from edjax.chem.units import BOHR_A, HARTREE_EV
from edjax.export import formats

BOX = made_up_volumes.BOX
# Half a digit of float32's last bit, relative.
ROUNDING = 2.0**-24


@pytest.fixture(scope='module')
def volume():
  return made_up_volumes.random_volume()


@pytest.fixture(scope='module')
def folder(volume, tmp_path_factory):
  """All formats of the field."""
  path = tmp_path_factory.mktemp('formats')
  names = export.write(path, 'mol', [volume], export.FORMATS)
  assert {*names} == {p.name for p in path.iterdir()}
  assert names == [
    'mol.pdb', 'mol.density.ccp4', 'mol.density.cube', 'mol.density.dx',
    'mol.density.npz', 'mol.html',
  ]  # fmt: skip
  return path


def assert_equal(found_XYZ, volume, factor=1.0):
  """Compares to float32 rounding; axes in another order are told apart."""
  expected = volume.values_XYZ.astype(np.float64) * factor
  np.testing.assert_allclose(found_XYZ, expected, rtol=2 * ROUNDING)
  swapped = np.swapaxes(expected, 0, 2)
  assert swapped.shape != expected.shape


def test_ase_reads_cubes(folder, volume):
  with open(folder / 'mol.density.cube') as file:
    title = file.readline()
    file.seek(0)
    cube = ase.io.cube.read_cube(file)
  assert 'density, e/bohr^3, point values' in title
  assert_equal(cube['data'], volume, BOHR_A**3)
  np.testing.assert_allclose(cube['origin'], BOX.origin_3, atol=1e-7)
  np.testing.assert_allclose(cube['spacing'], 0.2 * np.eye(3), atol=1e-8)
  np.testing.assert_array_equal(cube['atoms'].numbers, volume.numbers_A)
  np.testing.assert_allclose(
    cube['atoms'].positions, volume.coords_A3, atol=1e-7
  )


def test_pyscf_reads_cubes(folder, volume):
  cubegen = pytest.importorskip('pyscf.tools.cubegen')
  from pyscf import gto

  mol = gto.M(atom='He', verbose=0)
  cube = cubegen.Cube(mol, nx=2, ny=2, nz=2)
  values = cube.read(str(folder / 'mol.density.cube'))
  assert_equal(values, volume, BOHR_A**3)
  np.testing.assert_allclose(cube.boxorig * BOHR_A, BOX.origin_3, atol=1e-7)
  places = np.array([at for _, at in cube.mol._atom]) * BOHR_A
  np.testing.assert_allclose(places, volume.coords_A3, atol=1e-7)


@pytest.mark.parametrize(
  ('unit', 'of_file', 'factor'),
  [
    ('e/Å^3/Å', 'e/bohr^4', BOHR_A**4),
    ('Ha/Å^3', 'Ha/bohr^3', BOHR_A**3),
    ('V', 'Ha/e', 1 / HARTREE_EV),
    ('sigma', 'sigma', 1),
    ('', '', 1),
  ],
)
def test_cubes_are_in_atomic_units(unit, of_file, factor, tmp_path):
  volume = made_up_volumes.random_volume(unit)
  export.write(tmp_path, 'mol', [volume], ['cube'])
  path = tmp_path / 'mol.density.cube'
  separated = f', {of_file}' if of_file else ''
  first = path.read_text().splitlines()[0]
  assert first == f'edjax: density{separated}, point values'
  field = cube_files.read_field(path)
  assert_equal(field.density_map.values_XYZ, volume, factor)


def test_gemmi_reads_maps_on_their_places(folder, volume):
  """Values, and where a program that interpolates finds them."""
  path = str(folder / 'mol.density.ccp4')
  raw = gemmi.read_ccp4_map(path)
  assert_equal(raw.grid.array, volume)
  labels = [raw.header_str(57 + 20 * i) for i in range(2)]
  assert labels[0].strip() == 'edjax: density, e/A^3, point values'
  assert labels[1].strip() == 'density=xtb'
  placed = gemmi.read_ccp4_map(path, setup=True)
  index = 3, 6, 1
  at = gemmi.Position(*(BOX.origin_3 + 0.2 * np.array(index)))
  there = placed.grid.interpolate_value(at, order=1)
  assert there == pytest.approx(volume.values_XYZ[index], rel=1e-3)
  beside = gemmi.Position(at.x + 0.2, at.y, at.z)
  elsewhere = placed.grid.interpolate_value(beside, order=1)
  assert elsewhere == pytest.approx(volume.values_XYZ[4, 6, 1], rel=1e-3)
  assert elsewhere != pytest.approx(there, rel=0.1)


def test_mrcfile_finds_a_valid_volume(folder, volume, capsys):
  mrcfile = pytest.importorskip('mrcfile')
  path = folder / 'mol.density.ccp4'
  assert mrcfile.validate(path), capsys.readouterr().out
  with mrcfile.open(path) as found:
    assert found.is_volume()
    assert_equal(found.data.T, volume)  # it has z first
    start = [found.header[f'n{axis}start'].item() for axis in 'xyz']
    assert start == [*BOX.start]
    assert found.header.origin.item() == (0, 0, 0)
    step = np.array(found.voxel_size.item())
    np.testing.assert_allclose(step, 0.2, rtol=1e-6)
    assert found.header.nlabl == 2


def test_griddataformats_reads_dx(folder, volume):
  grid_data = pytest.importorskip('gridData')
  path = folder / 'mol.density.dx'
  found = grid_data.Grid(str(path))
  assert_equal(found.grid, volume)
  np.testing.assert_allclose(found.origin, BOX.origin_3, atol=1e-9)
  np.testing.assert_allclose(found.delta, [0.2] * 3, atol=1e-9)
  head = path.read_text().splitlines()[:2]
  assert head == [
    '# edjax: density, e/A^3, point values; lengths in A', '# density=xtb',
  ]  # fmt: skip


def test_numpy_reads_npz(folder, volume):
  with np.load(folder / 'mol.density.npz') as arrays:
    np.testing.assert_array_equal(arrays['values_XYZ'], volume.values_XYZ)
    np.testing.assert_allclose(arrays['origin_3'], BOX.origin_3)
    np.testing.assert_allclose(arrays['steps_33'], 0.2 * np.eye(3))
    np.testing.assert_array_equal(arrays['numbers_A'], volume.numbers_A)
    np.testing.assert_array_equal(arrays['coords_A3'], volume.coords_A3)
    assert arrays['unit'] == 'e/Å^3'


def test_atoms_lie_beside_the_maps(folder, volume):
  """In PDB files, which have three decimals."""
  (chain,) = gemmi.read_structure(str(folder / 'mol.pdb'))[0]
  atoms = [atom for residue in chain for atom in residue]
  places = [atom.pos.tolist() for atom in atoms]
  np.testing.assert_allclose(places, volume.coords_A3, atol=5.1e-4)
  assert [atom.element.name for atom in atoms] == ['N', 'C', 'H']


def test_pdb_files_hold_a_number_for_each_atom(tmp_path, volume):
  path = tmp_path / 'mol.pdb'
  export.write_pdb(path, volume.numbers_A, volume.coords_A3, [1.5, -20, 0])
  (chain,) = gemmi.read_structure(str(path))[0]
  found = [atom.b_iso for residue in chain for atom in residue]
  assert found == [1.5, -20, 0]
  export.write_pdb(path, volume.numbers_A, volume.coords_A3, groups_A=[0, 1, 0])
  ligand, pocket = gemmi.read_structure(str(path))[0]
  assert [atom.name for atom in ligand[0]] == ['N1', 'H3']
  assert (ligand[0].name, pocket[0].name) == ('LIG', 'PKT')
  assert pocket[0][0].b_iso == 0
  with pytest.raises(ValueError, match='below 999'):
    export.write_pdb(path, volume.numbers_A, volume.coords_A3, [1e4, 0, 0])
  with pytest.raises(ValueError, match='and these from 199'):
    export.write_pdb(path, volume.numbers_A, volume.coords_A3 + 2e4)


def test_unknown_formats_are_named(tmp_path, volume):
  with pytest.raises(ValueError, match="'mrc'; there are ccp4, cube, dx"):
    export.write(tmp_path, 'mol', [volume], ['mrc'])
  with pytest.raises(ValueError, match='no format'):
    formats.check(())


def test_a_failed_write_leaves_no_file(tmp_path, volume):
  far = made_up_volumes.random_volume(coords_A3=volume.coords_A3 + 2e4)
  with pytest.raises(ValueError, match='coordinates of PDB'):
    export.write(tmp_path, 'mol', [far], ['ccp4'])
  assert not list(tmp_path.iterdir())
  with pytest.raises(OSError, match='nowhere'):
    export.write(tmp_path / 'nowhere', 'mol', [volume], ['ccp4'])
