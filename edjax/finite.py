"""Ends a run whose numbers are not finite, naming what it was."""

import json

import jax
import numpy as np

from edjax import input_pipeline, parallel


def check_parameters(state) -> None:
  """A finite loss may have a gradient that is not: never save what it left."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(state.params):
    if not np.isfinite(leaf).all():
      raise FloatingPointError(
        f'after step {int(state.step)} the parameter '
        f'{jax.tree_util.keystr(path)} is not finite; the last good checkpoint '
        'is kept. Lower config.optim.learning_rate'
      )


def fetch(config, task, pending, window) -> None:
  """Adds the losses of a call to [sum, count]; one not finite ends the run."""
  if pending is None:
    return
  first, loss = pending
  losses_S = parallel.unreplicate(loss)
  for i, value in enumerate(losses_S):
    if not np.isfinite(value):
      indices = input_pipeline.batch_indices(
        config.train.seed,
        first + i,
        len(task.rows['train']),
        config.train.batch_size,
      )
      ids = [task.pack.ids[task.rows['train'][k]] for k in indices]
      raise FloatingPointError(
        f'the loss of step {first + i} is {value}; the last good checkpoint '
        'is kept. Lower config.optim.learning_rate, or look at the examples: '
        + json.dumps(ids)
      )
    window[0] += float(value)
    window[1] += 1
