"""Maps of complexes: crystal or box, this crystal or another, and limits."""

import csv
import json

import gemmi
import numpy as np
import pytest
from support import made_up_complexes as made_up

from configs import pdbbind_density
from data_builders.pdbbind import manifest, maps
from data_builders.pdbbind.readers import structure, types
from edjax import config as configuration
from edjax import datasets
from edjax.data import loading

CENTRE = np.full(3, 5.0)
CELL = 48.0


def atoms_of(path):
  model = structure.read(path)[0]
  return np.array([site.atom.pos.tolist() for site in model.all()])


def write_map(path, atoms, group='P 1', edge=CELL, low=0.0, points=48):
  """Gaussians of 0.9 Å on atoms, and on mates about z in P 1 1 2.

  Args:
    path: of a CCP4 file.
    atoms: [A, 3] Å.
    group: 'P 1' or 'P 1 1 2'.
    edge: of a cubic cell, Å.
    low: first coordinate of the box, Å; atoms outside of it are repeated.
    points: along each edge.
  """
  x = np.arange(points) * edge / points + low
  values = np.zeros((points,) * 3)
  mates = [atoms] if group == 'P 1' else [atoms, atoms * [-1, -1, 1]]
  for atom in np.concatenate(mates):
    waves = []
    for place in atom:
      apart = (x - place + edge / 2) % edge - edge / 2
      waves.append(np.exp(-(apart**2) / (2 * 0.9**2)))
    values += np.einsum('i,j,k', *waves)
  ccp4 = gemmi.Ccp4Map()
  ccp4.grid = gemmi.FloatGrid(values.astype(np.float32))
  ccp4.grid.set_unit_cell(gemmi.UnitCell(edge, edge, edge, 90, 90, 90))
  ccp4.grid.spacegroup = gemmi.SpaceGroup(group)
  ccp4.update_ccp4_header()
  for word in (5, 6, 7):
    ccp4.set_header_i32(word, round(low * points / edge))
  ccp4.write_ccp4_map(str(path))


@pytest.fixture
def protein(tmp_path):
  path = tmp_path / '1aa0_protein.pdb'
  path.write_text(made_up.protein(1))
  return path


def cube(protein, density_map, head='', **options):
  protein.write_text(head + made_up.protein(1))
  files = types.Files('1aa0', protein=protein, density_map=density_map)
  atoms = atoms_of(protein)
  return maps.cube(files, CENTRE, atoms, 40.0, 0.5, maps.Options(**options))


def crystal(edge, group='P 1'):
  return f'CRYST1{edge:9.3f}{edge:9.3f}{edge:9.3f}{"  90.00" * 3} {group:<11}\n'


def test_an_event_map_is_read_as_periodic(protein, tmp_path):
  """Half of the atoms lie outside of a box in P1 with right angles."""
  path = tmp_path / '1aa0.ccp4'
  write_map(path, atoms_of(protein))
  for head in ('', crystal(CELL), crystal(71.0, 'P 43 21 2')):
    values, _, row = cube(protein, path, head)
    assert row['map_missing'] == 0
    assert row['map_at_atoms'] > 2
  # The same density in a box that holds the cube.
  write_map(path, atoms_of(protein), low=-20.0)
  inside, _, _ = cube(protein, path)
  np.testing.assert_allclose(values, inside, atol=1e-3)
  # As a box it lacks most.
  write_map(path, atoms_of(protein))
  with pytest.raises(types.ComplexError, match='max_map_missing'):
    cube(protein, path, periodic=False)
  _, _, row = cube(protein, path, periodic=False, max_missing=0.9)
  assert row['map_missing'] > 0.5


def test_what_nothing_says_is_asked(protein, tmp_path):
  """All atoms are inside of the box, the cube is not."""
  path = tmp_path / '1aa0.ccp4'
  write_map(path, atoms_of(protein), edge=32.0, low=-8.0, points=32)
  with pytest.raises(types.ComplexError, match=r'1aa0\.ccp4: .*map_periodic'):
    cube(protein, path)
  assert cube(protein, path, periodic=True)[2]['map_missing'] == 0
  assert cube(protein, path, crystal(32.0))[2]['map_missing'] == 0
  box = cube(protein, path, periodic=False, max_missing=0.8)
  microscope = 'EXPDTA    ELECTRON MICROSCOPY\n'
  with pytest.raises(types.ComplexError, match='max_map_missing'):
    cube(protein, path, microscope)
  same = cube(protein, path, microscope, max_missing=0.8)
  np.testing.assert_array_equal(same[0], box[0])
  assert same[2]['map_missing'] > 0.1


def test_maps_of_other_crystals_are_left_out(protein, tmp_path):
  path = tmp_path / '1aa0.ccp4'
  write_map(path, atoms_of(protein), 'P 1 1 2')
  kept = cube(protein, path, crystal(CELL, 'P 1 1 2'))[2]
  assert kept['map_missing'] == 0
  with pytest.raises(types.ComplexError, match='of another crystal: its cell'):
    cube(protein, path, crystal(CELL + 3, 'P 1 1 2'))
  # Without a cell in the file, the density at the atoms tells.
  write_map(path, atoms_of(protein) + np.array([9, 0, 7]), 'P 1 1 2')
  with pytest.raises(types.ComplexError, match='min_map_at_atoms'):
    cube(protein, path)
  assert cube(protein, path, min_at_atoms=-10)[2]['map_at_atoms'] < 0.5


def test_columns_are_for_coefficients_alone(protein, tmp_path):
  path = tmp_path / '1aa0.ccp4'
  write_map(path, atoms_of(protein), 'P 1 1 2')
  assert cube(protein, path, columns=('FC', 'PHIC'))[2]['map_missing'] == 0
  grid = gemmi.read_ccp4_map(str(path), setup=True).grid
  data = gemmi.transform_map_to_f_phi(grid, half_l=True).prepare_asu_data(2.0)
  mtz = gemmi.Mtz(with_base=True)
  mtz.spacegroup = grid.spacegroup
  mtz.set_cell_for_all(grid.unit_cell)
  mtz.add_dataset('made')
  for label, kind in (('FC', 'F'), ('PHIC', 'P')):
    mtz.add_column(label, kind)
  factors = data.value_array
  mtz.set_data(
    np.column_stack(
      [data.miller_array, np.abs(factors), np.degrees(np.angle(factors))]
    ).astype(np.float32)
  )
  other = tmp_path / '1aa0.mtz'
  mtz.write_to_file(str(other))
  with pytest.raises(types.ComplexError, match='map_columns'):
    cube(protein, other)
  for periodic in (None, False):  # which is for other files
    row = cube(protein, other, columns=('FC', 'PHIC'), periodic=periodic)[2]
    assert row['map_at_atoms'] > 2


def test_configuration_reaches_the_maps(tmp_path):
  """Limits of a configuration, and a dataset of others is refused."""
  manual = tmp_path / 'pdbbind'
  ids = made_up.write_set(manual, count=3)
  for pdb_id in ids:
    atoms = atoms_of(manual / pdb_id / f'{pdb_id}_protein.pdb')
    write_map(
      manual / f'{pdb_id}.ccp4', atoms, 'P 1 1 2' if pdb_id != ids[0] else 'P 1'
    )
  config = pdbbind_density.get_config()
  config.representation.density = 'map'
  config.representation.groups = False
  config.data.data_dir = str(tmp_path / 'data')
  config.data.manual_dir = str(manual)
  config.data.workers = 1
  config.data.map_periodic = 'no'
  config.data.max_map_missing = 0.95
  config.data.min_map_at_atoms = -1.0
  data = configuration.resolve(config).data
  assert loading.load_pack(data, 'maps').ids == (ids[0],)
  variants = tmp_path / 'data' / 'edjax_pdbbind' / 'maps'
  (place,) = variants.glob('*')
  with (place / manifest.NAME).open(newline='', encoding='utf-8') as file:
    rows = {row['id']: row for row in csv.DictReader(file)}
  assert float(rows[ids[0]]['map_missing']) > 0.5
  assert 'periodic is False' in rows[ids[1]]['reason']
  report = json.loads((place / 'report.json').read_text())
  assert report['settings']['max_map_missing'] == 0.95
  config.data.max_map_missing = 0.96
  data = configuration.resolve(config).data
  with pytest.raises(
    configuration.ConfigError, match=r'max_map_missing was 0\.95'
  ):
    loading.load_pack(data, 'maps')


def test_a_missing_map_names_what_lies_there(protein):
  (protein.parent / 'emd_1234.map.gz').touch()
  (protein.parent / '1aa0_fofc.mtz').touch()
  with pytest.raises(
    types.ComplexError, match=r'no map.* has 1aa0_fofc\.mtz, emd_1234\.map\.gz'
  ):
    cube(protein, None)


def test_settings_are_the_options():
  settings = datasets.DATASETS['pdbbind'].settings
  assert maps.options(settings) == maps.Options()
  settings = settings | {'map_periodic': 'no', 'map_columns': ('FC', 'PHIC')}
  options = maps.options(settings)
  assert (options.periodic, options.columns) == (False, ('FC', 'PHIC'))
