"""Makes the labels of networks: standardised values, or classes."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special

from edjax.config import ConfigError
from edjax.data.splitting import Rows


def check(
  columns_NT: np.ndarray,
  rows: Mapping[str, np.ndarray],
  names: Sequence[str],
  classes: bool,
) -> None:
  """Checks that every target can be learned, chosen by and tested.

  Args:
    columns_NT: targets, NaN where not measured.
    rows: part -> rows.
    names: [T] of the targets.
    classes: whether they are classes.

  Raises:
    ConfigError: a target has no label in a part, an infinite one, or one that
      is no class; or one class alone in training. Names it.
  """
  for part, part_rows in rows.items():
    for name, column_N in zip(names, columns_NT[part_rows].T, strict=True):
      values = column_N[~np.isnan(column_N)]
      if not len(values):
        raise ConfigError(
          f'config.data.targets: {name} is measured for none of the '
          f'{len(column_N)} {part} molecules; leave it out, or choose another '
          'split'
        )
      if infinite := int(np.isinf(values).sum()):
        raise ConfigError(
          f'config.data.targets: {name} is infinite for {infinite} {part} '
          'molecules; correct these values, or leave them empty'
        )
      if classes:
        _check_classes(values, name, part)


def _check_classes(values, name, part) -> None:
  others = values[~np.isin(values, (0, 1))]
  if len(others):
    raise ConfigError(
      f"config.optim.loss='log_loss' takes targets of 0 and 1, and {name} is "
      f'{others[0]:g} (one of {len(others)} other values in {part}); write '
      "classes as 0 and 1, or choose another loss, such as 'huber'"
    )
  if part == 'train' and np.ptp(values) == 0:
    raise ConfigError(
      f'config.data.targets: {name} is {values[0]:g} for all {len(values)} '
      'training molecules of which it is known: there is nothing to learn'
    )


def shuffled(columns_NT: np.ndarray, rows: Rows, seed: int) -> np.ndarray:
  """Shuffles the labels within training and within validation examples.

  It is a control: nothing can be learned from the input about such labels. Test
  labels stay, and so do gaps: which molecules are measured may say something.

  Args:
    columns_NT: targets, NaN where not measured.
    rows: the split.
    seed: of the permutations.

  Returns:
    A copy, [N, T].
  """
  columns_NT = columns_NT.copy()
  order = np.random.Generator(np.random.Philox(key=[seed, 1]))
  for part in (rows.train, rows.validation):
    drawn = order.permutation(part)
    for column_N in columns_NT.T:  # views
      of_part, of_drawn = (
        rows[~np.isnan(column_N[rows])] for rows in (part, drawn)
      )
      column_N[of_part] = column_N[of_drawn]
  return columns_NT


@dataclasses.dataclass(frozen=True)
class Labels:
  """Standardised labels of all molecules of a pack, and their inverse.

  NaN stands for labels that were not measured.

  Attributes:
    values_NT: (column - offset_NT - mean_T) / scale_T, float32.
    offset_NT: native units, added back: zeros, or the fit of delta learning.
    mean_T: mean of the measured training labels.
    scale_T: standard deviation of the measured training labels.
    columns_NT: the targets, native units, float64.
    classes: whether they are classes 0 and 1, which are not standardised: a
      network learns the logit of class 1.
  """

  values_NT: np.ndarray
  offset_NT: np.ndarray
  mean_T: np.ndarray
  scale_T: np.ndarray
  columns_NT: np.ndarray
  classes: bool = False

  def to_native(self, values_BT: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns network outputs of some rows, [..., B, T], in native units.

    Of classes these are probabilities of class 1.
    """
    if self.classes:
      return special.expit(np.asarray(values_BT, np.float64))
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
  """Standardises targets on their measured training labels, in float64.

  Args:
    columns_NT: targets, native units, NaN where not measured.
    train_rows: [n] training rows.
    names: [T] of the targets, for the error.
    offset_NT: subtracted first (default 0).

  Raises:
    ConfigError: a training target is constant, infinite or not measured. Names
      it.
  """
  offset_NT = np.zeros_like(columns_NT) if offset_NT is None else offset_NT
  remainder_NT = columns_NT - offset_NT
  train_NT = remainder_NT[train_rows]
  train_NT = np.where(np.isnan(train_NT).all(0), 0, train_NT)  # constant
  mean_T, scale_T = np.nanmean(train_NT, 0), np.nanstd(train_NT, 0)
  # Rounding may give equal values a standard deviation above 0.
  spread_T = np.nanmax(train_NT, 0) - np.nanmin(train_NT, 0)
  usable_T = np.isfinite(scale_T) & (spread_T > 0)
  bad = [name for name, ok in zip(names, usable_T, strict=True) if not ok]
  if bad:
    raise ConfigError(
      f'config.data.targets: cannot standardise {", ".join(bad)}: constant, '
      f'infinite or not measured over the {len(train_rows)} training molecules'
    )
  return Labels(
    values_NT=((remainder_NT - mean_T) / scale_T).astype(np.float32),
    offset_NT=offset_NT,
    mean_T=mean_T,
    scale_T=scale_T,
    columns_NT=columns_NT,
  )


def make_classes(columns_NT: np.ndarray) -> Labels:
  """Returns the labels of classes 0 and 1, which `check` has looked at."""
  zeros_T = np.zeros(columns_NT.shape[1])
  return Labels(
    values_NT=columns_NT.astype(np.float32),
    offset_NT=np.zeros_like(columns_NT),
    mean_T=zeros_T,
    scale_T=zeros_T + 1,
    columns_NT=columns_NT,
    classes=True,
  )
