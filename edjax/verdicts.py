"""Paired differences between inputs, and what they say of hypotheses.

Rules are data here and prose in docs/protocol.md; both are fixed before a
study runs. Errors are the lower the better: a difference a - b below zero says
that input a is the better one.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from edjax import metrics

# Level of every verdict, two-sided; equivalence takes two one-sided tests of
# this level.
ALPHA = 0.05
# With 2 seeds Satterthwaite's degrees of freedom let 95 % intervals miss in up
# to 13 of 100 worlds (with 3 in 8, with 5 or more in 6): no verdict from those.
MIN_SEEDS = 3
# A standard deviation from so many is right to 2 %.
RESAMPLES = 1000


def holm(p: Sequence[float]) -> np.ndarray:
  """Adjusted p values that bound the chance of any false claim among them.

  Holm 1979, Scand. J. Stat. 6, 65: the smallest is multiplied by m, the next
  by m - 1, and so on, and none falls below one before it.

  Args:
    p: p values of a family of tests.

  Raises:
    ValueError: a value is not in 0 to 1.
  """
  p = np.asarray(p, np.float64)
  if not ((p >= 0) & (p <= 1)).all():
    raise ValueError(f'p values must be in 0 to 1, got {p}.')
  order = np.argsort(p, kind='stable')
  stepped = p[order] * np.arange(len(p), 0, -1)
  adjusted = np.empty_like(p)
  adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
  return adjusted


@dataclasses.dataclass(frozen=True)
class Difference:
  """A mean difference of errors, a - b, and what it is known to.

  Attributes:
    value: mean over seeds, in the unit of the errors.
    error: standard error.
    freedom: degrees of freedom of the t quantiles.
    seeds: training subsets.
    examples: test examples.
    units: clusters of test examples, or test examples where these stand alone.
  """

  value: float
  error: float
  freedom: float
  seeds: int
  examples: int
  units: int

  def interval(self, level: float = 1 - ALPHA) -> tuple[float, float]:
    """Both ends of the interval of that level, with Student's t."""
    reach = self.error * stats.t.ppf((1 + level) / 2, self.freedom)
    return self.value - reach, self.value + reach

  def p_below(self, threshold: float = 0.0) -> float:
    """One-sided p value for 'the difference is below the threshold'."""
    if self.error == 0:
      return 0.5 if self.value == threshold else float(self.value > threshold)
    t = (self.value - threshold) / self.error
    return float(stats.t.cdf(t, self.freedom))

  def p_above(self, threshold: float = 0.0) -> float:
    """One-sided p value for 'the difference is above the threshold'."""
    if self.error == 0:
      return 0.5 if self.value == threshold else float(self.value < threshold)
    t = (self.value - threshold) / self.error
    return float(stats.t.sf(t, self.freedom))

  def p_equivalent(self, margin: float) -> float:
    """Two one-sided tests: 'the difference is within ± margin'.

    The larger of both p values (Schuirmann 1987, J. Pharmacokinet.
    Biopharm. 15, 657): below 0.05 just where the 90 % interval is inside.
    """
    return max(self.p_below(margin), self.p_above(-margin))


class Draws:
  """Test examples drawn again and again; all runs share the draws.

  Related examples are drawn together (Davison and Hinkley 1997, section 3.8).

  Args:
    clusters_N: label of each test example's cluster.
    resamples: how many draws.
    seed: of the draws.

  Attributes:
    units: how many clusters there are.
    effective: how many of equal size would tell as much,
      (sum n)² / sum n² (Kish 1965, Survey Sampling, section 8.2, with all
      examples of a cluster alike: the worst case).
  """

  def __init__(
    self, clusters_N: Sequence, resamples: int = RESAMPLES, seed: int = 0
  ):
    _, self._unit_N, self._size_G = np.unique(
      np.asarray(clusters_N), return_inverse=True, return_counts=True
    )
    self.units = len(self._size_G)
    self.effective = float(self._size_G.sum() ** 2 / (self._size_G**2).sum())
    blocks = [*metrics.draw_counts(self.units, resamples, seed)]
    self._counts_RG = np.concatenate(blocks) if blocks else None

  def score(
    self, target_N: np.ndarray, prediction_SN: np.ndarray, metric: str
  ) -> tuple[np.ndarray, np.ndarray]:
    """Errors of several runs on the test examples, and on each draw.

    Args:
      target_N: true values.
      prediction_SN: predictions of each run.
      metric: 'mae' or 'rmse'.

    Returns:
      ([S], [resamples, S]); the latter is NaN where there is but one cluster,
      which says nothing about others.

    Raises:
      ValueError: unknown metric, or values that are not finite.
    """
    if metric not in ('mae', 'rmse'):
      raise ValueError(f"metric must be 'mae' or 'rmse', got {metric!r}.")
    error_NS = (np.asarray(prediction_SN) - np.asarray(target_N)[None]).T
    if error_NS.shape[0] != len(self._unit_N):
      raise ValueError(
        f'{error_NS.shape[0]} predictions for {len(self._unit_N)} examples.'
      )
    if not np.isfinite(error_NS).all():
      raise ValueError('Predictions or targets hold NaN or infinite values.')
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

  @property
  def examples(self) -> int:
    """Number of test examples."""
    return len(self._unit_N)


def difference(
  value_S: np.ndarray, drawn_RS: np.ndarray, draws: Draws
) -> Difference:
  """Mean paired difference over seeds, with both sources of its error.

  Its variance is var_s / S, of other training subsets and initialisations,
  plus the variance over draws of test clusters of the mean over seeds, of
  other test molecules. What differs between seeds on each test molecule is in
  both, so that the sum errs on the wide side. Degrees of freedom of the sum:
  Satterthwaite 1946, Biometrics Bull. 2, 110 (Welch 1947), from S - 1 and from
  the effective number of clusters - 1. The bootstrap's variance of a mean over
  G clusters is short by (G - 1) / G, which is made up for.

  Args:
    value_S: per seed metric of a minus metric of b, on the same examples.
    drawn_RS: the same on each draw of test clusters.
    draws: which made them.

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
    # A cluster that holds nearly everything leaves next to no freedom.
    others = max(draws.effective - 1, 1e-3)
    parts = of_seeds**2 / (seeds - 1) + of_tests**2 / others
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
  """`difference` of two inputs, from their predictions.

  Args:
    target_N: true values of the test examples.
    prediction_a_SN: of one input, a row each seed.
    prediction_b_SN: of the other, the same seeds and examples in order.
    metric: 'mae' or 'rmse'.
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
  """Where one input overtakes another.

  Attributes:
    size: labels at which the mean difference changes its sign for the last
      time; None where it never does.
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
  which the one ahead is so at all sizes counts as a crossover below the
  smallest, one in which it is not ahead at the end as beyond the largest.

  Args:
    sizes_K: training sizes, rising, at least 2.
    difference_KS: metric of a minus that of b; NaN for a seed that a size
      lacks.
    resamples: draws of seeds.
    seed: of the draws.

  Raises:
    ValueError: fewer than two sizes, sizes that do not rise, or one without
      any seed.
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
  # Positive where the one that is ahead at the end is ahead.
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
  """Logarithm of n from where on the lead is positive."""
  if lead_K[-1] <= 0:
    return math.inf
  behind = np.flatnonzero(lead_K <= 0)
  if not len(behind):
    return -math.inf
  k = behind[-1]
  share = -lead_K[k] / (lead_K[k + 1] - lead_K[k])
  return float(log_K[k] + share * (log_K[k + 1] - log_K[k]))


@dataclasses.dataclass(frozen=True)
class Claim:
  """What a hypothesis says of two inputs.

  Attributes:
    kind: 'less' (a has the lower error), 'no_worse' (a's error is not higher
      by the margin, or at all where none is named), or 'equivalent' (within
      the margin).
    a: input.
    b: input.
  """

  kind: str
  a: str
  b: str


@dataclasses.dataclass(frozen=True)
class Hypothesis:
  """A statement with the sizes that it is judged at.

  Attributes:
    name: short.
    words: the statement.
    sizes: 'few', the smallest two sizes of the study, never the largest;
      'all', the largest; 'crossover', the largest, and the reverse at some
      smaller one.
    claims: all of them must hold.
    part_of: a hypothesis with which this one is judged as well.
  """

  name: str
  words: str
  sizes: str
  claims: tuple[Claim, ...]
  part_of: str = ''


_FOUR = ('atoms', 'density', 'gradient', 'shape')

# Stated in the abstract of the paper that edjax tests (H4x and H5 are inferred
# from it).
HYPOTHESES: Mapping[str, Hypothesis] = {
  h.name: h
  for h in (
    Hypothesis(
      'H1',
      'With all training data the inputs are equivalent.',
      'all',
      tuple(
        Claim('equivalent', a, b)
        for i, a in enumerate(_FOUR)
        for b in _FOUR[i + 1 :]
      ),
    ),
    Hypothesis(
      'H2',
      'With few training examples density and gradient each have a lower '
      'error than atom types.',
      'few',
      (Claim('less', 'density', 'atoms'), Claim('less', 'gradient', 'atoms')),
    ),
    Hypothesis(
      'H3',
      'With few training examples shape is equivalent to density.',
      'few',
      (Claim('equivalent', 'shape', 'density'),),
    ),
    Hypothesis(
      'H4',
      'At the largest size density has a lower error than atom types.',
      'all',
      (Claim('less', 'density', 'atoms'),),
    ),
    Hypothesis(
      'H4x',
      'Density overtakes atom types: behind at some smaller size, ahead at '
      'the largest.',
      'crossover',
      (Claim('less', 'density', 'atoms'),),
      part_of='H4',
    ),
    Hypothesis(
      'H5a',
      'At the largest size the gradient has no higher error than density.',
      'all',
      (Claim('no_worse', 'gradient', 'density'),),
    ),
    Hypothesis(
      'H5b',
      'At the largest size density and gradient together have a lower error '
      'than density alone.',
      'all',
      (Claim('less', 'density_gradient', 'density'),),
    ),
  )
}


def expand(names: Sequence[str]) -> list[Hypothesis]:
  """Hypotheses by name, each followed by its further parts.

  Raises:
    ValueError: a name that does not exist.
  """
  for name in names:
    if name not in HYPOTHESES:
      raise ValueError(
        f'{name!r} is no hypothesis; there are {", ".join(HYPOTHESES)}.'
      )
  return [h for n, h in HYPOTHESES.items() if n in names or h.part_of in names]


def sizes_read(hypothesis: Hypothesis, sizes: Sequence) -> list:
  """The sizes of a study that a hypothesis is judged at, rising."""
  sizes = sorted(sizes)
  if hypothesis.sizes == 'few':
    return sizes[:-1][:2]
  if hypothesis.sizes == 'all':
    return sizes[-1:]
  return sizes if len(sizes) > 1 else []


@dataclasses.dataclass(frozen=True)
class Evidence:
  """One comparison that a verdict rests on.

  Attributes:
    claim: what it is about.
    size: labels.
    found: the difference, or None.
    lacking: why there is none, or fewer seeds than planned; '' otherwise.
  """

  claim: Claim
  size: float
  found: Difference | None
  lacking: str = ''


@dataclasses.dataclass(frozen=True)
class Verdict:
  """What a study says of one hypothesis and one target.

  Attributes:
    hypothesis: which.
    target: '' for all targets together.
    word: 'supported', 'contradicted' or 'undecided'.
    p_support: Holm's over the targets; 1 where comparisons are missing.
    p_contradict: likewise.
    evidence: all comparisons.
    reason: why nothing can be said; '' otherwise.
  """

  hypothesis: Hypothesis
  target: str
  word: str
  p_support: float
  p_contradict: float
  evidence: tuple[Evidence, ...]
  reason: str = ''


def judge(
  hypothesis: Hypothesis,
  evidence: Mapping[str, Sequence[Evidence]],
  margins: Mapping[str, float],
  alpha: float = ALPHA,
) -> dict[str, Verdict]:
  """Verdicts for each primary target, and for all of them under ''.

  A hypothesis is a conjunction over its claims and sizes. Per target it is
  supported when each test is, the largest p value counts (intersection-union
  test: Berger 1982, Technometrics 24, 295), and contradicted when one test is
  in the opposite direction, the smallest p value counts, times the number of
  tests (Bonferroni). Of a crossover the largest size and one of the k smaller
  ones must be supported, (the largest of p and k times the smallest of the
  reverse); it is contradicted by the reverse at the largest size, or by the
  same sign at all of the smaller sizes. Holm over targets, for support and for
  contradiction. All targets together: supported when each one is, contradicted
  when any is. A comparison that is missing leaves the target undecided.

  Args:
    hypothesis: what to judge.
    evidence: primary target -> comparisons at the sizes of `sizes_read`.
    margins: target -> margin in the unit of the differences; a claim of
      equivalence needs one.
    alpha: level.
  """
  names = list(evidence)
  reasons = {
    name: _unjudgeable(hypothesis, evidence[name], margins.get(name))
    for name in names
  }
  p_TP = np.ones((len(names), 2))
  for row, name in enumerate(names):
    if not reasons[name]:
      p_TP[row] = _p_values(hypothesis, evidence[name], margins.get(name, 0.0))
  support_T, contradict_T = holm(p_TP[:, 0]), holm(p_TP[:, 1])
  verdicts = {}
  for name, support, contradict in zip(
    names, support_T, contradict_T, strict=True
  ):
    word = 'undecided'
    if support <= alpha:
      word = 'supported'
    elif contradict <= alpha:
      word = 'contradicted'
    verdicts[name] = Verdict(
      hypothesis, name, word, float(support), float(contradict),
      tuple(evidence[name]), reasons[name],
    )  # fmt: skip
  words = {v.word for v in verdicts.values()}
  word = 'undecided'
  if words == {'supported'}:
    word = 'supported'
  elif 'contradicted' in words:
    word = 'contradicted'
  whole = Verdict(
    hypothesis, '', word,
    float(support_T.max(initial=0.0)) if names else 1.0,
    float(contradict_T.min(initial=1.0)),
    tuple(e for v in verdicts.values() for e in v.evidence),
  )  # fmt: skip
  return {'': whole, **verdicts}


def _unjudgeable(hypothesis, evidence, margin) -> str:
  """Why there can be no verdict; '' where there can."""
  if not evidence:
    return 'the study has no such sizes'
  needs = any(c.kind == 'equivalent' for c in hypothesis.claims)
  if needs and margin is None:
    return 'no margin was named for it'
  missing = [e for e in evidence if e.found is None]
  if missing:
    first = missing[0]
    return (
      f'{len(missing)} of {len(evidence)} comparisons cannot be made '
      f'({first.claim.a} and {first.claim.b} at n = {first.size:g}: '
      f'{first.lacking})'
    )
  fewest = min(e.found.seeds for e in evidence)
  if fewest < MIN_SEEDS:
    return f'{fewest} seeds; a verdict takes {MIN_SEEDS} or more'
  return ''


def _p_values(hypothesis, evidence, margin) -> tuple[float, float]:
  """(for support, for contradiction) of one target, before Holm."""
  if hypothesis.sizes == 'crossover':
    *smaller, largest = (e.found for e in evidence)
    ahead = _two_sided(largest.p_below())
    behind = [_two_sided(d.p_above()) for d in smaller]
    support = max(ahead, min(1.0, len(smaller) * min(behind)))
    always = max(_two_sided(d.p_below()) for d in smaller)
    contrary = min(always, _two_sided(largest.p_above()))
    return support, min(1.0, 2 * contrary)
  pairs = [_claim_p(e.claim.kind, e.found, margin) for e in evidence]
  support_E, contrary_E = zip(*pairs, strict=True)
  return max(support_E), min(1.0, len(pairs) * min(contrary_E))


def _claim_p(kind, found: Difference, margin) -> tuple[float, float]:
  if kind == 'less':
    return _two_sided(found.p_below()), _two_sided(found.p_above())
  if kind == 'no_worse':
    return _two_sided(found.p_below(margin)), _two_sided(found.p_above(margin))
  outside = min(found.p_above(margin), found.p_below(-margin))
  return found.p_equivalent(margin), _two_sided(outside)


def _two_sided(p: float) -> float:
  """Of the test in one direction, as its interval has two ends."""
  return min(1.0, 2 * p)
