"""The table and the parity plot of a run's results."""

import math
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from edjax import baselines, datasets
from edjax.evaluate import roc, vitals
from edjax.runtime import run_directory


class _Column(NamedTuple):
  """A column of the table: its head, and entry of a target -> cell."""

  head: str
  cell: Callable[[Mapping], str]


def table(results: dict) -> str:
  """Returns the table at the end of a run.

  Args:
    results: contents of results.json.

  Returns:
    Lines of text: per target (and test set, if there are several) MAE and RMSE
    with their bootstrap 95 % intervals, correlations, the spread over
    rotations, and the MAE of the baselines on the same test examples (of
    classes: log loss, areas under the curves, and the log loss of the
    baselines); then the labels of targets with gaps, the share of the trunk,
    and a warning if it is next to nothing.
  """
  examples, classes = results['examples'], results.get('classes', False)
  columns = [*(_class_columns if classes else _value_columns)(results)]
  body = []
  for name, entry in results['targets'].items():
    body.append([name, *(column.cell(entry) for column in columns)])
    for label, part in entry.get('test_sets', {}).items():
      cells = [c.cell({'unit': entry['unit'], **part}) for c in columns]
      body.append([f'  {label} ({part["examples"]})', *cells])
  head = ['target', *(column.head for column in columns)]
  widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
  rule = '  '.join('-' * w for w in widths)
  left = 1 if classes else 2  # names and units

  def line(cells):
    pairs = [*zip(cells, widths, strict=True)]
    first = [c.ljust(w) for c, w in pairs[:left]]
    return '  '.join(first + [c.rjust(w) for c, w in pairs[left:]])

  return '\n'.join(
    [
      f'Test errors on {examples["test"]} molecules of '
      f'{results["dataset"]}, {examples["train"]} to learn from; input '
      f'{", ".join(_inputs(results["channels"]))}; mean over '
      f'{results["rotations"]} rotations.',
      line(head),
      rule,
      *map(line, body),
      _CLASS_NOTE if classes else _VALUE_NOTE,
      *_measured(results),
      *_learned(results),
      *_skipped(results),
      *_carried(results),
    ]
  )


_VALUE_NOTE = (
  'rot. std: spread of the predictions over rotations. Baselines on the '
  'same molecules: MAE of the training\nmedian, of ridge regressions and, '
  'for moments of the input, of a kernel ridge; RMSE of the training mean.'
  '\nLast: differences to a baseline, paired by molecule; negative is '
  'better than it.'
)
_CLASS_NOTE = (
  'Log loss in nats. AUROC: probability that a molecule of class 1 is ranked '
  'before one of class 0; AUPRC: average\nprecision, to compare with the '
  'share of class 1. rot. std: spread of the probabilities over rotations. '
  'Then the\nlog loss of baselines on the same molecules. Last: differences '
  'to a baseline, paired by molecule; negative is\nbetter than it.'
)


def _value_columns(results) -> Iterator[_Column]:
  shown, beside = _baselines(results)
  shown.remove('mean')  # shown by its RMSE, which it minimises
  yield _Column('unit', lambda entry: entry['unit'])
  yield _Column('MAE (95 %)', lambda entry: _interval(entry['mae']))
  yield _Column('RMSE (95 %)', lambda entry: _interval(entry['rmse']))
  yield _Column('Pearson', lambda entry: _value(entry['pearson']))
  yield _Column('Spearman', lambda entry: _value(entry['spearman']))
  yield _Column('rot. std', lambda entry: _figure(entry.get('rotation_std')))
  yield from (_of_baseline(name, 'mae') for name in shown)
  mean = _of_baseline('mean', 'rmse')
  yield mean._replace(head='mean (RMSE)')
  yield from (_difference(name, 'MAE', 'mae') for name in beside)


def _class_columns(results) -> Iterator[_Column]:
  shown, beside = _baselines(results)
  yield _Column('log loss (95 %)', lambda entry: _interval(entry['log_loss']))
  yield _Column('AUROC (95 %)', lambda entry: _interval(entry['auroc']))
  yield _Column('AUPRC (95 %)', lambda entry: _interval(entry['auprc']))
  yield _Column('class 1', lambda entry: _percent(entry['share']))
  yield _Column('rot. std', lambda entry: _figure(entry.get('rotation_std')))
  yield from (_of_baseline(name, 'log_loss') for name in shown)
  yield from (_difference(name, 'log loss', 'log_loss') for name in beside)


def _baselines(results) -> tuple[list[str], list[str]]:
  """Returns the baselines with a column each, and those with a difference."""
  first = next(iter(results['targets'].values()))
  shown = [b for b in baselines.LABELS if b in first['baselines']]
  beside = [results['reference']]
  beside += [b for b in (baselines.MOMENTS,) if b in shown]
  return shown, beside


def _of_baseline(name: str, metric: str) -> _Column:
  return _Column(
    baselines.LABELS[name],
    lambda entry: _value(entry['baselines'][name][metric]),
  )


def _difference(name: str, error: str, metric: str) -> _Column:
  return _Column(
    f'{error} - {baselines.LABELS[name]}',
    lambda entry: _interval(entry['baselines'][name][f'{metric}_difference']),
  )


def _measured(results) -> list[str]:
  """Returns lines on targets with gaps, and on tests of one class alone."""
  lines = []
  for name, entry in results['targets'].items():
    measured = entry.get('measured', results['examples'])
    if measured != results['examples']:
      lines.append(
        f'{name} was measured for {measured["train"]} molecules to learn from '
        f'and {measured["test"]} test molecules.'
      )
    if entry.get('share') in (0, 1):
      lines.append(
        f'{name} is {entry["share"]:.0f} for all {measured["test"]} test '
        'molecules: with one class alone there is no AUROC and no AUPRC.'
      )
  return lines


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


def _interval(entry: dict) -> str:
  value, low, high = (_figure(entry[k]) for k in ('value', 'low', 'high'))
  return '-' if value == '-' else f'{value} ({low} to {high})'


def _value(entry: dict) -> str:
  return _figure(entry['value'])


def _figure(value: float | None) -> str:
  # One rotation has no spread, a constant no correlation, one cluster no
  # interval: NaN, or None from a file.
  if value is None or math.isnan(value):
    return '-'
  return f'{value:#.3g}'.rstrip('.') if abs(value) < 1000 else f'{value:.0f}'


def parity_plot(workdir, results: dict) -> pathlib.Path:
  """Draws parity.png, or roc.png of classes, and returns its path.

  Args:
    workdir: run directory with predictions_test.csv.
    results: contents of results.json.
  """
  predictions = run_directory.RunDirectory(workdir).read_predictions('test')
  of_classes = results.get('classes', False)
  path = pathlib.Path(workdir) / ('roc.png' if of_classes else 'parity.png')
  draw = roc.figure if of_classes else parity_figure
  draw(predictions, results).savefig(path, dpi=150)
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
    pair_N2 = pair_N2[~np.isnan(pair_N2[:, 0])]  # measured
    ends = pair_N2.min(), pair_N2.max()
    axis = figure.add_subplot(rows, columns, place)
    axis.plot(ends, ends, color='0.6', linewidth=1, zorder=0)
    axis.plot(
      *pair_N2.T, 'o', color='C0', markersize=3, alpha=0.5, markeredgewidth=0
    )
    error = _figure(entry['mae']['value'])
    axis.set_title(f'{name}: MAE {error} {unit}'.rstrip(), fontsize=10)
    in_unit = f' ({unit})' if unit else ''
    axis.set_xlabel(f'target{in_unit}')
    axis.set_ylabel(f'prediction{in_unit}')
    axis.set_aspect('equal', adjustable='datalim')
    axis.locator_params(nbins=5)
  return figure
