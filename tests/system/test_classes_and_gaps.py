"""Runs on columns as users have them: classes, and values that are missing."""

import dataclasses

import numpy as np
import pytest
from support import tiny_runs

from edjax import datasets
from edjax.data import loading
from edjax.evaluate import results_table
from edjax.runtime import compile_cache, run_directory
from edjax.train import train_and_evaluate

WATERS = datasets.Dataset(
  name='waters',
  builder='support.waters_dataset_builder',
  targets={'length': datasets.Target('Å', 'mÅ', 1e3)},
  splits=('random', 'file'),
  open_targets=True,
)


def columns(length_N):
  """Classes and values, the second of each without every third.

  Lengths between the classes have none.
  """
  gaps_N = np.where(np.arange(len(length_N)) % 3, 0, np.nan)
  long_N = np.where(length_N > 1.0, 1.0, 0.0)
  long_N[np.abs(length_N - 1) < 0.02] = np.nan
  return {
    'long': long_N, 'long_some': long_N + gaps_N,
    'stretch': length_N - 1, 'stretch_some': length_N - 1 + gaps_N,
  }  # fmt: skip


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """Function (targets, fields) -> directory and results of a run."""
  directory = tmp_path_factory.mktemp('runs')
  shared = compile_cache.CompileCache()
  load = loading.load_pack

  def with_columns(*args, **kwargs):
    built = dataclasses.replace(WATERS, open_targets=False)
    with pytest.MonkeyPatch.context() as patch:
      patch.setitem(datasets.DATASETS, 'waters', built)
      pack = load(*args, **kwargs)
    new = columns(pack.columns['length'])
    return dataclasses.replace(pack, columns=pack.columns | new)

  def run(*targets, steps=150, **fields):
    config = tiny_runs.tiny(directory / 'data')
    config.data.name, config.data.targets = 'waters', targets
    config.data.train_size, config.data.max_eval = 1.0, 0
    config.data.validation_fraction, config.data.test_fraction = 0.2, 0.3
    config.representation.channels = ('atoms',)
    config.representation.elements = ('H', 'O')
    config.representation.grid_size = 12
    config.representation.spacing = 0.5
    config.train.steps = config.train.eval_every = steps
    config.train.checkpoint_every = steps
    config.optim.learning_rate = 1e-2
    config.update_from_flattened_dict(fields)
    workdir = directory / f'run{len([*directory.iterdir()])}'
    return workdir, train_and_evaluate(config, workdir, shared)

  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(datasets.DATASETS, 'waters', WATERS)
    patch.setattr(loading, 'load_pack', with_columns)
    yield run


@pytest.fixture(scope='module')
def classes(run):
  return run('long', 'long_some', **{'optim.loss': 'log_loss'})


def test_a_planted_class_is_learned(run, classes):
  """By its log loss: what grows with the length has an AUROC of 0 or 1."""
  _, results = classes
  for entry in results['targets'].values():
    assert entry['log_loss']['value'] < 0.4
    assert entry['auroc']['value'] > 0.9
    assert entry['baselines']['mean']['log_loss']['value'] > 0.6
  # The control: of labels that were exchanged nothing is learned.
  fields = {'optim.loss': 'log_loss', 'data.shuffle_labels': True}
  _, exchanged = run('long', 'long_some', **fields)
  for entry in exchanged['targets'].values():
    assert entry['log_loss']['value'] > 0.6


def test_a_run_on_classes_leaves_probabilities_and_curves(classes):
  workdir, results = classes
  assert results['classes']
  long, some = results['targets'].values()
  parts = results['examples']
  assert sum(parts.values()) == 32  # of 40
  assert long['measured'] == parts
  assert all(0 < some['measured'][part] < n for part, n in parts.items())
  found = run_directory.RunDirectory(workdir).read_predictions('test')
  truth_N, prediction_N = found['long_some'].T
  assert np.isfinite(truth_N).sum() == some['measured']['test']
  # The molecules without a label have a prediction.
  assert ((0 < prediction_N) & (prediction_N < 1)).all()
  logged = (workdir / 'metrics.jsonl').read_text()
  assert '"log_loss_long_some"' in logged
  assert 'mae' not in logged
  said = results_table.table(results)
  assert 'AUROC (95 %)' in said
  assert 'log loss - logistic, composition' in said
  assert 'log loss - moments of the input' in said
  n = some['measured']
  assert f'long_some was measured for {n["train"]} molecules' in said
  path = results_table.parity_plot(workdir, results)
  assert path.name == 'roc.png'
  assert path.read_bytes().startswith(b'\x89PNG')


def test_values_with_gaps_are_learned_and_shown(run):
  workdir, results = run('stretch', 'stretch_some', steps=20)
  whole, some = results['targets'].values()
  assert whole['measured']['test'] == 12 > some['measured']['test']
  for entry in (whole, some):
    assert np.isfinite([*entry['mae'].values()]).all()
    # Moments of the input say how long the bonds are; composition does not.
    moments, mean = (entry['baselines'][b]['mae'] for b in ('moments', 'mean'))
    assert moments['value'] < 0.3 * mean['value']
  predictions = run_directory.RunDirectory(workdir).read_predictions('test')
  figure = results_table.parity_figure(predictions, results)
  points = [len(axis.lines[1].get_xdata()) for axis in figure.axes]
  assert points == [12, some['measured']['test']]
  assert figure.axes[0].get_xlabel() == 'target'  # no unit was given
  assert 'stretch_some was measured for' in results_table.table(results)
