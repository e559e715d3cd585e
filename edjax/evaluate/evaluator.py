"""Predicts every example of a part exactly once, and logs the errors."""

import time
from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from edjax import datasets
from edjax.evaluate import class_metrics, metrics, predicting
from edjax.evaluate.summary import cost, summarise
from edjax.runtime.run_directory import RunDirectory
from edjax.task import Task

# Errors that choose weights, of values and of classes.
SELECTED_BY = ('mae_standardised', 'log_loss')


class Evaluator:
  """Predicts one part of a task's data.

  Args:
    config: resolved.
    task: the task.
    part: 'train', 'validation' or 'test'.
    predict: from `predicting.make_predict`.
  """

  def __init__(
    self, config: ConfigDict, task: Task, part: str, predict: Callable
  ):
    self._config, self._task, self.part = config, task, part
    self._predict = predict

  def predict(self, params, rotations: int, label: str = '') -> np.ndarray:
    """Returns the predictions of all examples, once per rotation.

    Args:
      params: of the network, on the host.
      rotations: how many rotations.
      label: of the progress bar; '' for none.

    Returns:
      [rotations, n, T] in native units.
    """
    rows = self._task.rows[self.part]
    standardised_RBT = predicting.all_of(
      self._predict,
      params,
      self._task.molecules[self.part],
      len(rows),
      rotations,
      self._config.eval.batch_size,
      label,
    )
    return self._task.labels.to_native(standardised_RBT, rows)

  def targets(self) -> np.ndarray:
    """Returns the labels, [n, T] in native units, NaN where not measured."""
    return self._task.labels.columns_NT[self._task.rows[self.part]]

  @property
  def selected_by(self) -> str:
    """Name of the error that `log` returns."""
    return SELECTED_BY[self._task.labels.classes]

  def log(self, params, step: int, run: RunDirectory) -> float:
    """Logs the errors of one rotation.

    Returns:
      Mean over the targets of MAE / training standard deviation; of classes,
      of the log loss. On validation it selects the checkpoint.
    """
    prediction_BT = self.predict(params, rotations=1)[0]
    labels, targets_BT = self._task.labels, self.targets()
    measured_BT = np.isfinite(targets_BT)
    errors = metrics.absolute_errors
    if labels.classes:
      errors = class_metrics.log_losses
    error_BT = np.where(measured_BT, errors(targets_BT, prediction_BT), 0)
    error_T = error_BT.sum(0) / measured_BT.sum(0)
    kind = 'log_loss' if labels.classes else 'mae'
    names = self._config.data.targets
    for j, name in enumerate(names):
      _, unit, factor = datasets.target_of(self._config.data, name)
      run.log(step, self.part, f'{kind}_{name}', error_T[j] * factor, unit)
    value = float(np.mean(error_T / labels.scale_T))
    run.log(step, self.part, self.selected_by, value, '')
    return value


def final_evaluation(
  config: ConfigDict, task: Task, params, run: RunDirectory, predict: Callable
) -> dict:
  """Predicts validation and test and summarises the test set.

  Args:
    config: resolved.
    task: the task.
    params: selected weights, on the host.
    run: run directory; predictions_<part>.csv are written there.
    predict: from `make_predict`.

  Returns:
    The results: `summarise`, and as 'cost' those of `cost` with
    predict_seconds_per_molecule, for one rotation, voxels included.
  """
  rotations = config.eval.rotations
  for part in ('validation', 'test'):
    evaluator = Evaluator(config, task, part, predict)
    started = time.perf_counter()
    prediction_RBT = evaluator.predict(params, rotations, f'evaluate {part}')
    # Only the last part counts, test: its programs are compiled already.
    seconds = (time.perf_counter() - started) / prediction_RBT[..., 0].size
    ids = [task.pack.ids[row] for row in task.rows[part]]
    clusters_N = task.pack.columns.get('cluster')
    run.write_predictions(
      part,
      ids,
      config.data.targets,
      evaluator.targets(),
      prediction_RBT.mean(0),
      None if clusters_N is None else clusters_N[task.rows[part]],
    )
  results = summarise(config, task, prediction_RBT)
  results['cost'] = cost(config, task) | {
    'predict_seconds_per_molecule': seconds
  }
  return results
