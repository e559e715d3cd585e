"""Sections of a study's report on its ablations and controls."""

from edjax.study.pairing import PairingError
from edjax.study.report import markdown
from edjax.study.report.comparisons import reference
from edjax.study.report.numbers import mean_word, size_word, spread, with_unit
from edjax.study.results import Point, main_point
from edjax.study.statistics import Statistics

TITLES = {
  'stopping': 'Stopped early, best weights on validation',
  'delta': 'Learning the residual of a ridge regression',
  'spacing': 'Spacing, blur and box',
  'noise': 'Noise on coordinates',
  'size_split': 'Tested on larger molecules than trained on',
  'geometry': 'Geometries relaxed with GFN2-xTB',
  'controls': 'Controls',
  'variants': 'Variants of the configuration',
}


def ablations(statistics: Statistics) -> list:
  """Returns a section per ablation, beside the main comparison."""
  blocks = []
  for name, title in TITLES.items():
    tables = (_table(statistics, name, t) for t in statistics.study.targets)
    blocks += markdown.section(title, *tables)
  return blocks


def _table(statistics, name, target) -> str:
  study = statistics.study
  points = study.points(name)
  rows = [_row(statistics, point, target) for point in points]
  if name == 'controls':
    rows += [
      (
        'baseline', study.label(baseline), size_word(size), '-',
        mean_word(statistics.baseline(baseline, size, target)), '-',
      )
      for size in sorted({point.size for point in points})
      for baseline in statistics.baselines()
    ]  # fmt: skip
  return markdown.table(
    f'{target}: {with_unit(study.error, study.unit(target))}, mean (95 % '
    'interval over seeds; their number), and the paired difference to the main '
    'comparison',
    ('setting', 'input', 'n', 'here', 'main comparison', 'difference'),
    rows,
  )


def _row(statistics, point: Point, target: str) -> tuple:
  study, name, against = statistics.study, point.representation, ''
  if name not in study.representations():
    known = 'density' in study.representations()
    name = 'density' if known else reference(study)
    against = f', against {study.label(name)}'
  main = main_point(name, point.size)
  return (
    point.setting + against,
    study.label(point.representation),
    size_word(point.size),
    mean_word(statistics.mean(point, target)),
    mean_word(statistics.mean(main, target)),
    _difference_word(statistics, point, main, target),
  )


def _difference_word(statistics, point, main, target) -> str:
  """Returns the difference on the test examples of both."""
  try:
    difference, alone = statistics.difference_in_common(point, main, target)
  except PairingError:  # the section 'What is missing' has the reason
    return '-'
  if difference is None:
    return 'different test examples' if alone else '-'
  text = spread(difference.value, *difference.interval(), signed=True)
  if alone:
    text += f', on the {difference.examples} test examples of both'
  return text
