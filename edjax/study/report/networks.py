"""Sections of a study's report on networks: trunk, rotations."""

import numpy as np

from edjax.evaluate import vitals
from edjax.study.report import markdown
from edjax.study.report.numbers import number, size_word, with_unit
from edjax.study.results import Study


def idle(study: Study) -> list[str]:
  """Returns a warning if convolutions carry next to nothing in some runs."""
  known = [run for run in study.done() if _shares(run)]
  idle_of = {run.name: vitals.idle(_shares(run)) for run in known}
  runs = [run for run in known if idle_of[run.name]]
  if not runs:
    return []
  names = (study.label(run.point.representation) for run in runs)
  targets = (target for run in runs for target in idle_of[run.name])
  return [
    f'Warning: in {len(runs)} of {len(known)} runs the convolutions '
    f'carry under {vitals.IDLE:.0%} of the predictions of a target (inputs: '
    f'{", ".join(dict.fromkeys(names))}; targets: '
    f'{", ".join(dict.fromkeys(targets))}). Verdicts on these compare moments '
    'of the inputs, not convolutional networks. Lower '
    'config.optim.learning_rate; see docs/training.md.'
  ]


def _shares(run) -> dict[str, float]:
  """Returns the trunk's share of each target, where the results have it."""
  shares = run.results.get('trunk_share', {})
  return {t: share for t, share in shares.items() if share is not None}


def carried(study: Study) -> list:
  """Returns the section on the trunk's share of the predictions."""

  def cell(runs, target):
    shares = [_shares(run) for run in runs]
    values = [share[target] for share in shares if target in share]
    if not values:
      return '-'
    text = f'{np.median(values):.2f}'
    return text if len(values) == 1 else f'{text} ({min(values):.2f} at least)'

  return markdown.section(
    'What the convolutions carry',
    markdown.table(
      'Share of the variance of the predictions that is gone without the '
      'features of the trunk: median over runs, and the smallest',
      ('input', 'n', *study.targets),
      _rows(study, cell),
    ),
    'The head predicts the rest from the moments of the input. -: networks '
    'without convolutions, and runs whose results lack the share.',
  )


def rotations(study: Study) -> list:
  """Returns the section on how predictions depend on the orientation."""

  def cell(runs, target):
    entries = [run.results['targets'].get(target, {}) for run in runs]
    values = [entry.get('rotation_spread') for entry in entries]
    values = [value for value in values if value is not None]
    return number(float(np.mean(values))) if values else '-'

  rows = [row for row in _rows(study, cell) if set(row[2:]) != {'-'}]
  return markdown.section(
    'Spread over rotations',
    markdown.table(
      'Standard deviation of a test example’s predictions over rotations, '
      'mean over examples and runs',
      ('input', 'n', *(with_unit(t, study.unit(t)) for t in study.targets)),
      rows,
    ),
  )


def _rows(study, cell) -> list[tuple]:
  """Returns a row per finished main point, with a cell per target."""
  return [
    (
      study.label(point.representation), size_word(point.size),
      *(cell(runs, target) for target in study.targets),
    )
    for point, runs in study.main_runs().items()
  ]  # fmt: skip
