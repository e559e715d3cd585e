import numpy as np
import pytest
from scipy import stats

from edjax.baselines import ridge_regression
from edjax.evaluate import metrics


def make(n=200, seed=0):
  rng = np.random.default_rng(seed)
  target = rng.normal(3, 2, n)
  return target, target + rng.normal(0.3, 1, n)


def scores(target, prediction):
  found = metrics.bootstrap(target, prediction, resamples=1)
  return {name: entry['value'] for name, entry in found.items()}


def test_against_scipy():
  target, prediction = make()
  # Ties on both sides.
  target, prediction = target.round(), (2 * prediction).round()
  error = prediction - target
  assert scores(target, prediction)['mae'] == pytest.approx(
    sum(abs(e) for e in error) / len(error), rel=1e-12
  )
  assert scores(target, prediction)['rmse'] == pytest.approx(
    np.linalg.norm(error) / np.sqrt(len(error)), rel=1e-12
  )
  assert scores(target, prediction)['pearson'] == pytest.approx(
    stats.pearsonr(target, prediction).statistic, rel=1e-12
  )
  assert scores(target, prediction)['spearman'] == pytest.approx(
    stats.spearmanr(target, prediction).statistic, rel=1e-12
  )


@pytest.mark.parametrize('constant', [0.0, 0.1, -7.3e5])
def test_correlation_with_a_constant_is_nan(constant):
  target, _ = make()
  flat = np.full_like(target, constant)
  for name in ('pearson', 'spearman'):
    assert np.isnan(scores(target, flat)[name])
    assert np.isnan(scores(flat, target)[name])
  result = metrics.bootstrap(target, flat, resamples=20)
  assert np.isnan(list(result['pearson'].values())).all()
  assert result['mae']['low'] < result['mae']['value'] < result['mae']['high']


def test_perfect_prediction():
  target, _ = make()
  result = metrics.bootstrap(target, target, resamples=20)
  for name, expected in (('mae', 0), ('rmse', 0), ('pearson', 1)):
    for value in result[name].values():
      assert value == pytest.approx(expected, abs=1e-12)


def test_float32_is_widened():
  # 2^24 + 1 has no float32: a difference taken there would be 0 or 2.
  target = np.full(4, 2.0**24, np.float32)
  assert scores(target, target.astype(np.float64) + 1)['mae'] == 1


@pytest.mark.parametrize(
  ('target', 'prediction', 'message'),
  [
    (np.ones(3), np.ones((3, 1)), 'one shape'),
    (np.ones((3, 2)), np.ones((3, 2)), 'one shape'),
    (np.ones(3), np.ones(1), 'one shape'),
    (np.ones(0), np.ones(0), 'at least one'),
    (np.array([1, np.nan]), np.ones(2), '1 of 2 values of target_N'),
    (np.ones(2), np.array([1, np.inf]), '1 of 2 values of prediction_N'),
  ],
)
def test_refuses(target, prediction, message):
  with pytest.raises(ValueError, match=message):
    metrics.bootstrap(target, prediction)


def test_bootstrap_against_scipy():
  target, prediction = make(300)
  ours = metrics.bootstrap(target, prediction, resamples=4000, seed=1)
  functions = {
    'mae': lambda t, p: np.abs(t - p).mean(),
    'rmse': lambda t, p: np.sqrt(((t - p) ** 2).mean()),
    'pearson': lambda t, p: stats.pearsonr(t, p).statistic,
  }
  for name, function in functions.items():
    theirs = stats.bootstrap(
      (target, prediction),
      function,
      paired=True,
      vectorized=False,
      n_resamples=2000,
      method='percentile',
      rng=np.random.default_rng(2),
    )
    interval = theirs.confidence_interval
    # Monte Carlo noise of a 2.5 % percentile at 2000 resamples is about 0.06
    # standard errors; 0.25 is four times that.
    slack = 0.25 * theirs.standard_error
    assert ours[name]['low'] == pytest.approx(interval.low, abs=slack)
    assert ours[name]['high'] == pytest.approx(interval.high, abs=slack)
    assert ours[name]['value'] == pytest.approx(
      function(target, prediction), rel=1e-12
    )


def test_bootstrap_interval_of_a_mean():
  # Errors with |e| ~ half-normal: the MAE's standard error is known.
  n = 2000
  error = np.random.default_rng(5).normal(size=n)
  result = metrics.bootstrap(np.zeros(n), error, resamples=2000)['mae']
  width = 2 * 1.96 * np.sqrt((1 - 2 / np.pi) / n)
  assert result['high'] - result['low'] == pytest.approx(width, rel=0.1)


def test_bootstrap_is_seeded_and_does_not_depend_on_blocks(monkeypatch):
  target, prediction = make(50)
  first = metrics.bootstrap(target, prediction, resamples=100, seed=3)
  assert metrics.bootstrap(target, prediction, resamples=100, seed=3) == first
  assert metrics.bootstrap(target, prediction, resamples=100, seed=4) != first
  monkeypatch.setattr(metrics, '_BLOCK', 50 * 7)
  assert metrics.bootstrap(target, prediction, resamples=100, seed=3) == first
  with pytest.raises(ValueError, match='resamples'):
    metrics.bootstrap(target, prediction, resamples=0)


def test_resamples_equal_drawn_examples():
  # The counts give what the metrics of the drawn examples themselves are.
  target, prediction = make(40)
  target, prediction = target.round(), prediction.round()
  index = np.random.default_rng(6).integers(40, size=(5, 40))
  index[4] = 7
  counts = np.array([np.bincount(row, minlength=40) for row in index], float)
  drawn = metrics._scores(target, prediction, counts)
  for r, row in enumerate(index[:4]):
    t, p = target[row], prediction[row]
    assert drawn['mae'][r] == pytest.approx(np.abs(t - p).mean(), rel=1e-12)
    assert drawn['rmse'][r] == pytest.approx(scores(t, p)['rmse'], rel=1e-12)
    assert drawn['pearson'][r] == pytest.approx(
      stats.pearsonr(t, p).statistic, rel=1e-10
    )
    assert drawn['spearman'][r] == pytest.approx(
      stats.spearmanr(t, p).statistic, rel=1e-10
    )
  assert np.isnan([drawn['pearson'][4], drawn['spearman'][4]]).all()


def test_paired_difference():
  target, good = make(400)
  rng = np.random.default_rng(9)
  # Both share most of their error: the paired interval is far narrower than
  # the two separate ones.
  bad = good + np.sign(good - target) * 0.1 + rng.normal(0, 0.05, 400)
  result = metrics.paired_difference(target, good, bad, seed=1)
  expected = scores(target, good)['mae'] - scores(target, bad)['mae']
  assert result['value'] == pytest.approx(expected, rel=1e-9)
  assert result['low'] < result['value'] < result['high'] < 0
  separate = metrics.bootstrap(target, good)['mae']
  assert separate['high'] - separate['low'] > 5 * (
    result['high'] - result['low']
  )
  swapped = metrics.paired_difference(target, bad, good, seed=1)
  assert swapped['low'] == pytest.approx(-result['high'], rel=1e-9)


def linear_data(n=120, noise=0.0, seed=0):
  rng = np.random.default_rng(seed)
  # Very different scales, a constant and a dependent column.
  x = rng.normal(size=(n, 3)) * [1, 1e-4, 1e5] + [5, 0, -1e6]
  x = np.column_stack([x, np.full(n, 0.3), x[:, 0] * 2])
  y = np.column_stack([x[:, 0] - 3e4 * x[:, 1] + 7, 1e-5 * x[:, 2] - 1])
  return x, y + noise * rng.normal(size=y.shape)


def test_ridge_recovers_a_linear_map():
  x, y = linear_data()
  x_val, y_val = linear_data(seed=1)
  fit = ridge_regression.ridge_fit(x, y, x_val=x_val, y_val=y_val)
  x_test, y_test = linear_data(seed=2)
  np.testing.assert_allclose(fit.predict(x_test), y_test, atol=1e-6)
  np.testing.assert_array_equal(fit.alpha_T, min(ridge_regression.ALPHAS))
  # The constant column has no weight; the dependent ones share theirs.
  np.testing.assert_array_equal(fit.weights_FT[3], 0)
  assert fit.weights_FT[4, 0] == pytest.approx(fit.weights_FT[0, 0] / 2)


def test_ridge_solves_the_normal_equations():
  x, y = linear_data(noise=2.0)
  alpha = 0.3
  fit = ridge_regression.ridge_fit(x, y, [alpha], x_val=x, y_val=y)
  keep = [0, 1, 2, 4]
  z = (x - x.mean(0))[:, keep] / x[:, keep].std(0)
  normal = z.T @ z / len(z) + alpha * np.eye(4)
  w = np.linalg.solve(normal, z.T @ (y - y.mean(0)) / len(z))
  np.testing.assert_allclose(fit.predict(x), z @ w + y.mean(0), rtol=1e-9)


def test_ridge_strength_comes_from_validation():
  # Twelve examples of noise and ten features: least squares overfits.
  rng = np.random.default_rng(3)
  x, y = rng.normal(size=(12, 10)), rng.normal(size=(12, 1))
  x_val, y_val = rng.normal(size=(500, 10)), rng.normal(size=(500, 1))
  alphas = (1e-8, 1e-2, 1e2)
  errors = [
    scores(
      y_val[:, 0],
      ridge_regression.ridge_fit(x, y, [a], x_val=x, y_val=y).predict(x_val)[
        :, 0
      ],
    )['mae']
    for a in alphas
  ]
  fit = ridge_regression.ridge_fit(x, y, alphas, x_val=x_val, y_val=y_val)
  assert fit.alpha_T == alphas[np.argmin(errors)] != alphas[0]
  # Judged on its own training data it would take the weakest.
  assert (
    ridge_regression.ridge_fit(x, y, alphas, x_val=x, y_val=y).alpha_T
    == alphas[0]
  )


def test_ridge_with_more_features_than_examples_and_constant_columns():
  rng = np.random.default_rng(4)
  x, y = rng.normal(size=(5, 8)), rng.normal(size=(5, 2))
  x[:, 2] = 0.1
  fit = ridge_regression.ridge_fit(x, y, x_val=x, y_val=y)
  assert np.isfinite(fit.predict(x)).all()
  flat = ridge_regression.ridge_fit(
    np.ones((5, 2)), y, x_val=np.ones((5, 2)), y_val=y
  )
  np.testing.assert_allclose(
    flat.predict(np.ones((3, 2))), np.tile(y.mean(0), (3, 1)), rtol=1e-12
  )


def test_ridge_refuses():
  x, y = linear_data(10)
  good = {'x_val': x, 'y_val': y}
  with pytest.raises(ValueError, match='alphas must be above 0'):
    ridge_regression.ridge_fit(x, y, [0.0], **good)
  with pytest.raises(ValueError, match=r'training data must be .* \(10,\)'):
    ridge_regression.ridge_fit(x, y[:, 0], **good)
  with pytest.raises(ValueError, match='training data must be'):
    ridge_regression.ridge_fit(x[:5], y, **good)
  with pytest.raises(ValueError, match='validation data hold NaN'):
    ridge_regression.ridge_fit(x, y, x_val=x, y_val=y * np.nan)
  with pytest.raises(ValueError, match='differ in features'):
    ridge_regression.ridge_fit(x, y, x_val=x[:, :3], y_val=y)


def test_clusters_are_drawn_whole():
  rng = np.random.default_rng(3)
  n, copies = 60, 5
  target = rng.normal(size=n)
  prediction = target + rng.normal(size=n)
  alone = metrics.bootstrap(target, prediction, 1000)
  # Every example five times over tells nothing new: with the copies as
  # clusters the same draws give the same figures; without, the interval is
  # too narrow, by about the root of 5.
  target_5, prediction_5 = (
    np.repeat(target, copies),
    np.repeat(prediction, copies),
  )
  labels = np.repeat([f'c{i:02d}' for i in range(n)], copies)
  together = metrics.bootstrap(target_5, prediction_5, 1000, clusters_N=labels)
  apart = metrics.bootstrap(target_5, prediction_5, 1000)
  for name, entry in alone.items():
    for key, value in entry.items():
      assert together[name][key] == pytest.approx(value, abs=1e-9), name
    width = entry['high'] - entry['low']
    narrow = apart[name]['high'] - apart[name]['low']
    assert width / narrow == pytest.approx(5**0.5, rel=0.2), name
  other = prediction + rng.normal(size=n)
  paired = metrics.paired_difference(target, prediction, other, 1000)
  paired_5 = metrics.paired_difference(
    target_5, prediction_5, np.repeat(other, copies), 1000, clusters_N=labels
  )
  assert paired_5 == pytest.approx(paired)


def test_clusters_of_unequal_size():
  # One cluster of 4 and one of 1: a drawing holds 8, 5 or 2 examples, whose
  # means are 0, 0.2 and 1 where the lone example alone errs.
  target = np.zeros(5)
  prediction = np.array([0.0, 0, 0, 0, 1])
  found = metrics.bootstrap(
    target, prediction, 2000, clusters_N=['a'] * 4 + ['b']
  )['mae']
  assert found['value'] == pytest.approx(0.2)
  assert (found['low'], found['high']) == (0, 1)
  # One alone cannot say how much clusters differ: no interval of width 0.
  alone = metrics.bootstrap(target, prediction, 50, clusters_N=['a'] * 5)
  paired = metrics.paired_difference(
    target, prediction, target, 50, clusters_N=['a'] * 5
  )
  assert paired['value'] == alone['mae']['value'] == pytest.approx(0.2)
  for entry in (*alone.values(), paired):
    assert np.isnan([entry['low'], entry['high']]).all()
  with pytest.raises(ValueError, match='4 clusters for 5'):
    metrics.bootstrap(target, prediction, 10, clusters_N=list('aabb'))
