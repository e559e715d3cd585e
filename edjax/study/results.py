"""Reads the directory of a study: its plan, its runs and their predictions."""

import csv
import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from edjax import baselines, datasets
from edjax.study import planning

MAIN = 'main'

DONE, FAILED, BEGUN, LEFT = 'done', 'failed', 'begun', 'left'


class Point(NamedTuple):
  """Names the runs that differ in seeds and folds alone.

  Attributes:
    ablation: part of the study, `MAIN` for the main comparison.
    setting: description of the ablation's setting; '' in the main comparison.
    representation: input of the network.
    size: number of labels.
  """

  ablation: str
  setting: str
  representation: str
  size: float


def main_point(representation: str, size: float) -> Point:
  """Returns a point of the main comparison."""
  return Point(MAIN, '', representation, size)


class Predictions(NamedTuple):
  """Test predictions of one target where it was measured, native units."""

  ids_N: np.ndarray
  clusters_N: np.ndarray
  target_N: np.ndarray
  prediction_N: np.ndarray


@dataclasses.dataclass(frozen=True)
class Run:
  """An entry of the plan with its status and results.

  Attributes:
    name, subset_seed, init_seed, fold: see `planning.Entry`.
    point: shared with runs of other seeds and folds.
    status: DONE, FAILED, BEGUN (neither results nor error) or LEFT.
    results: results.json; {} where it is missing.
    facts: config.json; {} where it is missing.
    error: error.txt.
    diverged: whether it failed because a loss or parameter was not finite.
    predictions: of the test examples of a finished run, by target.
  """

  name: str
  point: Point
  subset_seed: int
  init_seed: int
  fold: int
  status: str = LEFT
  results: Mapping = dataclasses.field(default_factory=dict)
  facts: Mapping = dataclasses.field(default_factory=dict)
  error: str = ''
  diverged: bool = False
  predictions: Mapping[str, Predictions] = dataclasses.field(
    default_factory=dict
  )

  @property
  def replicate(self) -> tuple:
    """Key that is equal for runs that differ in the fold alone."""
    return self.point, self.subset_seed, self.init_seed

  @property
  def last_error(self) -> str:
    """Last line of its error, which names the exception; '' without one."""
    return (self.error.strip().splitlines() or [''])[-1]


class Study:
  """A study's directory, read once.

  Args:
    directory: with plan.json.

  Raises:
    FileNotFoundError: there is no plan.json.
    ValueError: plan.json has another format.

  Attributes:
    path: directory.
    plan: plan.json.
    tuned: tuned.json; {} where it is missing.
    runs: a Run for each entry, in the order of the plan.
    metric: 'mae', 'rmse' or, of classes, 'log_loss'.
    error: the metric in capitals, for text.
    primary: targets of the verdicts.
    margins: of equivalence by target, display units.
  """

  def __init__(self, directory):
    self.path = pathlib.Path(directory)
    self.plan = planning.read(self.path)
    self.tuned = _json(self.path / 'tuned.json')
    self.runs = [_run(self.path, entry) for entry in self.plan['entries']]
    self.metric = self.plan['metric']
    self.error = {'log_loss': 'log loss'}.get(self.metric, self.metric.upper())
    self.primary = list(self.plan['primary'])
    self.margins = self.plan.get('margins') or {}

  def label(self, name: str) -> str:
    """Returns the label of a representation, or of a `Statistics` baseline."""
    name, _, representation = name.partition(':')
    labels = self.plan.get('labels', {})
    text = baselines.LABELS.get(name) or labels.get(name, name)
    return f'{text}, {self.label(representation)}' if representation else text

  def unit(self, target: str) -> str:
    """Returns the unit that errors are displayed in."""
    return self._target(target).report

  def factor(self, target: str) -> float:
    """Returns the factor from the stored unit to the displayed one."""
    return self._target(target).factor

  def _target(self, name: str) -> datasets.Target:
    base = self.plan.get('base', {})
    units = base.get('data.units', ())
    units = dict(zip(base.get('data.targets', ()), units, strict=False))
    dataset = datasets.DATASETS[self.plan['dataset']]
    return dataset.target(name, units.get(name, ''))

  def done(self, ablation: str = '') -> list[Run]:
    """Lists the finished runs, of one ablation or ('') of all."""
    return [
      run
      for run in self.runs
      if run.status == DONE and ablation in ('', run.point.ablation)
    ]

  @functools.cached_property
  def targets(self) -> list[str]:
    """Primary targets first, then the other targets of the runs."""
    learned = (t for run in self.done() for t in run.results['targets'])
    return list(dict.fromkeys([*self.primary, *learned]))

  @functools.cached_property
  def sizes(self) -> list:
    """Sizes of the main comparison, rising."""
    points = [run.point for run in self.runs]
    return sorted({p.size for p in points if p.ablation == MAIN})

  def representations(self, ablation: str = MAIN) -> list[str]:
    """Lists the representations of an ablation in the order of the plan."""
    points = [run.point for run in self.runs]
    names = (p.representation for p in points if p.ablation == ablation)
    return list(dict.fromkeys(names))

  def points(self, ablation: str = '') -> list[Point]:
    """Lists the points that have finished runs, of one ablation or of all."""
    return list(dict.fromkeys(run.point for run in self.done(ablation)))

  def main_runs(self) -> dict[Point, list[Run]]:
    """Groups the finished main runs by representation and size."""
    groups = {
      main_point(name, size): []
      for name in self.representations()
      for size in self.sizes
    }
    for run in self.done(MAIN):
      groups[run.point].append(run)
    return {point: runs for point, runs in groups.items() if runs}

  def planned_seeds(self, point: Point) -> set[int]:
    """Returns the subset seeds that the plan has at a point."""
    return {run.subset_seed for run in self.runs if run.point == point}


def _run(directory, entry) -> Run:
  path = directory / 'runs' / entry['name']
  results, error = _json(path / 'results.json'), path / 'error.txt'
  more = {'status': BEGUN if path.is_dir() else LEFT}
  if results:
    predictions = _predictions(path / 'predictions_test.csv')
    more = {'status': DONE, 'results': results, 'predictions': predictions}
  elif error.exists():
    text = error.read_text(encoding='utf-8', errors='replace')
    diverged = (path / 'diverged').exists()
    more = {'status': FAILED, 'error': text, 'diverged': diverged}
  return Run(
    entry['name'],
    Point(*(entry[field] for field in Point._fields)),
    entry['subset_seed'], entry['init_seed'], entry['fold'],
    facts=_json(path / 'config.json'), **more,
  )  # fmt: skip


def _json(path) -> dict:
  """Reads a file; {} where it is missing or incomplete."""
  try:
    return json.loads(path.read_text(encoding='utf-8'))
  except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
    return {}


def _predictions(path) -> dict[str, Predictions]:
  """Reads the test predictions of a run by target, in the order of the file."""
  rows_of = {}
  with path.open(newline='', encoding='utf-8') as file:
    for row in csv.DictReader(file):
      # Without clusters each example is its own cluster.
      cluster = row.get('cluster', row['id'])
      numbers = float(row['target']), float(row['prediction'])
      if math.isnan(numbers[0]):
        continue
      of_target = rows_of.setdefault(row['name'], [])
      of_target.append((row['id'], cluster, *numbers))
  return {
    target: Predictions(*map(np.array, zip(*rows, strict=True)))
    for target, rows in rows_of.items()
  }
