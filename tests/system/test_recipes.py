"""CONTRIBUTING's recipes: a new channel and a new dataset, trained on.

tests/models/test_registry.py does the same for a network and a loss.
"""

import numpy as np
import pytest
from support import tiny_runs

from edjax import baselines, datasets, fields, train
from edjax import config as configuration
from edjax.config import ConfigError
from edjax.fields import channels

WATERS = datasets.Dataset(
  name='waters',
  builder='support.waters_dataset_builder',
  targets={'length': datasets.Target('Å', 'mÅ', 1e3)},
  splits=('random', 'file'),
)
SQUARE = channels.Channel(
  'square',
  lambda options: (
    lambda *args: fields.promolecule_grid(*args, groups=options.groups) ** 2
  ),
  unit='e^2/Å^6',
)


@pytest.fixture
def config(tmp_path):
  config = tiny_runs.tiny(tmp_path / 'data')
  config.data.name = 'waters'
  config.data.targets = ('length',)
  config.data.train_size = 1.0
  config.representation.channels = ('square', 'shape')
  return config


def test_a_new_dataset_and_a_new_channel_train(config, tmp_path, monkeypatch):
  monkeypatch.setitem(datasets.DATASETS, 'waters', WATERS)
  monkeypatch.setitem(channels.CHANNELS, 'square', SQUARE)
  results = train.train_and_evaluate(config, tmp_path / 'run')
  assert results['channels'] == ['square', 'shape']
  assert results['examples'] == {'train': 28, 'validation': 4, 'test': 8}
  assert results['targets']['length']['unit'] == 'mÅ'
  # Moments of the input say how long the bonds are; the composition does not.
  errors = results['targets']['length']['baselines']
  moments = errors[baselines.MOMENTS]['mae']['value']
  assert moments < 0.2 * errors['mean']['mae']['value']
  assert np.isfinite(results['targets']['length']['mae']['value'])


def test_without_their_lines_they_are_refused(config):
  with pytest.raises(
    ConfigError, match=r'data\.name must be one of .*qm9_mini'
  ):
    configuration.resolve(config)
  config.data.name = 'qm9_mini'
  config.data.targets = ('gap',)
  with pytest.raises(ConfigError, match=r"has \['square'\]; known are"):
    configuration.resolve(config)
