"""PDBbind from files to records, and to a trained model."""

import csv
import http.client
import json
import pathlib
import re
import shutil

import gemmi
import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from support import made_up_complexes as made_up

import data_builders
from configs import default, pdbbind_density
from data_builders import xtb
from data_builders.pdbbind import complexes, examples, manifest
from data_builders.pdbbind.readers import wwpdb
from edjax import commands, datasets, fields, geometry, molecule, task
from edjax import config as configuration
from edjax import grid as grids
from edjax.config.representation import dataset_variant
from edjax.data import loading, splitting
from edjax.grid import Grid
from edjax.molecule import Molecule
from edjax.runtime import run_directory  # fmt: skip
from edjax.task import make
from edjax.train import train_and_evaluate


def build(manual, data_dir, variant='heavy', name='pdbbind'):
  return data_builders.build(
    name, data_dir, manual_dir=manual, workers=1, variant=variant
  )


def rows_of(builder) -> dict[str, dict]:
  path = pathlib.Path(builder.data_dir) / manifest.NAME
  with path.open(newline='', encoding='utf-8') as file:
    return {row['id']: row for row in csv.DictReader(file)}


def records_of(builder) -> dict[str, dict]:
  source = builder.as_data_source(split='molecules')
  return {record['example_id'].decode(): record for record in source}


@pytest.fixture(scope='module')
def manual(tmp_path_factory):
  root = tmp_path_factory.mktemp('pdbbind')
  made_up.write_set(root)
  return root


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp('data')


def test_records_hold_what_the_files_hold(manual, data_dir):
  built = build(manual, data_dir)
  records = records_of(built)
  assert sorted(records) == [f'1aa{i:x}' for i in range(10)]
  record = records['1aa3']  # phenol
  n = record['n_ligand']
  np.testing.assert_array_equal(np.sort(record['numbers'][:n]), [6] * 6 + [8])
  assert record['n_orbitals'] == 0
  # No hydrogen, no water; the zinc is there.
  pocket = record['numbers'][n:]
  assert 1 not in record['numbers']
  assert np.sum(pocket == 30) == 1
  assert len(pocket) == 4 * 45 + 1
  assert record['pk'] == 4 + 0.35 * 3
  assert record['year'] == 2003
  assert record['ligand_heavy_atoms'] == 7
  assert record['ligand_aromatic_rings'] == 1
  np.testing.assert_array_equal(record['b_factors'][n:], 20.0)
  # The frame of the files, in order of the files.
  line = made_up.protein(3, 3).splitlines()[0]
  first = [float(line[30 + 8 * i : 38 + 8 * i]) for i in range(3)]
  np.testing.assert_array_equal(record['positions'][n], first)
  # One cluster a family: ids 5 apart.
  clusters = [float(records[f'1aa{i:x}']['cluster']) for i in range(10)]
  assert clusters[:5] == clusters[5:]
  assert len(set(clusters)) == 5


def test_the_same_files_give_the_same_dataset(manual, data_dir, tmp_path):
  again = build(manual, tmp_path)
  first = build(manual, data_dir)
  assert data_builders.fingerprint(again) == data_builders.fingerprint(first)
  rows = rows_of(again)
  assert rows == rows_of(first)
  assert len(rows['1aa0']['sha256_protein']) == 64
  with_hydrogens = build(manual, data_dir, 'hydrogens')
  assert data_builders.fingerprint(with_hydrogens) != data_builders.fingerprint(
    first
  )
  assert 1 in records_of(with_hydrogens)['1aa3']['numbers']


def test_changed_files_are_refused(tmp_path):
  manual = tmp_path / 'pdbbind'
  made_up.write_set(manual, count=2)
  build(manual, tmp_path / 'data')
  index = manual / made_up.INDEX
  text = index.read_text()
  path = manual / '1aa0' / '1aa0_protein.pdb'
  protein = path.read_text()
  core = manual / 'INDEX_core_name.2020'

  def refused():
    with pytest.raises(
      ValueError, match='names or sizes of files have changed'
    ):
      build(manual, tmp_path / 'data')

  path.write_text(f'{protein}END\n')
  refused()
  path.write_text(protein)
  build(manual, tmp_path / 'data')
  # Another value in as many letters; the columns of flags and clusters.
  index.write_text(text.replace('2000', '2009'))
  refused()
  index.write_text(text)
  core.write_text('1aa0\n')
  refused()
  core.unlink()
  (manual / 'clusters_casf2016.json').write_text('{"0": ["1aa0", "1aa1"]}')
  refused()


def test_bad_complexes_are_left_out_and_named(tmp_path, capfd):
  manual = tmp_path / 'pdbbind'
  ids = made_up.write_set(manual, count=2)
  lines = [(manual / made_up.INDEX).read_text().rstrip()]
  protein, ligand = made_up.protein(0), made_up.ligand('CCO')

  def add(pdb_id, protein=protein, ligand=ligand, relation='='):
    folder = manual / pdb_id
    folder.mkdir()
    (folder / f'{pdb_id}_protein.pdb').write_text(protein)
    (folder / f'{pdb_id}_ligand.sdf').write_text(ligand)
    lines.append(made_up.index_line(pdb_id, 5.0, relation))

  cut = protein[: len(protein) // 2]
  add('2cut', protein=cut[: cut.rfind('\n') + 40])
  add('2nam', protein=protein.replace(' ALA ', '     ', 1))
  add('2far', ligand=made_up.ligand('CCO', centre=95.0))
  add('2two', ligand=ligand + made_up.ligand('CCN'))
  add('2emp', ligand='')
  add('2pro', protein='')
  add('2nan', ligand=ligand.replace('    5.', '    nan', 1))
  first, second = re.findall(r'(?m)^(.{30}) C ', ligand)
  add('2one', ligand=ligand.replace(second, first))
  add('2cen', relation='<')
  lines.append(made_up.index_line('2row', 6.0))
  add('2fol')
  lines.pop()  # a folder without a row
  (manual / made_up.INDEX).write_text('\n'.join(lines) + '\n')
  built = build(manual, tmp_path / 'data')
  rows = rows_of(built)
  status = {pdb_id: row['status'] for pdb_id, row in rows.items()}
  assert status == {
    **dict.fromkeys(ids, 'kept'),
    **dict.fromkeys(
      ('2cut', '2nam', '2far', '2two', '2emp', '2pro', '2nan', '2one'),
      'unreadable',
    ),
    '2cen': 'excluded', '2row': 'no files', '2fol': 'not in the index',
  }  # fmt: skip
  for pdb_id, reason in (
    ('2cut', 'line'), ('2nam', 'residue'), ('2far', 'frame'),
    ('2two', '2 '), ('2emp', 'empty'), ('2pro', 'empty'), ('2nan', 'nan'),
    ('2one', 'atoms 1 and 2 are 0.000 Å'), ('2cen', 'bound'),
    ('2row', 'no ligand file'),
    ('2fol', made_up.INDEX),
  ):  # fmt: skip
    # Names of files do not count: they hold the ids, and these the reasons.
    text = rows[pdb_id]['reason'].replace(pdb_id, '')
    assert reason in text.lower() or reason in text, text
  report = data_builders.report(built)
  assert report['written'] == 2 == len(records_of(built))
  assert sum(report['status'].values()) == report['rows'] == len(rows) == 13
  assert '8 unreadable' in capfd.readouterr().out


def test_complexes_of_ones_own(tmp_path):
  manual = tmp_path / 'mine'
  ids = ['cpd_001', 'CPD-2', 'cpd001', '17']
  for i, name in enumerate(ids):
    made_up.write_complex(manual, name, i, made_up.SMILES[i], seed=i)
  table = ''.join(f'{name},{4 + i}\n' for i, name in enumerate(ids))
  (manual / 'index.csv').write_text(f'id,pK\n{table}')
  built = build(manual, tmp_path / 'data')
  records = records_of(built)
  assert {key: record['pk'] for key, record in records.items()} == {
    'cpd_001': 4, 'cpd-2': 5, 'cpd001': 6, '17': 7,
  }  # fmt: skip
  # cpd_001 and cpd001 are one number in base 36, as Python reads it.
  assert len({float(r['cluster']) for r in records.values()}) == 4
  config = smoke_config(manual, tmp_path / 'data')
  config.data.split = 'file'
  config.data.split_file = str(tmp_path / 'split.json')
  parts = {'train': ids[:2], 'validation': ['cpd001'], 'test': ['17']}
  (tmp_path / 'split.json').write_text(json.dumps(parts).lower())
  made = task.make_task(configuration.resolve(config))
  assert [made.pack.ids[row] for row in made.rows['test']] == ['17']


def test_two_ids_of_one_number_are_refused():
  seen = {}
  for i in range(10**6):  # 80,000 are enough for a common number
    other = seen.setdefault(examples.index_of(f'cpd{i}'), f'cpd{i}')
    if other != f'cpd{i}':
      break
  assert 36**4 <= min(seen) < max(seen) < 2**32
  examples.check_numbers(['1abc', 'zzzz', *seen.values()])
  with pytest.raises(ValueError, match=f'{other} and cpd{i} have one number'):
    examples.check_numbers([other, '1abc', f'cpd{i}'])


def test_units_and_contradictions_follow_the_configuration(tmp_path):
  manual = tmp_path / 'mine'
  for i, name in enumerate(('1aa0', '1aa1')):
    made_up.write_complex(manual, name, i, 'CCO', seed=i)
  index = manual / 'index.csv'
  index.write_text('id,affinity\n1aa0,12\n1aa1,316\n')
  config = smoke_config(manual, tmp_path / 'data')

  def pk_of(config):
    pack = loading.load_pack(configuration.resolve(config).data, 'heavy')
    return dict(zip(pack.ids, pack.columns['pk'], strict=True))

  with pytest.raises(configuration.ConfigError, match=r'data\.affinity_unit'):
    pk_of(config)
  config.data.affinity_unit = 'nM'
  assert pk_of(config) == {'1aa0': 7.92, '1aa1': 6.5}
  config.data.affinity_unit = 'uM'
  with pytest.raises(
    configuration.ConfigError, match="affinity_unit was 'nM' and is 'uM'"
  ):
    pk_of(config)
  config.data.data_dir = str(tmp_path / 'b')
  config.data.affinity_unit = ''
  index.write_text('id,pK,measure\n1aa0,6.5,Ki=316mM\n1aa1,6.5,Ki=316nM\n')
  assert pk_of(config) == {'1aa1': 6.5}
  row = rows_of(build(manual, tmp_path / 'b'))['1aa0']
  assert row['status'] == 'excluded'
  assert 'contradicts' in row['reason']
  config.data.data_dir = str(tmp_path / 'c')
  config.data.max_pk_difference = 6.1
  assert pk_of(config) == {'1aa0': 6.5, '1aa1': 6.5}


def test_folders_of_other_sets(tmp_path):
  """HiQBind's and PoseBusters' names beside an index of 2020R1."""
  manual = tmp_path / 'sets'
  for i, (pdb_id, stem, ending) in enumerate(
    (('1aa0', '1aa0_LIG_A_1', '_refined'), ('1aa1', '1AA1_LIG', ''))
  ):
    made_up.write_complex(tmp_path / 'plain', pdb_id, i, 'CCO', seed=i)
    folder = manual / stem
    folder.mkdir(parents=True)
    for role, suffix in (('ligand', 'sdf'), ('protein', 'pdb')):
      plain = tmp_path / 'plain' / pdb_id / f'{pdb_id}_{role}.{suffix}'
      plain.rename(folder / f'{stem}_{role}{ending}.{suffix}')
  lines = [
    f'{key}  2.30  2012  Ki=316.23nM  // {key}.pdf ({code})'
    for key, code in (('1aa0', 'LIG'), ('1aa1', 'LIG'), ('1aa2', 'LIG'))
  ]
  (manual / 'INDEX_general_PL.2020R1.lst').write_text('\n'.join(lines))
  rows = rows_of(build(manual, tmp_path / 'a'))
  assert [rows[key]['status'] for key in sorted(rows)] == [
    'kept', 'kept', 'no files',
  ]  # fmt: skip
  assert {rows[key]['pk'] for key in rows} == {'6.5'}
  other = '\n'.join(lines).replace('(LIG)', '(GOL)', 1)
  (manual / 'INDEX_general_PL.2020R1.lst').write_text(other)
  row = rows_of(build(manual, tmp_path / 'b'))['1aa0']
  assert row['status'] == 'no files'
  assert 'ligand of the index is GOL' in row['reason']


def test_folders_that_cannot_be_read_are_in_the_report(
  tmp_path, unreadable, capsys
):
  manual = tmp_path / 'pdbbind'
  made_up.write_set(manual, count=2)
  unreadable(manual / '1aa1')
  built = build(manual, tmp_path / 'data')
  row = rows_of(built)['1aa1']
  reason = f'{manual / "1aa1"} cannot be read: Permission denied'
  assert (row['status'], row['reason']) == ('no files', reason)
  listed = f'{manual / "1aa1"}: Permission denied'
  assert data_builders.report(built)['unreadable_folders'] == [listed]
  assert 'cannot be read (Permission denied)' in capsys.readouterr().out


def test_messages_list_what_lies_in_the_folder(tmp_path):
  manual = tmp_path / 'mine'
  made_up.write_complex(manual, 'cpd1', 0, 'CCO')
  (manual / 'affinities.xlsx').write_text('')
  with pytest.raises(
    FileNotFoundError,
    match=r'no index .*3 files .*such as affinities\.xlsx, cpd1/.*INDEX_',
  ):
    build(manual, tmp_path / 'data')
  (manual / 'index.csv').write_text('id,pK\ncpd2,5\n')
  with pytest.raises(
    FileNotFoundError,
    match=r'no structures of the 1 .*such as cpd2: .*4 files.*cpd1_ligand\.sdf',
  ):
    build(manual, tmp_path / 'data')


def test_limits_leave_complexes_out_or_let_them_in(tmp_path):
  manual = tmp_path / 'pdbbind'
  ids = made_up.write_set(manual)
  path = manual / ids[0] / f'{ids[0]}_protein.pdb'
  places = [f'{5 + 1.5 * i:8.3f}   5.000   5.000' for i in range(3)]
  text = path.read_text().splitlines()
  for i, place in enumerate(places, len(text) - 7):
    text[i] = f'{text[i][:30]}{place}{text[i][54:]}'
  path.write_text('\n'.join([*text, '']))
  config = configuration.resolve(smoke_config(manual, tmp_path / 'data'))
  source = loading.load_pack(config.data, 'heavy')
  assert source.ids == tuple(ids[1:])
  row = rows_of(build(manual, tmp_path / 'data'))[ids[0]]
  assert row['status'] == 'unreadable'
  assert 'config.data.min_contact=1.2' in row['reason']
  # A dataset of other limits is another one, also where its files are gone.
  loose = {'data.min_contact': 0.0, 'data.max_clashes': 100}
  for folder in (tmp_path / 'gone', manual):
    config = smoke_config(folder, tmp_path / 'data', **loose)
    with pytest.raises(
      configuration.ConfigError, match=r'min_contact was 1\.2 and is 0'
    ):
      loading.load_pack(configuration.resolve(config).data, 'heavy')
  config.data.data_dir = str(tmp_path / 'loose')
  source = loading.load_pack(configuration.resolve(config).data, 'heavy')
  assert source.ids == tuple(ids)


def test_settings_have_one_default():
  data = default.get_config().data
  for dataset in datasets.DATASETS.values():
    settings = dataset.settings
    assert settings == {name: data[name] for name in settings}
  ligands = pdbbind_density.get_config('ligands')
  configuration.resolve(ligands)
  ligands.data.min_contact = 2.0
  with pytest.raises(configuration.ConfigError, match='min_contact is for pdb'):
    configuration.resolve(ligands)


def test_remarks_on_the_files_are_in_the_manifest(tmp_path):
  manual = tmp_path / 'pdbbind'
  (first, second) = made_up.write_set(manual, count=2)
  path = manual / first / f'{first}_protein.pdb'
  text = path.read_text()
  path.write_text(text.replace('TER\n', 'END\n'))
  rows = rows_of(build(manual, tmp_path / 'data'))
  assert 'atoms after END in line 181' in rows[first]['pocket_problems']
  assert rows[second]['pocket_problems'] == ''
  assert rows[first]['pocket_atoms'] == rows[second]['pocket_atoms']
  assert rows[first]['clashes'] == '0'


def test_orbitals_of_the_ligand_beside_the_pocket(manual, data_dir):
  built = build(manual, data_dir, 'orbitals')
  record = records_of(built)['1aa0']  # ethanol
  n = record['n_ligand']
  numbers, positions = record['numbers'][:n], record['positions'][:n]
  assert numbers.tolist() == [6, 6, 8] + [1] * 6
  want = xtb.run(numbers, positions)
  got = record['orbitals'].reshape(record['n_orbitals'], n, -1)
  np.testing.assert_allclose(got, want.orbitals, atol=1e-5)
  assert rows_of(built)['1aa0']['xtb'] == 'file'
  assert data_builders.report(built)['xtb'] == {'file': 10}

  config = pdbbind_density.get_config()
  config.data.data_dir = str(data_dir)
  config.data.manual_dir = str(manual)
  config.representation.density = 'xtb'
  config.representation.grid_size = 16
  config.train.batch_size = config.eval.batch_size = 4
  config = configuration.resolve(config)
  made = task.make_task(config)
  row = list(made.pack.ids).index('1aa0')
  part = next(p for p, rows in made.rows.items() if row in rows)
  where = list(made.rows[part]).index(row)
  mol = jax.tree.map(lambda x: x[where], made.molecules[part])
  ligand, pocket = np.moveaxis(np.asarray(made.voxelizer.raw(mol)[0]), -1, 0)
  grid = Grid(16, 0.75)
  groups = (np.arange(len(record['numbers'])) >= n).astype(int)
  whole = Molecule.from_arrays(
    record['numbers'], record['positions'], got, groups=groups
  )
  np.testing.assert_allclose(
    ligand, fields.orbital_density_grid(whole, grid), atol=1e-4
  )
  pair = fields.promolecule_grid(whole, grid, groups=True)
  np.testing.assert_allclose(pocket, pair[..., 1], atol=1e-4)
  assert ligand.max() > 0.1
  assert pocket.max() > 0.1


def write_map(path, edge=48.0, points=96):
  """A crystal's map, deviation 2 about 3: waves along x and z."""
  grid = gemmi.FloatGrid(points, points, points)
  grid.set_unit_cell(gemmi.UnitCell(edge, edge, edge, 90, 90, 90))
  grid.spacegroup = gemmi.SpaceGroup('P 1 1 2')
  x = np.arange(points) * edge / points
  grid.array[...] = 3 + 2 * wave(x[:, None, None], x[None, None, :])
  ccp4 = gemmi.Ccp4Map()
  ccp4.grid = grid
  ccp4.update_ccp4_header()
  ccp4.write_ccp4_map(str(path))


def wave(x, z):
  return np.cos(2 * np.pi * x / 12) + np.sin(2 * np.pi * z / 16)


def test_maps_turn_with_their_complexes(tmp_path):
  manual = tmp_path / 'pdbbind'
  ids = made_up.write_set(manual, count=6)
  for pdb_id in ids[:5]:
    write_map(manual / f'{pdb_id}.ccp4')
  # Waves, which are no density of the atoms.
  built = data_builders.build(
    'pdbbind', tmp_path / 'data', manual_dir=manual, workers=1, variant='maps',
    settings={'min_map_at_atoms': -10.0},
  )  # fmt: skip
  rows = rows_of(built)
  assert 'no map' in rows[ids[5]]['reason']
  assert rows[ids[0]]['map_missing'] == '0.0'
  config = smoke_config(manual, tmp_path / 'data')
  config.representation.density = 'map'
  config.data.min_map_at_atoms = -10.0
  config.representation.groups = False
  config.data.split = 'random'
  config.data.validation_fraction = config.data.test_fraction = 0.2
  config.train.batch_size = 4
  made = task.make_task(configuration.resolve(config))
  assert made.voxelizer.channel_names == ('density',)
  mol = _first(made)
  key = made.pack.ids[made.rows['train'][0]]
  record = records_of(built)[key]
  n = record['n_ligand']
  centre = molecule.frame_origin(
    record['numbers'][:n], record['positions'][:n], np.zeros(n, int), 'ligand'
  )
  grid = Grid(12, 1.5)
  points_G3 = np.asarray(grids.centres(grid))
  turn_33 = np.asarray(geometry.random_rotation(jax.random.key(3)))
  for rotation_33 in (np.eye(3), turn_33):
    moved = geometry.rotate(mol, rotation_33)
    (raw,) = jax.jit(made.voxelizer.raw)(moved)
    got = np.asarray(raw).ravel()
    x, _, z = (points_G3 @ rotation_33 + centre).T
    np.testing.assert_allclose(got, wave(x, z), atol=0.01)
  # the same values elsewhere: the rotation was not that of the atoms alone
  x, _, z = (points_G3 + centre).T
  assert np.abs(got - wave(x, z)).max() > 1


def smoke_config(manual, data_dir, **changes):
  config = pdbbind_density.get_config()
  config.data.data_dir = str(data_dir)
  config.data.manual_dir = str(manual)
  config.representation.grid_size = 12
  config.representation.spacing = 1.5
  config.model.widths = (8, 16)
  config.model.blocks = (0, 1)
  config.train.batch_size = config.eval.batch_size = 4
  config.train.steps = 4
  config.train.eval_every = config.train.checkpoint_every = 2
  config.eval.rotations = 2
  config.update_from_flattened_dict(changes)
  return config


def test_validation_inside_of_the_labels_stays_off_the_test_clusters(
  manual, data_dir
):
  changes = {'data.validation_share': 0.3, 'data.train_size': 6.0}
  config = configuration.resolve(smoke_config(manual, data_dir, **changes))
  source = loading.load_pack(config.data, dataset_variant(config))
  clusters_N = source.columns['cluster']
  seen = []
  for fold in range(config.data.folds):
    data = smoke_config(manual, data_dir, **changes, **{'data.fold': fold}).data
    rows = splitting.make_split(source, data)
    used = np.concatenate([rows.train, rows.validation])
    assert (len(rows.train), len(rows.validation)) == (4, 2)
    assert not set(clusters_N[used]) & set(clusters_N[rows.test])
    seen += rows.test.tolist()
  assert sorted(seen) == list(range(len(source)))  # each is tested once


def test_a_run_from_files_to_results(manual, data_dir, tmp_path):
  config = smoke_config(manual, data_dir)
  results = train_and_evaluate(config, tmp_path / 'run')
  assert results['examples'] == {'train': 6, 'validation': 2, 'test': 2}
  assert results['channels'] == ['ligand_density', 'pocket_density']
  entry = results['targets']['pk']
  assert set(entry['baselines']) == {
    'mean', 'median', 'ridge_composition', 'ridge_size', 'ridge_ligand',
    'moments',
  }  # fmt: skip
  assert entry['unit'] == 'pK'
  truth, prediction = (
    run_directory.RunDirectory(tmp_path / 'run')
    .read_predictions('test')['pk']
    .T
  )
  error = np.abs(truth - prediction).mean()
  assert entry['mae']['value'] == pytest.approx(error)
  facts = json.loads((tmp_path / 'run' / 'config.json').read_text())
  assert facts['config']['data.split'] == 'clusters'


def test_cut_pockets_are_told(tmp_path, capsys):
  manual = tmp_path / 'pdbbind'
  ids = made_up.write_set(manual)
  for pdb_id in ids[:2]:
    folder = manual / pdb_id
    (folder / f'{pdb_id}_protein.pdb').rename(folder / f'{pdb_id}_pocket.pdb')
  config = configuration.resolve(smoke_config(manual, tmp_path / 'data'))
  text = run_directory.describe(task.make_task(config))
  assert '2 pockets come from files that were cut off' in text
  rows = rows_of(build(manual, tmp_path / 'data'))
  assert 0 < float(rows[ids[0]]['box_filled']) < 1
  assert float(rows[ids[2]]['box_filled']) == 1
  alone = smoke_config(manual, tmp_path / 'data', **{'data.parts': ('ligand',)})
  made = task.make_task(configuration.resolve(alone))
  assert 'cut off' not in run_directory.describe(made)


def test_parts_and_shuffled_labels_are_switches(manual, data_dir):
  whole = task.make_task(configuration.resolve(smoke_config(manual, data_dir)))
  for parts in (('ligand',), ('pocket',)):
    config = smoke_config(manual, data_dir, **{'data.parts': parts})
    alone = task.make_task(configuration.resolve(config))
    vox = alone.sample_BXYZC
    kept = {('ligand',): 0, ('pocket',): 1}[parts]
    assert np.abs(vox[..., kept]).max() > 0
    assert not vox[..., 1 - kept].any()
    # the frame is the ligand's, whatever is seen
    np.testing.assert_allclose(
      alone.voxelizer.raw(_first(alone))[0][..., kept],
      whole.voxelizer.raw(_first(whole))[0][..., kept], atol=1e-5,
    )  # fmt: skip
  config = smoke_config(manual, data_dir, **{'data.shuffle_labels': True})
  shuffled = task.make_task(configuration.resolve(config))
  for part in ('train', 'validation', 'test'):
    rows = whole.rows[part]
    np.testing.assert_array_equal(shuffled.rows[part], rows)
    before, after = (t.labels.columns_NT[rows, 0] for t in (whole, shuffled))
    np.testing.assert_array_equal(np.sort(before), np.sort(after))
    same = (before == after).all()
    assert same == (part == 'test') or part == 'validation'


def _first(made):
  return jax.tree.map(lambda x: x[0], made.molecules['train'])


def test_test_sets_leaky_and_clean_side_by_side(manual, data_dir, tmp_path):
  lists = {
    'train': ['1aa0', '1aa1', '1aa2'], 'valid': ['1aa3'],
    'core': ['1aa5', '1aa4', '1aa9', '9zzz'],
  }  # fmt: skip
  (tmp_path / 'lists.json').write_text(json.dumps(lists))
  config = smoke_config(
    manual, data_dir,
    **{'data.split': 'published',
       'data.split_file': str(tmp_path / 'lists.json')},
  )  # fmt: skip
  config = configuration.resolve(config)
  source = loading.load_pack(config.data, 'heavy')
  rows = splitting.make_split(source, config.data)
  assert rows.missing == 1
  assert rows.missing_ids == {'core': ('9zzz',)}
  made = task.make_task(config)
  run = run_directory.RunDirectory(tmp_path / 'run')
  run.start(config, made)
  assert '1 molecules of the published split' in run_directory.describe(made)
  listed = (tmp_path / 'run' / 'missing_ids.csv').read_text().splitlines()
  assert listed == ['part,id', 'core,9zzz']
  names = {
    name: [source.ids[rows.test[i]] for i in positions]
    for name, positions in rows.test_sets.items()
  }
  assert sorted(names['core']) == ['1aa4', '1aa5', '1aa9']
  # 1aa5 is a relative of 1aa0.
  assert sorted(names['core_clean']) == ['1aa4', '1aa9']
  # A small draw may leave nothing of one of them.
  found = set()
  for seed in range(20):
    data = ConfigDict(config.data)
    data.max_eval, data.seed = 1, seed
    few = splitting.make_split(source, data)
    assert all(len(positions) == 1 for positions in few.test_sets.values())
    found.add(frozenset(few.test_sets))
  assert found == {frozenset(['core']), frozenset(['core', 'core_clean'])}


def test_b_factors_of_some_sources_are_refused(tmp_path):
  manual = tmp_path / 'pdbbind'
  ids = made_up.write_set(manual)
  config = smoke_config(
    manual, tmp_path / 'data', **{'representation.use_b_factors': True}
  )
  rows = task.make_task(configuration.resolve(config)).rows
  source = loading.load_pack(config.data, 'heavy')
  for row in rows['test']:
    path = manual / ids[row] / f'{ids[row]}_protein.pdb'
    path.write_text(path.read_text().replace('1.00 20.00', '1.00  0.00'))
  assert source.ids == tuple(ids)
  shutil.rmtree(tmp_path / 'data')
  with pytest.raises(
    configuration.ConfigError, match=r'100% of train.*0% of te'
  ):
    task.make_task(configuration.resolve(config))


def test_entries_of_the_wwpdb_and_a_table_suffice(tmp_path, monkeypatch):
  """No file of PDBbind's; what is missing is fetched on request."""
  manual = tmp_path / 'wwpdb'
  manual.mkdir()
  table = ['pdb_id,ligand,pK', '1aa0,LIG,5.0', '1aa1,LIG,6.0', '1aa2,XXX,7.0']
  (manual / 'index.csv').write_text('\n'.join(table) + '\n')

  def entry(path, family):
    structure = gemmi.read_pdb_string(made_up.protein(family))
    residue = gemmi.Residue()
    residue.name, residue.seqid = 'LIG', gemmi.SeqId('950')
    residue.het_flag = 'H'
    for i, element in enumerate('CCO'):
      atom = gemmi.Atom()
      atom.name, atom.element = f'{element}{i}', gemmi.Element(element)
      atom.pos, atom.b_iso = gemmi.Position(5 + 1.4 * i, 5, 5), 30
      residue.add_atom(atom)
    structure[0]['A'].add_residue(residue)
    structure.setup_entities()
    structure.make_mmcif_document().write_file(str(path))
    return path

  entry(manual / '1aa0.cif', 0)
  entry(manual / '1aa2.cif', 2)
  fetched = []

  def fetch(pdb_id, directory):
    fetched.append(pdb_id)
    directory.mkdir(parents=True, exist_ok=True)
    return entry(directory / f'{pdb_id}.cif', 1)

  monkeypatch.setattr(wwpdb, 'fetch_entry', fetch)
  without = build(manual, tmp_path / 'a')
  status = {key: row['status'] for key, row in rows_of(without).items()}
  assert status == {'1aa0': 'kept', '1aa1': 'no files', '1aa2': 'unreadable'}
  assert 'XXX' in rows_of(without)['1aa2']['reason']
  assert not fetched
  record = records_of(without)['1aa0']
  n = record['n_ligand']
  assert record['numbers'][:n].tolist() == [6, 6, 8]
  np.testing.assert_allclose(record['positions'][:n, 0], [5, 6.4, 7.8])
  assert len(record['numbers']) - n == 4 * 45 + 1
  assert np.isnan(record['ligand_log_p'])

  def complete(data_dir, **options):
    return data_builders.build(
      'pdbbind', tmp_path / data_dir, manual_dir=manual, workers=1,
      download=True, settings={'min_map_at_atoms': -10.0}, **options,
    )  # fmt: skip

  with pytest.raises(ValueError, match='nothing was downloaded for it'):
    complete('a')
  completed = complete('b')
  assert fetched == ['1aa1']
  assert rows_of(completed)['1aa1']['status'] == 'kept'
  complete('b')  # and stays

  def fail(pdb_id, directory):
    raise errors[pdb_id]

  errors = {'1aa1': http.client.BadStatusLine('no HTTP')}
  monkeypatch.setattr(wwpdb, 'fetch_entry', fail)
  monkeypatch.setattr(wwpdb, 'fetch_map', fail)
  offline = complete('c')
  assert rows_of(offline)['1aa1']['reason'] == 'download failed: no HTTP'
  write_map(manual / '1aa0.ccp4')
  errors['1aa2'] = OSError('no such map')
  without_map = rows_of(complete('d', variant='maps'))
  assert without_map['1aa0']['status'] == 'kept'
  assert without_map['1aa2']['reason'] == 'download failed: no such map'


def test_an_index_alone_suffices_where_entries_are_fetched(
  tmp_path, monkeypatch
):
  manual = tmp_path / 'wwpdb'
  manual.mkdir()
  (manual / 'index.csv').write_text('pdb_id,ligand,pK\n1aa1,ZN,6.0\n')
  path = tmp_path / '1aa1.pdb'
  path.write_text(made_up.protein(1, seed=1))
  monkeypatch.setattr(wwpdb, 'fetch_entry', lambda *_: path)
  built = data_builders.build(
    'pdbbind', tmp_path / 'a', manual_dir=manual, workers=1, download=True
  )
  assert rows_of(built)['1aa1']['status'] == 'kept'
  with pytest.raises(
    FileNotFoundError, match='no structures of the 1 complexes'
  ):
    build(manual, tmp_path / 'b')


def test_ligands_without_proteins(tmp_path):
  manual = tmp_path / 'ligands'
  manual.mkdir()
  block = ''
  for i, smiles in enumerate(made_up.SMILES):
    relation = '<' if i == 3 else '='
    tags = f'>  <pdb_id>\n1aa{i}\n\n>  <pK>\n{4 + i}\n\n'
    tags += f'>  <measure>\nKi{relation}{10.0 ** (5 - i):g}nM\n\n'
    block += made_up.ligand(smiles).replace('$$$$', f'{tags}$$$$')
  (manual / 'ligands.sdf').write_text(block)
  built = build(manual, tmp_path / 'data', name='pdbbind_ligands')
  records = records_of(built)
  assert sorted(records) == [f'1aa{i}' for i in range(8) if i != 3]
  assert rows_of(built)['1aa3']['status'] == 'excluded'
  phenols = [r for r in records.values() if r['ligand_aromatic_rings'] == 1]
  assert not phenols  # 1aa3 was the only one
  for record in records.values():
    assert record['n_ligand'] == len(record['numbers'])
    assert 1 not in record['numbers']
  config = pdbbind_density.get_config('ligands')
  config.data.data_dir, config.data.manual_dir = (
    str(tmp_path / 'data'), str(manual),
  )  # fmt: skip
  config.data.validation_fraction = config.data.test_fraction = 0.3
  config.representation.grid_size = 8
  config.train.batch_size = config.eval.batch_size = 4
  made = task.make_task(configuration.resolve(config))
  assert made.voxelizer.channel_names == ('density',)
  assert set(made.baselines) > {'ridge_size', 'ridge_ligand'}
  with pytest.raises(FileNotFoundError, match=r'no ligands\*\.sdf: .*pK'):
    build(tmp_path, tmp_path / 'data2', name='pdbbind_ligands')


def test_without_pdbbind_the_message_says_what_to_do(tmp_path, capsys):
  config = smoke_config(tmp_path / 'nothing', tmp_path / 'data')
  assert commands.run(config, str(tmp_path / 'run'), 'train') == 2
  message = capsys.readouterr().err
  for part in (
    'pdbbind-plus.org.cn',
    'manual_dir=DIR',
    'INDEX_',
    '_ligand.sdf',
  ):
    assert part in message
  assert message.count('. ') <= 2


# 40 s: all of what there is, once; its counts are the claim.
def test_every_real_complex_is_in_or_has_its_reason(shared_data, tmp_path):
  manual = shared_data / 'pdbbind'
  built = data_builders.build(
    'pdbbind', tmp_path, manual_dir=manual, variant='heavy'
  )
  rows = rows_of(built)
  with (manual / 'manifest.csv').open(newline='') as file:
    known = {row['id']: row for row in csv.DictReader(file)}
  folders = {path.name for path in manual.iterdir() if len(path.name) == 4}
  folders -= {'index'}
  status = {pdb_id: rows[pdb_id]['status'] for pdb_id in folders}
  assert len(folders) == 386
  assert set(status.values()) <= {'kept', 'excluded'}
  kept = [pdb_id for pdb_id, s in status.items() if s == 'kept']
  report = data_builders.report(built)
  assert report['written'] == len(kept) == 385
  assert rows['2fv5']['status'] == 'excluded'  # Kd<2pM
  assert sum(report['status'].values()) == report['rows'] == len(rows)
  # Another reader's ligands and contacts; its contacts count water.
  same = 0
  for pdb_id in kept:
    row, want = rows[pdb_id], known[pdb_id]
    assert row['ligand_atoms'] == want['n_heavy'], pdb_id
    difference = float(row['shortest_contact']) - float(want['min_dist'])
    assert difference > -0.006, pdb_id
    same += difference < 0.006
  assert same > 250


def test_largest_box_is_within_the_radius():
  for variant in ('', 'ligands', 'paper_like', 'full'):
    config = configuration.resolve(pdbbind_density.get_config(variant))
    assert make.selection_of(config).radius <= complexes.RADIUS
