"""The table and the parity plot of a run's results."""

import math
import pathlib
import re
from collections.abc import Mapping

import numpy as np

from edjax import baselines, datasets
from edjax.evaluate import vitals
from edjax.runtime import run_directory


def table(results: dict) -> str:
  """Returns the table at the end of a run.

  Args:
    results: contents of results.json.

  Returns:
    Lines of text: per target (and test set, if there are several) MAE and RMSE
    with their bootstrap 95 % intervals, correlations, the spread over
    rotations, and the MAE of the baselines on the same test examples; then the
    share of the trunk, and a warning if it is next to nothing.
  """
  examples = results['examples']
  first = next(iter(results['targets'].values()))
  # By their MAE; 'mean' is shown by its RMSE, which it minimises.
  shown = [b for b in baselines.LABELS if b in first['baselines']]
  shown.remove('mean')
  beside = [results['reference']]
  beside += [b for b in (baselines.MOMENTS,) if b in shown]
  head = [
    'target', 'unit', 'MAE (95 %)', 'RMSE (95 %)', 'Pearson', 'Spearman',
    'rot. std', *(baselines.LABELS[b] for b in shown), 'mean (RMSE)',
    *(f'MAE - {baselines.LABELS[b]}' for b in beside),
  ]  # fmt: skip
  body = []
  for name, entry in results['targets'].items():
    body.append(_row(name, entry['unit'], entry, shown, beside))
    for label, part in entry.get('test_sets', {}).items():
      body.append(
        _row(f'  {label} ({part["examples"]})', entry['unit'], part, shown,
             beside)
      )  # fmt: skip
  widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
  rule = '  '.join('-' * w for w in widths)

  def line(cells):
    first = [c.ljust(w) for c, w in zip(cells[:2], widths[:2], strict=True)]
    rest = [c.rjust(w) for c, w in zip(cells[2:], widths[2:], strict=True)]
    return '  '.join(first + rest)

  return '\n'.join(
    [
      f'Test errors on {examples["test"]} molecules of '
      f'{results["dataset"]}, {examples["train"]} to learn from; input '
      f'{", ".join(_inputs(results["channels"]))}; mean over '
      f'{results["rotations"]} rotations.',
      line(head),
      rule,
      *map(line, body),
      'rot. std: spread of the predictions over rotations. Baselines on the '
      'same molecules: MAE of the training\nmedian, of ridge regressions and, '
      'for moments of the input, of a kernel ridge; RMSE of the training mean.'
      '\nLast: differences to a baseline, paired by molecule; negative is '
      'better than it.',
      *_learned(results),
      *_skipped(results),
      *_carried(results),
    ]
  )


def _inputs(channels: list[str]) -> list[str]:
  """Names the bins of a transform once."""
  return list(dict.fromkeys(re.sub(r'\[\d+\]$', '', c) for c in channels))


def _learned(results) -> list[str]:
  if not results.get('delta'):
    return []
  label = baselines.LABELS[results['reference']]
  return [f'The network learned what {label} leaves, and is added to it.']


def _skipped(results) -> list[str]:
  count = results.get('skipped_steps')
  if not count:
    return []
  return [
    f'{count} of {results["trained_steps"]} steps were skipped: their loss or '
    'gradient was not finite.'
  ]


def _carried(results) -> list[str]:
  """Returns lines on the trunk's share; none if the results lack it."""
  shares = results.get('trunk_share')
  if shares is None:
    return []
  if not shares:
    return [
      'The network has no convolutions: the head predicts from the moments '
      'of the input.'
    ]
  # Rounding leaves 1 - 1e-16.
  if all(share and math.isclose(share, 1) for share in shares.values()):
    lines = ['The predictions are those of the trunk (the convolutions) alone.']
  else:
    each = ', '.join(f'{name} {_percent(s)}' for name, s in shares.items())
    lines = [
      'Of the variance of the predictions the trunk (the convolutions) '
      f'carries: {each}.'
    ]
  counts = results.get('dead_channels')
  if counts:
    dead, channels = vitals.in_all(counts)
    lines[0] += f' Dead channels: {dead} of {channels}.'
  constant = results.get('constant_predictions', ())
  idle = [name for name in vitals.idle(shares) if name not in constant]
  if constant:
    lines.append(f'{", ".join(constant)}: the network predicts a constant.')
  if idle:
    lines.append(
      f'{", ".join(idle)}: the trunk carries under '
      f'{vitals.IDLE:.0%}. There the head predicts from the moments of the '
      'input alone: the convolutions do nothing.'
    )
  if constant or idle:
    lines.append('Lower config.optim.learning_rate; see docs/training.md.')
  return lines


def _percent(share: float | None) -> str:
  # A file has None for numbers that are not finite.
  if share is None or math.isnan(share):
    return '-'
  return f'{100 * share:.1f} %'


def _row(name, unit, entry, shown, beside) -> list[str]:
  others = entry['baselines']
  return [
    name,
    unit,
    _interval(entry['mae']),
    _interval(entry['rmse']),
    _figure(entry['pearson']['value']),
    _figure(entry['spearman']['value']),
    _figure(entry.get('rotation_std')),
    *(_figure(others[b]['mae']['value']) for b in shown),
    _figure(others['mean']['rmse']['value']),
    *(_interval(others[b]['mae_difference']) for b in beside),
  ]


def _interval(entry: dict) -> str:
  low, high = _figure(entry['low']), _figure(entry['high'])
  return f'{_figure(entry["value"])} ({low} to {high})'


def _figure(value: float | None) -> str:
  # One rotation has no spread, a constant no correlation, one cluster no
  # interval: NaN, or None from a file.
  if value is None or math.isnan(value):
    return '-'
  return f'{value:#.3g}'.rstrip('.') if abs(value) < 1000 else f'{value:.0f}'


def parity_plot(workdir, results: dict) -> pathlib.Path:
  """Draws parity.png, a panel per target, and returns its path.

  Args:
    workdir: run directory with predictions_test.csv.
    results: contents of results.json.
  """
  predictions = run_directory.RunDirectory(workdir).read_predictions('test')
  path = pathlib.Path(workdir) / 'parity.png'
  parity_figure(predictions, results).savefig(path, dpi=150)
  return path


def parity_figure(predictions: Mapping[str, np.ndarray], results: dict):
  """Returns matplotlib's figure of predictions against true values.

  Args:
    predictions: target -> [n, 2] true and predicted values, native units.
    results: contents of results.json, whose targets have a panel each, three in
      a row.
  """
  import matplotlib.figure  # no pyplot: nothing to display, no global state

  columns = min(3, len(results['targets']))
  rows = -(-len(results['targets']) // columns)
  figure = matplotlib.figure.Figure(
    figsize=(3.4 * columns, 3.6 * rows), layout='constrained'
  )
  dataset = datasets.DATASETS[results['dataset']]
  for place, (name, entry) in enumerate(results['targets'].items(), 1):
    _, unit, factor = dataset.target(name, entry['unit'])
    pair_N2 = predictions[name] * factor
    ends = pair_N2.min(), pair_N2.max()
    axis = figure.add_subplot(rows, columns, place)
    axis.plot(ends, ends, color='0.6', linewidth=1, zorder=0)
    axis.plot(
      *pair_N2.T, 'o', color='C0', markersize=3, alpha=0.5, markeredgewidth=0
    )
    error = _figure(entry['mae']['value'])
    axis.set_title(f'{name}: MAE {error} {unit}', fontsize=10)
    axis.set_xlabel(f'target ({unit})')
    axis.set_ylabel(f'prediction ({unit})')
    axis.set_aspect('equal', adjustable='datalim')
    axis.locator_params(nbins=5)
  return figure
