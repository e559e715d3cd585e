"""Evaluation: every example once, in order, whatever the batch size."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from edjax.data import labelling
from edjax.evaluate import evaluator, metrics, summary
from edjax.molecule import Molecule, stack
from edjax.runtime import parallel


@pytest.mark.parametrize('size', [4, 8, 12, 16])
@pytest.mark.parametrize('n', [1, 8, 13])
def test_every_example_once_and_in_order(n, size):
  """On 4 devices; the network is replaced by the number of the example."""
  rows = np.arange(100, 100 + n)
  molecules = stack(
    [Molecule.from_arrays([6], [[0.0, 0, 0]], index=int(i)) for i in rows]
  )
  task = types.SimpleNamespace(
    rows={'test': rows},
    molecules={'test': molecules},
    labels=types.SimpleNamespace(to_native=lambda x, rows: x),
  )
  config = types.SimpleNamespace(eval=types.SimpleNamespace(batch_size=size))

  def number(params, molecules, rotation):
    ids_B = molecules.index.astype(jnp.float32)
    return jnp.stack([ids_B + params, ids_B * 0 + rotation], axis=-1)

  of_test = evaluator.Evaluator(config, task, 'test', parallel.pmap(number))
  found_RBT = of_test.predict(np.float32(0.5), rotations=2)
  assert found_RBT.shape == (2, n, 2)
  for rotation in range(2):
    np.testing.assert_array_equal(found_RBT[rotation, :, 0], rows + 0.5)
    np.testing.assert_array_equal(found_RBT[rotation, :, 1], rotation)


def test_spread_over_rotations_does_not_depend_on_their_number():
  rng = np.random.default_rng(0)
  for rotations in (2, 4, 16):
    prediction_RB = rng.normal(size=(rotations, 20_000)) * 3 + 7
    spread = summary.spread(prediction_RB)
    assert spread == pytest.approx(3, rel=0.02)
    # The standard deviation over so few is smaller.
    if rotations == 2:
      assert prediction_RB.std(0).mean() < 2
  assert summary.spread(prediction_RB[:1]) is None


class Log:
  """The errors that a run directory is told."""

  def __init__(self):
    self.values = {}

  def log(self, step, part, name, value, unit):
    self.values[name] = value, unit


def with_gaps(classes):
  """A test part of twelve examples, whose second target lacks four."""
  rng = np.random.default_rng(1)
  rows = np.arange(12) + 3
  columns_NT = rng.normal(size=(20, 2)) * [1, 2]
  prediction_RBT = columns_NT[rows] + 0.1 * rng.normal(size=(2, 12, 2))
  if classes:
    columns_NT = (columns_NT > 0).astype(float)
    prediction_RBT = 1 / (1 + np.exp(-prediction_RBT))
  columns_NT[rows[2:6], 1] = np.nan
  if classes:
    labels = labelling.make_classes(columns_NT)
  else:
    labels = labelling.make_labels(columns_NT, np.arange(20), ('homo', 'mu'))
  config = types.SimpleNamespace(
    data=types.SimpleNamespace(
      name='qm9_mini', targets=('homo', 'mu'), units=(), delta=''
    ),
    eval=types.SimpleNamespace(rotations=2, bootstrap=50),
  )
  task = types.SimpleNamespace(
    rows={'train': np.arange(3), 'test': rows},
    labels=labels,
    pool=3,
    outside={},
    voxelizer=types.SimpleNamespace(channel_names=('shape',)),
    pack=types.SimpleNamespace(columns={}),
    baselines={'mean': np.full((20, 2), 0.5)},
    test_sets={'few': np.array([0, 1, 2, 3]), 'none': np.array([3, 4])},
  )
  return config, task, prediction_RBT


@pytest.mark.parametrize('classes', [False, True])
def test_errors_are_of_what_was_measured(classes):
  """As if the examples were not there, in both targets by themselves."""
  config, task, prediction_RBT = with_gaps(classes)
  results = summary.summarise(config, task, prediction_RBT)
  known = np.r_[0, 1, 6:12]
  factor = 1.0  # of mu
  truth_N = task.labels.columns_NT[task.rows['test'][known], 1]
  options = {'resamples': 50, 'classes': classes}
  expected = metrics.bootstrap(
    truth_N * factor, prediction_RBT[:, known, 1].mean(0), **options
  )
  found = results['targets']['mu']
  for name, entry in expected.items():
    assert found[name] == pytest.approx(entry, nan_ok=True)
  assert found['measured'] == {'train': 3, 'test': 8}
  assert results['targets']['homo']['measured']['test'] == 12
  of_mean = found['baselines']['mean']
  halves = np.full(8, 0.5)
  expected = metrics.bootstrap(truth_N, halves, **options)
  for name, entry in expected.items():
    assert of_mean[name] == pytest.approx(entry, nan_ok=True)
  assert ('log_loss_difference' in of_mean) == classes
  assert ('mae_difference' in of_mean) != classes
  assert ('share' in found) == classes
  # A test set without a label has no row.
  assert found['test_sets'].keys() == {'few'}
  assert found['test_sets']['few']['examples'] == 2
  assert results['targets']['homo']['test_sets'].keys() == {'few', 'none'}


@pytest.mark.parametrize('classes', [False, True])
def test_the_validation_error_is_of_what_was_measured(classes):
  config, task, prediction_RBT = with_gaps(classes)
  of_test = evaluator.Evaluator(config, task, 'test', None)
  of_test.predict = lambda params, rotations: prediction_RBT[:rotations]
  log = Log()
  value = of_test.log(None, 5, log)
  truth_BT = task.labels.columns_NT[task.rows['test']]
  errors = []
  for j, known in enumerate((np.r_[0:12], np.r_[0, 1, 6:12])):
    truth_N, guess_N = truth_BT[known, j], prediction_RBT[0, known, j]
    if classes:
      of_true = np.where(truth_N == 1, guess_N, 1 - guess_N)
      errors.append(-np.log(of_true).mean())
    else:
      errors.append(np.abs(truth_N - guess_N).mean())
  mean = np.mean(np.array(errors) / task.labels.scale_T)
  assert value == pytest.approx(mean, rel=1e-12)
  kind = 'log_loss' if classes else 'mae'
  assert log.values[f'{kind}_mu'][0] == pytest.approx(errors[1], rel=1e-12)
  assert log.values[of_test.selected_by][0] == value
  # A prediction that is not finite is not hidden.
  prediction_RBT[0, 0, 1] = np.nan
  assert np.isnan(of_test.log(None, 6, log))
