"""Errors, intervals and paired differences of the finished runs of a study."""

import dataclasses
import functools
import math

import numpy as np
from scipy import stats

from edjax import baselines
from edjax.evaluate import paired
from edjax.study import pairing, verdicts
from edjax.study.pairing import PairingError, Replicates
from edjax.study.results import MAIN, Point, Run, Study, main_point

# Share of test examples that two points must have in common for a difference
# on these: with fewer it is another test set, not one that lacks molecules.
IN_COMMON = 0.9


@dataclasses.dataclass(frozen=True)
class Score:
  """Errors of one representation at one size, one column per subset seed.

  Attributes:
    name: of the first run.
    seeds: subset seeds, rising; initialisations of a seed are averaged.
    value_S: metric, display units.
    drawn_RS: the same on each draw of test clusters.
    draws: of test clusters; one object for all runs on the same examples.
  """

  name: str
  seeds: tuple[int, ...]
  value_S: np.ndarray
  drawn_RS: np.ndarray
  draws: paired.Draws

  def minus(self, other: 'Score') -> paired.Difference:
    """Returns the paired difference over the seeds in common.

    Raises:
      ValueError: fewer than 2 seeds in common, or one test cluster alone.
    """
    common = sorted(set(self.seeds) & set(other.seeds))
    i = [self.seeds.index(s) for s in common]
    j = [other.seeds.index(s) for s in common]
    return paired.difference(
      self.value_S[i] - other.value_S[j],
      self.drawn_RS[:, i] - other.drawn_RS[:, j],
      self.draws,
    )


@dataclasses.dataclass(frozen=True)
class Mean:
  """Mean over seeds with its 95 % t interval; one seed has the interval NaN."""

  value: float
  low: float
  high: float
  seeds: int


def mean_of(values) -> Mean:
  """Returns the mean and t interval over seeds; NaN without any."""
  value_S = np.asarray([*values], np.float64)
  seeds, reach = len(value_S), math.nan
  mean = float(value_S.mean()) if seeds else math.nan
  if seeds > 1:
    t = stats.t.ppf(0.975, seeds - 1)
    reach = float(t * value_S.std(ddof=1) / seeds**0.5)
  return Mean(mean, mean - reach, mean + reach, seeds)


class Statistics:
  """Computes the numbers that a report has of a study's runs.

  Args:
    study: as read from its directory.
  """

  def __init__(self, study: Study):
    self.study = study
    self._draws = {}

  @functools.cached_property
  def _replicates(self) -> dict[tuple, list[Run]]:
    """Runs of the replicates that have all of their planned folds."""
    planned, finished = {}, {}
    for run in self.study.runs:
      planned.setdefault(run.replicate, set()).add(run.fold)
    for run in self.study.done():
      finished.setdefault(run.replicate, []).append(run)
    return {
      replicate: runs
      for replicate, runs in finished.items()
      if {run.fold for run in runs} == planned[replicate]
    }

  @property
  def incomplete(self) -> int:
    """Number of replicates with some folds done and some not."""
    begun = {run.replicate for run in self.study.done()}
    return len(begun - self._replicates.keys())

  def predictions(self, point: Point, target: str) -> Replicates | None:
    """Stacks the predictions of all complete replicates at a point.

    They are in the order of subset and initialisation seeds; None without any.

    Raises:
      PairingError: see `pairing.stack`.
    """
    complete = {
      (subset_seed, init_seed): sorted(runs, key=lambda run: run.fold)
      for (of, subset_seed, init_seed), runs in self._replicates.items()
      if of == point
    }
    if not complete:
      return None
    return pairing.stack([complete[s] for s in sorted(complete)], target)

  @functools.cache  # noqa: B019
  def score(self, point: Point, target: str) -> Score | None:
    """Returns the errors at a point, None without a complete replicate.

    Raises:
      PairingError: see `predictions`.
    """
    replicates = self.predictions(point, target)
    if replicates is None:
      return None
    return self._score(replicates, self._draws_of(replicates, target), target)

  def _score(self, replicates, draws, target) -> Score:
    value_S, drawn_RS = draws.score(
      replicates.target_N, replicates.prediction_SN, self.study.metric
    )
    factor = self.study.factor(target)
    seeds = tuple(sorted(set(replicates.seeds)))
    # [replicates, seeds]: initialisations of a subset seed are averaged.
    share = np.equal.outer(replicates.seeds, seeds).astype(np.float64)
    share /= share.sum(0)
    return Score(
      replicates.name, seeds, value_S @ share * factor,
      drawn_RS @ share * factor, draws,
    )  # fmt: skip

  def _draws_of(self, replicates, target) -> paired.Draws:
    """Returns the draws for test examples, and checks their true values."""
    key = replicates.ids_N.tobytes(), replicates.clusters_N.tobytes()
    if key not in self._draws:
      self._draws[key] = paired.Draws(replicates.clusters_N), {}
    draws, first_of = self._draws[key]
    pairing.check(first_of.setdefault(target, replicates), replicates)
    return draws

  def mean(self, point: Point, target: str) -> Mean:
    """Returns the mean over seeds; NaN where none is done or pairing fails."""
    score = self.usable(point, target)
    return mean_of([] if score is None else score.value_S)

  def usable(self, point: Point, target: str) -> Score | None:
    """Returns the errors at a point, None also where pairing fails."""
    try:
      return self.score(point, target)
    except PairingError:  # the section 'What is missing' has the reason
      return None

  def difference(
    self, point_a: Point, point_b: Point, target: str
  ) -> tuple[paired.Difference | None, str]:
    """Returns the paired difference a - b, and a note.

    The note says why there is no difference, or counts the missing seeds; it is
    '' where all planned seeds are there.
    """
    try:
      a, b = (self._done_score(p, target) for p in (point_a, point_b))
      if a.draws is not b.draws:
        raise PairingError(
          f'{a.name} and {b.name} were tested on different examples'
        )
      difference = a.minus(b)
    except ValueError as error:  # pairing, or too few seeds
      return None, str(error)
    return difference, self._missing_seeds(point_a, point_b, difference.seeds)

  def _done_score(self, point, target) -> Score:
    score = self.score(point, target)
    if score is None:
      raise PairingError(
        f'no complete run of {point.representation} at n = {point.size:g}'
      )
    return score

  def _missing_seeds(self, point_a, point_b, seeds: int) -> str:
    points = point_a, point_b
    planned = len(set.intersection(*map(self.study.planned_seeds, points)))
    if seeds >= planned:
      return ''
    runs = [run for run in self.study.runs if run.point in points]
    diverged = sum(run.diverged for run in runs)
    text = f'{seeds} of {planned} seeds'
    return f'{text}, runs that diverged: {diverged}' if diverged else text

  def difference_in_common(
    self, point_a: Point, point_b: Point, target: str
  ) -> tuple[paired.Difference | None, int]:
    """Returns the paired difference a - b on the test examples of both.

    It is for datasets of which one lacks a few molecules, and not for verdicts.

    Returns:
      The difference, or None for too few seeds or less than `IN_COMMON` of the
      examples in common; and the number of examples that one alone has.

    Raises:
      PairingError: see `predictions`.
    """
    both = [self.predictions(point, target) for point in (point_a, point_b)]
    if None in both:
      return None, 0
    common = np.intersect1d(both[0].ids_N, both[1].ids_N)
    sizes = [len(replicates.ids_N) for replicates in both]
    alone = sum(sizes) - 2 * len(common)
    if len(common) < IN_COMMON * max(sizes):
      return None, alone
    a, b = (replicates.only(common) for replicates in both)
    pairing.check(a, b)
    draws = paired.Draws(a.clusters_N)
    a, b = (self._score(replicates, draws, target) for replicates in (a, b))
    try:
      return a.minus(b), alone
    except ValueError:  # too few seeds
      return None, alone

  def crossover(self, a: str, b: str, target: str) -> paired.Crossover | None:
    """Returns where one representation overtakes the other in the main runs.

    None with fewer than two sizes in common.
    """
    differences = {}  # size -> seed -> error of a minus that of b
    for size in self.study.sizes:
      scores = [self.usable(main_point(x, size), target) for x in (a, b)]
      if None in scores or scores[0].draws is not scores[1].draws:
        continue
      of_a, of_b = (dict(zip(s.seeds, s.value_S, strict=True)) for s in scores)
      of_size = {s: of_a[s] - of_b[s] for s in of_a if s in of_b}
      if of_size:
        differences[size] = of_size
    if len(differences) < 2:
      return None
    seeds = sorted(set().union(*differences.values()))
    difference_KS = [
      [of_size.get(s, np.nan) for s in seeds]
      for of_size in differences.values()
    ]
    return paired.crossover(list(differences), np.array(difference_KS))

  def baselines(self) -> list[str]:
    """Lists the baselines of the main runs in the order of the results.

    A baseline on the input of a run is listed for each representation, as
    NAME:REPRESENTATION.
    """
    names = {}
    for run in self.study.done(MAIN):
      for entry in run.results['targets'].values():
        for name in entry.get('baselines', {}):
          of_input = f'{name}:{run.point.representation}'
          names[of_input if name == baselines.MOMENTS else name] = None
    return list(names)

  def baseline(self, name: str, size, target: str) -> Mean:
    """Returns the error of a baseline over subset seeds, the folds pooled.

    Runs of one subset seed share their labels and thus the baseline: one of
    them gives the value of the seed.
    """
    values = {}
    name, _, representation = name.partition(':')
    for (point, subset_seed, _), runs in self._replicates.items():
      if (point.ablation, point.size) != (MAIN, size):
        continue
      if representation not in ('', point.representation):
        continue
      if subset_seed not in values:
        value = _pooled_baseline(runs, target, name, self.study.metric)
        if value is not None:
          values[subset_seed] = value
    return mean_of(values.values())

  @functools.cached_property
  def judged(self) -> list[dict[str, verdicts.Verdict]]:
    """Verdicts on the plan's hypotheses, each from `verdicts.judge`."""
    judged = []
    for hypothesis in verdicts.expand(self.study.plan.get('hypotheses', ())):
      evidence = {
        target: [
          self._evidence(claim, size, target)
          for claim in hypothesis.tests
          for size in verdicts.sizes_read(hypothesis, self.study.sizes)
        ]
        for target in self.study.primary
      }
      judged.append(verdicts.judge(hypothesis, evidence, self.study.margins))
    return judged

  def _evidence(self, claim, size, target) -> verdicts.Evidence:
    for name in (claim.a, claim.b):
      if name not in self.study.representations():
        return verdicts.Evidence(
          claim, size, None, f'{name} is not in the study'
        )
    a, b = (main_point(name, size) for name in (claim.a, claim.b))
    return verdicts.Evidence(claim, size, *self.difference(a, b, target))


def _pooled_baseline(runs, target, name, metric) -> float | None:
  """Returns the error over the measured examples of all folds."""
  total, examples = 0.0, 0
  for run in runs:
    entry = run.results['targets'].get(target, {})
    if name not in entry.get('baselines', {}):
      return None
    value = entry['baselines'][name][metric]['value']
    # Results of before there were gaps count all examples.
    n = entry.get('measured', run.results['examples'])['test']
    total += n * (value**2 if metric == 'rmse' else value)
    examples += n
  value = total / examples
  return value**0.5 if metric == 'rmse' else value
