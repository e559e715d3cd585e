"""Standardises the labels of networks, or shuffles them for a control."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from edjax.config import ConfigError
from edjax.data.splitting import Rows


def shuffled(columns_NT: np.ndarray, rows: Rows, seed: int) -> np.ndarray:
  """Shuffles the labels within training and within validation examples.

  It is a control: nothing can be learned from the input about such labels. Test
  labels stay.

  Args:
    columns_NT: targets.
    rows: the split.
    seed: of the permutations.

  Returns:
    A copy, [N, T].
  """
  columns_NT = columns_NT.copy()
  order = np.random.Generator(np.random.Philox(key=[seed, 1]))
  for part in (rows.train, rows.validation):
    columns_NT[part] = columns_NT[order.permutation(part)]
  return columns_NT


@dataclasses.dataclass(frozen=True)
class Labels:
  """Standardised labels of all molecules of a pack, and their inverse.

  Attributes:
    values_NT: (column - offset_NT - mean_T) / scale_T, float32.
    offset_NT: native units, added back: zeros, or the fit of delta learning.
    mean_T: mean of the training molecules.
    scale_T: standard deviation of the training molecules.
    columns_NT: the targets, native units, float64.
  """

  values_NT: np.ndarray
  offset_NT: np.ndarray
  mean_T: np.ndarray
  scale_T: np.ndarray
  columns_NT: np.ndarray

  def to_native(self, values_BT: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns network outputs of some rows, [..., B, T], in native units."""
    return (
      np.asarray(values_BT, np.float64) * self.scale_T
      + self.mean_T
      + self.offset_NT[rows]
    )


def make_labels(
  columns_NT: np.ndarray,
  train_rows: np.ndarray,
  names: Sequence[str],
  offset_NT=None,
) -> Labels:
  """Standardises targets on the training molecules, in float64.

  Args:
    columns_NT: targets, native units.
    train_rows: [n] training rows.
    names: [T] of the targets, for the error.
    offset_NT: subtracted first (default 0).

  Raises:
    ConfigError: a training target is constant or not finite. Names it.
  """
  offset_NT = np.zeros_like(columns_NT) if offset_NT is None else offset_NT
  remainder_NT = columns_NT - offset_NT
  mean_T = remainder_NT[train_rows].mean(0)
  scale_T = remainder_NT[train_rows].std(0)
  # Rounding may give equal values a standard deviation above 0.
  spread_T = np.ptp(remainder_NT[train_rows], axis=0)
  usable_T = np.isfinite(scale_T) & (spread_T > 0)
  bad = [name for name, ok in zip(names, usable_T, strict=True) if not ok]
  if bad:
    raise ConfigError(
      f'config.data.targets: cannot standardise {", ".join(bad)}: constant or '
      f'not finite over the {len(train_rows)} training molecules'
    )
  return Labels(
    values_NT=((remainder_NT - mean_T) / scale_T).astype(np.float32),
    offset_NT=offset_NT,
    mean_T=mean_T,
    scale_T=scale_T,
    columns_NT=columns_NT,
  )
