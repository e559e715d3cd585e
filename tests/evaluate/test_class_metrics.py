"""Scores of classes, against scikit-learn and closed forms."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as judge

from edjax.evaluate import class_metrics, metrics


def make(n=60, seed=0):
  """Classes and probabilities with ties, better than chance."""
  rng = np.random.default_rng(seed)
  target_N = (rng.random(n) < 0.3).astype(float)
  prediction_N = np.clip(0.3 * target_N + 0.6 * rng.random(n), 0.01, 0.99)
  return target_N, prediction_N.round(1).clip(0.01, 0.99)


def test_auroc_is_the_rank_sum():
  target_N, prediction_N = make()
  one, zero = (prediction_N[target_N == k] for k in (1, 0))
  u = stats.mannwhitneyu(one, zero).statistic
  found = metrics.bootstrap(target_N, prediction_N, 10, classes=True)['auroc']
  assert found['value'] == pytest.approx(u / (len(one) * len(zero)), rel=1e-12)
  # The control: it is no number that any prediction has.
  turned = metrics.bootstrap(target_N, 1 - prediction_N, 10, classes=True)
  assert turned['auroc']['value'] == pytest.approx(1 - found['value'])
  assert found['value'] > 0.6


def test_resamples_against_scikit_learn():
  target_N, prediction_N = make()
  counts_RN = next(metrics.draw_counts(len(target_N), 20, 0))
  found = class_metrics.scores(target_N, prediction_N, counts_RN)
  judges = {
    'log_loss': judge.log_loss,
    'auroc': judge.roc_auc_score,
    'auprc': judge.average_precision_score,
  }
  assert found.keys() == judges.keys()
  for name, score in judges.items():
    expected = [
      score(target_N, prediction_N, sample_weight=count_N)
      for count_N in counts_RN
    ]
    np.testing.assert_allclose(found[name], expected, rtol=1e-10)
  whole = metrics.bootstrap(target_N, prediction_N, 400, classes=True)
  for name, entry in whole.items():
    assert entry['value'] == pytest.approx(judges[name](target_N, prediction_N))
    assert entry['low'] < entry['value'] < entry['high']


def test_a_sure_mistake_costs_much_and_not_everything():
  certain = class_metrics.log_losses(np.array([1.0, 0.0]), np.array([0.0, 0.0]))
  np.testing.assert_allclose(certain, [-np.log(np.finfo(float).eps), 0])
  assert np.isnan(class_metrics.log_losses(np.ones(1), np.full(1, np.nan)))


@pytest.mark.parametrize('value', [0.0, 1.0])
def test_one_class_alone_has_no_ranking(value):
  _, prediction_N = make()
  target_N = np.full(60, value)
  found = metrics.bootstrap(target_N, prediction_N, 20, classes=True)
  for name in ('auroc', 'auprc'):
    assert np.isnan([*found[name].values()]).all()
  assert np.isfinite([*found['log_loss'].values()]).all()
  # Resamples that lack the one example are left out.
  target_N[7] = 1 - value
  found = metrics.bootstrap(target_N, prediction_N, 200, classes=True)
  assert np.isfinite([*found['auroc'].values()]).all()


def test_paired_difference_of_log_losses():
  target_N, a_N = make()
  b_N = np.full(60, target_N.mean())
  found = metrics.paired_difference(target_N, a_N, b_N, classes=True)
  expected = judge.log_loss(target_N, a_N) - judge.log_loss(target_N, b_N)
  assert found['value'] == pytest.approx(expected)
  assert found['low'] < found['value'] < found['high']
