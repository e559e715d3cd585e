"""A study's numbers as files: one row a run, one row a point."""

import csv
import math
import os

from edjax.evaluate import vitals
from edjax.study.run_table import DONE, MAIN, Mean, Run, Study

_METRICS = ('mae', 'rmse', 'pearson', 'spearman')


def cost(run: Run) -> dict[str, float]:
  """Seconds that a finished run took, and of what.

  Returns:
    'training': of all steps, voxels included (of the whole run, where the
    results do not have the seconds of a step); 'voxels': those of all steps;
    'xtb': of its labels' molecules, 0 for inputs without GFN2-xTB; 'total':
    xtb and training; 'run': by the clock, with loading, compilation and
    evaluation. Without what the results do not say.
  """
  results, found = run.results, {}
  costs = results.get('cost', {})
  steps = results.get('trained_steps')
  if results.get('seconds') is not None:
    found['run'] = found['training'] = float(results['seconds'])
  if steps and costs.get('train_seconds_per_step') is not None:
    found['training'] = steps * costs['train_seconds_per_step']
  batch = run.facts.get('config', {}).get('train.batch_size')
  if steps and batch and 'voxelize_seconds_per_molecule' in costs:
    found['voxels'] = steps * batch * costs['voxelize_seconds_per_molecule']
  if costs.get('xtb_seconds_per_molecule') is not None:
    found['xtb'] = costs['xtb_seconds_per_molecule'] * labels_of(run)
  elif not reads_xtb(run):
    found['xtb'] = 0.0
  if 'training' in found and 'xtb' in found:
    found['total'] = found['training'] + found['xtb']
  return found


def reads_xtb(run: Run) -> bool:
  """Whether the input is made from GFN2-xTB's orbitals."""
  config = run.facts.get('config', {})
  channels = set(config.get('representation.channels', ()))
  source = config.get('representation.density', '')
  return bool(channels & {'density', 'gradient'}) and source in (
    'xtb', 'deformation',
  )  # fmt: skip


def labels_of(run: Run) -> int:
  """Training and validation molecules of a finished run."""
  examples = run.results['examples']
  return examples['train'] + examples['validation']


def run_rows(study: Study) -> tuple[list[str], list[dict]]:
  """study.csv: header, one row a run of the plan."""
  rows = []
  for run in study.runs:
    row = {
      'name': run.name, 'ablation': run.block, 'setting': run.variant,
      'representation': run.arm, 'size': run.size,
      'subset_seed': run.subset_seed, 'init_seed': run.init_seed,
      'fold': run.fold, 'status': run.status,
    }  # fmt: skip
    row['error'] = run.error.strip().splitlines()[-1] if run.error else ''
    if run.status == DONE:
      row |= _measured(run)
    rows.append(row)
  head = list(dict.fromkeys(k for row in rows for k in row))
  return head, rows


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
    for metric in _METRICS:
      row[f'{target}_{metric}'] = entry[metric]['value']
    row[f'{target}_rotation_spread'] = entry.get('rotation_spread')
    for name, scores in entry.get('baselines', {}).items():
      for metric in ('mae', 'rmse'):
        row[f'{target}_{name}_{metric}'] = scores[metric]['value']
  return row


def summary_rows(study: Study, reference: str) -> tuple[list[str], list[dict]]:
  """summary.csv: one row for each point or baseline, and target.

  Args:
    study: the study.
    reference: input of the main block that differences are taken to, at the
      same size.
  """
  rows = []
  for block in dict.fromkeys(r.block for r in study.runs):
    for point in study.points(block):
      for target in study.targets:
        rows.append(_summary_row(study, point, target, reference))
    for size in study.sizes(block) if block == MAIN else ():
      for name in study.baselines():
        for target in study.targets:
          mean = study.baseline(name, size, target)
          rows.append(
            {
              'ablation': 'baseline', 'setting': '', 'representation': name,
              'size': size,
              'target': target, 'unit': study.unit(target)[0],
              'metric': study.metric, **_mean_fields(mean),
            }
          )  # fmt: skip
  head = list(dict.fromkeys(k for row in rows for k in row))
  return head, rows


def _summary_row(study, point, target, reference) -> dict:
  ablation, setting, representation, size = point
  row = {
    'ablation': ablation, 'setting': setting,
    'representation': representation, 'size': size,
    'target': target, 'unit': study.unit(target)[0], 'metric': study.metric,
    **_mean_fields(study.mean(point, target)),
    'seeds_planned': len(study.planned_seeds(point)),
  }  # fmt: skip
  to = (MAIN, '', reference, size)
  row['reference'] = reference
  if point == to:
    return row
  found, lacking = study.difference(point, to, target)
  if found is not None:
    low, high = found.interval()
    row |= {
      'difference': found.value, 'difference_low': low,
      'difference_high': high, 'difference_seeds': found.seeds,
      'test_examples': found.examples, 'test_clusters': found.units,
    }  # fmt: skip
  row['lacking'] = lacking
  return row


def _mean_fields(mean: Mean) -> dict:
  return {
    'seeds': mean.seeds, 'mean': mean.value, 'low': mean.low,
    'high': mean.high,
  }  # fmt: skip


def write_csv(path, head: list[str], rows: list[dict]) -> None:
  """Rows as CSV; what is not a number, or missing, as an empty field."""
  temporary = path.with_name(f'.{path.name}.{os.getpid()}')
  with temporary.open('w', newline='', encoding='utf-8') as file:
    writer = csv.DictWriter(file, head)
    writer.writeheader()
    for row in rows:
      writer.writerow(
        {
          k: '' if isinstance(v, float) and not math.isfinite(v) else v
          for k, v in row.items()
        }
      )
  temporary.replace(path)
