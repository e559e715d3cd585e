"""The baseline of the input's moments, without a network.

The lead of a network over it is the worth of the convolutions.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from edjax.baselines import kernel_ridge, logistic
from edjax.baselines.regression import groups
from edjax.data import batching
from edjax.models.input_moments import power_moments
from edjax.molecule import Molecule
from edjax.runtime import multihost

# Training and validation molecules of the fit, at most: more take minutes
# before the first step and change little.
MAX_MOLECULES = 16_384


def compiled(voxelizer, shapes):
  """Compiles the moments of a batch.

  Args:
    voxelizer: from `compile_cache.bare`.
    shapes: of each array of a batch of `voxelizer.raw`.

  Returns:
    moments(raw, scale_C) -> [B, F], see `power_moments`.
  """

  def moments(raw, scale_C):
    return power_moments(voxelizer.finish(raw, scale_C))

  raw = tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
  scale_C = jax.ShapeDtypeStruct((len(voxelizer.raw_names),), jnp.float32)
  return jax.jit(moments).lower(raw, scale_C).compile()


def each_batch(
  f: Callable,
  molecules: Molecule | batching.Stream,
  positions_N: np.ndarray,
  size: int,
  label: str = '',
) -> Any:
  """Applies a function of batches to some molecules of a part.

  Args:
    f: molecules -> array with a row for each, or a tuple of such arrays.
    molecules: of the part, see `batching.take`.
    positions_N: positions in the part.
    size: of a batch.
    label: of the progress bar; '' for none.

  Returns:
    What `f` would return for all molecules at once, on the host.
  """
  rows, batches = [], [*batching.cover(len(positions_N), size)]
  silent = not (label and multihost.is_first())
  for indices_B in tqdm(batches, label, unit='batch', disable=silent):
    batch = batching.take(molecules, positions_N[indices_B])
    rows.append(jax.device_get(f(batch)))
  return jax.tree.map(
    lambda *parts: np.concatenate(parts)[: len(positions_N)], *rows
  )


def predictions(moments, molecules, rows, labels, size: int) -> np.ndarray:
  """Predicts by a kernel ridge regression on the moments of the input.

  Classes are predicted by a logistic regression.

  Args:
    moments: batch of molecules -> [B, F].
    molecules: of each part.
    rows: of each part.
    labels: of all rows.
    size: of a batch.

  Returns:
    [N, T] predictions in native units; NaN for training and validation rows
    beyond `MAX_MOLECULES`, and rows outside of the split.
  """
  draw = np.random.default_rng(0)
  positions = {
    part: np.arange(len(r))
    if part == 'test'
    else np.sort(draw.permutation(len(r))[:MAX_MOLECULES])
    for part, r in rows.items()
  }
  features = {
    part: each_batch(
      moments, of_part, positions[part], size, f'moments of the input, {part}'
    )
    for part, of_part in molecules.items()
  }
  used_rows = {part: r[positions[part]] for part, r in rows.items()}
  learned = 'train', 'validation'
  x_NF = np.concatenate([features[part] for part in learned])
  y_NT = np.concatenate([labels.values_NT[used_rows[part]] for part in learned])
  train, validation = np.split(np.arange(len(x_NF)), [len(features['train'])])
  guesses = {
    part: np.empty((len(r), y_NT.shape[1])) for part, r in used_rows.items()
  }
  for targets, *measured in groups(y_NT, train, validation):
    (x, y), (x_val, y_val) = (
      (x_NF[k], y_NT.take(targets, 1)[k]) for k in measured
    )
    fit = logistic.fit if labels.classes else kernel_ridge.fit
    model = fit(x, y, x_val=x_val, y_val=y_val)
    outputs = model.logits if labels.classes else model.predict
    for part, guess_BT in guesses.items():
      guess_BT[:, targets] = outputs(features[part])
  prediction_NT = np.full(labels.columns_NT.shape, np.nan)
  for part, part_rows in used_rows.items():
    prediction_NT[part_rows] = labels.to_native(guesses[part], part_rows)
  return prediction_NT
