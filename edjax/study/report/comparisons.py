"""Sections of a study's report that compare representations."""

import math

import numpy as np

from edjax.study import verdicts
from edjax.study.report import markdown
from edjax.study.report.figures import Chart, Figure, Series, Style, style
from edjax.study.report.numbers import (
  mean_word,
  number,
  size_word,
  spread,
  with_unit,
)
from edjax.study.results import MAIN, Study, main_point
from edjax.study.statistics import Statistics

# Differences are taken from the first of these that the study has.
_REFERENCES = ('atoms', 'density')


def reference(study: Study) -> str:
  """Returns the representation to compare with; '' where there is none."""
  names = study.representations()
  return next((r for r in _REFERENCES if r in names), (names or [''])[0])


def winners(statistics: Statistics) -> list:
  """Returns the section on the lowest errors at the largest size."""
  study, size = statistics.study, _largest(statistics)
  if size is None:
    return []
  lines = [_winner(statistics, target, size) for target in study.targets]
  return markdown.section(
    'Which input is ahead',
    f'At n = {size_word(size)}, {study.error} with paired differences '
    'and their 95 % intervals, without a correction for the number of pairs '
    f'(fewer than {verdicts.MIN_SEEDS} seeds tell nothing apart). The lowest '
    'of several means is too low by chance; only the verdicts answer '
    'questions asked beforehand.',
    markdown.bullets(list(filter(None, lines))),
  )


def _largest(statistics):
  """Returns the largest size with finished runs; None where there are none."""
  study = statistics.study
  target = study.primary[0]
  points = [p for p in study.main_runs() if statistics.mean(p, target).seeds]
  return max((point.size for point in points), default=None)


def _winner(statistics, target, size) -> str:
  study = statistics.study
  means = _common_means(statistics, target, size)
  if not means:
    return ''
  best, *others = sorted(means, key=means.get)
  close, behind = [], []
  for name in others:
    difference, _ = statistics.difference(
      main_point(name, size), main_point(best, size), target
    )
    if difference is None:
      close.append(f'{study.label(name)} (no interval)')
      continue
    low, high = difference.interval()
    sure = low > 0 and difference.seeds >= verdicts.MIN_SEEDS
    text = spread(difference.value, low, high, signed=True)
    (behind if sure else close).append(f'{study.label(name)} {text}')
  lowest = f'{number(means[best])} {study.unit(target)}'.rstrip()
  text = f'{target}: {study.label(best)}, {lowest}.'
  if close:
    text += f' Not told apart from it: {", ".join(close)}.'
  if behind:
    text += f' Behind it: {", ".join(behind)}.'
  return text


def _common_means(statistics, target, size) -> dict[str, float]:
  """Returns the mean errors over the seeds that all representations share."""
  errors = {}
  for name in statistics.study.representations():
    score = statistics.usable(main_point(name, size), target)
    if score is not None:
      errors[name] = dict(zip(score.seeds, score.value_S, strict=True))
  common = set.intersection(*map(set, errors.values())) if errors else ()
  if not common:
    return {}
  return {
    name: float(np.mean([of_seed[s] for s in common]))
    for name, of_seed in errors.items()
  }


def overview(statistics: Statistics) -> list:
  """Returns the section with all errors at the largest size."""
  study, size = statistics.study, _largest(statistics)
  if size is None:
    return []
  means_of = {
    name: [statistics.mean(main_point(name, size), t) for t in study.primary]
    for name in study.representations()
  } | {
    name: [statistics.baseline(name, size, t) for t in study.primary]
    for name in statistics.baselines()
  }
  table = markdown.table(
    f'{study.error}, mean (95 % t interval over seeds; their number)',
    ('input', *(with_unit(t, study.unit(t)) for t in study.primary)),
    [(study.label(x), *map(mean_word, m)) for x, m in means_of.items()],
  )
  figure = Figure(
    'overview',
    f'Learning curves of {", ".join(study.primary)}',
    [
      _curve_chart(study, target, lines, target)
      for target in study.primary
      if (lines := _curve_lines(statistics, target))
    ],
  )
  title = f'{study.error} at n = {size_word(size)}'
  return markdown.section(title, table, figure)


def curves(statistics: Statistics) -> list:
  """Returns the section with the learning curves, and their tables."""
  study, blocks = statistics.study, []
  for target in study.targets:
    lines = _curve_lines(statistics, target)
    if lines:
      blocks += _curve(study, target, lines)
  if blocks:
    blocks[:0] = _overlap(study)
  return markdown.section('Learning curves', *blocks)


def _overlap(study) -> list[str]:
  """Returns a warning where the subsets of two seeds are mostly the same."""
  shares = {}
  for run in study.done(MAIN):
    size, pool = run.point.size, run.results.get('pool')
    if pool and size > 0.5 * pool:
      shares[size] = max(shares.get(size, 0), size / pool)
  if not shares:
    return []
  each = ', '.join(
    f'{share:.0%} at n = {size_word(size)}'
    for size, share in sorted(shares.items())
  )
  return [
    'Subsets are drawn from one pool of molecules: two of the same '
    f'size share {each}. There the seeds differ in their initialisation more '
    'than in their data, and intervals say little about other training sets.'
  ]


def _curve_lines(statistics, target) -> list[tuple[str, Style, list]]:
  """Returns label, style and means by size of each learning curve.

  It returns no curve where no representation has a mean.
  """
  study = statistics.study
  names, sizes = study.representations(), study.sizes

  def line(text, name, points):
    return text, style(name), [statistics.mean(p, target) for p in points]

  lines = [
    line(study.label(name), name, [main_point(name, s) for s in sizes])
    for name in names
  ]
  if not any(mean.seeds for _, _, means in lines for mean in means):
    return []
  for i, name in enumerate(statistics.baselines()):
    # The mean is best in RMSE, the median in MAE; classes have the mean alone.
    if name != {'mae': 'mean', 'rmse': 'median'}.get(study.metric):
      means = [statistics.baseline(name, s, target) for s in sizes]
      lines.append((study.label(name), style(name, i), means))
  controls = {(p.representation, p.size): p for p in study.points('controls')}
  for name in study.representations('controls'):
    if name not in names:
      # Sizes without a control have no runs, and no mean.
      points = [controls.get((name, s), main_point(name, s)) for s in sizes]
      lines.append(line(f'{study.label(name)} (control)', name, points))
  return lines


def _curve(study, target, lines) -> list:
  chart = _curve_chart(
    study,
    target,
    lines,
    f'{target}: {study.error} on test against labels used, mean and 95 % '
    'interval over seeds (points of one size stand side by side)',
  )
  table = markdown.table(
    f'{target}: {with_unit(study.error, study.unit(target))}, mean (95 % t '
    'interval over seeds; their number)',
    ('input', *(f'n = {size_word(s)}' for s in study.sizes), 'exponent of n'),
    [
      (text, *map(mean_word, means), _slope(study.sizes, means))
      for text, _, means in lines
    ],
  )
  return [Figure(f'curve_{target}', chart.title, [chart]), table]


def _curve_chart(study, target, lines, title) -> Chart:
  series = [
    Series.of_means(text, look, study.sizes, means)
    for text, look, means in lines
  ]
  y = with_unit(study.error, study.unit(target))
  return Chart(title, y, series, ticks=study.sizes)


def _slope(sizes, means) -> str:
  """Returns the exponent a of the least squares fit log error = a log n + b."""
  pairs = [
    (size, mean.value)
    for size, mean in zip(sizes, means, strict=True)
    if mean.value > 0  # NaN is not
  ]
  if len(pairs) < 2:
    return '-'
  x, y = np.log(pairs).T
  return f'{np.polyfit(x, y, 1)[0]:.2f}'.replace('-', '−')


def differences(statistics: Statistics) -> list:
  """Returns the section with paired differences from one representation."""
  study, blocks = statistics.study, []
  for target in study.targets:
    blocks += _differences(statistics, reference(study), target)
  title = f'Differences from {study.label(reference(study))}'
  return markdown.section(title, *blocks)


def _differences(statistics, first, target) -> list:
  study, series, rows = statistics.study, [], []
  for name in study.representations():
    if name == first:
      continue
    points, cells = [], []
    for size in study.sizes:
      difference, _ = statistics.difference(
        main_point(name, size), main_point(first, size), target
      )
      if difference is None:
        cells.append('-')
        continue
      ends = difference.interval()
      points.append((size, difference.value, *ends))
      cells.append(spread(difference.value, *ends, signed=True))
    series.append(Series(study.label(name), style(name), points))
    rows.append((study.label(name), *cells))
  if not any(line.points for line in series):
    return []
  text = f'{target}: {study.error} minus that of {study.label(first)}'
  chart = Chart(
    f'{text}, paired, with 95 % intervals over seeds and test examples; below '
    'zero is better',
    with_unit('difference', study.unit(target)),
    series,
    log_y=False,
    ticks=study.sizes,
  )
  table = markdown.table(
    f'{with_unit(text, study.unit(target))}, 95 % interval',
    ('input', *(f'n = {size_word(s)}' for s in study.sizes)),
    rows,
  )
  name = f'difference_{target}'
  return [Figure(name, chart.title, [chart]), table]


def crossovers(statistics: Statistics) -> list:
  """Returns the section on sizes at which one input overtakes another."""
  study = statistics.study
  names, first = study.representations(), reference(study)
  pairs = [(a, first) for a in names if a != first]
  if first != 'density' and 'density' in names:
    pairs += [(a, 'density') for a in names if a not in (first, 'density')]
  rows = []
  for a, b in pairs:
    cells = [_crossover_word(statistics, a, b, t) for t in study.targets]
    if any(c != '-' for c in cells):
      rows.append((f'{study.label(a)}, {study.label(b)}', *cells))
  return markdown.section(
    'Where one input overtakes another',
    'The last change of sign of the mean difference, interpolated in log n, '
    'with the 95 % bootstrap interval over seeds (the test examples stay the '
    'same). “None seen” names the input whose mean is ahead at every size, '
    'however little; the differences above have intervals. If the interval of '
    'a size reaches beyond the sizes of the study, there may be none.',
    markdown.table(
      'Labels from which on one overtakes the other',
      ('inputs', *study.targets),
      rows,
    ),
  )


def _crossover_word(statistics, a, b, target) -> str:
  study = statistics.study
  crossover = statistics.crossover(a, b, target)
  if crossover is None:
    return '-'
  ahead = study.label(a if crossover.ahead == 'a' else b)
  if crossover.size is None:
    return f'none seen ({ahead} ahead)'
  text = f'{ahead} from {size_word(round(crossover.size))}'
  low, high = crossover.low, crossover.high
  low = size_word(round(low)) if low else f'< {size_word(study.sizes[0])}'
  if math.isinf(high):
    return f'{text} ({low} to > {size_word(study.sizes[-1])})'
  return f'{text} ({low} to {size_word(round(high))})'
