"""Linear ridge regression whose strength is chosen on validation data.

It fits all targets at once. A NaN in the data is an error, never skipped.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

# From nearly least squares to nearly the mean.
ALPHAS = tuple(10.0**e for e in range(-10, 3))


@dataclasses.dataclass(frozen=True)
class Ridge:
  """A fitted linear map.

  Attributes:
    weights_FT: of raw features; zero where a feature did not vary.
    intercept_T: constant.
    alpha_T: chosen strength of each target.
  """

  weights_FT: np.ndarray
  intercept_T: np.ndarray
  alpha_T: np.ndarray

  def predict(self, x_NF: np.ndarray) -> np.ndarray:
    """Returns predictions, [N, T]."""
    return np.asarray(x_NF, np.float64) @ self.weights_FT + self.intercept_T

  def arrays(self) -> dict[str, np.ndarray]:
    """Returns the arrays that make an equal one."""
    return dataclasses.asdict(self)


def fit_data(x_NF, y_NT, x_val, y_val) -> tuple[np.ndarray, ...]:
  """Checks the data of a regression and returns them in float64.

  Args:
    x_NF, y_NT: training features and targets.
    x_val, y_val: validation features and targets.

  Raises:
    ValueError: shapes do not fit, there are no examples, or values are not
      finite.
  """
  x_NF, y_NT, x_val, y_val = (
    np.asarray(a, np.float64) for a in (x_NF, y_NT, x_val, y_val)
  )
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
  return x_NF, y_NT, x_val, y_val


def ridge_fit(
  x_NF: np.ndarray,
  y_NT: np.ndarray,
  alphas: Sequence[float] = ALPHAS,
  *,
  x_val: np.ndarray,
  y_val: np.ndarray,
) -> Ridge:
  """Fits a ridge regression whose strength has the lowest validation MAE.

  Minimises |y - x w - c|^2 / N + alpha |w|^2 over features with mean 0 and
  variance 1 (Hoerl and Kennard 1970), from one singular value decomposition
  for all strengths. The intercept is not shrunk. Features that do not vary get
  weight 0; linearly dependent ones share theirs.

  Args:
    x_NF: training features.
    y_NT: training targets; each target gets its own strength.
    alphas: strengths to choose from, above 0.
    x_val: validation features, (examples, features).
    y_val: validation targets, (examples, targets).

  Raises:
    ValueError: see `fit_data`; or strengths are not above 0.
  """
  alpha_S = np.asarray(alphas, np.float64)
  if not len(alpha_S) or not (alpha_S > 0).all():
    raise ValueError(f'alphas must be above 0, got {alphas}.')
  x_NF, y_NT, x_val, y_val = fit_data(x_NF, y_NT, x_val, y_val)
  mean_F, y_mean_T = x_NF.mean(0), y_NT.mean(0)
  std_F = x_NF.std(0)
  # ptp of a constant is exactly 0, its standard deviation may be rounded.
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
