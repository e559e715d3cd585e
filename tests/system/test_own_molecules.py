"""From a user's table to results, by the configurations of users' molecules."""

import csv
import json

import pytest

from configs import molecules_density, study_molecules
from data_builders.qm9_mini import qm9_mini_dataset_builder as mini
from edjax import commands
from edjax.study import settings

# Two spellings of one constitution, which differ in stereo.
MIRRORED = ('C[C@H](O)F', 'C[C@@H](O)F')


@pytest.fixture(scope='module')
def table(tmp_path_factory):
  """A CSV of 30 molecules with their number of heavy atoms, one without."""
  path = tmp_path_factory.mktemp('table') / 'mine.csv'
  records = mini.read_records(mini.embedded_lines()[:28])
  rows = [(r.smiles, int((r.numbers > 1).sum())) for r in records]
  rows += [(MIRRORED[0], 4), (MIRRORED[1], 4), ('CCCCF', '')]
  with path.open('w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(['smiles', 'size', 'split'])
    for i, (smiles, size) in enumerate(rows):
      part = 'test' if smiles == MIRRORED[1] or i < 5 else 'train'
      part = 'val' if 5 <= i < 9 else part
      writer.writerow([smiles, size, part])
  return path


def small(config, table, data_dir):
  config.data.update(
    {
      'source': str(table), 'data_dir': str(data_dir), 'workers': 1,
      'targets': ('size',), 'units': ('atoms',), 'split': 'column',
      'split_column': 'split',
    }
  )  # fmt: skip
  config.representation.channels = ('shape',)
  config.representation.grid_size = 8
  config.representation.spacing = 1.5
  config.representation.transforms.shape = 'none'
  config.model.input_moments = False
  config.model.widths = (4,)
  config.model.blocks = (0,)
  config.model.local = 4
  config.train.steps = config.train.eval_every = 8
  config.train.checkpoint_every = 8
  config.eval.rotations = 1
  return config


def test_a_table_trains_and_is_reported(table, tmp_path, capsys):
  config = small(molecules_density.get_config(), table, tmp_path / 'data')
  assert commands.run(config, str(tmp_path / 'run'), 'train') == 0
  said = capsys.readouterr().out
  assert '1 molecules have no value of size, and are left out' in said
  assert '1 of 6 test molecules have a near-duplicate in training' in said
  results = json.loads((tmp_path / 'run' / 'results.json').read_text())
  entry = results['targets']['size']
  assert entry['unit'] == 'atoms'
  # The number of heavy atoms is linear in the composition: no network needs to
  # learn it, and the regression beside it has it.
  assert entry['baselines']['ridge_composition']['mae']['value'] < 0.05
  assert entry['baselines']['mean']['mae']['value'] > 0.3


def test_a_column_that_is_not_there_is_named(table, tmp_path, capsys):
  config = small(molecules_density.get_config(), table, tmp_path / 'data')
  config.data.targets = ('sise',)
  assert commands.run(config, str(tmp_path / 'run'), 'train') == 2
  said = capsys.readouterr().err
  assert "has no column 'sise'" in said
  assert "Did you mean 'size'?" in said


@pytest.mark.parametrize('variant', ['', 'full'])
def test_the_study_is_of_all_targets_and_shares_of_the_data(table, variant):
  config = study_molecules.get_config(variant)
  config.data.source, config.data.targets = str(table), ('size', 'y')
  study, _ = settings.split(config)
  assert study.primary == ('size', 'y')
  assert study.sizes[-1] == 1.0
  with pytest.raises(ValueError, match="'full'"):
    study_molecules.get_config('tiny')
