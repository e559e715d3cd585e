"""The parts of a study's report beside its comparison."""

import collections

import numpy as np

from edjax.evaluate import vitals
from edjax.study import run_table
from edjax.study.report import csv_tables
from edjax.study.report.comparisons import (
  error_word,
  mean_word,
  point_of,
  reference_arm,
  words,
)
from edjax.study.report.document import (
  Figure,
  Section,
  Series,
  Table,
  number,
  size_word,
  spread,
  style,
)
from edjax.study.run_table import MAIN, Study

BLOCKS = {
  'stopping': 'Stopped early, best weights on validation',
  'delta': 'Learning the residual of a ridge regression',
  'spacing': 'Spacing, blur and box',
  'noise': 'Noise on coordinates',
  'size_split': 'Tested on larger molecules than trained on',
  'geometry': 'Geometries relaxed with GFN2-xTB',
  'controls': 'Controls',
}


# Points of an interactive parity plot, an input.
_PARITY = 400


def block(study: Study, name: str) -> Section:
  """A further block beside the main one at the same size."""
  points = study.points(name)
  parts = []
  for target in study.targets:
    rows = []
    for point in points:
      main, named = _main_point(study, point)
      mean, at_main = study.mean(point, target), study.mean(main, target)
      rows.append(
        (
          point[1] + named, words(study, point[2]),
          size_word(point[3]), mean_word(mean), mean_word(at_main),
          _difference_word(study, point, main, target),
        )
      )  # fmt: skip
    if not rows:
      continue
    if name == 'controls':
      rows += _baseline_rows(study, points, target)
    unit, _ = study.unit(target)
    parts.append(
      Table(
        f'{target}: {error_word(study)} ({unit}), mean (95 % interval over '
        'seeds; their number), and the paired difference to the main block',
        ('setting', 'input', 'n', 'here', 'main block', 'difference'),
        tuple(rows),
      )
    )
  return Section(BLOCKS[name], tuple(parts))


def _difference_word(study, point, main, target) -> str:
  """To the main block, on the test examples of both."""
  try:
    found, alone = study.difference_in_common(point, main, target)
  except run_table.PairingError:  # named under 'What is missing'
    return '-'
  if found is None:
    return 'other test examples' if alone else '-'
  text = spread(found.value, *found.interval(), signed=True)
  if alone:
    text += f', on the {found.examples} test examples of both'
  return text


def _main_point(study, point):
  """What a further block is compared with, and that in words if need be."""
  arm, size = point[2:]
  if arm in study.arms():
    return point_of(arm, size), ''
  other = 'density' if 'density' in study.arms() else reference_arm(study)
  return point_of(other, size), f', against {study.label(other)}'


def _baseline_rows(study, points, target):
  """Baselines at the sizes of the controls."""
  return [
    (
      'baseline', words(study, name), size_word(size), '-',
      mean_word(study.baseline(name, size, target)), '-',
    )
    for size in sorted({p[3] for p in points})
    for name in study.baselines()
  ]  # fmt: skip


def parity(study: Study) -> Section:
  """One run of each input at its largest size."""
  parts = []
  for target in study.targets:
    unit, factor = study.unit(target)
    series = []
    for arm in study.arms():
      found = _one_run(study, arm, target)
      if found is None:
        continue
      size, truth_N, prediction_N = found
      # Evenly spaced ids: no random choice.
      step = max(1, -(-len(truth_N) // _PARITY))
      series.append(
        Series(
          f'{study.label(arm)}, n = {size_word(size)}', style(arm),
          np.round(truth_N[::step] * factor, 5).tolist(),
          np.round(prediction_N[::step] * factor, 5).tolist(),
          hidden=bool(series),
        )
      )  # fmt: skip
    if series:
      parts.append(
        Figure(
          f'parity_{target}',
          f'{target}: predicted against true values, one run each (its first '
          f'seed, at most {_PARITY} test examples)',
          f'Predicted against true values of {target} for '
          f'{", ".join(s.label for s in series)}; closer to the diagonal is '
          'better.',
          f'true ({unit})',
          f'predicted ({unit})',
          tuple(series),
          parity=True,
        )
      )
  if parts:
    parts.insert(
      0, 'In the interactive report the legend switches inputs on and off.'
    )
  return Section('Parity', tuple(parts))


def _one_run(study, arm, target):
  for size in reversed(study.sizes()):
    try:
      found = study.predictions(point_of(arm, size), target)
    except run_table.PairingError:
      continue
    if found is not None:
      _, _, _, truth_N, prediction_SN, _ = found
      return size, truth_N, prediction_SN[0]
  return None


def rotations(study: Study) -> Section:
  """How much predictions depend on the orientation."""
  values = collections.defaultdict(list)
  for run in study.done(MAIN):
    for target, entry in run.results['targets'].items():
      value = entry.get('rotation_spread')
      if value is not None:
        values[run.arm, run.size, target].append(value)
  if not values:
    return Section('', ())
  rows = [
    (
      words(study, arm),
      size_word(size),
      *(
        number(float(np.mean(values[arm, size, t])))
        if values[arm, size, t] else '-'
        for t in study.targets
      ),
    )
    for arm in study.arms()
    for size in study.sizes()
    if any((arm, size, t) in values for t in study.targets)
  ]  # fmt: skip
  return Section(
    'Spread over rotations',
    (
      Table(
        'Standard deviation of a test example’s predictions over rotations, '
        'mean over examples and runs: what a network knows no better than the '
        'orientation',
        ('input', 'n', *(f'{t} ({study.unit(t)[0]})' for t in study.targets)),
        tuple(rows),
      ),
    ),
  )


def carried(study: Study) -> Section:
  """What the trunk contributes to the predictions of each input."""
  done = study.done(MAIN)
  points = {(run.arm, run.size): [] for run in done}
  for run in done:
    points[run.arm, run.size].append(_shares(run))

  def cell(found, target):
    values = [shares[target] for shares in found if target in shares]
    if not values:
      return '-'
    text = f'{np.median(values):.2f}'
    return text if len(values) == 1 else f'{text} ({min(values):.2f} at least)'

  rows = [
    (
      words(study, arm), size_word(size),
      *(cell(points[arm, size], target) for target in study.targets),
    )
    for arm in study.arms() for size in study.sizes() if (arm, size) in points
  ]  # fmt: skip
  if not rows:
    return Section('', ())
  table = Table(
    'Share of the variance of the predictions that is gone without the '
    'features of the trunk: median over runs, and the smallest',
    ('input', 'n', *study.targets),
    tuple(rows),
  )
  text = (
    'The rest is what the head makes of the moments of the input. -: networks '
    'without convolutions, and runs whose results do not say.'
  )
  return Section('What the convolutions carry', (table, text))


def idle(study: Study) -> list[str]:
  """A warning in words, where convolutions carry next to nothing."""
  known = [(run, _shares(run)) for run in study.done()]
  known = [(run, shares) for run, shares in known if shares]
  found = [(run, vitals.idle(shares)) for run, shares in known]
  found = [(run, targets) for run, targets in found if targets]
  if not found:
    return []
  inputs = dict.fromkeys(words(study, run.arm) for run, _ in found)
  targets = dict.fromkeys(t for _, targets in found for t in targets)
  return [
    f'Warning: in {len(found)} of {len(known)} runs the convolutions carry '
    f'under {vitals.IDLE:.0%} of the predictions of a target (inputs: '
    f'{", ".join(inputs)}; targets: {", ".join(targets)}). Verdicts on these '
    'compare moments of the inputs, not what convolutions make of them. Lower '
    'config.optim.learning_rate; see docs/training.md.'
  ]


def _shares(run) -> dict[str, float]:
  """What the trunk carries of each target, where the results say it."""
  shares = run.results.get('trunk_share', {})
  return {t: share for t, share in shares.items() if share is not None}


def costs(study: Study) -> Section:
  """Seconds of runs, and errors against them."""
  seconds = collections.defaultdict(lambda: collections.defaultdict(list))
  for run in study.done(MAIN):
    for kind, value in csv_tables.cost(run).items():
      seconds[run.arm, run.size][kind].append(value)
  if not seconds:
    return Section('', ())

  def mean(arm, size, kind):
    values = seconds[arm, size][kind]
    return float(np.mean(values)) if values else None

  rows = [
    (
      words(study, arm), size_word(size), number(mean(arm, size, 'xtb')),
      number(mean(arm, size, 'training')), number(mean(arm, size, 'voxels')),
      number(mean(arm, size, 'total')), number(mean(arm, size, 'run')),
    )
    for arm in study.arms() for size in study.sizes()
    if (arm, size) in seconds
  ]  # fmt: skip
  parts = [
    'In all: GFN2-xTB of the labels’ molecules, for inputs that need it, and '
    'all training steps, in which voxels are made anew. Seconds of the '
    'machines below: of one core for xTB, and runs side by side take longer '
    'than alone.',
    Table(
      'Seconds a run, mean over seeds (and folds)',
      (
        'input',
        'n',
        'xTB',
        'training',
        'of it voxels',
        'in all',
        'by the clock',
      ),
      tuple(rows),
    ),
  ]
  for target in study.targets:
    figure = _cost_figure(study, target, mean)
    if figure.series:
      parts.append(figure)
  return Section('Cost', tuple(parts))


def _cost_figure(study, target, mean_cost) -> Figure:
  unit, _ = study.unit(target)
  series = []
  for arm in study.arms():
    points = []
    for size in study.sizes():
      error = study.mean(point_of(arm, size), target)
      total = mean_cost(arm, size, 'total')
      if error.seeds and total:
        points.append((total, error))
    if points:
      points.sort(key=lambda p: p[0])
      series.append(
        Series(
          study.label(arm), style(arm), [t for t, _ in points],
          [e.value for _, e in points], [e.low for _, e in points],
          [e.high for _, e in points],
        )
      )  # fmt: skip
  error = error_word(study)
  return Figure(
    f'cost_{target}',
    f'{target}: {error} against seconds in all (xTB, and training with its '
    'voxels)',
    f'{error} of {target} against total computing time of each input; the '
    'tables have the numbers.',
    'seconds in all',
    f'{error} ({unit})',
    tuple(series),
    log_x=True,
    log_y=True,
  )
