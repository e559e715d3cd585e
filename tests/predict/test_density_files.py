"""Training on cubes and predicting others, from files to files."""

import csv
import dataclasses

import numpy as np
import pytest
from ml_collections import FrozenConfigDict
from support import cubes, small_run, xtb_cubes

from configs import molecules_density
from data_builders.own import densities
from edjax import molecule, train
from edjax.config import ConfigError
from edjax.predict import files, kept, model

TRAINED = 12


def folder_of(folder, records, **options):
  """Writes a cube each, and a table of the number of hydrogens."""
  folder.mkdir()
  rows = ['id,hydrogens,part']
  for i, record in enumerate(records):
    made = xtb_cubes.of_record(record, step=0.3, **options)
    cubes.write(folder / f'{record.example_id}.cube', made)
    part = ('train', 'train', 'validation', 'test')[i % 4]
    rows.append(f'{record.example_id},{sum(record.numbers == 1)},{part}')
  (folder / 'values.csv').write_text('\n'.join([*rows, '']))
  return str(folder)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The directory of a run on cubes, and the folder of these."""
  top = tmp_path_factory.mktemp('cubes')
  source = folder_of(top / 'cubes', small_run.raw_records()[20 : 20 + TRAINED])
  config = molecules_density.get_config()
  config.data.update(
    {
      'source': source, 'targets': ('hydrogens',), 'workers': 1,
      'data_dir': str(top / 'data'), 'split': 'column', 'split_column': 'part',
    }
  )  # fmt: skip
  config.representation.update(
    {'density': 'map', 'grid_size': 8, 'spacing': 1.5, 'supersample': 1}
  )
  config.model.update({'widths': (4,), 'blocks': (0,), 'local': 4})
  config.train.update({'steps': 4, 'eval_every': 4, 'checkpoint_every': 4})
  config.eval.rotations = 2
  results = train.train_and_evaluate(config, top / 'run')
  return str(top / 'run'), source, results


def read(path):
  with open(path, newline='', encoding='utf-8') as file:
    return {row['id']: row for row in csv.DictReader(file)}


def test_baselines_do_without_xtb(run):
  """The number of hydrogens is a sum over atoms: the ridge has it."""
  _, _, results = run
  names = {*results['targets']['hydrogens']['baselines']}
  assert 'ridge_composition' in names
  assert not any('gfn2' in name for name in names)


def test_predictions_of_its_cubes_are_those_of_the_run(run, tmp_path):
  """Those of the test molecules, each of its own molecule."""
  workdir, source, _ = run
  output = tmp_path / 'out.csv'
  assert files.predict_files([workdir], source, str(output)) == TRAINED
  rows = read(output)
  with open(f'{workdir}/predictions_test.csv', newline='') as file:
    own = {row['id']: float(row['prediction']) for row in csv.DictReader(file)}
  found = [float(rows[name]['hydrogens']) for name in own]
  close = 1e-3 * np.ptp([*own.values()])
  np.testing.assert_allclose(found, [*own.values()], rtol=0, atol=close)
  assert np.abs(np.roll(found, 1) - [*own.values()]).max() > 100 * close
  assert all(row['error'] == row['flags'] == '' for row in rows.values())


def test_sources_that_do_not_go_with_it(run, tmp_path):
  workdir, _, _ = run
  (tmp_path / 'a.smi.csv').write_text('smiles\nCCO\n')
  with pytest.raises(ConfigError, match=r'no densities, .* ID.cube'):
    files.predict_files(
      [workdir], str(tmp_path / 'a.smi.csv'), str(tmp_path / 'b.csv')
    )
  folder = tmp_path / 'maps'
  folder.mkdir()
  record = small_run.raw_records()[3]
  write_xyz(folder / 'a.xyz', record)
  xtb_cubes.write_ccp4(folder / 'a.ccp4', record.coords)
  kind = kept.read(workdir)
  config = kind.config.to_dict()
  config['data']['map_periodic'] = 'no'
  config = FrozenConfigDict(config)
  boxes = tmp_path / 'run'
  boxes.mkdir()
  kept.write(boxes / kept.NAME, dataclasses.replace(kind, config=config))
  output = tmp_path / 'c.csv'
  assert files.predict_files([str(boxes)], str(folder), str(output)) == 0
  error = read(output)['a']['error']
  assert error == (
    'its density is in standard deviations, and those of training are in e/Å^3'
  )
  with pytest.raises(ConfigError, match='map_periodic'):
    files.predict_files([workdir, str(boxes)], str(folder), str(output))


def write_xyz(path, record):
  from edjax.chem import elements

  lines = [str(len(record.numbers)), '']
  for number, place in zip(record.numbers, record.coords, strict=True):
    where = ' '.join(f'{x:.6f}' for x in place)
    lines.append(f'{elements.SYMBOLS[number]} {where}')
  path.write_text('\n'.join([*lines, '']))


def test_a_density_of_other_electrons_is_flagged(run, tmp_path):
  workdir, _, _ = run
  path = cubes.write(
    tmp_path / 'bare.cube', cubes.density('C 0 0 0; O 0 0 1.13')
  )
  output = tmp_path / 'out.csv'
  assert files.predict_files([workdir], str(path), str(output)) == 1
  flags = read(output)['bare']['flags']
  assert 'density of all electrons, unlike training' in flags
  trained = model.load(workdir)
  assert trained.kept.geometries == ('valence',)
  # As a Molecule, with points 0.21 Å apart.
  mol = molecule.read(path)
  assert np.isfinite(trained.predict([mol]).mean_NT).all()
  kind = dataclasses.replace(trained.kept, geometries=('all_electron',))
  with pytest.raises(ValueError, match=r'0\.21 Å apart.* cores.*coarsened'):
    model.Model(kind).predict([mol])
  coarse = densities.coarsened(mol.density_map, has_cores=True)
  mol = dataclasses.replace(mol, density_map=coarse)
  model.Model(kind).predict([mol])
