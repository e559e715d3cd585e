"""Predictions of complexes from files, by a run that was trained on such."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
from ml_collections import FrozenConfigDict
from support import made_up_complexes as made_up
from support import made_up_ligands

from configs import complexes_density
from edjax import commands, train
from edjax.config import ConfigError
from edjax.data import loading
from edjax.predict import files, inputs, kept, model

SMILES = ('CCO', 'CCCO', 'CC(=O)O', 'CCN', 'CCS', 'CCCl', 'CC(C)O', 'CCC')
# Ligands of one file, which the last row names.
SERIES = {'thiol': 'CCS', 'chloride': 'CCCl', 'alcohol': 'CC(C)O'}


def series(titles=tuple(SERIES)):
  """An SDF file of the series; its properties have the values."""
  text = ''
  for i, (title, smiles) in enumerate(
    zip(titles, SERIES.values(), strict=True)
  ):
    block = made_up.ligand(smiles).split('\n', 1)[1]
    value = f'>  <pKd>\n{7 + i / 2}\n\n$$$$'
    text += f'{title}\n{block}'.replace('$$$$', value)
  return text


@pytest.fixture(scope='module')
def table(tmp_path_factory):
  """Eight rows with a ligand each, and one with three, of four proteins."""
  root = tmp_path_factory.mktemp('mine')
  lines = ['id,protein,ligand,pKd']
  for i, smiles in enumerate(SMILES):
    protein = root / f'p{i % 4}.pdb'
    protein.write_text(made_up.protein(i % 4, seed=i % 4))
    (root / f'{i}.sdf').write_text(made_up.ligand(smiles))
    lines.append(f'Cpd {i}/A,{protein.name},{i}.sdf,{4 + i / 3:.2f}')
  (root / 'series.sdf').write_text(series())
  lines.append('Cpd 9,p1.pdb,series.sdf,')
  (root / 'mine.csv').write_text('\n'.join([*lines, '']))
  return root / 'mine.csv'


@pytest.fixture(scope='module')
def run(table, tmp_path_factory):
  """The directory of a run of seconds, tested on five complexes."""
  config = complexes_density.get_config()
  config.data.update(
    {
      'data_dir': str(tmp_path_factory.mktemp('data')), 'workers': 1,
      'source': str(table), 'targets': ('pKd',), 'units': ('pK',),
      'min_contact': 1.1, 'split': 'random', 'validation_fraction': 0.2,
      'test_fraction': 0.45,
    }
  )  # fmt: skip
  config.representation.grid_size, config.representation.spacing = 8, 2.0
  config.model.widths, config.model.blocks = (4,), (0,)
  config.train.batch_size = config.eval.batch_size = 4
  config.train.steps = config.train.eval_every = 20
  config.train.checkpoint_every = 20
  config.eval.rotations = 2
  directory = tmp_path_factory.mktemp('run')
  train.train_and_evaluate(config, directory)
  return directory


@pytest.fixture(scope='module')
def table_of_predictions(run, table, tmp_path_factory):
  path = tmp_path_factory.mktemp('out') / 'predictions.csv'
  assert files.predict_files([str(run)], str(table), str(path)) == 11
  return path


def read(path):
  with open(path, newline='', encoding='utf-8') as file:
    return {row['id']: row for row in csv.DictReader(file)}


def of_run(run):
  """id -> prediction on the test complexes, as the run has written them."""
  with (run / 'predictions_test.csv').open(encoding='utf-8') as file:
    return {r['id']: float(r['prediction']) for r in csv.DictReader(file)}


def compared(rows, expected):
  """Returns the largest difference, in the spread of what is expected."""
  found = np.array([float(rows[name]['pKd']) for name in expected])
  values = np.array([*expected.values()])
  assert len(values) == 5
  assert values.std() > 1e-3
  return np.abs(found - values).max() / values.std()


def test_files_get_the_predictions_of_the_run(run, table_of_predictions):
  rows, expected = read(table_of_predictions), of_run(run)
  assert [*rows][-4:] == ['Cpd 7/A', *SERIES]
  assert {*SERIES} & {*expected}  # of ligands in one file, too
  assert compared(rows, expected) < 1e-4
  assert not any(row['error'] for row in rows.values())
  unseen = {'', 'S was not in training', 'Cl was not in training'}
  assert {row['flags'] for row in rows.values()} <= unseen
  # Other rotations: what is compared could differ.
  one = model.load(run)
  pack = loading.load_pack(one.config.data, 'heavy')
  turned = dataclasses.replace(pack, index=pack.index + 1)
  others = one.predict_pack(turned).mean_NT[:, 0]
  turned_rows = {
    name: {'pKd': value} for name, value in zip(pack.ids, others, strict=True)
  }
  assert compared(turned_rows, expected) > 1e-2


def test_no_values_and_no_table_are_needed(run, table, tmp_path):
  """A folder of ID.pdb and ID.sdf; several ligands of one are numbered."""
  folder = tmp_path / 'folder' / 'deeper'
  folder.mkdir(parents=True)
  shutil.copy(table.parent / 'p1.pdb', folder / 'Rec.pdb')
  (folder / 'Rec.sdf').write_text(series(['pose'] * 3))
  shutil.copy(table.parent / 'p0.pdb', folder / 'alone.pdb')
  path = tmp_path / 'out.csv'
  assert files.predict_files([str(run)], str(folder.parent), str(path)) == 3
  rows = read(path)
  assert [*rows] == ['Rec_0001', 'Rec_0002', 'Rec_0003', 'alone']
  assert 'has no alone.sdf' in rows['alone']['error']
  assert len({rows[f'Rec_000{i}']['pKd'] for i in (1, 2, 3)}) == 3


def test_a_complex_that_fails_is_a_row_with_its_reason(run, table, tmp_path):
  """What is left out in training has no prediction, by the run's own limits."""
  lines = [
    'protein,ligand',
    'p0.pdb,0.sdf',
    'p0.pdb,none.sdf',
    'p0.pdb,far.sdf',
  ]
  root = table.parent
  (root / 'far.sdf').write_text(made_up.ligand('CCO', centre=90.0))
  (root / 'new.csv').write_text('\n'.join([*lines, '']))
  path = tmp_path / 'out.csv'
  assert files.predict_files([str(run)], str(root / 'new.csv'), str(path)) == 1
  rows = read(path)
  assert [*rows] == ['new_0001', 'new_0002', 'new_0003']
  assert 'there is no file' in rows['new_0002']['error']
  assert "line 3, column 'ligand'" in rows['new_0002']['error']
  assert rows['new_0003']['error'].startswith('p0.pdb')
  given = inputs.read([model.load(run).config], str(root / 'new.csv'))
  assert given.jobs[0][2].settings['min_contact'] == 1.1


def changed(run, directory, section='data', **fields):
  """Writes what a run keeps with other values of its configuration."""
  made = kept.read(run)
  config = made.config.to_dict()
  config[section] |= fields
  directory.mkdir()
  kept.write(
    directory / kept.NAME,
    dataclasses.replace(made, config=FrozenConfigDict(config)),
  )
  return str(directory)


def test_runs_on_pdbbind_have_ids_in_lower_case(run, table, tmp_path):
  """Their rotations follow from those, however a table writes them."""
  (table.parent / 'case.csv').write_text(
    'id,protein,ligand\nMine,p0.pdb,0.sdf\n'
  )
  other = changed(run, tmp_path / 'pdbbind', name='pdbbind')
  (ours,) = inputs.read(
    [model.load(run).config], table.parent / 'case.csv'
  ).jobs
  (theirs,) = inputs.read(
    [model.load(other).config], table.parent / 'case.csv'
  ).jobs
  assert (ours[1].pdb_id, theirs[1].pdb_id) == ('Mine', 'mine')
  assert ours[2] == theirs[2]


def test_ligands_alone(run, table, tmp_path):
  """A run that sees no pockets predicts the same of ligands without them."""
  root = table.parent
  (root / 'set.sdf').write_text(series(['1aa0', '1aa1', '1aa2']))
  (root / 'set.csv').write_text('protein,ligand\np1.pdb,set.sdf\n')
  blind = changed(run, tmp_path / 'blind', parts=('ligand',))
  alone = changed(
    tmp_path / 'blind', tmp_path / 'alone', name='pdbbind_ligands'
  )
  found = []
  for path, source in (
    (blind, 'set.csv'),
    (alone, 'set.sdf'),
    (run, 'set.csv'),
  ):
    output = tmp_path / f'{len(found)}.csv'
    assert (
      files.predict_files([str(path)], str(root / source), str(output)) == 3
    )
    found.append({k: float(row['pKd']) for k, row in read(output).items()})
  assert found[1] == pytest.approx(found[0], rel=1e-5)
  assert found[2] != pytest.approx(found[0], rel=1e-3)


def test_runs_together_read_files_in_one_way(run, table, tmp_path):
  other = changed(run, tmp_path / 'other', max_clashes=9)
  paths = str(table), str(tmp_path / 'out.csv')
  with pytest.raises(ConfigError, match=r'other config\.data\.max_clashes'):
    files.predict_files([str(run), other], *paths)
  alone = changed(run, tmp_path / 'alone', name='pdbbind_ligands')
  with pytest.raises(ConfigError, match='complexes and pdbbind_ligands cannot'):
    files.predict_files([str(run), alone], *paths)


def test_runs_together_go_on_where_they_were(
  run, table, table_of_predictions, tmp_path
):
  """The second run is the first with all predictions 1 higher."""
  made = kept.read(run)
  (tmp_path / 'other').mkdir()
  kept.write(
    tmp_path / 'other' / kept.NAME,
    dataclasses.replace(made, mean_T=made.mean_T + 1),
  )
  path = tmp_path / 'out.csv'
  both = [str(run), str(tmp_path / 'other')]
  files.predict_files(both, str(table), str(path))
  alone, together = read(table_of_predictions), read(path)
  for name, row in together.items():
    assert float(row['pKd']) == pytest.approx(float(alone[name]['pKd']) + 0.5)
    assert float(row['pKd_sd_ensemble']) == pytest.approx(0.5**0.5)
  lines = path.read_bytes().splitlines(keepends=True)
  path.write_bytes(b''.join(lines[:8]) + lines[8][:5])
  assert files.predict_files(both, str(table), str(path)) == 11
  assert path.read_bytes().splitlines(keepends=True)[:8] == lines[:8]
  for name, row in read(path).items():
    before = float(together[name]['pKd'])
    assert float(row['pKd']) == pytest.approx(before, rel=1e-5)


def test_a_ligand_without_orbitals(run, table, tmp_path):
  """Its promolecule stands in their place, or it has no prediction."""
  bare = made_up_ligands.embedded('CCO', hydrogens=False)
  atoms = made_up_ligands.moved(made_up_ligands.tables(bare)[0], 5)
  root = table.parent
  (root / 'bad.sdf').write_text(  # bonds that RDKit refuses
    made_up_ligands.sdf(atoms, [(1, 2, 3), (2, 3, 3)])
  )
  (root / 'bad.csv').write_text('protein,ligand\np0.pdb,bad.sdf\n')
  made = {}
  for name, fields in (
    ('promolecule', {}),
    ('xtb', {'density': 'xtb'}),
    ('refused', {'density': 'xtb', 'groups': False}),
  ):
    other = changed(run, tmp_path / name, 'representation', **fields)
    path = tmp_path / f'{name}.csv'
    files.predict_files([other], str(root / 'bad.csv'), str(path))
    (made[name],) = read(path).values()
  assert made['xtb']['pKd'] == made['promolecule']['pKd'] != ''
  reason = 'no GFN2-xTB orbitals of the ligand (file:no_bonds none)'
  assert reason in made['xtb']['flags']
  assert reason not in made['promolecule']['flags']
  assert made['refused']['pKd'] == ''
  assert reason in made['refused']['error']


def test_only_ligands_have_to_fit_into_the_box(run, tmp_path):
  """Of a run that sees no ligands, nothing is outside."""
  small = changed(run, tmp_path / 'small', 'representation', grid_size=2)
  alone = changed(tmp_path / 'small', tmp_path / 'alone', parts=('pocket',))
  models = model.load(small), model.load(alone)
  pack = loading.load_pack(models[0].config.data, 'heavy')
  outside = [
    [text for text in files.flags([one], pack) if 'outside' in text]
    for one in models
  ]
  assert len(outside[0]) == len(pack)
  assert not outside[1]


def test_another_input_is_another_table(run, table, table_of_predictions):
  """Contents of structures count, not only their names and sizes."""
  before = inputs.read([model.load(run).config], table).sha256
  made_of = json.loads(
    (table_of_predictions.parent / 'predictions.csv.json').read_text()
  )
  assert made_of['input'] == before
  path = table.parent / '0.sdf'
  text = path.read_text()
  path.write_text(text.replace('RDKit', 'RDkit'))
  assert inputs.read([model.load(run).config], table).sha256 != before
  path.write_text(text)


def test_a_source_that_is_none(run, tmp_path, capsys):
  (tmp_path / 'empty').mkdir()
  for name, words in (('empty', 'no files ID.pdb'), ('x.sdf', 'neither a')):
    if name == 'x.sdf':
      (tmp_path / name).write_text('')
    paths = str(tmp_path / name), str(tmp_path / 'out.csv')
    assert commands.run(None, [str(run)], 'predict', files=paths) == 2
    assert words in capsys.readouterr().err
