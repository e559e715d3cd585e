"""The baseline of what the input says without a network."""

import jax
import numpy as np
from support import tiny_runs

from edjax import config as configuration
from edjax import task as tasks
from edjax.baselines import kernel_ridge, moments_alone
from edjax.data import labelling
from edjax.models import input_moments

PARTS = ('train', 'validation', 'test')


def test_every_molecule_once_whatever_the_batch():
  of_part, sizes = np.arange(10.0), []

  def double(batch):
    sizes.append(len(batch))
    return 2 * batch

  for n, size, batches in ((10, 4, 3), (8, 4, 2), (3, 4, 1), (10, 1, 10)):
    found = moments_alone.each_batch(
      double, of_part, np.arange(10)[::-1][:n], size
    )
    np.testing.assert_array_equal(found, 2 * of_part[::-1][:n])
    assert sizes == [size] * batches
    sizes.clear()


def test_large_parts_are_sampled(monkeypatch):
  """Training and validation; every test molecule is predicted."""
  monkeypatch.setattr(moments_alone, 'MAX_MOLECULES', 40)
  rng = np.random.default_rng(0)
  x_NF = rng.normal(size=(200, 2))
  molecules = dict(zip(PARTS, np.split(x_NF, [100, 150]), strict=True))
  rows = dict(zip(PARTS, np.split(np.arange(200), [100, 150]), strict=True))
  labels = labelling.make_labels(x_NF[:, :1] ** 2, rows['train'], ('y',))
  found_NT = moments_alone.predictions(lambda x: x, molecules, rows, labels, 16)
  known_N = np.isfinite(found_NT[:, 0])
  assert [known_N[rows[part]].sum() for part in PARTS] == [40, 40, 50]
  # Not the first ones, which may be small or of one kind.
  assert known_N[60:100].any()
  truth = x_NF[150:, 0] ** 2
  assert np.abs(found_NT[150:, 0] - truth).mean() < 0.2 * truth.std()


def test_a_kernel_ridge_on_moments_of_the_voxels(qm9_mini):
  """By hand, for a run that learns what is left of a linear fit."""
  config = tiny_runs.tiny(qm9_mini)
  config.data.delta = 'composition'
  work = tasks.make_task(configuration.resolve(config))
  found_NT = work.baselines['moments']
  used = np.concatenate(list(work.rows.values()))
  assert np.isfinite(found_NT[used]).all()
  assert np.isnan(np.delete(found_NT, used, 0)).all()

  features = {
    part: np.asarray(
      input_moments.power_moments(jax.vmap(work.voxelizer)(molecules))
    )
    for part, molecules in work.molecules.items()
  }
  offset_NT = work.baselines['ridge_composition']
  rest_NT = work.labels.columns_NT - offset_NT
  train, validation, test = (
    work.rows[part] for part in ('train', 'validation', 'test')
  )
  mean_T, std_T = rest_NT[train].mean(0), rest_NT[train].std(0)
  predict = kernel_ridge.fit(
    features['train'],
    (rest_NT[train] - mean_T) / std_T,
    x_val=features['validation'],
    y_val=(rest_NT[validation] - mean_T) / std_T,
  ).predict
  expected_BT = predict(features['test']) * std_T + mean_T + offset_NT[test]
  size_T = work.labels.columns_NT[test].std(0)
  difference_BT = (found_NT[test] - expected_BT) / size_T
  np.testing.assert_allclose(difference_BT, 0, atol=2e-3)
  # It is more than the fit that it begins with.
  assert np.abs(found_NT[test] - offset_NT[test]).max() > 0.01 * size_T.max()
