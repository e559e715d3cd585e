"""Errors on the host in float64, their intervals, and the linear baselines.

All functions take one target: arrays of shape (examples,), in the unit that
the numbers are reported in. A NaN in them is an error, never skipped.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import stats

# 95 %, two-sided.
_PERCENTILES = (2.5, 97.5)
# Resamples are drawn in blocks of at most this many numbers, which stay small
# beside the memory of any machine.
_BLOCK = 2_000_000


def mae(target_N: np.ndarray, prediction_N: np.ndarray) -> float:
  """Mean absolute error."""
  return _scores(*_checked(target_N, prediction_N))['mae'].item()


def rmse(target_N: np.ndarray, prediction_N: np.ndarray) -> float:
  """Root of the mean squared error."""
  return _scores(*_checked(target_N, prediction_N))['rmse'].item()


def pearson(target_N: np.ndarray, prediction_N: np.ndarray) -> float:
  """Linear correlation; NaN where either array is constant."""
  return _scores(*_checked(target_N, prediction_N))['pearson'].item()


def spearman(target_N: np.ndarray, prediction_N: np.ndarray) -> float:
  """Rank correlation, ties at their mean rank; NaN for a constant array."""
  return _scores(*_checked(target_N, prediction_N))['spearman'].item()


def bootstrap(
  target_N: np.ndarray,
  prediction_N: np.ndarray,
  resamples: int = 1000,
  seed: int = 0,
) -> dict[str, dict[str, float]]:
  """All four metrics with 95 % percentile bootstrap intervals over examples.

  Efron and Tibshirani 1993, chapter 13. The metrics share their resamples.
  A resample in which a correlation is undefined (constant) is left out of its
  interval.

  Args:
    target_N: true values.
    prediction_N: predicted values.
    resamples: drawings of N examples with replacement, at least 1.
    seed: of the drawings.

  Returns:
    {'mae' | 'rmse' | 'pearson' | 'spearman': {'value', 'low', 'high'}}; NaN
    for what is undefined.

  Raises:
    ValueError: for other shapes, empty arrays, NaN or infinite values.
  """
  target_N, prediction_N = _checked(target_N, prediction_N)
  values = _scores(target_N, prediction_N)
  drawn = {name: [] for name in values}
  for index_RN in _resamples(len(target_N), resamples, seed):
    scores = _scores(target_N[index_RN], prediction_N[index_RN])
    for name, score_R in scores.items():
      drawn[name].append(score_R)
  return {
    name: {
      'value': float(value),
      **_interval(np.concatenate(drawn[name])),
    }
    for name, value in values.items()
  }


def paired_mae_difference(
  target_N: np.ndarray,
  prediction_a_N: np.ndarray,
  prediction_b_N: np.ndarray,
  resamples: int = 1000,
  seed: int = 0,
) -> dict[str, float]:
  """MAE of a minus MAE of b on the same examples, with a 95 % interval.

  Args:
    target_N: true values.
    prediction_a_N: one set of predictions.
    prediction_b_N: the other; negative differences say that a is better.
    resamples: drawings of N examples with replacement.
    seed: of the drawings.

  Returns:
    {'value', 'low', 'high'}.

  Raises:
    ValueError: for other shapes, empty arrays, NaN or infinite values.
  """
  target_a_N, prediction_a_N = _checked(target_N, prediction_a_N)
  target_b_N, prediction_b_N = _checked(target_N, prediction_b_N)
  difference_N = np.abs(prediction_a_N - target_a_N)
  difference_N = difference_N - np.abs(prediction_b_N - target_b_N)
  drawn = [
    difference_N[index_RN].mean(-1)
    for index_RN in _resamples(len(difference_N), resamples, seed)
  ]
  return {
    'value': float(difference_N.mean()),
    **_interval(np.concatenate(drawn)),
  }


def _scores(target_N, prediction_N):
  """The four metrics over the last axis."""
  error_N = prediction_N - target_N
  ranks = [stats.rankdata(a, axis=-1) for a in (target_N, prediction_N)]
  return {
    'mae': np.abs(error_N).mean(-1),
    'rmse': np.sqrt((error_N**2).mean(-1)),
    'pearson': _correlation(target_N, prediction_N),
    'spearman': _correlation(*ranks),
  }


def _correlation(a_N, b_N):
  # A constant array has no correlation; rounding in its mean would give one.
  constant = (np.ptp(a_N, axis=-1) == 0) | (np.ptp(b_N, axis=-1) == 0)
  a_N = a_N - a_N.mean(-1, keepdims=True)
  b_N = b_N - b_N.mean(-1, keepdims=True)
  size = np.sqrt((a_N**2).sum(-1) * (b_N**2).sum(-1))
  constant |= size == 0
  correlation = (a_N * b_N).sum(-1) / np.where(constant, 1, size)
  return np.where(constant, np.nan, np.clip(correlation, -1, 1))


def _resamples(n, resamples, seed):
  """Yields indices [R, N], blocks of all resamples."""
  if resamples < 1:
    raise ValueError(f'resamples must be 1 or more, got {resamples}.')
  rng = np.random.default_rng(seed)
  block = max(_BLOCK // n, 1)
  for start in range(0, resamples, block):
    yield rng.integers(n, size=(min(block, resamples - start), n))


def _interval(value_R):
  value_R = value_R[~np.isnan(value_R)]
  if not len(value_R):
    return {'low': float('nan'), 'high': float('nan')}
  low, high = np.percentile(value_R, _PERCENTILES)
  return {'low': float(low), 'high': float(high)}


def _checked(target_N, prediction_N):
  target_N = np.asarray(target_N, np.float64)
  prediction_N = np.asarray(prediction_N, np.float64)
  if target_N.ndim != 1 or target_N.shape != prediction_N.shape:
    raise ValueError(
      'A metric takes target_N and prediction_N of one shape, got '
      f'{target_N.shape} and {prediction_N.shape}.'
    )
  if not len(target_N):
    raise ValueError('A metric needs at least one example.')
  for name, array in (('target', target_N), ('prediction', prediction_N)):
    if not np.isfinite(array).all():
      raise ValueError(
        f'{(~np.isfinite(array)).sum()} of {len(array)} values of '
        f'{name}_N are NaN or infinite.'
      )
  return target_N, prediction_N


# From near least squares to nearly the mean, per standardised feature and
# example.
ALPHAS = tuple(10.0**e for e in range(-10, 3))


@dataclasses.dataclass(frozen=True)
class Ridge:
  """A fitted linear map.

  Attributes:
    weights_FT: per raw feature; zero where a feature did not vary.
    intercept_T: constant.
    alpha_T: strength that was chosen for each target.
  """

  weights_FT: np.ndarray
  intercept_T: np.ndarray
  alpha_T: np.ndarray

  def predict(self, x_NF: np.ndarray) -> np.ndarray:
    """Shape (examples, targets)."""
    return np.asarray(x_NF, np.float64) @ self.weights_FT + self.intercept_T


def ridge_fit(
  x_NF: np.ndarray,
  y_NT: np.ndarray,
  alphas: Sequence[float] = ALPHAS,
  *,
  x_val: np.ndarray,
  y_val: np.ndarray,
) -> Ridge:
  """Ridge regression on standardised features, strength by validation MAE.

  Minimises |y - x w - c|^2 / N + alpha |w|^2 over features with mean 0 and
  variance 1 (Hoerl and Kennard 1970), from one singular value decomposition
  for all strengths. The intercept is not shrunk. Features that do not vary
  get weight 0; dependent ones share theirs.

  Args:
    x_NF: training features.
    y_NT: training targets; each target gets its own strength.
    alphas: strengths to choose from, above 0.
    x_val: validation features, (examples, features).
    y_val: validation targets, (examples, targets).

  Returns:
    The fit.

  Raises:
    ValueError: for shapes that do not fit, too few examples, values that are
      not finite, or strengths that are not above 0.
  """
  x_NF, y_NT, x_val, y_val = (
    np.asarray(a, np.float64) for a in (x_NF, y_NT, x_val, y_val)
  )
  alpha_S = np.asarray(alphas, np.float64)
  if not len(alpha_S) or not (alpha_S > 0).all():
    raise ValueError(f'alphas must be above 0, got {alphas}.')
  for name, x, y in (('training', x_NF, y_NT), ('validation', x_val, y_val)):
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or not len(x):
      raise ValueError(
        f'{name} data must be (examples, features) and (examples, targets), '
        f'got {x.shape} and {y.shape}.'
      )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
      raise ValueError(f'{name} data hold NaN or infinite values.')
  if x_NF.shape[1] != x_val.shape[1] or y_NT.shape[1] != y_val.shape[1]:
    raise ValueError(
      'Training and validation differ in features or targets: '
      f'{x_NF.shape}, {x_val.shape}, {y_NT.shape}, {y_val.shape}.'
    )
  mean_F, y_mean_T = x_NF.mean(0), y_NT.mean(0)
  std_F = x_NF.std(0)
  # ptp is exact where the standard deviation of a constant is rounding.
  varies_F = np.ptp(x_NF, axis=0) > 0
  inverse_F = np.where(varies_F, 1 / np.where(varies_F, std_F, 1), 0)
  z_NF = (x_NF - mean_F) * inverse_F
  u_NK, s_K, v_KF = np.linalg.svd(z_NF, full_matrices=False)
  projected_KT = u_NK.T @ (y_NT - y_mean_T)
  shrink_SK = s_K / (s_K**2 + len(x_NF) * alpha_S[:, None])
  weights_SFT = np.einsum(
    'kf,sk,kt->sft', v_KF, shrink_SK, projected_KT, optimize=True
  )
  z_val_NF = (x_val - mean_F) * inverse_F
  error_ST = np.abs(z_val_NF @ weights_SFT + y_mean_T - y_val).mean(1)
  best_T = error_ST.argmin(0)
  picked_FT = weights_SFT[best_T, :, np.arange(y_NT.shape[1])].T
  weights_FT = picked_FT * inverse_F[:, None]
  return Ridge(weights_FT, y_mean_T - mean_F @ weights_FT, alpha_S[best_T])
