"""Gaussian cube files: PySCF's, real ones, and what is none."""

import gzip

import jax
import numpy as np
import pytest
from pyscf import dft, gto
from pyscf.dft import numint
from pyscf.tools import cubegen

from data_builders import cube_files
from edjax import voxelize
from edjax.chem import units
from edjax.grid import Grid
from edjax.molecule import Molecule

WATER = 'O 0.1 0.2 0.117; H 0 0.757 -0.471; H 0 -0.757 -0.471'


@pytest.fixture(scope='module')
def water(tmp_path_factory):
  """PySCF's molecule and density matrix, and the cube file that it wrote."""
  path = tmp_path_factory.mktemp('cube') / 'water.cube'
  mol = gto.M(atom=WATER, basis='6-31g', verbose=0)
  field = dft.RKS(mol, xc='pbe').run()
  matrix = field.make_rdm1()
  # Not the same number of points along each axis.
  cubegen.density(mol, str(path), matrix, nx=45, ny=50, nz=55, margin=4.0)
  return mol, matrix, path


def test_pyscf_writes_what_is_read(water):
  mol, matrix, path = water
  found = cube_files.read_cube(path)
  np.testing.assert_array_equal(found.numbers, [8, 1, 1])
  np.testing.assert_allclose(found.coords, mol.atom_coords('A'), atol=2e-6)
  cube = found.density_map
  assert cube.values_XYZ.shape == (45, 50, 55)
  assert found.electrons == pytest.approx(10, abs=0.15)
  index_N3 = np.random.default_rng(0).integers(0, (45, 50, 55), (200, 3))
  points_N3 = cube.origin_3 + index_N3 @ cube.steps_33
  ao = numint.eval_ao(mol, points_N3 / units.BOHR_A)
  rho_N = numint.eval_rho(mol, ao, matrix) / units.BOHR_A**3
  np.testing.assert_allclose(
    cube.values_XYZ[tuple(index_N3.T)], rho_N, rtol=1e-4, atol=1e-5
  )


def test_it_becomes_voxels(water):
  """Density and gradient on edjax's grid, against PySCF's there."""
  mol, matrix, path = water
  found = cube_files.read_cube(path)
  made = Molecule.from_arrays(
    found.numbers, found.coords, density_map=found.density_map
  )
  grid = Grid(size=12, spacing=0.4)
  voxels = voxelize.make_voxelizer(('density', 'gradient'), grid, density='map')
  vox_GC = np.asarray(jax.jit(voxels)(made)).reshape(-1, 2)
  valence = np.array([6, 1, 1])  # electrons, whose centre is the origin
  centre_3 = valence @ found.coords / valence.sum()
  axis = (np.arange(12) - 5.5) * 0.4
  points_G3 = np.stack(np.meshgrid(axis, axis, axis, indexing='ij'), -1)
  points_G3 = (points_G3.reshape(-1, 3) + centre_3) / units.BOHR_A
  ao = numint.eval_ao(mol, points_G3, deriv=1)
  rho_4G = numint.eval_rho(mol, ao, matrix, xctype='GGA')
  rho_G = rho_4G[0] / units.BOHR_A**3
  slope_G = np.linalg.norm(rho_4G[1:], axis=0) / units.BOHR_A**4
  far_G = (
    np.linalg.norm(
      points_G3[:, None] - mol.atom_coords()[None], axis=-1
    ).min(1) > 1.15  # bohr
  )  # fmt: skip
  # Between points 0.2 Å apart a cusp is lost; away from nuclei little is.
  np.testing.assert_allclose(vox_GC[far_G, 0], rho_G[far_G], atol=0.02)
  np.testing.assert_allclose(vox_GC[far_G, 1], slope_G[far_G], atol=0.15)
  assert np.corrcoef(vox_GC[:, 0], rho_G)[0, 1] > 0.98
  # Negative control: mirrored, it is another density.
  mirrored = vox_GC[:, 0].reshape(12, 12, 12)[:, :, ::-1].ravel()
  assert np.abs(mirrored - rho_G)[far_G].max() > 0.5


def distances(coords):
  """In order of their lengths."""
  coords = np.array(coords)
  apart = np.linalg.norm(coords[:, None] - coords, axis=-1)
  return np.sort(apart[np.triu_indices(len(coords), 1)])


def test_real_files(shared_data):
  cubes = shared_data / 'maps' / 'cube'
  acrolein = cube_files.read_cube(cubes / 'acrolein1gs.cube.gz')
  # Frozen cores: 30 electrons less two for each of four heavy atoms.
  assert acrolein.electrons == pytest.approx(22, abs=0.1)
  assert acrolein.title == 'Acrolein\n SCF Total Density'
  np.testing.assert_array_equal(acrolein.numbers, [8, 6, 6, 6, 1, 1, 1, 1])
  # The same molecule in another frame.
  rows = [
    line
    for line in (cubes / 'acrolein.pdb').read_text().splitlines()
    if line.startswith('ATOM') and line[12:16].strip()[0] in 'CO'
  ]
  pdb = [[float(x[30 + 8 * i : 38 + 8 * i]) for i in range(3)] for x in rows]
  np.testing.assert_allclose(
    distances(acrolein.coords[:4]), distances(pdb), atol=0.06
  )
  for name, message in (
    ('benzene-homo.cube.gz', 'it holds orbitals'),
    ('h2o-elf.cube', 'are no density.*read_field'),
    ('aelta.cube', r'sum up to 3.06e\+03 electrons.*have 720'),
  ):
    with pytest.raises(ValueError, match=f'{name}.*{message}'):
      cube_files.read_cube(cubes / name)


def changed(path, tmp_path, change):
  lines = path.read_text().split('\n')
  result = change(lines)
  other = tmp_path / 'other.cube'
  other.write_text('\n'.join(lines if result is None else result))
  return other


def put(lines, number, text):
  lines[number] = text


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda x: x[:4], '4 lines are not even the head'),
    (lambda x: put(x, 2, '-3 0 0 0'), 'line 10: number and names of orb'),
    (lambda x: put(x, 2, '0 0 0 0'), 'values, it has 123765'),
    (lambda x: put(x, 2, '3 0 0'), 'line 3: the number of atoms'),
    (lambda x: put(x, 2, '3 0 0 0 0.5'), 'line 3: the number of atoms'),
    (lambda x: put(x, 2, '3 0 0 0 0'), 'line 3: the number of atoms'),
    (lambda x: put(x, 2, '3 0 0 nan'), "line 3: 'nan' is no finite number"),
    (lambda x: put(x, 2, '3 0 0 0 2'), 'announce 247500 values'),
    (lambda x: put(x, 3, '-45 0.2 0 0'), 'of both signs'),
    (lambda x: put(x, 3, '2147483647 0.2 0 0'), 'points of the axes are'),
    (lambda x: put(x, 3, '46 0.2 0 0'), 'announce 126500 values'),
    (lambda x: put(x, 4, '50 0.2 0 0'), 'or flat'),
    (lambda x: put(x, 3, '45 99 0 0'), 'steps of'),
    (lambda x: put(x, 6, '8 8 0 0'), 'line 7: atomic number'),
    (lambda x: put(x, 6, '8.5 8 0 0 0'), 'atomic numbers must be whole'),
    (lambda x: put(x, 6, '700 8 0 0 0'), '700'),
    (lambda x: put(x, 9, x[9].replace('E', 'Q')), 'line 10: '),
    (lambda x: put(x, 9, 'nan ' + x[9]), "line 10: 'nan' is no finite"),
    (lambda x: put(x, 9, x[9].replace(x[9].split()[0], 'inf')), 'no finite'),
    (lambda x: put(x, 9, x[9].replace(x[9].split()[0], '-9')), 'no density'),
    (lambda x: put(x, 9, x[9].replace(x[9].split()[0], '1e5')), 'sum up to'),
    (lambda x: x[:2000], 'announce 123750 values'),
    (lambda x: x[:7], 'announces 3 atoms'),
  ],
)
def test_what_is_wrong_is_named(water, tmp_path, change, message):
  other = changed(water[2], tmp_path, change)
  with pytest.raises(ValueError, match=r'other\.cube: ') as caught:
    cube_files.read_cube(other)
  assert message in str(caught.value)


def test_gzipped_and_damaged(water, tmp_path):
  whole = gzip.compress(water[2].read_bytes())
  path = tmp_path / 'a.cube.gz'
  path.write_bytes(whole)
  assert cube_files.read_cube(path).electrons == pytest.approx(10, abs=0.15)
  path.write_bytes(whole[: len(whole) // 2])
  with pytest.raises(ValueError, match='cut off or damaged'):
    cube_files.read_cube(path)
  with pytest.raises(FileNotFoundError):
    cube_files.read_cube(tmp_path / 'nowhere.cube')
