"""Cubes and maps as the densities of a user's molecules."""

import csv
import dataclasses
import gzip
import pathlib
import types

import ase
import ase.io
import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from rdkit import Chem
from scipy.spatial.transform import Rotation
from support import cubes, small_run, xtb_cubes

import data_builders
from configs import molecules_density
from data_builders import cube_files, xtb
from data_builders.own import densities, sources, ways
from data_builders.own.types import Options
from edjax import config as configuration
from edjax import geometry, grid, voxelize
from edjax.chem import units
from edjax.config import ConfigError
from edjax.config.representation import dataset_variant
from edjax.data import loading, near_duplicates, padded
from edjax.molecule import Molecule
from edjax.runtime import run_directory
from edjax.task import data_checks

FORMALDEHYDE = 'O 0.1 0.2 0.117; C 0 0 1.33; H 0.9 0 1.9; H -0.9 0 1.9'
TURN = np.asarray(Rotation.from_rotvec([0.5, -1.0, 0.8]).as_matrix())


def resolved(source, data_dir, **fields):
  config = molecules_density.get_config()
  config.representation.density = 'map'
  config.data.update(
    {
      'source': str(source), 'data_dir': str(data_dir), 'workers': 1,
      'targets': ('y',), **fields,
    }
  )  # fmt: skip
  return configuration.resolve(config)


def load(source, data_dir, **fields):
  config = resolved(source, data_dir, **fields)
  return loading.load_pack(config.data, dataset_variant(config))


def manifest(data_dir):
  (path,) = pathlib.Path(data_dir).glob('edjax_molecules/*/1.0.0/manifest.csv')
  with path.open(newline='') as file:
    return {row['id']: row for row in csv.DictReader(file)}


def table(folder, names):
  rows = [f'{name},{i}' for i, name in enumerate(names)]
  (folder / 'values.csv').write_text('\n'.join(['id,y', *rows, '']))


@pytest.fixture(scope='module')
def record():
  """Eleven atoms, H, C, N and F, without symmetry."""
  return next(r for r in small_run.raw_records() if len(r.numbers) > 9)


@pytest.fixture(scope='module')
def built(record, tmp_path_factory):
  """One molecule as five cubes, and others that cannot be used; its pack."""
  folder = tmp_path_factory.mktemp('cubes')
  data_dir = tmp_path_factory.mktemp('data')
  for place, (name, options) in enumerate(
    {
      'plain.cube': {},
      'turned.cub': {'turn': TURN},
      'fine.cube': {'step': 0.12},
      'off.cube': {'shift': 0.2},
      'half.cube': {'shift': 0.5},
    }.items()
  ):  # elsewhere, else they would be duplicates
    made = xtb_cubes.of_record(record, place=place, **options)
    cubes.write(folder / name, made)
  with gzip.open(folder / 'packed.cube.gz', 'wt') as file:
    path = folder / 'other.cube'
    bare = cubes.density(FORMALDEHYDE, step=0.22, margin=4.5)
    file.write(cubes.write(path, bare).read_text())
    path.unlink()
  there = xtb_cubes.of_record(record, place=8)
  orbital = there.values - 0.5 * there.values.max()
  cubes.write(folder / 'orbital.cube', there._replace(values=orbital))
  there = xtb_cubes.of_record(record, place=9)
  cut = there.values[: len(there.values) // 2]
  cubes.write(folder / 'cut.cube', there._replace(values=cut))
  (folder / 'bare.xyz').write_text('1\n\nHe 0 0 0\n')
  table(
    folder,
    ['plain', 'turned', 'fine', 'off', 'packed', 'half', 'orbital', 'cut',
     'bare', 'gone'],
  )  # fmt: skip
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(xtb, 'run', None)  # nothing may call it
    pack = load(folder, data_dir)
  return folder, pack, data_dir


def molecule_of(pack, name, origin='valence'):
  selection = padded.Selection(maps=True, origin=origin)
  rows = [pack.ids.index(name)]
  padding = padded.padding_of(pack, rows, selection)
  batch = padded.make_molecules(pack, rows, padding, selection)
  return jax.tree.map(lambda x: x[0], batch)


def voxels(mol, density, rotation, supersample=2):
  made = voxelize.make_voxelizer(
    ('density',), grid.Grid(24, 0.5), density=density, supersample=supersample
  )
  (values,) = jax.jit(made.raw)(geometry.rotate(mol, rotation))
  return np.asarray(values)


@pytest.fixture(scope='module')
def of_xtb(record):
  """Turned, and its voxels by the orbitals."""
  mol = Molecule.from_arrays(
    record.numbers, record.coords, xtb_cubes.orbitals_of(record)
  )
  turn = np.asarray(geometry.random_rotation(jax.random.key(3)))
  return turn, voxels(mol, 'xtb', turn)


def apart(values, reference):
  return np.abs(values - reference).sum() / reference.sum()


@pytest.mark.parametrize('name', ['plain', 'turned', 'fine'])
def test_the_channel_of_a_cube_is_that_of_the_orbitals(built, of_xtb, name):
  """To 1 % by interpolation of points 0.25 Å apart, of their means to 2 %."""
  _, pack, _ = built
  turn, reference = of_xtb
  # The molecule lies otherwise in the file of the turned one.
  of_file = TURN if name == 'turned' else np.eye(3)
  found = voxels(molecule_of(pack, name), 'map', turn @ of_file.T)
  assert apart(found, reference) < (0.03 if name == 'fine' else 0.015)
  in_file = pack.columns['map_electrons'][pack.ids.index(name)]
  assert found.sum() / 8 == pytest.approx(in_file, rel=1e-3)
  assert found.sum() == pytest.approx(reference.sum(), rel=5e-3)


def test_a_fifth_of_an_angstrom_is_told_apart(built, of_xtb):
  _, pack, _ = built
  turn, reference = of_xtb
  found = voxels(molecule_of(pack, 'off'), 'map', turn)
  assert apart(found, reference) > 0.2
  assert found.sum() == pytest.approx(reference.sum(), rel=5e-3)


def test_the_map_lies_at_the_atoms_about_either_origin(built):
  """Its first value is where the file has it, as seen from an atom."""
  folder, pack, _ = built
  cube = cube_files.read_cube(folder / 'turned.cub')
  expected = cube.density_map.origin_3 - cube.coords[0]
  places = []
  for origin in ('valence', 'mass'):
    mol = molecule_of(pack, 'turned', origin)
    places.append(mol.density_map.origin_3)
    found = mol.density_map.origin_3 - mol.coords_A3[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
  assert np.abs(places[0] - places[1]).max() > 0.01


def test_the_manifest_says_what_a_density_is_and_why_others_are_not(built):
  folder, pack, data_dir = built
  assert {*pack.ids} == {'plain', 'turned', 'fine', 'off', 'packed'}
  assert pack.map_kinds()[pack.ids.index('packed')] == 'all_electron'
  assert pack.map_kinds()[pack.ids.index('plain')] == 'valence'
  rows = manifest(data_dir)
  assert rows['plain']['notes'] == 'density of 34.06 valence electrons'
  assert rows['packed']['notes'].startswith('density of all 1')
  for name, reason in (
    ('half', 'not where free atoms have it'),
    ('orbital', 'are no density'),
    ('cut', 'are outside of its box, more than config.data.max_map_missing'),
    ('bare', 'has no density bare (.cube'),
    ('gone', 'has no file named gone (.xyz'),
  ):
    assert rows[name]['status'] == 'left out'
    assert reason in rows[name]['reason']
  settings = {'source': str(folder)}
  builder = data_builders.build(
    'molecules', data_dir, variant='maps', settings=settings
  )
  report = data_builders.report(builder)
  assert report['densities'] == {'valence': 4, 'all_electron': 1}
  assert report['method'] == 'densities of files'
  assert 'can tell these apart' in builder.summary(report)


@pytest.mark.parametrize(
  ('name', 'has_cores'), [('packed.cube.gz', True), ('fine.cube', False)]
)
def test_coarser_points_keep_electrons_and_their_centre(built, name, has_cores):
  """Means over blocks are the control: they move cores."""
  fine = cube_files.read_cube(built[0] / name).density_map
  electrons, centre = _moments(fine)
  for shared in {True, has_cores}:
    coarse = densities.coarsened(fine, shared)
    assert len(coarse.values_XYZ) < 0.6 * len(fine.values_XYZ)
    found, found_centre = _moments(coarse)
    assert found == pytest.approx(electrons, rel=1e-6)
    close = 1e-6 if shared else 1e-4
    np.testing.assert_allclose(found_centre, centre, atol=close)
  if has_cores:
    _, moved = _moments(densities.coarsened(fine, False))
    assert np.abs(moved - centre).max() > 1e-3


def _moments(density_map):
  """Returns electrons and their centre."""
  values = np.asarray(density_map.values_XYZ, np.float64)
  volume = abs(np.linalg.det(density_map.steps_33))
  index = np.stack(np.indices(values.shape), -1)
  places = index @ density_map.steps_33 + density_map.origin_3
  centre = np.einsum('xyz,xyzi', values, places) / values.sum()
  return values.sum() * volume, centre


def test_voxels_keep_the_electrons_of_cores(built):
  """In any orientation, where sub-points are close; the control is coarse."""
  folder, pack, _ = built
  mol = molecule_of(pack, 'packed')
  electrons = cube_files.read_cube(folder / 'packed.cube.gz').electrons
  turns = [geometry.random_rotation(jax.random.key(i)) for i in range(6)]
  sums = {
    supersample: [
      voxels(mol, 'map', turn, supersample).sum() / 8 for turn in turns
    ]
    for supersample in (1, 2)
  }
  np.testing.assert_allclose(sums[2], electrons, rtol=5e-3)
  assert np.ptp(sums[1]) > 0.04 * electrons
  config = resolved(folder, 'nowhere')
  rows = {'train': np.arange(len(pack))}
  data_checks.check_densities(config.representation, pack, rows)
  representation = ConfigDict({**config.representation, 'supersample': 1})
  with pytest.raises(ConfigError, match=r'1 densities .*supersample=2'):
    data_checks.check_densities(representation, pack, rows)
  rows = {'train': np.flatnonzero(pack.map_kinds() == 'valence')}
  data_checks.check_densities(representation, pack, rows)


def test_geometries_without_energies_are_near_duplicates(built):
  """Turned they are the same; with an atom elsewhere they are not."""
  _, pack, _ = built
  plain, turned, other = (
    [pack.ids.index(name)] for name in ('plain', 'turned', 'packed')
  )
  assert 'xtb_energy' not in pack.columns
  assert near_duplicates.count(pack, np.array(plain), turned) == 1
  assert near_duplicates.count(pack, np.array(plain), other) == 0
  positions = pack.positions.copy()
  positions[pack.atom_offsets[turned[0]]] += 0.05
  changed = dataclasses.replace(pack, positions=positions)
  assert near_duplicates.count(changed, np.array(plain), turned) == 0


def test_another_map_is_another_dataset(record, tmp_path):
  path = cubes.write(tmp_path / 'a.cube', xtb_cubes.of_record(record, 0.4))
  (tmp_path / 'a.xyz').write_text('1\n\nHe 0 0 0\n')
  before = {d: sources.sha256(tmp_path, d) for d in (False, True)}
  path.write_text(path.read_text().replace('a title', 'b title'))
  after = {d: sources.sha256(tmp_path, d) for d in (False, True)}
  assert before[True] != after[True]
  assert before[False] == after[False]  # the XYZ file has the atoms


def test_settings_of_maps_name_datasets_of_maps_alone(tmp_path):
  (tmp_path / 'a.cube').write_text('')
  names = {}
  for variant in ('', 'maps'):
    for periodic in ('', 'no'):
      builder = data_builders._module('molecules').Builder(
        config=variant,
        settings={'source': str(tmp_path), 'map_periodic': periodic},
        data_dir=tmp_path / 'data',
      )
      names[variant, periodic] = builder.builder_config.name
  assert names['', ''] == names['', 'no']
  assert len({*names.values()}) == 3


def test_what_stands_beside_a_cube(record, tmp_path):
  """Bonds and charge are those of the SDF file, places those of the cube."""
  grid_of = xtb_cubes.of_record(record, 0.4)
  own = ase.Atoms(record.numbers, grid_of.coords * units.BOHR_A)
  molecule = Chem.AddHs(Chem.MolFromSmiles(record.smiles))
  options = Options()
  for name, shift in (('near', 0.01), ('far', 0.2)):
    folder = tmp_path / name
    folder.mkdir()
    cubes.write(folder / 'a.cube', grid_of)
    conformer = Chem.Conformer(len(record.numbers))
    for i, place in enumerate(own.positions):
      conformer.SetAtomPosition(i, (place + shift).tolist())
    copy = Chem.Mol(molecule)
    copy.AddConformer(conformer)
    heavy = Chem.RemoveHs(copy)
    (folder / 'a.sdf').write_text(Chem.MolToMolBlock(heavy) + '$$$$\n')
    (raw,) = sources.read(folder, options, densities=True)
    flat = raw.smiles.replace('[C@H]', 'C').replace('[C@@H]', 'C')
    assert Chem.CanonSmiles(flat) == Chem.CanonSmiles(record.smiles)
    way = ways.of('maps', resolved(folder, 'nowhere').data)
    if name == 'far':
      with pytest.raises(ValueError, match='do not lie at one place'):
        densities.calculate(raw, way.argument)
      continue
    made = densities.calculate(raw, way.argument).example
    np.testing.assert_allclose(made['positions'], own.positions, atol=2e-6)
    assert np.isfinite(made['structure'])


@pytest.fixture(scope='module')
def maps(tmp_path_factory):
  """CCP4 maps of what GFN2 does not know, and of what xTB needs more for."""
  folder = tmp_path_factory.mktemp('maps')
  octahedron = 2.0 * np.concatenate([np.eye(3), -np.eye(3)])
  heavy = np.concatenate([np.zeros((1, 3)), octahedron])
  ase.io.write(folder / 'uranium.xyz', ase.Atoms('UF6', heavy))
  xtb_cubes.write_ccp4(folder / 'uranium.ccp4', heavy)
  chain = np.array([[-1.2, 0.2, 0], [0, -0.4, 0], [1.2, 0.3, 0]])
  ase.io.write(folder / 'bare.xyz', ase.Atoms('C3', chain))
  xtb_cubes.write_ccp4(folder / 'bare.map', chain)
  ase.io.write(
    folder / 'else.xyz', ase.Atoms('C3', chain + np.array([0, 0, 4]))
  )
  xtb_cubes.write_ccp4(folder / 'else.mrc', chain)
  ase.io.write(folder / 'out.xyz', ase.Atoms('C3', chain + np.array([0, 0, 9])))
  xtb_cubes.write_ccp4(folder / 'out.mrc', chain)
  table(folder, ['uranium', 'bare', 'else', 'out'])
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(xtb, 'run', None)
    pack = load(folder, folder / 'data', map_periodic='no')
  return folder, pack


def test_maps_in_standard_deviations(maps):
  """xTB has no uranium, and would need hydrogens."""
  folder, pack = maps
  assert pack.ids == ('bare', 'uranium')
  assert pack.map_kinds().tolist() == ['sigma'] * 2
  rows = manifest(folder / 'data')
  assert 'less than config.data.min_map_at_atoms' in rows['else']['reason']
  assert 'have no map, more than' in rows['out']['reason']
  # The largest value lies at the uranium, in sd of the file; not beside it.
  mol = molecule_of(pack, 'uranium')
  values = np.asarray(mol.density_map.values_XYZ)
  peak = np.array(np.unravel_index(values.argmax(), values.shape))
  place = mol.density_map.origin_3 + peak @ mol.density_map.steps_33
  np.testing.assert_allclose(place, mol.coords_A3[0], atol=0.3)
  own = np.zeros((32, 32, 32))
  x = np.arange(32) / 2 - 8
  for at in np.asarray(mol.coords_A3):
    own += np.einsum('i,j,k', *(np.exp(-((x - p) ** 2) / 1.62) for p in at))
  top = (own.max() - own.mean()) / own.std()
  assert values.max() == pytest.approx(top, rel=0.02)


def test_sources_that_have_none_or_two_units(built, maps, tmp_path):
  (tmp_path / 'a.xyz').write_text('1\n\nHe 0 0 0\n')
  table(tmp_path, ['a'])
  for source in (tmp_path, tmp_path / 'a.xyz'):
    with pytest.raises(ConfigError, match=r'has no densities, .* ID.cube'):
      load(source, tmp_path / 'data')
  for folder, name in ((built[0], 'plain.cube'), (maps[0], 'bare.map')):
    (tmp_path / name).write_bytes((folder / name).read_bytes())
  with pytest.raises(ConfigError, match='in standard deviations'):
    load(tmp_path, tmp_path / 'data')


def test_units_are_those_of_the_files(built, maps):
  made = voxelize.make_voxelizer(
    ('density', 'gradient'), grid.Grid(4, 1.0), density='map'
  )
  for pack, unit in ((built[1], 'e/Å^3'), (maps[1], 'sigma')):
    task = types.SimpleNamespace(voxelizer=made, pack=pack)
    assert run_directory._units(task) == [unit, f'{unit}/Å']


def test_densities_that_are_not_read_are_said(record, tmp_path):
  """The geometry of the cube, by xTB; its density counts as passed by."""
  cubes.write(tmp_path / 'a.cube', xtb_cubes.of_record(record, 0.4))
  table(tmp_path, ['a'])
  config = molecules_density.get_config()
  config.data.update(
    {
      'source': str(tmp_path), 'data_dir': str(tmp_path / 'data'),
      'targets': ('y',), 'workers': 1,
    }
  )  # fmt: skip
  config = configuration.resolve(config)
  pack = loading.load_pack(config.data, dataset_variant(config))
  assert pack.columns['xtb_energy'][0] == pytest.approx(
    xtb.run(record.numbers, record.coords).energy, abs=1e-5
  )
  rows = {part: np.array([0]) for part in ('train', 'validation', 'test')}
  said = data_checks.remarks(config, pack, rows)
  assert said[0].startswith('1 densities of the files are not read')
  pack = dataclasses.replace(pack, unread_densities=0)
  assert 'not read' not in ' '.join(data_checks.remarks(config, pack, rows))
