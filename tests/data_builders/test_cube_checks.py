"""Cubes of other units, frames, orders and cells than the format's."""

import numpy as np
import pytest
from pyscf import gto, scf
from support import cubes

from data_builders import cube_checks, cube_files, xtb
from edjax import fields
from edjax.chem import units
from edjax.molecule import Molecule

# Distorted, so that each order of axes is another density.
ETHANOL_PART = 'C 0 0 0; O 1.2 0.7 0.1; H -0.6 0.9 0.2; H -0.5 -0.6 0.8'


@pytest.fixture(scope='module')
def water():
  return cubes.density(cubes.WATER)


def read(tmp_path, grid, options=None, **changes):
  path = cubes.write(tmp_path / 'a.cube', grid, **changes)
  return cube_files.read_cube(path, **options or {})


def refused(tmp_path, grid, match, options=None, **changes):
  with pytest.raises(ValueError, match=rf'a\.cube: .*{match}'):
    read(tmp_path, grid, options, **changes)


def test_all_in_angstrom(tmp_path, water):
  """The sum of the values is right in every unit; bonds tell."""
  grid = cubes.in_angstrom(water)
  volume = (0.4 * units.BOHR_A) ** 3
  assert grid.values.sum() * volume == pytest.approx(10, abs=2)
  refused(tmp_path, grid, r"0\.43 Å apart.*length_unit='angstrom'")
  right = read(tmp_path, water)
  found = read(tmp_path, grid, {'length_unit': 'angstrom'})
  np.testing.assert_allclose(found.coords, right.coords, atol=2e-6)
  got, want = found.density_map, right.density_map
  np.testing.assert_allclose(got.steps_33, want.steps_33, atol=1e-6)
  np.testing.assert_allclose(got.values_XYZ, want.values_XYZ, rtol=2e-5)
  # Lengths in Å, densities per bohr^3.
  mixed = grid._replace(values=water.values)
  refused(tmp_path, mixed, r'0\.1. times that', {'length_unit': 'angstrom'})
  both = {'length_unit': 'angstrom', 'density_unit': 'e/bohr^3'}
  assert read(tmp_path, mixed, both).electrons == pytest.approx(found.electrons)
  # A file in bohr that is said to be in Å.
  refused(tmp_path, water, 'are not where', {'length_unit': 'angstrom'})
  refused(tmp_path, water, 'must be one of', {'length_unit': 'nm'})
  refused(tmp_path, water, 'must be one of', {'density_unit': 'e'})


def test_negative_numbers_of_points_need_a_unit(tmp_path, water):
  refused(tmp_path, water, "say length_unit='angstrom' or 'bohr'", sign=-1)
  for unit, grid in (('bohr', water), ('angstrom', cubes.in_angstrom(water))):
    found = read(tmp_path, grid, {'length_unit': unit}, sign=-1)
    assert found.density_map.values_XYZ.shape == water.values.shape


def test_atoms_in_angstrom_in_a_grid_in_bohr(tmp_path):
  # Hydrogen has no bond to be compared with others': it is the density.
  for atoms in (cubes.WATER, 'F 0 0 0; F 0 0 1.9', 'Ar 0 0 0; Ar 0 0 3.8'):
    grid = cubes.density(atoms)
    read(tmp_path, grid)
    wrong = grid._replace(coords=grid.coords * units.BOHR_A)
    refused(tmp_path, wrong, '(apart|are not where)')


@pytest.mark.parametrize('order', [(0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1),
                                   (2, 1, 0)])  # fmt: skip
@pytest.mark.parametrize('atoms', [cubes.WATER, ETHANOL_PART])
def test_order_of_axes(tmp_path, atoms, order):
  # As wide along each axis: nothing but the density tells.
  grid = cubes.density(atoms, step=0.45, origin=(-6.2, -6.1, -6.3), margin=6)
  edge = min(grid.values.shape)
  grid = grid._replace(values=grid.values[:edge, :edge, :edge])
  read(tmp_path, grid)
  wrong = grid._replace(values=grid.values.transpose(order))
  names = ', '.join('xyz'[axis] for axis in order)
  refused(tmp_path, wrong, f'in the order {names}')
  # It may be allowed; the sum is that of the right order.
  with pytest.raises(ValueError, match='in the order'):
    read(tmp_path, wrong, {'max_mismatch': 0.99})
  found = read(tmp_path, wrong, {'max_mismatch': 1})
  assert found.electrons == pytest.approx(read(tmp_path, grid).electrons)


def test_values_in_the_order_of_fortran(tmp_path, water):
  shape = water.values.shape
  assert len(set(shape)) == 3
  wrong = water._replace(values=water.values.ravel('F').reshape(shape))
  refused(tmp_path, wrong, '(in the order z, y, x|every atom)')


def test_an_axis_backwards(tmp_path, water):
  wrong = water._replace(values=water.values[:, :, ::-1])
  refused(tmp_path, wrong, 'z backwards')


def test_atoms_in_another_frame(tmp_path, water):
  """As Gaussian's input and standard orientation."""
  turn = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
  refused(tmp_path, water._replace(coords=water.coords @ turn + 0.3), 'frame')
  refused(tmp_path, water._replace(coords=water.coords + 1.2), 'frame')
  refused(tmp_path, water._replace(coords=water.coords + 60), 'every atom')


def rolled(grid, shift):
  """The density of a cell whose corner lies at other points."""
  return grid._replace(values=np.roll(grid.values, shift, (0, 1, 2)))


@pytest.mark.parametrize('shift', [(-17, -16, -20), (0, 14, 3), (38, 1, 0)])
def test_molecules_over_the_faces_of_a_cell(tmp_path, water, shift):
  whole = read(tmp_path, water)
  points = np.array(water.values.shape)
  # Atoms inside of the cell, as CP2K writes them.
  moved = water.coords - water.origin + np.array(shift) * 0.4
  coords = water.origin + moved % (points * 0.4)
  cut = rolled(water, shift)._replace(coords=coords)
  refused(tmp_path, cut, 'periodic=True')
  found = read(tmp_path, cut, {'periodic': True})
  np.testing.assert_allclose(
    found.coords - found.coords[0], whole.coords - whole.coords[0], atol=1e-5
  )
  got, want = found.density_map, whole.density_map
  # The same points about the atoms, in a box that begins elsewhere.
  begin = found.coords[0] - whole.coords[0] + want.origin_3 - got.origin_3
  steps = np.rint(begin / np.diag(got.steps_33)).astype(int)
  np.testing.assert_allclose(begin, steps * np.diag(got.steps_33), atol=1e-5)
  back = np.roll(got.values_XYZ, -steps, (0, 1, 2))
  np.testing.assert_allclose(back, want.values_XYZ, rtol=1e-4)
  # The frame stays as near as it may: no atom moves by more than a cell.
  shift = np.abs(found.coords / units.BOHR_A - coords)
  assert (shift < points * 0.4 + 1e-3).all()


def test_a_plane_that_is_repeated_at_the_end_of_a_cell(tmp_path, water):
  corner = rolled(water, (-17, -16, -20))
  coords = water.coords - np.array([17, 16, 20]) * 0.4
  values = np.pad(corner.values, ((0, 1),) * 3, mode='wrap')
  found = read(
    tmp_path, corner._replace(values=values, coords=coords), {'periodic': True}
  )
  assert found.density_map.values_XYZ.shape == water.values.shape
  assert found.electrons == pytest.approx(read(tmp_path, water).electrons)


def test_crystals_are_compared_with_their_images(tmp_path):
  """Neon, a cell of 2.5 Å: the sum over images by brute force."""
  atom = cubes.density('Ne 0 0 0', step=0.3, margin=8, origin=(-8, -8, -8))
  n = 16  # points of 0.3 bohr along each axis
  centre = 8 / 0.3
  values = np.zeros((n, n, n))
  np.add.at(
    values,
    np.ix_(*(np.arange(m) % n for m in atom.values.shape)),
    atom.values,
  )
  grid = atom._replace(
    values=values,
    origin=np.zeros(3),
    coords=np.full((1, 3), 0.3 * (centre % n)),
  )
  found = read(tmp_path, grid, {'periodic': True})
  assert found.electrons == pytest.approx(10, abs=1)
  with pytest.raises(ValueError, match='periodic=True'):
    read(tmp_path, grid._replace(coords=grid.coords * 0))


@pytest.mark.parametrize(
  ('atoms', 'charge', 'ecp'),
  [
    ('Pb 0 0 0; I 0 2.3 1.5; I 0 -2.3 1.5', 0, 'lanl2dz'),  # 18 of 188
    ('Au 0 0 0; Au 0 0 2.5', 0, 'lanl2dz'),
    ('Ti 0 0 0; Cl 1.25 1.25 1.25; Cl -1.25 -1.25 1.25; Cl -1.25 1.25 -1.25; '
     'Cl 1.25 -1.25 -1.25', 0, 'lanl2dz'),
    ('Li 0 0 0; H 0 0 1.6', 0, None),
    ('Na 0.1 0.2 0.1', 1, None),
    ('Li 0.1 0.2 0.1', 1, None),
    ('H 0.1 0.2 0.1', -1, None),
    ('H 0 0 0; H 0 0 0.74', 0, None),
    ('N 0.1 0.1 0.1; N 0.1 0.1 1.198', 0, None),
    ('Mg 0.1 0.1 0.1; O 0.1 0.1 1.75', 0, None),
  ],
)  # fmt: skip
def test_right_densities_are_not_refused(tmp_path, atoms, charge, ecp):
  read(tmp_path, cubes.density(atoms, 0.4, 6.2, charge, ecp))


def test_valence_density_of_xtb(tmp_path):
  """PbH4: 8 of 86 electrons."""
  numbers = np.array([82, 1, 1, 1, 1])
  corners = np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]])
  coords = np.concatenate([np.zeros((1, 3)), 1.01 * corners])
  mol = Molecule.from_arrays(
    numbers, coords, orbitals=xtb.run(numbers, coords).orbitals, center=False
  )
  x = np.arange(-4, 4.01, 0.25) + 0.1
  points = np.stack(np.meshgrid(x, x, x, indexing='ij'), -1).reshape(-1, 3)
  values = np.asarray(fields.orbital_density(mol, points))
  shape = (len(x),) * 3
  grid = cubes.Grid(
    numbers, coords / units.BOHR_A, np.full(3, x[0]) / units.BOHR_A,
    np.eye(3) * 0.25 / units.BOHR_A,
    values.reshape(shape) * units.BOHR_A**3,
  )  # fmt: skip
  assert read(tmp_path, grid).electrons == pytest.approx(8, abs=0.2)


def test_a_nucleus_on_a_coarse_grids_point_is_named(tmp_path):
  methane = (
    'C 0 0 0; H .63 .63 .63; H -.63 -.63 .63; H -.63 .63 -.63; H .63 -.63 -.63'
  )
  step = 0.4 / units.BOHR_A
  grid = cubes.density(methane, step, 5.0, origin=[-8 * step] * 3)
  refused(tmp_path, grid, r'5\d(\.\d+)? of point \(8, 8, 8\) at atom 1 \(C\)')
  half = cubes.density(methane, step, 5.0, origin=[-8.5 * step] * 3)
  read(tmp_path, half)


def test_several_nuclei_on_points_are_named(tmp_path):
  """None of them holds half of the sum."""
  step = 0.4 / units.BOHR_A
  three = 'C 0 0 0; C 1.2 0 0; O 0 -1.2 0; H 2.4 0 0'
  grid = cubes.density(three, step, 5.0, charge=1, origin=[-8 * step] * 3)
  refused(
    tmp_path, grid, r'of the points nearest to nuclei, .* at atom 3 \(O\)'
  )


def test_bonds_have_a_least_length():
  for z, other, length in ((1, 1, 0.74), (7, 7, 1.10), (24, 24, 1.68)):
    pair = np.array([z, other]), np.array([[0, 0, 0], [0, 0, length]])
    cube_checks.check_bonds(*pair, 'bohr')
    with pytest.raises(ValueError, match=r'atoms 1 .* and 2 .* apart'):
      cube_checks.check_bonds(pair[0], pair[1] * units.BOHR_A, 'bohr')


def test_fields_of_any_sign(tmp_path, water):
  """Orbitals as Gaussian writes them, and a difference of densities."""
  mol = gto.M(atom=cubes.WATER, basis='sto-3g', verbose=0)
  occupied = scf.RHF(mol).run().mo_coeff[:, 3:5]
  index = np.stack(np.meshgrid(*map(np.arange, water.values.shape),
                               indexing='ij'), -1)  # fmt: skip
  points = water.origin + index.reshape(-1, 3) * 0.4
  values = (mol.eval_gto('GTOval', points) @ occupied).reshape(
    *water.values.shape, 2
  )
  grid = water._replace(values=values)
  path = cubes.write(tmp_path / 'a.cube', grid, head='2 4 5')
  with pytest.raises(ValueError, match=r'it holds orbitals.*read_field'):
    cube_files.read_cube(path)
  for field in (1, 2):
    found = cube_files.read_field(path, field=field)
    np.testing.assert_array_equal(found.numbers, [8, 1, 1])
    got = found.density_map.values_XYZ
    np.testing.assert_allclose(got, values[..., field - 1], atol=1e-5)
    assert got.min() < -0.1 < 0.1 < got.max()
  with pytest.raises(ValueError, match=r'a\.cube: field must be 1 to 2, not 3'):
    cube_files.read_field(path, field=3)
  for head in ('3 4 5', '2 4', '', '2 4 x'):
    bad = path.read_text().replace('\n2 4 5\n', f'\n{head}\n')
    other = tmp_path / 'b.cube'
    other.write_text(bad)
    with pytest.raises(ValueError, match=r'b\.cube: '):
      cube_files.read_field(other)
  path = cubes.write(tmp_path / 'a.cube', grid, count=2)
  with pytest.raises(ValueError, match='it holds 2 fields'):
    cube_files.read_cube(path)
  second = cube_files.read_field(path, field=2).density_map.values_XYZ
  np.testing.assert_allclose(second, values[..., 1], atol=1e-5)
  difference = water._replace(values=values[..., 0] * values[..., 1])
  refused(tmp_path, difference, 'are no density.*read_field')
  cube_files.read_field(tmp_path / 'a.cube')


def test_values_beyond_single_precision_are_named(tmp_path, water):
  values = water.values.copy()
  values[3, 4, 5] = -1e60
  path = cubes.write(tmp_path / 'a.cube', water._replace(values=values))
  for read_it in (cube_files.read_cube, cube_files.read_field):
    with pytest.raises(ValueError, match=r'cube: a value of .*e\+60 is too'):
      read_it(path)


def test_a_grid_without_atoms(tmp_path, water):
  none = water._replace(numbers=water.numbers[:0], coords=water.coords[:0])
  refused(tmp_path, none, '0 atoms.*read_field')
  found = cube_files.read_field(tmp_path / 'a.cube', periodic=True)
  assert found.numbers.shape == (0,)
  assert found.coords.shape == (0, 3)
  np.testing.assert_allclose(
    found.density_map.values_XYZ, water.values, rtol=1e-4
  )


def test_ghosts_are_passed_over(tmp_path, water):
  ghost = water._replace(
    numbers=np.array([8, 0, 1, 1]),
    coords=np.insert(water.coords, 1, water.coords[0] + 0.5, axis=0),
  )
  np.testing.assert_array_equal(read(tmp_path, ghost).numbers, [8, 1, 1])


@pytest.mark.parametrize(
  ('before', 'after'),
  [
    ('2.50000E-100', '2.50000-100'),
    ('2.50000E-100', '2.50000D-100'),
    ('2.50000E-100', '2.50000d-100'),
    ('2.50000E-100', '.25000-100'),
    ('1.25000E+00', '1.25000d+00'),
    ('1.25000E+00', '1.25000D+00'),
    ('1.25000E+00', '+1.25'),
  ],
)
def test_numbers_of_fortran(tmp_path, water, before, after):
  values = water.values.copy()
  values[0, 0, 0], values[-1, -1, -1] = 2.5e-100, values.max()
  place = np.unravel_index(values.argmax(), values.shape)
  values[-1, -1, -1] = 0
  values[place] = 1.25
  grid = water._replace(values=values)
  path = cubes.write(tmp_path / 'a.cube', grid, '{:.5E}')
  want = cube_files.read_cube(path, max_mismatch=1)
  text = path.read_text()
  assert before in text
  path.write_text(text.replace(before, after))
  got = cube_files.read_cube(path, max_mismatch=1)
  np.testing.assert_allclose(
    got.density_map.values_XYZ, want.density_map.values_XYZ, atol=1e-50
  )


@pytest.mark.parametrize(
  'word',
  ['********', 'nan', 'inf', '1.0-2.0-3', '1_0', '1.2.3', '1.0E-05-2.0E-05'],
)
def test_words_that_are_no_numbers_are_named(tmp_path, water, word):
  path = cubes.write(tmp_path / 'a.cube', water)
  lines = path.read_text().split('\n')
  words = lines[20].split()
  lines[20] = ' '.join([words[0], word, *words[2:]])
  path.write_text('\n'.join(lines))
  with pytest.raises(ValueError, match=r'a\.cube: line 21: ') as caught:
    cube_files.read_cube(path)
  assert repr(word) in str(caught.value)
