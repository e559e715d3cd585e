"""Handles losses and parameters that are not finite."""

import json

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from edjax.data import batching
from edjax.runtime import parallel
from edjax.runtime.run_directory import RunDirectory
from edjax.task import Task
from edjax.train.train_step import TrainState


def check_parameters(state: TrainState) -> None:
  """Raises FloatingPointError for a parameter that is not finite."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(state.params):
    if not np.isfinite(leaf).all():
      raise FloatingPointError(
        f'after step {int(state.step)} the parameter '
        f'{jax.tree_util.keystr(path)} is not finite; the last good checkpoint '
        'is kept. Lower config.optim.learning_rate'
      )


def skipped(state: TrainState) -> int:
  """Returns how many steps a state has skipped; 0 where none may be."""
  count = optax.tree_utils.tree_get(state.opt_state, 'total_notfinite', 0)
  return int(count)


class Losses:
  """Sums the training losses since the last evaluation.

  Args:
    config: resolved.
    task: the task.
    run: run directory, where skipped steps are logged.
    state: the state before the first step, on the host.
    total: sum of the losses so far.
    count: number of them.
  """

  def __init__(
    self,
    config: ConfigDict,
    task: Task,
    run: RunDirectory,
    state: TrainState,
    total: float = 0.0,
    count: int = 0,
  ):
    self._config, self._task, self._run = config, task, run
    self.total, self.count = total, count
    self._in_a_row = int(
      optax.tree_utils.tree_get(state.opt_state, 'notfinite_count', 0)
    )

  @property
  def mean(self) -> float:
    """Mean of the losses; NaN where there are none."""
    return self.total / self.count if self.count else float('nan')

  def clear(self) -> None:
    """Sets sum and count to 0, after an evaluation."""
    self.total, self.count = 0.0, 0

  def add(self, pending: tuple[int, jax.Array] | None) -> None:
    """Adds the losses of a call.

    Args:
      pending: (its first step, losses [D, S]), or None. The loss of a step
        whose gradient is not finite is NaN.

    Raises:
      FloatingPointError: more losses in a row are not finite than
        `config.optim.skip_nonfinite` allows. Names step and examples.
    """
    if pending is None:
      return
    first, loss = pending
    for step, value in enumerate(parallel.unreplicate(loss), first):
      if np.isfinite(value):
        self.total += float(value)
        self.count += 1
        self._in_a_row = 0
        continue
      self._in_a_row += 1
      allowed = self._config.optim.skip_nonfinite
      ids = json.dumps(self._examples(step))
      if self._in_a_row <= allowed:
        print(
          f'step {step} is skipped: its loss or gradient is not finite; '
          f'examples: {ids}',
          flush=True,
        )
        self._run.log(step + 1, 'train', 'skipped', 1, '')
        continue
      again = f' ({self._in_a_row} steps in a row)' if allowed else ''
      raise FloatingPointError(
        f'the loss or the gradient of step {step} is not finite{again}; the '
        'last good checkpoint is kept. Lower config.optim.learning_rate, skip '
        'such steps with config.optim.skip_nonfinite, or look at the '
        f'examples: {ids}'
      )

  def _examples(self, step: int) -> list[str]:
    config, rows = self._config, self._task.rows['train']
    indices = batching.batch_indices(
      config.train.seed, step, len(rows), config.train.batch_size
    )
    return [self._task.pack.ids[rows[k]] for k in indices]
