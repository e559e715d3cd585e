"""Summarises a run: errors with intervals, baselines, costs."""

import numpy as np
from ml_collections import ConfigDict

from edjax import baselines, datasets
from edjax.config.representation import needs_frontier, needs_orbitals
from edjax.evaluate import metrics
from edjax.task import Task


def cost(config: ConfigDict, task: Task) -> dict[str, float]:
  """Returns the seconds of a molecule before the network.

  Args:
    config: resolved.
    task: the task.

  Returns:
    voxelize_seconds_per_molecule on this machine; and, if the run uses GFN2-xTB
    (orbitals, geometry or baseline) and the dataset has them,
    xtb_seconds_per_molecule on a core of the machine that built the dataset.
  """
  seconds = {'voxelize_seconds_per_molecule': task.voxelize_seconds}
  uses_xtb = (
    needs_orbitals(config.representation)
    or needs_frontier(config.representation)
    or config.data.delta in ('gfn2', 'gfn2_kernel')
    or config.data.geometry == 'gfn2'
  )
  if uses_xtb and task.pack.xtb_seconds is not None:
    seconds['xtb_seconds_per_molecule'] = task.pack.xtb_seconds
  return seconds


def spread(prediction_RB) -> float | None:
  """Returns the standard deviation over rotations, pooled over examples.

  It is not biased by the number of rotations R; None for a single one.
  """
  if len(prediction_RB) == 1:
    return None
  return float(np.sqrt(prediction_RB.var(0, ddof=1).mean()))


def summarise(
  config: ConfigDict, task: Task, prediction_RBT: np.ndarray
) -> dict:
  """Returns the errors on the test set, with those of the baselines.

  Each target is scored on the examples of which it was measured.

  Args:
    config: resolved.
    task: the task.
    prediction_RBT: of the test part, native units.
  """
  rows = task.rows['test']
  results = {
    'dataset': config.data.name,
    'examples': {part: len(rows) for part, rows in task.rows.items()},
    'pool': task.pool,
    'channels': list(task.voxelizer.channel_names),
    'outside_box': len(task.outside),
    'rotations': config.eval.rotations,
    'delta': config.data.delta,
    'classes': task.labels.classes,
    'reference': baselines.reference(
      task.pack, config.data.delta, task.labels.classes
    ),
    'targets': {},
  }
  clusters_N = task.pack.columns.get('cluster')
  classes = task.labels.classes
  error = 'log_loss' if classes else 'mae'
  for j, name in enumerate(config.data.targets):
    _, unit, factor = datasets.target_of(config.data, name)

    def scores(chosen_B, j=j, factor=factor):
      """Scores some test examples, and the baselines on them."""
      chosen_rows = rows[chosen_B]
      options = {
        'resamples': config.eval.bootstrap,
        'seed': 0,
        'clusters_N': None if clusters_N is None else clusters_N[chosen_rows],
        'classes': classes,
      }
      truth = task.labels.columns_NT[chosen_rows, j] * factor
      prediction = prediction_RBT[:, chosen_B, j].mean(0) * factor
      entry = metrics.bootstrap(truth, prediction, **options)
      if classes:
        entry['share'] = float(truth.mean())  # of class 1
      entry['baselines'] = {}
      for baseline, values_NT in task.baselines.items():
        guess = values_NT[chosen_rows, j] * factor
        entry['baselines'][baseline] = {
          **metrics.bootstrap(truth, guess, **options),
          # Paired, on the same test molecules: negative is better than it.
          f'{error}_difference': metrics.paired_difference(
            truth, prediction, guess, **options
          ),
        }
      return entry

    column_N = task.labels.columns_NT[:, j]
    measured_B = np.isfinite(column_N[rows])
    results['targets'][name] = {
      'unit': unit,
      'measured': {
        part: int(np.isfinite(column_N[of_part]).sum())
        for part, of_part in task.rows.items()
      },
      **scores(np.flatnonzero(measured_B)),
      'rotation_std': spread(prediction_RBT[:, :, j] * factor),
    }
    if len(prediction_RBT) > 1:
      results['targets'][name]['rotation_spread'] = float(
        (prediction_RBT[:, :, j] * factor).std(0, ddof=1).mean()
      )
    if task.test_sets:
      measured_of = {
        label: chosen[measured_B[chosen]]
        for label, chosen in task.test_sets.items()
      }
      results['targets'][name]['test_sets'] = {
        label: {'examples': len(chosen), **scores(chosen)}
        for label, chosen in measured_of.items()
        if len(chosen)
      }
  return results
