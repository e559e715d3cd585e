"""Complexes and their maps, from files to a folder and back."""

import csv

import gemmi
import numpy as np
import pytest
from ml_collections import FrozenConfigDict
from rdkit import Chem
from support import made_up_complexes as made_up

from configs import complexes_density
from data_builders.molecules.records import Calculated
from edjax import commands, export, molecule, voxelize
from edjax.config.representation import dataset_variant
from edjax.export import files, molecules
from edjax.grid import Grid


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Two complexes about (5, 5, 5), the second without its ligand's file."""
  path = tmp_path_factory.mktemp('complexes')
  (path / 'p.pdb').write_text(made_up.protein(0, zinc=False))
  (path / 'l.sdf').write_text(made_up.ligand('CC(=O)OCCCl'))
  (path / 'mine.csv').write_text(
    'id,protein,ligand\ngood,p.pdb,l.sdf\nbad,p.pdb,none.sdf\n'
  )
  return path


def config_of(**representation):
  config = complexes_density.get_config()
  config.data.min_contact, config.data.map_periodic = 1.1, 'no'
  config.representation.update(representation)
  return config


def run(config, source, output, **settings):
  made = files.Settings(formats=('ccp4',), spacing=0.4, **settings)
  paths = str(source), str(output), made
  assert commands.run(config, [], 'export', files=paths) == 0
  with (output / files.REPORT).open(newline='', encoding='utf-8') as file:
    return list(csv.DictReader(file))


def read(path):
  """Returns values of a map, and the places of its points."""
  found = gemmi.read_ccp4_map(str(path))
  start_3 = np.array([found.header_i32(word) for word in (5, 6, 7)])
  values_XYZ = np.array(found.grid.array)
  index_XYZ3 = np.moveaxis(np.indices(values_XYZ.shape), 0, -1)
  return values_XYZ, 0.4 * (start_3 + index_XYZ3)


def labels(path):
  found = gemmi.read_ccp4_map(str(path))
  return [found.header_str(57 + 20 * i) for i in range(2)]


def test_ligand_and_pocket_lie_where_their_files_have_them(folder, tmp_path):
  good, bad = run(config_of(), folder / 'mine.csv', tmp_path)
  assert good['files'].split() == [
    'good.pdb', 'good.ligand_density.ccp4', 'good.pocket_density.ccp4',
  ]  # fmt: skip
  assert 'none.sdf' in bad['error']
  mol = next(Chem.SDMolSupplier(str(folder / 'l.sdf')))
  chlorine = next(a.GetIdx() for a in mol.GetAtoms() if a.GetSymbol() == 'Cl')
  place_3 = mol.GetConformer().GetPositions()[chlorine]
  values_XYZ, points_XYZ3 = read(tmp_path / 'good.ligand_density.ccp4')
  # The heaviest atom is the highest maximum.
  highest = np.unravel_index(values_XYZ.argmax(), values_XYZ.shape)
  assert np.linalg.norm(points_XYZ3[highest] - place_3) < 0.4
  pocket_XYZ, points_XYZ3 = read(tmp_path / 'good.pocket_density.ccp4')
  highest = np.unravel_index(pocket_XYZ.argmax(), pocket_XYZ.shape)
  protein = gemmi.read_structure(str(folder / 'p.pdb'))[0]
  places_A3 = np.array([c.atom.pos.tolist() for c in protein.all()])
  distance_A = np.linalg.norm(places_A3 - points_XYZ3[highest], axis=1)
  assert distance_A.min() < 0.4
  assert np.linalg.norm(points_XYZ3[highest] - place_3) > 2


def test_an_exported_map_is_read_as_one_of_a_users(folder, tmp_path):
  """A promolecule of all atoms, through the maps of complexes, and out again.

  In the same places: shifted by a step it is another map.
  """
  structure = molecule.read(folder / 'p.pdb')
  mol = next(Chem.SDMolSupplier(str(folder / 'l.sdf'), removeHs=False))
  numbers = [
    *np.asarray(structure.numbers_A),
    *(a.GetAtomicNum() for a in mol.GetAtoms()),
  ]
  coords = [
    *(np.asarray(structure.coords_A3) + np.asarray(structure.origin_3)),
    *mol.GetConformer().GetPositions(),
  ]
  whole = molecule.Molecule.from_arrays(numbers, coords)
  field = voxelize.make_voxelizer(
    ('density',), Grid(8, 0.75), density='promolecule', b_iso=40.0
  )
  made = export.volumes(whole, field, spacing=0.4, margin=14)
  export.write(tmp_path, 'whole', made, ['ccp4'])
  table = folder / 'with_map.csv'
  where = tmp_path / 'whole.density.ccp4'
  table.write_text(f'id,protein,ligand,map\ngood,p.pdb,l.sdf,{where}\n')
  config = config_of(groups=False, density='map', smooth=0.0)
  output = tmp_path / 'out'
  (row,) = run(config, table, output, margin=2.0)
  assert row['files'].split()[1] == 'good.density.ccp4', row
  found_XYZ, points_XYZ3 = read(output / 'good.density.ccp4')
  start_3 = np.rint(points_XYZ3[0, 0, 0] / 0.4 - made[0].box.start).astype(int)
  cut = tuple(
    slice(a, a + n) for a, n in zip(start_3, found_XYZ.shape, strict=True)
  )
  given_XYZ = made[0].values_XYZ[cut]

  def alike(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]

  (label, _) = labels(output / 'good.density.ccp4')
  assert label.startswith('edjax: density, sigma, point values')
  assert alike(found_XYZ, given_XYZ) > 0.9999
  for axis in range(3):
    assert alike(np.roll(found_XYZ, 1, axis), given_XYZ) < 0.98


@pytest.mark.parametrize(
  ('needs', 'variant'),
  [(set(), 'heavy'), ({''}, 'heavy'), ({'map'}, 'maps'),
   ({'orbitals'}, 'orbitals'), ({'map', 'orbitals'}, 'maps')],
)  # fmt: skip
def test_complexes_are_read_with_what_fields_need(needs, variant):
  """Whatever the configuration's own fields need."""
  config = config_of()
  made = molecules.with_needs(FrozenConfigDict(config), needs)
  assert dataset_variant(made) == variant
  assert config.representation.density == 'promolecule'


def test_a_ligand_without_orbitals_has_no_density_of_zeros():
  outcome = Calculated({'n_orbitals': 0}, 0.0, 'no GFN2-xTB orbitals')
  config, needs = config_of(), {'orbitals'}
  assert molecules.failure(outcome, needs, config) == 'no GFN2-xTB orbitals'
  assert not molecules.failure(outcome, {'map'}, config)
  some = Calculated({'n_orbitals': 3}, 0.0, '')
  assert not molecules.failure(some, needs, config)
  # In groups it has the promolecule in its place.
  in_groups = config_of(density='xtb')
  assert not molecules.failure(outcome, needs, in_groups)
