"""Units of targets, of a registered dataset and of a user's columns."""

import json

import pytest
from support import made_up_study

from configs import default
from edjax import config as configuration
from edjax import datasets
from edjax.config import ConfigError
from edjax.study import results

MINE = datasets.Dataset(
  name='mine', builder='', targets={}, splits=('random',), open_targets=True
)


@pytest.fixture
def config(monkeypatch):
  monkeypatch.setitem(datasets.DATASETS, 'mine', MINE)
  config = default.get_config()
  config.data.name = 'mine'
  config.data.targets = ('pIC50', 'logS')
  return config


def test_a_column_has_the_unit_that_it_is_given(config):
  configuration.resolve(config)
  nothing = datasets.target_of(config.data, 'logS')
  assert nothing == datasets.Target('', '', 1.0)
  config.data.units = ('pIC50', 'log10 mol/l')
  configuration.resolve(config)
  assert datasets.target_of(config.data, 'logS').report == 'log10 mol/l'
  # A registered target keeps its own.
  config.data.name, config.data.targets = 'qm9', ('gap',)
  config.data.units = ()
  assert datasets.target_of(config.data, 'gap').report == 'meV'


def test_units_that_do_not_fit_are_refused(config):
  config.data.units = ('log10 mol/l',)
  with pytest.raises(ConfigError, match=r'data.units=.*one unit for each of'):
    configuration.resolve(config)
  config.data.name, config.data.targets = 'qm9_mini', ('gap',)
  with pytest.raises(ConfigError, match=r'data.units=.*targets of qm9_mini'):
    configuration.resolve(config)


@pytest.mark.usefixtures('config')
def test_a_study_reads_the_units_of_its_plan(tmp_path):
  def study(dataset, **more):
    text = json.dumps(made_up_study.plan([], dataset, **more))
    (tmp_path / 'plan.json').write_text(text, encoding='utf-8')
    return results.Study(tmp_path)

  base = {'data.targets': ['pIC50', 'logS'], 'data.units': ['', 'mol/l']}
  mine = study('mine', base=base)
  assert (mine.unit('logS'), mine.factor('logS')) == ('mol/l', 1)
  assert study('qm9').unit('gap') == 'meV'  # of before there were units
