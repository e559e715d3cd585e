"""Logistic regression whose strength is chosen on validation data."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import special

from edjax.baselines import ridge_regression

# Inverse strengths of the penalty, from nearly the rate of the class on.
STRENGTHS = tuple(10.0**e for e in range(-4, 3))


@dataclasses.dataclass(frozen=True)
class Logistic:
  """Fitted probabilities of class 1.

  Attributes:
    weights_FT: of raw features; zero where a feature did not vary.
    intercept_T: constant of the logits.
  """

  weights_FT: np.ndarray
  intercept_T: np.ndarray

  def logits(self, x_NF: np.ndarray) -> np.ndarray:
    """Returns the logits of class 1, [N, T]."""
    return np.asarray(x_NF, np.float64) @ self.weights_FT + self.intercept_T

  def predict(self, x_NF: np.ndarray) -> np.ndarray:
    """Returns the probabilities of class 1, [N, T]."""
    return special.expit(self.logits(x_NF))

  def arrays(self) -> dict[str, np.ndarray]:
    """Returns the arrays that make an equal one."""
    return dataclasses.asdict(self)


def fit(
  x_NF: np.ndarray,
  y_NT: np.ndarray,
  strengths: Sequence[float] = STRENGTHS,
  *,
  x_val: np.ndarray,
  y_val: np.ndarray,
) -> Logistic:
  """Fits a logistic regression with the lowest validation log loss.

  Features have mean 0 and variance 1 in training; the penalty is that of
  scikit-learn's LogisticRegression, |w|^2 / 2 beside C times the summed loss.

  Args:
    x_NF: training features.
    y_NT: training classes, 0 and 1, both of each target.
    strengths: values of C.
    x_val: validation features.
    y_val: validation classes.

  Raises:
    ValueError: see `ridge_regression.fit_data`; or a target has one class.
  """
  from sklearn.linear_model import LogisticRegression

  x_NF, y_NT, x_val, y_val = ridge_regression.fit_data(x_NF, y_NT, x_val, y_val)
  mean_F = x_NF.mean(0)
  varies_F = np.ptp(x_NF, axis=0) > 0
  inverse_F = np.where(varies_F, 1 / np.where(varies_F, x_NF.std(0), 1), 0)
  z_NF = (x_NF - mean_F) * inverse_F
  fitted = []
  for y_N, y_val_N in zip(y_NT.T, y_val.T, strict=True):
    best = np.inf
    for strength in strengths:
      # Newton's steps are few, and exact for features that depend on each
      # other.
      model = LogisticRegression(C=strength, solver='newton-cholesky', tol=1e-8)
      model.fit(z_NF, y_N)
      weights_F = model.coef_[0] * inverse_F
      constant = model.intercept_[0] - mean_F @ weights_F
      sign_N = np.where(y_val_N > 0, 1, -1)
      loss = -special.log_expit(sign_N * (x_val @ weights_F + constant)).mean()
      if loss < best:
        best, chosen = loss, (weights_F, constant)
    fitted.append(chosen)
  weights, constants = zip(*fitted, strict=True)
  return Logistic(np.column_stack(weights), np.array(constants))
