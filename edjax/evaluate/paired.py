"""Paired differences of errors between two inputs, with their intervals.

Lower errors are better: where a difference a - b is negative, input a is the
better one.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from edjax.evaluate import class_metrics, metrics

# Errors that inputs are compared by.
METRICS = ('mae', 'rmse', 'log_loss')
# Level of every verdict, two-sided; equivalence takes two one-sided tests of
# this level.
ALPHA = 0.05
# Draws of test examples: the standard deviation of so many is right to 2 %.
RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Difference:
  """A mean difference of errors, a - b, with its standard error.

  Attributes:
    value: mean over seeds, in the unit of the errors.
    error: standard error.
    freedom: degrees of freedom of the t quantiles.
    seeds: number of training subsets.
    examples: number of test examples.
    units: number of clusters of test examples, or of unrelated ones.
  """

  value: float
  error: float
  freedom: float
  seeds: int
  examples: int
  units: int

  def interval(self, level: float = 1 - ALPHA) -> tuple[float, float]:
    """Returns both ends of the interval, by Student's t."""
    reach = self.error * stats.t.ppf((1 + level) / 2, self.freedom)
    return self.value - reach, self.value + reach

  def p_below(self, threshold: float = 0.0) -> float:
    """Returns the one-sided p value of 'it is below the threshold'."""
    return self._p(self.value - threshold)

  def p_above(self, threshold: float = 0.0) -> float:
    """Returns the one-sided p value of 'it is above the threshold'."""
    return self._p(threshold - self.value)

  def _p(self, wrong: float) -> float:
    """Returns the p value of lying so far on the wrong side."""
    if self.error == 0:
      return 0.5 if wrong == 0 else float(wrong > 0)
    return float(stats.t.cdf(wrong / self.error, self.freedom))

  def p_equivalent(self, margin: float) -> float:
    """Returns the p value of two one-sided tests of 'it is within ± margin'.

    The larger of both p values (Schuirmann 1987, J. Pharmacokinet.
    Biopharm. 15, 657); it is below 0.05 where the 90 % interval lies within.
    """
    return max(self.p_below(margin), self.p_above(-margin))


class Draws:
  """Bootstrap draws of test examples, which all runs share.

  Related examples are drawn together (Davison and Hinkley 1997, section 3.8).

  Args:
    clusters_N: label of each test example's cluster.
    resamples: number of draws.
    seed: of the draws.

  Attributes:
    examples: number of test examples.
    units: number of clusters.
    effective: number of clusters of equal size with the same information,
      (sum n)² / sum n² (Kish 1965, Survey Sampling, section 8.2, in the worst
      case, that all examples of a cluster are alike).
  """

  def __init__(
    self, clusters_N: Sequence, resamples: int = RESAMPLES, seed: int = 0
  ):
    _, self._unit_N, self._size_G = np.unique(
      np.asarray(clusters_N), return_inverse=True, return_counts=True
    )
    self.examples, self.units = len(self._unit_N), len(self._size_G)
    self.effective = float(self._size_G.sum() ** 2 / (self._size_G**2).sum())
    blocks = [*metrics.draw_counts(self.units, resamples, seed)]
    self._counts_RG = np.concatenate(blocks) if blocks else None

  def score(
    self, target_N: np.ndarray, prediction_SN: np.ndarray, metric: str
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns errors of several runs on the test examples, and on each draw.

    Args:
      target_N: true values.
      prediction_SN: predictions of each run.
      metric: 'mae', 'rmse' or, of classes, 'log_loss'.

    Returns:
      ([S], [resamples, S]); the latter is NaN for a single cluster.

    Raises:
      ValueError: unknown metric, or values that are not finite.
    """
    if metric not in METRICS:
      raise ValueError(f'metric must be one of {METRICS}, got {metric!r}.')
    target_1N = np.asarray(target_N)[None]
    prediction_SN = np.asarray(prediction_SN)
    error_NS = (prediction_SN - target_1N).T
    if len(error_NS) != self.examples:
      raise ValueError(
        f'{len(error_NS)} predictions for {self.examples} examples.'
      )
    if not np.isfinite(error_NS).all():
      raise ValueError('Predictions or targets hold NaN or infinite values.')
    if metric == 'log_loss':
      size_NS = class_metrics.log_losses(target_1N, prediction_SN).T
    else:
      size_NS = np.abs(error_NS) if metric == 'mae' else error_NS**2
    sum_GS = np.zeros((self.units, size_NS.shape[1]))
    np.add.at(sum_GS, self._unit_N, size_NS)
    value_S = size_NS.mean(0)
    if self._counts_RG is None:
      drawn_RS = np.full((1, len(value_S)), np.nan)
    else:
      total_R = self._counts_RG @ self._size_G
      drawn_RS = self._counts_RG @ sum_GS / total_R[:, None]
    if metric == 'rmse':
      return np.sqrt(value_S), np.sqrt(drawn_RS)
    return value_S, drawn_RS


def difference(
  value_S: np.ndarray, drawn_RS: np.ndarray, draws: Draws
) -> Difference:
  """Returns the mean difference over seeds, with both sources of its error.

  The variance is var_s / S, for other training subsets and initialisations,
  plus the variance over draws of test clusters of the mean over seeds, for
  other test molecules. Differences between seeds on each test molecule are in
  both terms, so that the sum errs on the wide side. Its degrees of freedom
  follow from S - 1 and the effective number of clusters - 1 (Satterthwaite
  1946, Biometrics Bull. 2, 110; Welch 1947). The bootstrap's variance of a mean
  over G clusters is too small by the factor (G - 1) / G and corrected.

  Args:
    value_S: metric of a minus metric of b by seed, on the same examples.
    drawn_RS: the same on each draw of test clusters.
    draws: the draws behind drawn_RS.

  Raises:
    ValueError: fewer than 2 seeds, or one test cluster alone.
  """
  value_S = np.asarray(value_S, np.float64)
  seeds = len(value_S)
  if seeds < 2:
    raise ValueError(f'{seeds} seed in common; an interval takes 2 or more')
  if draws.units < 2:
    raise ValueError('one test cluster alone says nothing about others')
  of_seeds = value_S.var(ddof=1) / seeds
  correction = draws.units / (draws.units - 1)
  of_tests = drawn_RS.mean(1).var(ddof=1) * correction
  total = of_seeds + of_tests
  freedom = seeds - 1.0
  if total > 0:
    # One dominant cluster leaves next to no degrees of freedom.
    test_freedom = max(draws.effective - 1, 1e-3)
    parts = of_seeds**2 / (seeds - 1) + of_tests**2 / test_freedom
    freedom = total**2 / parts
  return Difference(
    float(value_S.mean()), math.sqrt(total), float(freedom), seeds,
    draws.examples, draws.units,
  )  # fmt: skip


def paired_difference(
  target_N: np.ndarray,
  prediction_a_SN: np.ndarray,
  prediction_b_SN: np.ndarray,
  metric: str = 'mae',
  clusters_N: Sequence | None = None,
  resamples: int = RESAMPLES,
  seed: int = 0,
) -> Difference:
  """Returns the `difference` of two inputs, from their predictions.

  Args:
    target_N: true values of the test examples.
    prediction_a_SN: of one input, a row each seed.
    prediction_b_SN: of the other, the same seeds and examples in order.
    metric: one of `METRICS`.
    clusters_N: see `metrics.bootstrap`; None where each example stands alone.
    resamples: draws of test clusters.
    seed: of these.

  Raises:
    ValueError: shapes that do not fit, fewer than 2 seeds, one cluster.
  """
  prediction_a_SN = np.asarray(prediction_a_SN, np.float64)
  prediction_b_SN = np.asarray(prediction_b_SN, np.float64)
  if prediction_a_SN.shape != prediction_b_SN.shape:
    raise ValueError(
      f'Predictions of {prediction_a_SN.shape} and {prediction_b_SN.shape} '
      'cannot be paired.'
    )
  if clusters_N is None:
    clusters_N = np.arange(len(target_N))
  draws = Draws(clusters_N, resamples, seed)
  value_a_S, drawn_a_RS = draws.score(target_N, prediction_a_SN, metric)
  value_b_S, drawn_b_RS = draws.score(target_N, prediction_b_SN, metric)
  return difference(value_a_S - value_b_S, drawn_a_RS - drawn_b_RS, draws)


@dataclasses.dataclass(frozen=True)
class Crossover:
  """The size at which one input overtakes another.

  Attributes:
    size: number of labels at the last change of sign of the mean difference;
      None without one.
    low: lower end of the 95 % interval; 0: below the smallest size.
    high: upper end; inf: beyond the largest size.
    ahead: 'a' or 'b', the better one at the largest size.
  """

  size: float | None
  low: float
  high: float
  ahead: str


def crossover(
  sizes_K: Sequence[float],
  difference_KS: np.ndarray,
  resamples: int = RESAMPLES,
  seed: int = 0,
) -> Crossover:
  """Interpolates the last change of sign linearly in the logarithm of n.

  The interval is the percentile bootstrap over seeds (Efron and Tibshirani
  1993, chapter 13), a seed with all its sizes: subsets are nested. A draw in
  which the overtaking input is ahead at all sizes counts as a crossover below
  the smallest, and one in which it is behind at the largest as beyond that.

  Args:
    sizes_K: training sizes, rising, at least 2.
    difference_KS: metric of a minus that of b; NaN for a seed that a size
      lacks.
    resamples: draws of seeds.
    seed: of the draws.

  Raises:
    ValueError: there are fewer than two sizes, they do not rise, or one has no
      seed.
  """
  log_K = np.log(np.asarray(sizes_K, np.float64))
  difference_KS = np.asarray(difference_KS, np.float64)
  if len(log_K) < 2 or (np.diff(log_K) <= 0).any():
    raise ValueError(f'sizes must be two or more that rise, got {sizes_K}.')
  known_KS = np.isfinite(difference_KS)
  if not known_KS.any(1).all():
    raise ValueError('a size has no seed')
  filled_KS = np.where(known_KS, difference_KS, 0)
  mean_K = filled_KS.sum(1) / known_KS.sum(1)
  # The leader at the largest size is ahead where sign * difference > 0.
  sign = -1.0 if mean_K[-1] < 0 else 1.0
  value = _last_change(log_K, sign * mean_K)
  drawn = []
  for counts_RS in metrics.draw_counts(difference_KS.shape[1], resamples, seed):
    weight_RK = counts_RS @ known_KS.T
    usable_R = (weight_RK > 0).all(1)
    mean_RK = (counts_RS @ filled_KS.T)[usable_R] / weight_RK[usable_R]
    drawn += [_last_change(log_K, sign * mean_K) for mean_K in mean_RK]
  low, high = -math.inf, math.inf
  if drawn:
    # Without interpolation: some are infinite.
    low, high = np.percentile(drawn, (2.5, 97.5), method='inverted_cdf')
  return Crossover(
    math.exp(value) if math.isfinite(value) else None,
    math.exp(low),
    math.exp(high),
    'a' if sign < 0 else 'b',
  )


def _last_change(log_K, lead_K) -> float:
  """Returns the logarithm of n beyond which the lead is positive."""
  if lead_K[-1] <= 0:
    return math.inf
  behind = np.flatnonzero(lead_K <= 0)
  if not len(behind):
    return -math.inf
  k = behind[-1]
  share = -lead_K[k] / (lead_K[k + 1] - lead_K[k])
  return float(log_K[k] + share * (log_K[k + 1] - log_K[k]))
