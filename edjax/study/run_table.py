"""What is there of a study: runs, errors of inputs, pairs of them."""

import csv
import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Mapping

import numpy as np
from scipy import stats

from edjax import baselines
from edjax.evaluate import paired
from edjax.study import planning, verdicts

MAIN = 'main'

DONE, FAILED, BEGUN, LEFT = 'done', 'failed', 'begun', 'left'

# Test values of one molecule may differ by rounding between machines.
_SAME = 1e-6

# Share of test examples that two points must have in common, for a difference
# on these: fewer are another test set, not one with a few molecules missing.
IN_COMMON = 0.9


class PairingError(ValueError):
  """Runs that are compared were not tested on the same examples."""


@dataclasses.dataclass(frozen=True)
class Run:
  """An entry of the plan with what became of it.

  Attributes:
    name: of its directory.
    block: which part of the study.
    variant: what is varied within the block, in words; '' in the main one.
    arm: representation.
    size: labels.
    subset_seed: of the training subset.
    init_seed: of the initialisation.
    fold: of cross-validation; -1: none.
    status: DONE, FAILED, BEGUN (a directory without an end) or LEFT.
    results: results.json, {} where there is none.
    facts: config.json, likewise.
    error: error.txt.
    diverged: whether it failed because something was not finite.
  """

  name: str
  block: str
  variant: str
  arm: str
  size: float
  subset_seed: int
  init_seed: int
  fold: int
  status: str = LEFT
  results: Mapping = dataclasses.field(default_factory=dict)
  facts: Mapping = dataclasses.field(default_factory=dict)
  error: str = ''
  diverged: bool = False

  @property
  def replicate(self) -> tuple:
    """Equal for runs that differ in the fold alone."""
    return (*self.point, self.subset_seed, self.init_seed)

  @property
  def point(self) -> tuple:
    """Equal for runs that differ in seeds and folds alone."""
    return self.block, self.variant, self.arm, self.size


@dataclasses.dataclass(frozen=True)
class Score:
  """Errors of one input at one size, a column each subset seed.

  Attributes:
    seeds: subset seeds; initialisations of a seed are averaged.
    value_S: metric, display units.
    drawn_RS: the same on draws of test clusters.
    draws: which made them; the same object for the same test examples.
    runs: names of the runs.
  """

  seeds: tuple[int, ...]
  value_S: np.ndarray
  drawn_RS: np.ndarray
  draws: paired.Draws
  runs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Mean:
  """Mean over seeds with its 95 % t interval, NaN ends for a single seed."""

  value: float
  low: float
  high: float
  seeds: int


def mean_of(values) -> Mean:
  """Mean and t interval of values of seeds, which may be none (NaN)."""
  value_S = np.asarray([v for v in values if v is not None], np.float64)
  seeds = len(value_S)
  if not seeds:
    return Mean(math.nan, math.nan, math.nan, 0)
  mean = float(value_S.mean())
  if seeds == 1:
    return Mean(mean, math.nan, math.nan, 1)
  reach = stats.t.ppf(0.975, seeds - 1) * value_S.std(ddof=1) / seeds**0.5
  return Mean(mean, mean - float(reach), mean + float(reach), seeds)


class Study:
  """A study's directory, read once.

  Args:
    directory: with plan.json.

  Raises:
    FileNotFoundError: no plan.json.
    ValueError: a plan of another format.

  Attributes:
    path: directory.
    plan: plan.json.
    runs: a Run for each entry, in the order of the plan.
  """

  def __init__(self, directory):
    self.path = pathlib.Path(directory)
    self.plan = planning.read(self.path)
    self.runs = [self._read(e) for e in self.plan['entries']]
    self._draws = {}

  def _read(self, entry) -> Run:
    path = self.path / 'runs' / entry['name']
    run = Run(
      entry['name'], entry['ablation'], entry['setting'],
      entry['representation'],
      entry['size'], entry['subset_seed'], entry['init_seed'], entry['fold'],
    )  # fmt: skip
    facts = _json(path / 'config.json')
    results = _json(path / 'results.json')
    error = path / 'error.txt'
    if results:
      return dataclasses.replace(run, status=DONE, results=results, facts=facts)
    if error.exists():
      text = error.read_text(encoding='utf-8', errors='replace')
      diverged = (path / 'diverged').exists()
      return dataclasses.replace(
        run, status=FAILED, error=text, facts=facts, diverged=diverged
      )
    begun = BEGUN if path.is_dir() else LEFT
    return dataclasses.replace(run, status=begun, facts=facts)

  @property
  def metric(self) -> str:
    """'mae' or 'rmse'."""
    return self.plan['metric']

  @property
  def primary(self) -> list[str]:
    """Targets that verdicts are about."""
    return list(self.plan['primary'])

  def label(self, arm: str) -> str:
    """Words for an input."""
    return self.plan.get('labels', {}).get(arm, arm)

  def count(self, status: str) -> int:
    """Runs of a status."""
    return sum(run.status == status for run in self.runs)

  def done(self, block: str | None = None) -> list[Run]:
    """Finished runs."""
    return [
      r
      for r in self.runs
      if r.status == DONE and (block is None or r.block == block)
    ]

  @functools.cached_property
  def targets(self) -> list[str]:
    """Primary targets first, then what else the runs learned."""
    found = dict.fromkeys(self.primary)
    for run in self.done():
      found |= dict.fromkeys(run.results['targets'])
    return list(found)

  def unit(self, target: str) -> tuple[str, float]:
    """(display unit, factor from the stored one)."""
    from edjax import datasets

    _, unit, factor = datasets.DATASETS[self.plan['dataset']].targets[target]
    return unit, factor

  def arms(self, block: str = MAIN) -> list[str]:
    """Inputs of a block, in the order of the plan."""
    return list(dict.fromkeys(r.arm for r in self.runs if r.block == block))

  def sizes(self, block: str = MAIN) -> list:
    """Sizes of a block, rising."""
    return sorted({r.size for r in self.runs if r.block == block})

  def planned_seeds(self, point: tuple) -> set[int]:
    """Subset seeds that the plan has at (block, variant, arm, size)."""
    return {r.subset_seed for r in self.runs if r.point == tuple(point)}

  def points(self, block: str) -> list[tuple]:
    """(block, variant, arm, size) of finished runs, in order."""
    return list(dict.fromkeys(r.point for r in self.done(block)))

  @functools.cached_property
  def _replicates(self) -> dict[tuple, list[Run]]:
    """Replicates that have all of their planned folds."""
    planned, found = {}, {}
    for run in self.runs:
      planned.setdefault(run.replicate, set()).add(run.fold)
      if run.status == DONE:
        found.setdefault(run.replicate, []).append(run)
    return {
      replicate: runs
      for replicate, runs in found.items()
      if {r.fold for r in runs} == planned[replicate]
    }

  @property
  def incomplete(self) -> int:
    """Replicates of which some folds are done and some are not."""
    begun = {r.replicate for r in self.done()}
    return len(begun - self._replicates.keys())

  def _of_point(self, point) -> dict[int, list[list[Run]]]:
    """Subset seed -> replicates (one an initialisation)."""
    found = {}
    for (*where, subset_seed, _), runs in sorted(
      self._replicates.items(), key=lambda item: item[0][4:]
    ):
      if tuple(where) == tuple(point):
        found.setdefault(subset_seed, []).append(runs)
    return found

  @functools.cache  # noqa: B019
  def _pooled(self, names: tuple[str, ...]) -> dict:
    """Predictions of a replicate's folds: target -> columns by id."""
    columns = {}
    for name in names:
      for target, rows in _predictions(self.path / 'runs' / name).items():
        columns.setdefault(target, []).extend((r, name) for r in rows)
    pooled = {}
    for target, rows in columns.items():
      rows.sort(key=lambda item: item[0][0])
      ids = np.array([r[0] for r, _ in rows])
      twice = np.flatnonzero(ids[1:] == ids[:-1])
      if len(twice):
        i = int(twice[0])
        raise PairingError(
          f'{ids[i]} is a test example of {rows[i][1]} and again of '
          f'{rows[i + 1][1]}: folds must not share examples'
        )
      pooled[target] = (
        ids,
        np.array([r[1] for r, _ in rows]),
        np.array([r[2] for r, _ in rows]),
        np.array([r[3] for r, _ in rows]),
      )
    return pooled

  def predictions(self, point, target: str):
    """Of all replicates at a point, in the order of ids.

    Returns:
      (seeds, ids_N, clusters_N, target_N, prediction_SN, names), native
      units; None where no replicate is complete.

    Raises:
      PairingError: test examples or their values differ between replicates.
    """
    seeds, stacked, names, first = [], [], [], None
    for subset_seed, replicates in self._of_point(point).items():
      for runs in replicates:
        of_folds = tuple(r.name for r in sorted(runs, key=lambda r: r.fold))
        pooled = self._pooled(of_folds)
        if target not in pooled:
          raise PairingError(f'{of_folds[0]} has no predictions of {target}')
        ids_N, truth_N, prediction_N, clusters_N = pooled[target]
        if first is None:
          first = ids_N, truth_N, clusters_N, of_folds[0]
        check_pairing(
          (first[3], first[0], first[1]), (of_folds[0], ids_N, truth_N)
        )
        seeds.append(subset_seed)
        stacked.append(prediction_N)
        names += of_folds
    if first is None:
      return None
    ids_N, truth_N, clusters_N, _ = first
    return seeds, ids_N, clusters_N, truth_N, np.stack(stacked), names

  @functools.cache  # noqa: B019
  def score(self, point: tuple, target: str, metric: str = '') -> Score | None:
    """Errors at a point, in display units; None where nothing is complete.

    Raises:
      PairingError: see `predictions`.
    """
    found = self.predictions(point, target)
    if found is None:
      return None
    _, ids_N, clusters_N, truth_N, _, names = found
    draws = self._draws_of(ids_N, truth_N, clusters_N, target, names[0])
    return self._score(found, draws, target, metric or self.metric)

  def _score(self, found, draws, target, metric) -> Score:
    """Of predictions, as `predictions` returns them."""
    seeds, _, _, truth_N, prediction_SN, names = found
    value_S, drawn_RS = draws.score(truth_N, prediction_SN, metric)
    _, factor = self.unit(target)
    each = sorted(set(seeds))
    # [replicates, seeds]: initialisations of a subset seed are averaged.
    share = np.equal.outer(seeds, each).astype(np.float64)
    share /= share.sum(0)
    return Score(
      tuple(each), value_S @ share * factor, drawn_RS @ share * factor, draws,
      tuple(names),
    )  # fmt: skip

  def _draws_of(self, ids_N, truth_N, clusters_N, target, name):
    """One object for the same ids, whose values must be the same too."""
    key = ids_N.tobytes(), clusters_N.tobytes()
    if key not in self._draws:
      self._draws[key] = paired.Draws(clusters_N), {}
    draws, known = self._draws[key]
    before = known.setdefault(target, (name, ids_N, truth_N))
    check_pairing(before, (name, ids_N, truth_N))
    return draws

  def mean(self, point: tuple, target: str, metric: str = '') -> Mean:
    """Mean error over seeds; no seeds where pairing failed or none is done."""
    try:
      score = self.score(point, target, metric)
    except PairingError:
      score = None
    return mean_of([] if score is None else score.value_S)

  def difference(
    self, point_a: tuple, point_b: tuple, target: str
  ) -> tuple[paired.Difference | None, str]:
    """Paired difference a - b, and why there is none or what it lacks."""
    try:
      pair = self.paired(point_a, point_b, target)
      found = paired.difference(*pair)
    except ValueError as error:  # of pairing, or too few seeds
      return None, str(error)
    return found, self._lacking(point_a, point_b, found.seeds)

  def difference_in_common(
    self, point_a: tuple, point_b: tuple, target: str
  ) -> tuple[paired.Difference | None, int]:
    """Paired difference a - b on the test examples that both have.

    For datasets of which one lacks a few molecules. Never for verdicts.

    Returns:
      The difference, None where there are too few seeds or less than
      `IN_COMMON` of the examples in common, and how many one alone has.

    Raises:
      PairingError: see `predictions`.
    """
    both = [self.predictions(point, target) for point in (point_a, point_b)]
    if None in both:
      return None, 0
    common = np.intersect1d(both[0][1], both[1][1])
    sizes = [len(ids_N) for _, ids_N, *_ in both]
    alone = sum(sizes) - 2 * len(common)
    if len(common) < IN_COMMON * max(sizes):
      return None, alone
    both = [_only(found, common) for found in both]
    check_pairing(*((f[5][0], f[1], f[3]) for f in both))
    draws = paired.Draws(both[0][2])
    scores = [self._score(f, draws, target, self.metric) for f in both]
    try:
      return paired.difference(*_paired(*scores)), alone
    except ValueError:  # too few seeds
      return None, alone

  def _lacking(self, point_a, point_b, seeds: int) -> str:
    """How many seeds are missing at two points; '' for none."""
    points = tuple(point_a), tuple(point_b)
    wanted = len(set.intersection(*map(self.planned_seeds, points)))
    if seeds >= wanted:
      return ''
    diverged = sum(run.diverged and run.point in points for run in self.runs)
    words = f'{seeds} of {wanted} seeds'
    return f'{words}, runs that diverged: {diverged}' if diverged else words

  def paired(self, point_a: tuple, point_b: tuple, target: str):
    """(value_S, drawn_RS, draws) of a - b over the seeds in common.

    Raises:
      PairingError: nothing is done, or the test examples differ.
    """
    scores = []
    for point in (point_a, point_b):
      score = self.score(point, target)
      if score is None:
        raise PairingError(f'no complete run of {point[2]} at n = {point[3]:g}')
      scores.append(score)
    a, b = scores
    if a.draws is not b.draws:
      raise PairingError(
        f'{a.runs[0]} and {b.runs[0]} were tested on other examples'
      )
    return _paired(a, b)

  def crossover(self, arm_a: str, arm_b: str, target: str):
    """Where one input overtakes the other in the main block.

    Returns:
      `paired.Crossover`, or None with fewer than two sizes in common.
    """
    found = {}
    for size in self.sizes():
      points = [(MAIN, '', arm, size) for arm in (arm_a, arm_b)]
      try:
        a, b = (self.score(point, target) for point in points)
      except PairingError:
        continue
      if a is None or b is None or a.draws is not b.draws:
        continue
      of_b = dict(zip(b.seeds, b.value_S, strict=True))
      found[size] = {
        s: v - of_b[s]
        for s, v in zip(a.seeds, a.value_S, strict=True)
        if s in of_b
      }
    found = {size: d for size, d in found.items() if d}
    if len(found) < 2:
      return None
    seeds = sorted(set().union(*found.values()))
    difference_KS = [[d.get(s, np.nan) for s in seeds] for d in found.values()]
    return paired.crossover(list(found), np.array(difference_KS))

  def baselines(self, block: str = MAIN) -> list[str]:
    """Names, in the order of the results.

    One that sees the input of a run counts once an input, as NAME:ARM.
    """
    found = {}
    for run in self.done(block):
      for entry in run.results['targets'].values():
        for name in entry.get('baselines', {}):
          seen = name == baselines.MOMENTS
          found[f'{name}:{run.arm}' if seen else name] = None
    return list(found)

  def baseline(self, name: str, size, target: str, block: str = MAIN) -> Mean:
    """Of a baseline over subset seeds, the folds pooled.

    Baselines see the labels that runs see, most of them whatever the input: one
    value a seed.
    """
    values = {}
    name, _, arm = name.partition(':')
    for replicate, runs in self._replicates.items():
      if replicate[0] != block or replicate[3] != size:
        continue
      if arm and replicate[2] != arm:
        continue
      if replicate[4] not in values:
        value = _pooled_baseline(runs, target, name, self.metric)
        if value is not None:
          values[replicate[4]] = value
    return mean_of(values.values())

  def judge(self) -> list[dict[str, verdicts.Verdict]]:
    """Verdicts of the plan's hypotheses, from the main block."""
    found = []
    for hypothesis in verdicts.expand(self.plan.get('hypotheses', ())):
      evidence = {
        target: [
          self._evidence(claim, size, target)
          for claim in hypothesis.claims
          for size in verdicts.sizes_read(hypothesis, self.sizes())
        ]
        for target in self.primary
      }
      margins = self.plan.get('margins', {})
      found.append(verdicts.judge(hypothesis, evidence, margins))
    return found

  def _evidence(self, claim, size, target) -> verdicts.Evidence:
    points = [(MAIN, '', arm, size) for arm in (claim.a, claim.b)]
    for arm in (claim.a, claim.b):
      if arm not in self.arms():
        return verdicts.Evidence(
          claim, size, None, f'{arm} is not in the study'
        )
    found, lacking = self.difference(*points, target)
    return verdicts.Evidence(claim, size, found, lacking)


def _paired(a: Score, b: Score) -> tuple:
  """(value_S, drawn_RS, draws) of a - b over the seeds in common."""
  common = sorted(set(a.seeds) & set(b.seeds))
  i = [a.seeds.index(s) for s in common]
  j = [b.seeds.index(s) for s in common]
  return (
    a.value_S[i] - b.value_S[j],
    a.drawn_RS[:, i] - b.drawn_RS[:, j],
    a.draws,
  )


def _only(found: tuple, common: np.ndarray) -> tuple:
  """Predictions of some test examples, by their ids."""
  seeds, ids_N, clusters_N, truth_N, prediction_SN, names = found
  chosen_N = np.isin(ids_N, common)
  return (
    seeds, ids_N[chosen_N], clusters_N[chosen_N], truth_N[chosen_N],
    prediction_SN[:, chosen_N], names,
  )  # fmt: skip


def check_pairing(first, second) -> None:
  """Compares test examples of two runs.

  Args:
    first: (name of the run, ids_N, target_N), ids in order.
    second: likewise.

  Raises:
    PairingError: other ids, or other true values of an id. Names both.
  """
  name_a, ids_a, truth_a = first
  name_b, ids_b, truth_b = second
  if len(ids_a) != len(ids_b) or (ids_a != ids_b).any():
    differing = sorted(set(ids_a.tolist()) ^ set(ids_b.tolist()))
    raise PairingError(
      f'{name_a} and {name_b} were tested on other examples: '
      f'{len(differing)} are in one alone, such as {differing[0]}'
    )
  size = np.abs(truth_a).max(initial=0.0)
  off = np.flatnonzero(np.abs(truth_a - truth_b) > _SAME * size)
  if len(off):
    i = off[0]
    raise PairingError(
      f'{name_a} and {name_b} have other true values for {len(off)} test '
      f'examples, such as {ids_a[i]}: {truth_a[i]:g} and {truth_b[i]:g}; '
      'their ids are mixed up'
    )


def _json(path) -> dict:
  """{} where there is no such file, or it is being written."""
  try:
    return json.loads(path.read_text(encoding='utf-8'))
  except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
    return {}


def _predictions(path) -> dict[str, list]:
  """name -> rows (id, target, prediction, cluster), native units."""
  found = {}
  with (path / 'predictions_test.csv').open(
    newline='', encoding='utf-8'
  ) as file:
    rows = csv.reader(file)
    head = next(rows)
    cluster = head.index('cluster') if 'cluster' in head else 0  # or the id
    for row in rows:
      found.setdefault(row[1], []).append(
        (row[0], float(row[2]), float(row[3]), row[cluster])
      )
  return found


def _pooled_baseline(runs, target, name, metric) -> float | None:
  """MAE or RMSE over the examples of all folds."""
  total, examples = 0.0, 0
  for run in runs:
    entry = run.results['targets'].get(target, {}).get('baselines', {})
    if name not in entry:
      return None
    value = entry[name][metric]['value']
    n = run.results['examples']['test']
    total += n * (value**2 if metric == 'rmse' else value)
    examples += n
  value = total / examples
  return value**0.5 if metric == 'rmse' else value
