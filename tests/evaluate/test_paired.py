"""Intervals by simulation, tests against scipy's and by hand."""

import numpy as np
import pytest
from scipy import stats

from edjax.evaluate import paired
from edjax.evaluate.paired import paired_difference

SEEDS = 5


def simulate(rng, groups, size, seeds, gap, sd_seed, sd_group, sd_example):
  """Differences [S, N] of absolute errors with mean `gap` in the long run."""
  cluster_N = np.repeat(np.arange(groups), size)
  of_groups = sd_group * rng.normal(size=groups)[cluster_N]
  of_examples = sd_example * rng.normal(size=groups * size)
  of_seeds = sd_seed * rng.normal(size=(seeds, 1))
  both = 0.5 * sd_example * rng.normal(size=(seeds, groups * size))
  return cluster_N, gap + of_groups + of_examples + of_seeds + both


@pytest.mark.parametrize(
  ('sd_seed', 'sd_group'), [(0.3, 0.0), (0.05, 1.0), (0.15, 1.0)]
)
def test_intervals_cover(sd_seed, sd_group):
  """95 % intervals hold the truth in 95 of 100 worlds, whichever error leads.

  Errors are far from zero, so that |error| is linear and the truth is known.
  400 worlds tell coverage to a standard error of 0.011: 0.915 to 0.985 is
  three of them. The interval errs on the wide side (see `difference`).
  """
  rng = np.random.default_rng(0)
  truth, worlds, covered, naive = 0.2, 400, 0, 0
  for world in range(worlds):
    cluster_N, gap_SN = simulate(
      rng, 40, 5, SEEDS, truth, sd_seed, sd_group, 0.5
    )
    found = paired_difference(
      np.zeros(200), 100 + gap_SN, np.full((SEEDS, 200), 100.0), 'mae',
      cluster_N, resamples=200, seed=world,
    )  # fmt: skip
    low, high = found.interval()
    covered += low <= truth <= high
    # Seeds alone, as if the test molecules were all there are.
    d_S = gap_SN.mean(1)
    reach = stats.t.ppf(0.975, SEEDS - 1) * d_S.std(ddof=1) / SEEDS**0.5
    naive += abs(d_S.mean() - truth) <= reach
  assert 0.915 <= covered / worlds <= 0.985
  # The check can fail: without the test molecules' share it does.
  assert (naive / worlds < 0.85) == (sd_group > 0)


def test_clusters_widen_the_interval():
  rng = np.random.default_rng(3)
  cluster_N, gap_SN = simulate(rng, 30, 8, SEEDS, 0.0, 0.01, 1.0, 0.3)
  arguments = np.zeros(240), 100 + gap_SN, np.full((SEEDS, 240), 100.0)
  grouped = paired_difference(*arguments, clusters_N=cluster_N)
  alone = paired_difference(*arguments)
  assert grouped.units == 30
  assert alone.units == 240
  assert grouped.value == alone.value
  # The mean over clusters of 8 that are nearly alike: sqrt(8) or nearly.
  assert 2 < grouped.error / alone.error < 8**0.5 * 1.1


def test_equivalence_is_claimed_in_error_in_one_of_twenty():
  """At a true difference of just the margin, two one-sided tests.

  600 worlds: standard error 0.009 at 0.05; three of these. Not below 0.01
  either, which would be a test that never speaks.
  """
  rng = np.random.default_rng(1)
  margin, worlds = 0.5, 600
  claimed, inside = 0, 0
  for world in range(worlds):
    for gap in (margin, 0.0):
      cluster_N, gap_SN = simulate(rng, 60, 2, SEEDS, gap, 0.1, 0.3, 0.3)
      found = paired_difference(
        np.zeros(120), 100 + gap_SN, np.full((SEEDS, 120), 100.0), 'mae',
        cluster_N, resamples=100, seed=world,
      )  # fmt: skip
      if gap:
        claimed += found.p_equivalent(margin) <= 0.05
      else:
        inside += found.p_equivalent(margin) <= 0.05
  assert 0.01 < claimed / worlds < 0.05 + 0.027
  assert inside / worlds > 0.9


def test_equivalence_is_the_90_percent_interval():
  found = paired.Difference(0.01, 0.02, 7.3, 5, 100, 100)
  low, high = found.interval(0.9)
  margin = max(-low, high)
  assert found.p_equivalent(margin) == pytest.approx(0.05, rel=1e-9)
  assert found.p_equivalent(margin * 1.01) < 0.05
  low, high = found.interval()
  assert found.p_above(low) == pytest.approx(0.025, rel=1e-9)
  assert found.p_below(high) == pytest.approx(0.025, rel=1e-9)


def test_variance_has_both_parts_and_welchs_freedom():
  """Against scipy's test of Welch, without a bootstrap: MAE is linear.

  Its two samples are the means of each seed and of each test example.
  """
  rng = np.random.default_rng(5)
  gap_SN = rng.normal(size=(4, 50)) + rng.normal(size=(4, 1))
  found = paired_difference(
    np.zeros(50), 100 + gap_SN, np.full((4, 50), 100.0), resamples=20_000
  )
  welch = stats.ttest_ind(gap_SN.mean(1), gap_SN.mean(0), equal_var=False)
  ends = welch.confidence_interval(0.95)
  low, high = found.interval()
  # 20 000 draws tell a variance to 1 %, a standard error to half of that.
  assert high - low == pytest.approx(ends.high - ends.low, rel=0.02)
  assert found.freedom == pytest.approx(welch.df, rel=0.05)


def test_rmse_differs_from_mae():
  target_N = np.zeros(4)
  a = [[3.0, 4, 0, 0], [3, 4, 0, 0]]
  b = [[1.0, 1, 1, 1], [1, 1, 1, 1]]
  found = paired_difference(target_N, a, b, 'rmse')
  assert found.value == pytest.approx(2.5 - 1)
  assert paired_difference(target_N, a, b).value == 0.75
  with pytest.raises(ValueError, match='mse'):
    paired_difference(target_N, a, b, 'mse')


def test_what_cannot_be_compared_raises():
  target_N, one = np.zeros(3), np.ones((1, 3))
  two = np.ones((2, 3))
  with pytest.raises(ValueError, match='1 seed'):
    paired_difference(target_N, one, one)
  with pytest.raises(ValueError, match='one test cluster'):
    paired_difference(target_N, two, two, clusters_N=['a'] * 3)
  with pytest.raises(ValueError, match='examples'):
    paired_difference(target_N, two, two, clusters_N=['a', 'b'])
  with pytest.raises(ValueError, match='NaN'):
    paired_difference(target_N, two * np.nan, two)
  with pytest.raises(ValueError, match='cannot be paired'):
    paired_difference(target_N, two, two[:, :2])
  same = paired_difference(target_N, two, two)
  assert (same.value, same.error, same.p_below()) == (0, 0, 0.5)
  assert same.p_equivalent(0.1) == 0


def test_crossover_is_interpolated_in_log_n():
  sizes = [100, 1000, 10_000]
  # +2 at 100, -1 at 1000: two thirds of a decade above 100.
  d_KS = np.array([[2.0, 2.0], [-1.0, -1.0], [-3.0, -3.0]])
  found = paired.crossover(sizes, d_KS)
  assert found.size == pytest.approx(10 ** (2 + 2 / 3))
  assert found.low == pytest.approx(found.size)
  assert found.high == pytest.approx(found.size)
  assert found.ahead == 'a'
  assert paired.crossover(sizes, -d_KS).ahead == 'b'
  assert paired.crossover(sizes, -d_KS).size == pytest.approx(found.size)
  never = paired.crossover(sizes, -np.abs(d_KS))
  assert never.size is None
  assert (never.low, never.high) == (0, 0)


def test_crossover_interval_holds_the_truth():
  """Against worlds with a known crossover; 12 seeds, percentile bootstrap.

  Percentile intervals of a mean of 12 are somewhat narrow: a standard error
  too small by sqrt(11 / 12) and normal in place of t quantiles give 0.92;
  300 worlds tell it to 0.016.
  """
  rng = np.random.default_rng(2)
  sizes = np.array([100, 300, 1000, 3000])
  truth = 500.0
  covered = 0
  for world in range(300):
    d_KS = np.log(truth / sizes)[:, None] + rng.normal(size=(4, 12))
    found = paired.crossover(sizes, d_KS, resamples=300, seed=world)
    covered += found.low <= truth <= found.high
  assert 0.87 <= covered / 300 <= 0.99


def test_crossover_with_seeds_that_a_size_lacks():
  d_KS = np.array([[1.0, 2.0, 3.0], [-1.0, np.nan, -3.0]])
  found = paired.crossover([100, 1000], d_KS)
  assert found.size == pytest.approx(10**2.5)
  with pytest.raises(ValueError, match='no seed'):
    paired.crossover([100, 1000], [[1.0], [np.nan]])
  with pytest.raises(ValueError, match='rise'):
    paired.crossover([100, 100], [[1.0], [2.0]])


@pytest.mark.parametrize(('seeds', 'low'), [(2, 0.85), (3, 0.90), (5, 0.925)])
def test_few_seeds_are_told_how_few_they_are(seeds, low):
  """Coverage where seeds are most of the error: what MIN_SEEDS rests on.

  4000 worlds: standard error 0.004.
  """
  rng = np.random.default_rng(4)
  covered, worlds = 0, 4000
  draws = paired.Draws(range(200), resamples=2)
  for _ in range(worlds):
    value_S = 3**0.5 * rng.normal(size=seeds) + rng.normal() / seeds**0.5
    drawn_R = rng.normal(size=200) / seeds**0.5
    drawn_RS = np.repeat(drawn_R[:, None], seeds, axis=1)
    below, above = paired.difference(value_S, drawn_RS, draws).interval()
    covered += below <= 0 <= above
  assert low < covered / worlds < 0.965
  assert (covered / worlds < 0.92) == (seeds == 2)
