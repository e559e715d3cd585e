"""Fields on boxes lie on the atoms of the file, and are those of points."""

import dataclasses

import numpy as np
import pytest
import scipy.ndimage
from support import small_run

from data_builders import xtb
from edjax import export, fields, molecule, voxelize
from edjax.chem import form_factors
from edjax.grid import Grid

# Where the file has the molecule: off the origin, below 0 along two axes.
PLACE = np.array([-13.3, 4.7, -101.2])
SPACING = 0.25


@pytest.fixture(scope='module')
def record():
  """An embedded molecule of three elements beside hydrogen, far away."""
  chosen = next(
    r
    for r in small_run.raw_records()
    if {7, 8} <= {*r.numbers.tolist()} and (r.numbers > 1).sum() == 6
  )
  return chosen._replace(coords=chosen.coords + PLACE)


@pytest.fixture(scope='module')
def mol(record):
  """Padded, as molecules of a pack are."""
  result = xtb.run(record.numbers, record.coords)
  return molecule.Molecule.from_arrays(
    record.numbers,
    record.coords,
    result.orbitals,
    max_atoms=len(record.numbers) + 3,
  )


@pytest.fixture(scope='module')
def voxelizer():
  return voxelize.make_voxelizer(('density',), Grid(24, 0.5), supersample=2)


@pytest.fixture(scope='module')
def found(mol, voxelizer):
  """Some fields by name: one compiled program."""
  names = 'density', 'promolecule', 'all_electron', 'atoms_O', 'shape'
  made = export.volumes(mol, voxelizer, names, spacing=SPACING, margin=1.5)
  assert [volume.name for volume in made] == [*names]
  return {volume.name: volume for volume in made}


def some_points(volume, count=200):
  """Returns indices of points and their places in the file, Å."""
  rng = np.random.default_rng(0)
  index_G3 = rng.integers(0, volume.box.shape, (count, 3))
  return index_G3, volume.box.origin_3 + SPACING * index_G3


def test_values_are_those_of_the_points_of_the_file(found, mol):
  """By the other form of each field; turned axes give other values."""
  tied = form_factors.tied_b_iso(0.5)
  on_points = {
    'density': fields.orbital_density,
    'promolecule': lambda *a, **k: fields.promolecule(*a, b_iso=tied, **k),
    'all_electron': lambda *a, **k: fields.all_electron_density(
      *a, b_iso=tied, **k
    ),
    'atoms_O': lambda *a, **k: fields.atoms(*a, **k)[:, 3],
    'shape': fields.shape,
  }
  for name, field in on_points.items():
    volume = found[name]
    index_G3, points_G3 = some_points(volume)
    expected_G = np.asarray(field(mol, points_G3, frame='file'))
    found_G = volume.values_XYZ[tuple(index_G3.T)]
    most = expected_G.max()
    np.testing.assert_allclose(found_G, expected_G, atol=2e-4 * most)
    turned_G = np.asarray(field(mol, points_G3[:, ::-1], frame='file'))
    assert np.abs(turned_G - expected_G).max() > 0.05 * most, name


@pytest.fixture(scope='module')
def all_electrons(mol):
  """With cores of 0.2 Å, which are higher than any valence shell."""
  sharp = voxelize.make_voxelizer(
    ('density',), Grid(24, 0.5), density='all_electron', b_iso=3.0
  )
  (volume,) = export.volumes(mol, sharp, spacing=SPACING, margin=1.5)
  assert volume.about == 'density=all_electron, b_iso=3 A^2'
  return volume


@pytest.mark.parametrize(
  ('name', 'above'), [('all_electrons', 8.0), ('promolecule', 1.2)]
)
def test_maxima_lie_on_the_heavy_atoms_of_the_file(
  found, all_electrons, record, name, above
):
  """Those above what bonds and hydrogens have, e/Å^3."""
  values_XYZ = (found | {'all_electrons': all_electrons})[name].values_XYZ
  volume = found['density']  # of the same box
  highest = scipy.ndimage.maximum_filter(values_XYZ, 3) == values_XYZ
  index_N3 = np.argwhere(highest & (values_XYZ > above))
  maxima_N3 = volume.box.origin_3 + SPACING * index_N3
  heavy_M3 = record.coords[record.numbers > 1]
  distance_NM = np.linalg.norm(maxima_N3[:, None] - heavy_M3, axis=-1)
  # Half the diagonal of a cell is 0.22 Å; neighbours draw a maximum to them.
  assert len(maxima_N3) == len(heavy_M3)
  assert distance_NM.min(0).max() < SPACING
  swapped_NM = np.linalg.norm(
    maxima_N3[:, None] - (heavy_M3 - PLACE)[:, [1, 0, 2]] - PLACE, axis=-1
  )
  assert swapped_NM.min(0).max() > 2 * SPACING


def test_atoms_are_those_of_the_file(found, record):
  volume = found['density']
  np.testing.assert_array_equal(volume.numbers_A, record.numbers)
  np.testing.assert_allclose(volume.coords_A3, record.coords, atol=2e-5)
  box = export.around(record.coords, SPACING, 1.5)
  assert (volume.box.shape, volume.box.start) == (box.shape, box.start)


def test_titles_say_unit_and_settings(found):
  assert found['density'].title == 'density, e/A^3'
  assert found['density'].about == 'density=xtb'
  assert found['atoms_O'].title == 'atoms_O'
  assert found['all_electron'].unit == 'e/Å^3'
  tied = f'b_iso={form_factors.tied_b_iso(0.5):.4g} A^2'
  assert found['promolecule'].about == tied


def test_maps_lie_where_the_file_has_them(voxelizer):
  """A linear map, which interpolation keeps, on steps that are not parallel."""
  origin_3 = PLACE - 4
  steps_33 = np.array([[0.8, 0.1, 0], [0, 0.7, 0.2], [-0.1, 0, 0.9]])
  index_XYZ3 = np.stack(np.meshgrid(*[np.arange(12)] * 3, indexing='ij'), -1)
  slope_3 = np.array([0.3, -0.2, 0.5])
  linear_XYZ = (origin_3 + index_XYZ3 @ steps_33 - PLACE) @ slope_3
  mol = molecule.Molecule.from_arrays(
    [6, 8],
    np.array([[0, 0, 0], [0.9, 0.4, 0.2]]) + PLACE,
    density_map=molecule.DensityMap(linear_XYZ, origin_3, steps_33),
  )
  (volume,) = export.volumes(mol, voxelizer, ('map',), spacing=0.5, margin=1)
  assert (volume.name, volume.unit) == ('map', 'unit of the map')
  (slope,) = export.volumes(
    mol,
    voxelize.make_voxelizer(('gradient',), Grid(24, 0.5), density='map'),
    spacing=0.5,
    margin=1,
    map_unit='sigma',
  )
  assert slope.unit == 'sigma/Å'
  index_XYZ3 = np.stack(
    np.meshgrid(*map(np.arange, volume.box.shape), indexing='ij'), -1
  )
  points_XYZ3 = volume.box.origin_3 + 0.5 * index_XYZ3
  expected_XYZ = (points_XYZ3 - PLACE) @ slope_3
  np.testing.assert_allclose(volume.values_XYZ, expected_XYZ, atol=1e-3)
  assert np.ptp(expected_XYZ) > 2


def test_a_function_of_a_users_has_no_unit_that_it_does_not_state(mol):
  def squared(mol, grid, supersample):
    return fields.shape_grid(mol, grid, supersample) ** 2

  own = voxelize.make_voxelizer(('shape', squared), Grid(24, 0.5))
  shape, its_square = export.volumes(mol, own, spacing=1.0, margin=1)
  assert (its_square.name, its_square.unit) == ('squared', '')
  np.testing.assert_allclose(
    its_square.values_XYZ, shape.values_XYZ**2, rtol=1e-5, atol=1e-7
  )


def test_pockets_have_fields_of_their_own_about_the_ligand():
  mol = molecule.Molecule.from_arrays(
    ['C', 'O', 'N'],
    np.array([[0, 0, 0], [1.2, 0, 0], [0, 3.0, 0]]) + PLACE,
    groups=[0, 0, 1],
  )
  apart = voxelize.make_voxelizer(
    ('density',), Grid(24, 0.5), density='promolecule', groups=True
  )
  ligand, pocket = export.volumes(mol, apart, spacing=0.5, margin=3.5)
  assert (ligand.name, pocket.name) == ('ligand_density', 'pocket_density')
  box = export.around(np.array([[0, 0, 0], [1.2, 0, 0]]) + PLACE, 0.5, 3.5)
  assert ligand.box == pocket.box == box
  assert len(ligand.numbers_A) == 3
  for volume, place in ((ligand, [1.2, 0, 0]), (pocket, [0, 3.0, 0])):
    highest = np.unravel_index(volume.values_XYZ.argmax(), box.shape)
    found = box.origin_3 + 0.5 * np.array(highest) - PLACE
    assert np.linalg.norm(found - place) < 0.5


def test_bad_requests_are_named(mol, voxelizer):
  def message(names=('shape',), mol=mol, **settings):
    with pytest.raises(ValueError) as error:
      export.volumes(mol, voxelizer, names, **settings)
    return str(error.value)

  text = message(('shape', 'densty'))
  assert "unknown field 'densty'; there are atoms, density" in text
  assert 'atoms_O' in text
  assert 'repeated: shape, shape' in message(('shape', 'shape'))
  text = message(spacing=0.01)
  assert 'MB, more than 500 MB: take a larger spacing' in text
  assert 'homo' in message(('homo',))
  assert 'density map' in message(('map',))
  assert 'origin_3' in message(mol=dataclasses.replace(mol, origin_3=None))
  batch = molecule.stack([mol, mol])
  assert message(mol=batch) == 'mol is a batch of 2; give one of it'
  curium = molecule.Molecule.from_arrays([96], [[0, 0, 0]])
  text = message(('free_atoms',), mol=curium)
  assert text == 'free_atoms knows elements up to Rn, and this is Cm'
