"""Writes a study's numbers as CSV: one row per run, one row per point."""

import csv
import io
import itertools
import math

from edjax.evaluate import vitals
from edjax.study.report.costs import cost
from edjax.study.results import DONE, MAIN, Point, Run, Study, main_point
from edjax.study.statistics import Mean, Statistics

_ERRORS = ('mae', 'rmse', 'log_loss')
_METRICS = (*_ERRORS, 'pearson', 'spearman', 'auroc', 'auprc')


def runs(study: Study) -> str:
  """Returns study.csv: one row per run of the plan."""
  rows = []
  for run in study.runs:
    row = {
      'name': run.name, **run.point._asdict(),
      'subset_seed': run.subset_seed, 'init_seed': run.init_seed,
      'fold': run.fold, 'status': run.status, 'error': run.last_error,
    }  # fmt: skip
    rows.append(row | (_measured(run) if run.status == DONE else {}))
  return _csv(rows)


def _measured(run: Run) -> dict:
  results, facts = run.results, run.facts
  row = {f'{p}_examples': n for p, n in results['examples'].items()}
  row |= {
    'parameters': results.get('parameters'),
    'selected_step': results.get('selected_step'),
    'trained_steps': results.get('trained_steps'),
    'device': facts.get('device'),
    'cpu_count': facts.get('cpu_count'),
    **{f'{k}_seconds': v for k, v in cost(run).items()},
  }
  counts = results.get('dead_channels')
  if counts:
    row['dead_channels'], row['channels'] = vitals.in_all(counts)
  for target, share in results.get('trunk_share', {}).items():
    row[f'{target}_trunk_share'] = share
  for target, entry in results['targets'].items():
    row[f'{target}_unit'] = entry['unit']
    if 'measured' in entry:
      row[f'{target}_test_examples'] = entry['measured']['test']
    for metric in filter(entry.__contains__, _METRICS):
      row[f'{target}_{metric}'] = entry[metric]['value']
    row[f'{target}_rotation_spread'] = entry.get('rotation_spread')
    for name, scores in entry.get('baselines', {}).items():
      for metric in filter(scores.__contains__, _ERRORS):
        row[f'{target}_{name}_{metric}'] = scores[metric]['value']
  return row


def summary(statistics: Statistics, reference: str) -> str:
  """Returns summary.csv: one row per point or baseline, and target.

  Args:
    statistics: of the study.
    reference: representation that differences are taken from, in the main
      comparison at the same size.
  """
  study, rows = statistics.study, []
  for ablation in dict.fromkeys(run.point.ablation for run in study.runs):
    for point, target in itertools.product(
      study.points(ablation), study.targets
    ):
      mean = statistics.mean(point, target)
      row = _summary_row(study, point, target, mean)
      row['seeds_planned'] = len(study.planned_seeds(point))
      rows.append(row | _difference(statistics, point, target, reference))
    if ablation == MAIN:
      rows += [
        _summary_row(
          study, Point('baseline', '', name, size), target,
          statistics.baseline(name, size, target),
        )
        for size in study.sizes
        for name in statistics.baselines()
        for target in study.targets
      ]  # fmt: skip
  return _csv(rows)


def _summary_row(study, point: Point, target, mean: Mean) -> dict:
  return {
    **point._asdict(), 'target': target, 'unit': study.unit(target),
    'metric': study.metric,
    'seeds': mean.seeds, 'mean': mean.value, 'low': mean.low,
    'high': mean.high,
  }  # fmt: skip


def _difference(statistics, point, target, reference) -> dict:
  other = main_point(reference, point.size)
  row = {'reference': reference}
  if point == other:
    return row
  difference, lacking = statistics.difference(point, other, target)
  if difference is not None:
    low, high = difference.interval()
    row |= {
      'difference': difference.value, 'difference_low': low,
      'difference_high': high, 'difference_seeds': difference.seeds,
      'test_examples': difference.examples, 'test_clusters': difference.units,
    }  # fmt: skip
  return row | {'lacking': lacking}


def _csv(rows: list[dict]) -> str:
  """Returns rows as CSV; NaN and missing values are left empty."""
  head = list(dict.fromkeys(key for row in rows for key in row))
  file = io.StringIO()
  writer = csv.DictWriter(file, head)
  writer.writeheader()
  for row in rows:
    writer.writerow(
      {
        key: '' if isinstance(v, float) and not math.isfinite(v) else v
        for key, v in row.items()
      }
    )
  return file.getvalue()
