"""The cost of the runs of a study, and its report's section on it."""

import numpy as np

from edjax.fields import channels
from edjax.study.report import markdown
from edjax.study.report.figures import Chart, Figure, Series, style
from edjax.study.report.numbers import number, size_word, with_unit
from edjax.study.results import Run, main_point
from edjax.study.statistics import Statistics

# Column of the table -> key of `cost`.
_COLUMNS = {
  'xTB': 'xtb',
  'training': 'training',
  'of it voxels': 'voxels',
  'in all': 'total',
  'wall time': 'run',
}


def cost(run: Run) -> dict[str, float]:
  """Returns the seconds of a finished run by kind.

  Returns:
    'training': all steps, voxels included (the whole run, where results lack
    the seconds of a step); 'voxels': those of all steps; 'xtb': the molecules
    of its labels, 0 for inputs without GFN2-xTB; 'total': xtb and training;
    'run': wall time, with loading, compilation and evaluation. Kinds that the
    results lack are left out.
  """
  results, seconds = run.results, {}
  costs = results.get('cost', {})
  steps = results.get('trained_steps')
  if results.get('seconds') is not None:
    seconds['run'] = seconds['training'] = float(results['seconds'])
  if steps and costs.get('train_seconds_per_step') is not None:
    seconds['training'] = steps * costs['train_seconds_per_step']
  batch = run.facts.get('config', {}).get('train.batch_size')
  if steps and batch and 'voxelize_seconds_per_molecule' in costs:
    molecules = steps * batch
    seconds['voxels'] = molecules * costs['voxelize_seconds_per_molecule']
  examples = results['examples']
  labels = examples['train'] + examples['validation']
  if costs.get('xtb_seconds_per_molecule') is not None:
    seconds['xtb'] = costs['xtb_seconds_per_molecule'] * labels
  elif not _reads_xtb(run):
    seconds['xtb'] = 0.0
  if 'training' in seconds and 'xtb' in seconds:
    seconds['total'] = seconds['training'] + seconds['xtb']
  return seconds


def _reads_xtb(run: Run) -> bool:
  """Returns whether the input is made from GFN2-xTB's orbitals."""
  config = run.facts.get('config', {})
  names = config.get('representation.channels', ())
  source = config.get('representation.density', '')
  known = [name for name in names if name in channels.known()]
  parts = channels.parts_of(known, source)
  return any(part.needs in channels.BY_XTB for part in parts)


def costs(statistics: Statistics) -> list:
  """Returns the section on seconds of runs, and errors against them."""
  study = statistics.study
  seconds = {
    point: _means([cost(run) for run in runs])
    for point, runs in study.main_runs().items()
  }
  rows = [
    (
      study.label(point.representation), size_word(point.size),
      *(number(means.get(key)) for key in _COLUMNS.values()),
    )
    for point, means in seconds.items()
  ]  # fmt: skip
  pictures = (_figure(statistics, target, seconds) for target in study.targets)
  return markdown.section(
    'Cost',
    'In all: GFN2-xTB of the labels’ molecules, for inputs that need it, and '
    'all training steps, in which voxels are made anew. Seconds are those of '
    'the machines below: xTB on one core, and runs side by side, which take '
    'longer than alone.',
    markdown.table(
      'Seconds per run, mean over seeds (and folds)',
      ('input', 'n', *_COLUMNS),
      rows,
    ),
    *filter(None, pictures),
  )


def _means(costs_of_runs: list[dict]) -> dict[str, float]:
  return {
    kind: float(np.mean([c[kind] for c in costs_of_runs if kind in c]))
    for kind in set().union(*costs_of_runs)
  }


def _figure(statistics, target, seconds) -> Figure | None:
  study, series = statistics.study, []
  for name in study.representations():
    points = [main_point(name, size) for size in study.sizes]
    points = [p for p in points if seconds.get(p, {}).get('total')]
    totals = [seconds[p]['total'] for p in points]
    means = [statistics.mean(p, target) for p in points]
    series.append(
      Series.of_means(study.label(name), style(name), totals, means)
    )
  if not any(line.points for line in series):
    return None
  title = (
    f'{target}: {study.error} against seconds in all (xTB, and training with '
    'its voxels)'
  )
  y = with_unit(study.error, study.unit(target))
  chart = Chart(title, y, series, 'seconds in all')
  return Figure(f'cost_{target}', title, [chart])
