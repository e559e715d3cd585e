"""Users' own complexes: tables and folders, to records and a trained model."""

import csv
import json
import pathlib
import shutil

import numpy as np
import pytest
from support import made_up_complexes as made_up

import data_builders
from configs import complexes_shape, study_complexes
from data_builders.own import complexes
from edjax import config as configuration
from edjax import datasets, task
from edjax.config import ConfigError
from edjax.data import loading, splitting
from edjax.study import planning, settings

# One protein has two ligands; ids as nobody would write a PDB id.
ROWS = (
  ('Cpd 1/A', 0, 'CCO'),
  ('Cpd 1/B', 0, 'CCCO'),
  ('2', 1, 'CC(=O)O'),
  ('β-3', 2, 'CCN'),
  ('x_4', 3, 'CCS'),
  ('x_5', 4, 'CCCl'),
)


def write(root, header='id,protein,ligand,pKd,kon,year', lines=None):
  """A table that names files in folders beside it."""
  (root / 'proteins').mkdir(parents=True, exist_ok=True)
  (root / 'poses').mkdir(exist_ok=True)
  made = []
  for i, (name, family, smiles) in enumerate(ROWS):
    protein, ligand = f'proteins/p{family}.pdb', f'poses/{i}.sdf'
    (root / protein).write_text(made_up.protein(family))
    (root / ligand).write_text(made_up.ligand(smiles))
    kon = '' if i == 2 else str(10 * i)
    made.append(f'{name},{protein},{ligand},{5 + i / 4},{kon},{2000 + i}')
  table = root / 'affinities.csv'
  table.write_text('\n'.join([header, *(lines or made), '']), encoding='utf-8')
  return table, made


@pytest.fixture(scope='module')
def table(tmp_path_factory):
  return write(tmp_path_factory.mktemp('own'))[0]


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp('data')


@pytest.fixture
def config(table, data_dir):
  config = complexes_shape.get_config()
  config.data.update(
    {'data_dir': str(data_dir), 'source': str(table), 'targets': ('pKd', 'kon')}
  )
  config.data.workers = 1
  return config


def rows_of(builder):
  path = pathlib.Path(builder.data_dir) / 'manifest.csv'
  with path.open(newline='', encoding='utf-8') as file:
    return {row['id']: row for row in csv.DictReader(file)}


def build(data_dir, table, targets=('pKd',), **settings):
  return data_builders.build(
    'complexes', data_dir, workers=1, variant='heavy', targets=targets,
    settings={'source': str(table), **settings},
  )  # fmt: skip


def test_records_have_the_table_s_ids_and_values(config):
  pack = loading.load_pack(config.data, 'heavy')
  place = {name: i for i, name in enumerate(pack.ids)}
  assert set(place) == {name for name, *_ in ROWS}
  order = [place[name] for name, *_ in ROWS]
  np.testing.assert_array_equal(
    pack.columns['pKd'][order], 5 + np.arange(6) / 4
  )
  np.testing.assert_array_equal(
    pack.columns['kon'][order], [0, 10, np.nan, 30, 40, 50]
  )
  np.testing.assert_array_equal(pack.columns['year'][order], range(2000, 2006))
  assert 'pk' not in pack.columns
  clusters = pack.columns['cluster'][order]
  assert clusters[0] == clusters[1]
  assert len(set(clusters)) == 5
  heavy = pack.columns['ligand_heavy_atoms'][order]
  np.testing.assert_array_equal(heavy, [3, 4, 4, 3, 3, 3])


def test_splits_keep_ids_as_they_are(config):
  pack = loading.load_pack(config.data, 'heavy')
  config.data.folds = 3
  rows = splitting.make_split(pack, config.data)
  parts = [
    {pack.ids[row] for row in getattr(rows, part)}
    for part in ('train', 'validation', 'test')
  ]
  assert set().union(*parts) == {name for name, *_ in ROWS}
  assert sum({'Cpd 1/A', 'Cpd 1/B'} <= part for part in parts) == 1
  config.data.split, config.data.split_year = 'time', 2004
  rows = splitting.make_split(pack, config.data)
  assert sorted(pack.ids[row] for row in rows.test) == ['x_4', 'x_5']


def test_a_published_list_may_have_another_case(config, tmp_path):
  pack = loading.load_pack(config.data, 'heavy')
  for part, names in (
    ('train', 'X_4\n2\n'),
    ('val', 'x_5\n'),
    ('test', 'β-3\n'),
  ):
    (tmp_path / f'{part}.txt').write_text(names, encoding='utf-8')
  config.data.split, config.data.split_file = 'published', str(tmp_path)
  rows = splitting.make_split(pack, config.data)
  assert sorted(pack.ids[row] for row in rows.train) == ['2', 'x_4']


def test_a_run_s_task_has_labels_with_gaps_and_baselines(config, tmp_path):
  """What a run learns from; training is that of PDBbind's complexes."""
  config.data.units = ('pK', '1/s')
  config.data.split = 'file'
  names = [name for name, *_ in ROWS]
  parts = {'train': names[:4], 'validation': names[4:5], 'test': names[5:]}
  path = tmp_path / 'parts.json'
  path.write_text(json.dumps(parts), encoding='utf-8')
  config.data.split_file = str(path)
  config.representation.grid_size, config.representation.spacing = 8, 2.0
  config.model.widths, config.model.blocks = (4,), (0,)
  config.train.batch_size = config.eval.batch_size = 4
  made = task.make_task(configuration.resolve(config))
  ids = [[made.pack.ids[row] for row in made.rows[part]] for part in parts]
  assert [sorted(one) for one in ids] == [sorted(n) for n in parts.values()]
  np.testing.assert_allclose(made.labels.mean_T, [5.375, 40 / 3])
  gap = made.pack.ids.index('2')
  np.testing.assert_array_equal(
    np.isnan(made.labels.values_NT[gap]), [False, True]
  )
  assert np.isfinite(made.baselines['ridge_ligand']).all()
  assert datasets.target_of(config.data, 'kon').report == '1/s'


def test_what_cannot_be_used_names_row_and_column(tmp_path, capsys):
  root = tmp_path / 'own'
  _, lines = write(root)
  lines[0] = lines[0].replace(',0,2000', ',n.d.,2000')
  lines[1] = 'b,proteins/none.pdb,poses/1.sdf,5,1,'
  lines[2] = 'c,proteins/p1.pdb,,5,1,'
  lines[3] = 'd,proteins/p2.pdb,affinities.csv,5,1,'
  lines[4] = f'CPD 1/A,{lines[4].partition(",")[2]}'
  table, _ = write(root, lines=lines)
  builder = build(tmp_path / 'data', table)
  rows = rows_of(builder)
  assert {name: row['status'] for name, row in rows.items()} == {
    'Cpd 1/A': 'kept',
    'b': 'no files',
    'c': 'no files',
    'd': 'no files',
    'CPD 1/A (affinities.csv, line 6)': 'excluded',
    'x_5': 'kept',
  }
  where = "affinities.csv, line 3, column 'protein': there is no file "
  assert rows['b']['reason'] == where + str(root / 'proteins' / 'none.pdb')
  assert "line 4, column 'ligand': the cell is empty" in rows['c']['reason']
  assert 'affinities.csv is none of .sdf' in rows['d']['reason']
  assert 'line 2 (case' in rows['CPD 1/A (affinities.csv, line 6)']['reason']
  printed = capsys.readouterr().out
  assert where in printed
  assert 'column kon: 1 cells are no numbers' in printed


@pytest.mark.parametrize(
  ('settings', 'targets', 'message'),
  [
    ({}, ('pKi',), r"no column 'pKi'.*Did you mean 'pKd'"),
    ({}, ('cluster',), r"'cluster' is a name that edjax uses"),
    ({'id_column': 'no'}, ('pKd',), r"no column 'no'; it has 'id'"),
    ({'split_column': 'kon'}, ('pKd',), r"line 2: column 'kon' has '0'"),
    ({'source': ''}, ('pKd',), 'config.data.source is missing'),
  ],
)
def test_wrong_columns_are_named(table, tmp_path, settings, targets, message):
  with pytest.raises(ValueError, match=message):
    build(tmp_path, table, targets, **settings)


def test_a_table_without_paths(tmp_path):
  (tmp_path / 'a.csv').write_text('id,receptor,ligand,y\n1,a,b,2\n')
  with pytest.raises(ValueError, match="no column 'protein'; it has 'id'"):
    complexes.find(tmp_path / 'a.csv')
  (tmp_path / 'a.csv').write_text('id,protein,ligand,y\n1,a.pdb,b.sdf,2\n')
  with pytest.raises(ValueError, match=r'not one of the 1 complexes .*a\.pdb'):
    complexes.find(tmp_path / 'a.csv')
  with pytest.raises(FileNotFoundError, match=r'there is no .*b\.csv'):
    complexes.find(tmp_path / 'b.csv')
  with pytest.raises(ValueError, match='neither a table'):
    complexes.find(__file__)


def test_maps_are_named_in_a_column_of_any_case(tmp_path):
  lines = [
    'a,proteins/p0.pdb,poses/0.sdf,affinities.csv,1',
    'b,proteins/p1.pdb,poses/1.sdf,,2',
  ]
  table, _ = write(tmp_path, 'id,Protein,LIGAND,Map,y', lines)
  files = complexes.find(table).inputs.files
  assert files['a'].density_map == table
  assert files['b'].density_map is None
  found = complexes.find(table, maps=True).inputs
  assert list(found.files) == ['a']
  assert found.unusable == {
    'b': "affinities.csv, line 3, column 'Map': the cell is empty"
  }


@pytest.fixture
def folder(tmp_path):
  root = tmp_path / 'folder'
  (root / 'files').mkdir(parents=True)
  for name, family in (('AbC', 0), ('d', 1)):
    (root / 'files' / f'{name}.pdb').write_text(made_up.protein(family))
  (root / 'files' / 'AbC.sdf').write_text(made_up.ligand('CCO'))
  table = root / 'values.tsv'
  table.write_text('name of it\tpart\ty\nabc\tTrain\t1\nd\ttest\t2\n')
  return root


def test_a_folder_has_ids_as_names_of_files(folder):
  found = complexes.find(folder, id_column='name of it', split_column='part')
  files = found.inputs.files
  assert list(files) == ['abc']
  assert files['abc'].protein == folder / 'files' / 'AbC.pdb'
  assert files['abc'].ligand_sdf == folder / 'files' / 'AbC.sdf'
  assert files['abc'].density_map is None
  assert found.inputs.unusable == {
    'd': f'values.tsv, line 3: {folder} has no d.sdf or d.sd or d.mol or d.mol2'
  }
  # The parts of the split are numbers that the table does not have.
  assert list(found.counts) == ['y', 'split_part']
  assert [e.values for e in found.inputs.entries.values()] == [(1, 0), (2, 2)]
  with pytest.raises(ValueError, match=r'abc\.ccp4 or abc\.map'):
    complexes.find(folder, id_column='name of it', maps=True)
  with pytest.raises(ValueError, match='no column of ids, which are the names'):
    complexes.find(folder)
  shutil.copy(folder / 'values.tsv', folder / 'more.tsv')
  with pytest.raises(ValueError, match=r"it has 'more\.tsv', 'values\.tsv'"):
    complexes.find(folder, id_column='name of it')


def test_another_source_is_another_dataset(tmp_path):
  root = tmp_path / 'own'
  table, _ = write(root)
  digest = complexes.find(table).inputs.sha256
  # The same files elsewhere are the same.
  moved = shutil.copytree(root, tmp_path / 'moved')
  assert complexes.find(moved / table.name).inputs.sha256 == digest
  with (root / 'poses' / '0.sdf').open('a') as file:
    file.write('\n')
  assert complexes.find(table).inputs.sha256 != digest
  table.write_text(table.read_text(encoding='utf-8').replace('5.25', '5.26'))
  assert complexes.find(moved / table.name).inputs.sha256 == digest


def with_series(root, titles, row=',', other='b,proteins/p2.pdb,poses/2.sdf,,'):
  """A table whose first row has an SDF file with ligands of these titles."""
  text = ''
  for i, title in enumerate(titles):
    block = made_up.ligand(ROWS[i][2]).split('\n', 1)[1]
    stated = f'>  <pKd>\n{5 + i}\n\n>  <kon>\n\n\n'
    text += f'{title}\n{block}'.replace('$$$$', f'{stated}$$$$')
  table, _ = write(
    root, 'id,protein,ligand,pKd,kon', [f'A,proteins/p0.pdb,s.sdf,{row}', other]
  )
  (root / 's.sdf').write_text(text)
  return table


def test_each_ligand_of_a_file_is_a_complex(tmp_path, capsys):
  """With the values of its record, and those that only the row has."""
  table = with_series(tmp_path / 'own', ['x 1', 'x 2', 'x 3'], row='3,2.5')
  builder = build(tmp_path / 'data', table)
  rows = rows_of(builder)
  assert [*rows] == ['b', 'x 1', 'x 2', 'x 3']
  assert rows['x 2']['ligand_file'] == 's.sdf, record 2'
  assert (
    rows['x 2']['index_line'] == 'affinities.csv, line 2, record 2 of s.sdf'
  )
  source = builder.as_data_source(split='molecules')
  found = {record['example_id'].decode(): record for record in source}
  assert list(data_builders.report(builder)['columns']) == ['kon', 'pKd']
  values = np.array([found[f'x {i}']['values'] for i in (1, 2, 3)])
  np.testing.assert_array_equal(values, [[2.5, 5], [2.5, 6], [2.5, 7]])
  for i in (1, 2, 3):
    assert found[f'x {i}']['ligand_heavy_atoms'] == [3, 4, 4][i - 1]
  clusters = {float(found[f'x {i}']['cluster']) for i in (1, 2, 3)}
  assert len(clusters) == 1
  assert float(found['b']['cluster']) not in clusters
  said = capsys.readouterr().out
  assert 'affinities.csv, line 2: kon 2.5 counts for 3 ligands of s.sdf' in said
  assert 'pKd 3 counts' not in said  # each record has its own


@pytest.mark.parametrize(
  ('titles', 'ids'),
  [
    (('x', 'y'), ['x', 'y', 'b']),
    (('pose', 'pose'), ['A_0001', 'A_0002', 'b']),
    (('x', ''), ['A_0001', 'A_0002', 'b']),
    (('x', 'B'), ['A_0001', 'A_0002', 'b']),  # another row has this id
  ],
)
def test_ids_of_several_ligands(tmp_path, titles, ids):
  found = complexes.find(with_series(tmp_path, titles)).inputs
  assert list(found.files) == ids
  assert [one.record for one in found.files.values()] == [1, 2, 0]
  assert not found.notes


def test_titles_that_two_files_share_are_no_ids(tmp_path):
  """And the last record of a file may lack its end."""
  table = with_series(tmp_path, ['x', 'y'], other='B,proteins/p2.pdb,s.sdf,,')
  text = (tmp_path / 's.sdf').read_text()
  (tmp_path / 'z.sdf').write_text(
    text.replace('x\n', 'z\n', 1).replace('y\n', 'ζ\n', 1)[: -len('$$$$\n')],
    encoding='utf-8',
  )
  with table.open('a') as file:
    file.write('C,proteins/p1.pdb,z.sdf,,\n')
  assert list(complexes.find(table).inputs.files) == [
    'A_0001', 'A_0002', 'B_0001', 'B_0002', 'z', 'ζ',
  ]  # fmt: skip


def test_values_in_a_file_of_ligands_make_the_dataset(tmp_path):
  table = with_series(tmp_path, ['x', 'y'])
  before = complexes.find(table).inputs.sha256
  path = tmp_path / 's.sdf'
  path.write_text(path.read_text().replace('<pKd>\n6', '<pKd>\n7'))
  assert complexes.find(table).inputs.sha256 != before


def test_configurations_need_a_source(config):
  configuration.resolve(config)
  config.data.download = True
  with pytest.raises(ConfigError, match='nowhere to be fetched'):
    configuration.resolve(config)
  config.data.download = False
  config.data.source = ''
  with pytest.raises(ConfigError, match=r'data\.source is missing'):
    configuration.resolve(config)


def test_the_study_has_a_run_for_each_fold(config):
  study = study_complexes.get_config()
  study.data.update({'source': config.data.source, 'targets': ('pKd',)})
  options, base = settings.split(study)
  entries = planning.entries(options, base)
  runs = {(e.representation, e.size, e.subset_seed, e.fold) for e in entries}
  assert len(runs) == len(entries) == 4 * 2 * 2 * 3
  for entry in entries[::12]:  # one of each representation
    configuration.resolve(planning.with_fields(base, entry.fields))
