"""Results as a table in words and a picture."""

import math
import pathlib

import numpy as np

from edjax import baselines, rundir

# Of these the MAE; of 'mean' the RMSE, which it is best in.
_BASELINES = (
  'median', 'ridge_composition', 'ridge_gfn2', 'ridge_size', 'ridge_ligand',
)  # fmt: skip


def table(results: dict) -> str:
  """The table at the end of a run.

  Args:
    results: what results.json holds.

  Returns:
    Lines of text: per target (and test set, where there are several) MAE and
    RMSE with their bootstrap 95 % intervals, correlations, the spread over
    rotations, and the MAE of the baselines on the same test examples.
  """
  examples = results['examples']
  first = next(iter(results['targets'].values()))
  shown = [b for b in _BASELINES if b in first['baselines']]
  head = [
    'target', 'unit', 'MAE (95 %)', 'RMSE (95 %)', 'Pearson', 'Spearman',
    'rot. std', *(baselines.WORDS[b] for b in shown), 'mean (RMSE)',
    f'MAE - {baselines.WORDS[results["reference"]]}',
  ]  # fmt: skip
  body = []
  for name, entry in results['targets'].items():
    body.append(_row(name, entry['unit'], entry, shown, results['reference']))
    for label, part in entry.get('test_sets', {}).items():
      body.append(
        _row(f'  {label} ({part["examples"]})', entry['unit'], part, shown,
             results['reference'])
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
      f'{", ".join(results["channels"])}; mean over '
      f'{results["rotations"]} rotations.',
      line(head),
      rule,
      *map(line, body),
      'rot. std: spread of the predictions over rotations. Baselines on the '
      'same molecules: MAE of the training\nmedian and of ridge regressions; '
      'RMSE of the training mean. Last: the difference to a baseline, paired by'
      '\nmolecule; negative is better than it.',
      *_skipped(results),
    ]
  )


def _skipped(results) -> list[str]:
  count = results.get('skipped_steps')
  if not count:
    return []
  return [
    f'{count} of {results["trained_steps"]} steps were skipped: their loss or '
    'gradient was not finite.'
  ]


def _row(name, unit, entry, shown, reference) -> list[str]:
  found = entry['baselines']
  return [
    name,
    unit,
    _interval(entry['mae']),
    _interval(entry['rmse']),
    _figure(entry['pearson']['value']),
    _figure(entry['spearman']['value']),
    _figure(entry.get('rotation_std')),
    *(_figure(found[b]['mae']['value']) for b in shown),
    _figure(found['mean']['rmse']['value']),
    _interval(found[reference]['mae_difference']),
  ]


def _interval(entry: dict) -> str:
  low, high = _figure(entry['low']), _figure(entry['high'])
  return f'{_figure(entry["value"])} ({low} to {high})'


def _figure(value: float | None) -> str:
  # One rotation has no spread, a constant no correlation, one cluster no
  # interval: None where the figures come from a file.
  if value is None or math.isnan(value):
    return '-'
  return f'{value:#.3g}'.rstrip('.') if abs(value) < 1000 else f'{value:.0f}'


def parity_plot(workdir, results: dict) -> pathlib.Path:
  """Predictions against targets, one panel a target, as parity.png.

  Args:
    workdir: run directory with predictions_test.csv.
    results: what results.json holds.

  Returns:
    The path of the picture.
  """
  import matplotlib.figure  # no pyplot: nothing to display, no global state

  from data_builders import targets

  predictions = rundir.RunDirectory(workdir).read_predictions('test')
  names = list(results['targets'])
  columns = min(3, len(names))
  lines = -(-len(names) // columns)
  figure = matplotlib.figure.Figure(
    figsize=(3.4 * columns, 3.4 * lines), layout='constrained'
  )
  axes = figure.subplots(lines, columns, squeeze=False).ravel()
  for axis in axes[len(names) :]:
    axis.set_visible(False)
  for axis, name in zip(axes, names, strict=False):
    _, unit, factor = targets.TARGETS[results['dataset']][name]
    x, y = predictions[name].T * factor
    ends = np.array([min(x.min(), y.min()), max(x.max(), y.max())])
    axis.plot(ends, ends, color='0.6', linewidth=1, zorder=0)
    axis.plot(x, y, 'o', markersize=3, alpha=0.5, markeredgewidth=0)
    mae = results['targets'][name]['mae']['value']
    axis.set_title(f'{name}: MAE {_figure(mae)} {unit}', fontsize=10)
    axis.set_xlabel(f'target ({unit})')
    axis.set_ylabel(f'prediction ({unit})')
    axis.set_aspect('equal', adjustable='datalim')
  path = pathlib.Path(workdir) / 'parity.png'
  figure.savefig(path, dpi=150)
  return path
