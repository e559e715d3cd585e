"""Errors and correlations on the host in float64, and their intervals.

Scores take one target: arrays of shape (examples,), in the unit of the reported
numbers. A NaN in their arguments is an error, never skipped.
"""

from collections.abc import Sequence

import numpy as np

from edjax.evaluate import class_metrics

# 95 %, two-sided.
_PERCENTILES = (2.5, 97.5)
# Numbers in a block of resamples, at most, which limits the memory.
_BLOCK = 2_000_000


def bootstrap(
  target_N: np.ndarray,
  prediction_N: np.ndarray,
  resamples: int = 1000,
  seed: int = 0,
  clusters_N: Sequence | None = None,
  classes: bool = False,
) -> dict[str, dict[str, float]]:
  """Returns scores of predictions with 95 % percentile bootstrap intervals.

  Efron and Tibshirani 1993, chapter 13. The metrics share their resamples.
  A resample in which a correlation is undefined (constant) is left out of its
  interval. Related examples are drawn together: whole clusters, with
  replacement (Davison and Hinkley 1997, section 3.8). The interval of a single
  cluster or example is NaN.

  Args:
    target_N: true values.
    prediction_N: predicted values.
    resamples: drawings with replacement, at least 1.
    seed: of the drawings.
    clusters_N: label of each example's cluster; None for unrelated examples.
    classes: whether true values are classes 0 and 1, and predictions their
      probabilities.

  Returns:
    {name: {'value', 'low', 'high'}}: of classes, see `class_metrics.scores`;
    else 'mae', mean absolute error; 'rmse', root
    of the mean squared error; 'pearson', linear correlation; 'spearman', rank
    correlation, ties at their mean rank. NaN where undefined: correlations
    where either array is constant.

  Raises:
    ValueError: for other shapes, empty arrays, NaN or infinite values.
  """
  target_N, prediction_N = _checked(target_N, prediction_N)
  scores = class_metrics.scores if classes else _scores
  values = scores(target_N, prediction_N, np.ones((1, len(target_N))))
  drawn = {name: [] for name in values}
  for counts_RN in draw_counts(len(target_N), resamples, seed, clusters_N):
    of_draws = scores(target_N, prediction_N, counts_RN)
    for name, score_R in of_draws.items():
      drawn[name].append(score_R)
  return {
    name: {'value': value.item(), **_interval(drawn[name])}
    for name, value in values.items()
  }


def paired_difference(
  target_N: np.ndarray,
  prediction_a_N: np.ndarray,
  prediction_b_N: np.ndarray,
  resamples: int = 1000,
  seed: int = 0,
  clusters_N: Sequence | None = None,
  classes: bool = False,
) -> dict[str, float]:
  """Returns the error of a minus that of b on the same examples.

  The error is the MAE; of classes, the log loss.

  Args:
    target_N: true values.
    prediction_a_N: one set of predictions.
    prediction_b_N: the other; a is better where the difference is negative.
    resamples: drawings with replacement.
    seed: of the drawings.
    clusters_N: see `bootstrap`.
    classes: see `bootstrap`.

  Returns:
    {'value', 'low', 'high'}, the latter of the 95 % interval.

  Raises:
    ValueError: for other shapes, empty arrays, NaN or infinite values.
  """
  target_a_N, prediction_a_N = _checked(target_N, prediction_a_N)
  target_b_N, prediction_b_N = _checked(target_N, prediction_b_N)
  errors = class_metrics.log_losses if classes else absolute_errors
  difference_N = errors(target_a_N, prediction_a_N)
  difference_N = difference_N - errors(target_b_N, prediction_b_N)
  drawn = [
    counts_RN @ difference_N / counts_RN.sum(1)
    for counts_RN in draw_counts(len(difference_N), resamples, seed, clusters_N)
  ]
  return {'value': float(difference_N.mean()), **_interval(drawn)}


def absolute_errors(target_N, prediction_N) -> np.ndarray:
  """Returns the absolute error of each example."""
  return np.abs(prediction_N - target_N)


def _scores(target_N, prediction_N, counts_RN):
  """Returns the four metrics of each resample, shape (resamples,).

  A resample is given by the count of each example. Every metric is then a
  product with the counts, and ranks are sums of them, without another sort.
  """
  total_R = counts_RN.sum(1)
  error_N = prediction_N - target_N
  target_ranks_RN, target_flat_R = _ranks(target_N, counts_RN)
  prediction_ranks_RN, prediction_flat_R = _ranks(prediction_N, counts_RN)
  flat_R = target_flat_R | prediction_flat_R
  return {
    'mae': counts_RN @ np.abs(error_N) / total_R,
    'rmse': np.sqrt(counts_RN @ error_N**2 / total_R),
    # Centred first, since the differences of moments would lose digits.
    'pearson': _correlation(
      (target_N - target_N.mean())[None],
      (prediction_N - prediction_N.mean())[None],
      counts_RN,
      flat_R,
    ),
    'spearman': _correlation(
      target_ranks_RN, prediction_ranks_RN, counts_RN, flat_R
    ),
  }


def _ranks(value_N, counts_RN):
  """Returns ranks minus their mean, and which resamples are constant."""
  unique_U, group_N = np.unique(value_N, return_inverse=True)
  order_N = np.argsort(group_N, kind='stable')
  starts_U = np.searchsorted(group_N[order_N], np.arange(len(unique_U)))
  counts_RU = np.add.reduceat(counts_RN[:, order_N], starts_U, axis=1)
  total_R1 = counts_RU.sum(1, keepdims=True)
  rank_RU = counts_RU.cumsum(1) - (counts_RU - 1) / 2 - (total_R1 + 1) / 2
  return rank_RU[:, group_N], (counts_RU == total_R1).any(1)


def _correlation(a_RN, b_RN, counts_RN, flat_R):
  """Returns weighted correlations; NaN for resamples that are constant."""
  total_R = counts_RN.sum(1)

  def mean(x_RN):
    return (counts_RN * x_RN).sum(1) / total_R

  mean_a_R, mean_b_R = mean(a_RN), mean(b_RN)
  variance_a_R = mean(a_RN**2) - mean_a_R**2
  variance_b_R = mean(b_RN**2) - mean_b_R**2
  product_R = np.where(flat_R, 1, variance_a_R * variance_b_R)
  covariance_R = mean(a_RN * b_RN) - mean_a_R * mean_b_R
  # Rounding may leave a variance of a nearly constant array at or below zero.
  flat_R = flat_R | (product_R <= 0)
  size_R = np.sqrt(np.where(flat_R, 1, product_R))
  correlation_R = np.clip(covariance_R / size_R, -1, 1)
  return np.where(flat_R, np.nan, correlation_R)


def draw_counts(n, resamples, seed, clusters_N=None):
  """Draws examples, or whole clusters of them, with replacement.

  Args:
    n: examples.
    resamples: drawings, at least 1.
    seed: of the drawings.
    clusters_N: see `bootstrap`.

  Yields:
    How often each example is drawn, [R, N], in blocks of drawings; no block for
    a single cluster or example.

  Raises:
    ValueError: no drawing, or another number of clusters than of examples.
  """
  if resamples < 1:
    raise ValueError(f'resamples must be 1 or more, got {resamples}.')
  units, unit_N = n, slice(None)
  if clusters_N is not None:
    if len(clusters_N) != n:
      raise ValueError(f'{len(clusters_N)} clusters for {n} examples.')
    unique, unit_N = np.unique(np.asarray(clusters_N), return_inverse=True)
    units = len(unique)
  if units == 1:
    return
  rng = np.random.default_rng(seed)
  block = max(_BLOCK // n, 1)
  for start in range(0, resamples, block):
    rows = min(block, resamples - start)
    index_RU = rng.integers(units, size=(rows, units))
    index_RU += units * np.arange(rows)[:, None]
    counts = np.bincount(index_RU.ravel(), minlength=rows * units)
    yield counts.reshape(rows, units)[:, unit_N].astype(np.float64)


def _interval(drawn):
  """Returns the 95 % interval of the values of all blocks."""
  value_R = np.concatenate([np.empty(0), *drawn])
  value_R = value_R[~np.isnan(value_R)]
  if not len(value_R):
    return {'low': float('nan'), 'high': float('nan')}
  low, high = np.percentile(value_R, _PERCENTILES)
  return {'low': float(low), 'high': float(high)}


def _checked(target_N, prediction_N):
  target_N = np.asarray(target_N, np.float64)
  prediction_N = np.asarray(prediction_N, np.float64)
  if target_N.ndim != 1 or target_N.shape != prediction_N.shape:
    raise ValueError(
      'A metric takes target_N and prediction_N of one shape, got '
      f'{target_N.shape} and {prediction_N.shape}.'
    )
  if not len(target_N):
    raise ValueError('A metric needs at least one example.')
  for name, array in (('target', target_N), ('prediction', prediction_N)):
    if not np.isfinite(array).all():
      raise ValueError(
        f'{(~np.isfinite(array)).sum()} of {len(array)} values of '
        f'{name}_N are NaN or infinite.'
      )
  return target_N, prediction_N
