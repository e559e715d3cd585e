"""Kernel ridge regression on a few features."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from edjax.baselines import ridge_regression

# Widths of the kernel, in median distances of examples (wide kernels approach
# polynomials), and strengths of the penalty.
WIDTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
STRENGTHS = tuple(10.0**k for k in range(-9, 1))
# Number of centres of the kernel; more cost time and gain little.
CENTRES = 1024
# Smallest eigenvalue that counts in full, relative to the largest: of the
# correlations of features, and of the kernel between centres.
_FLOOR = 1e-5
_KERNEL_FLOOR = 1e-8
# Examples whose kernel values are in memory at a time.
_BLOCK = 4096


@dataclasses.dataclass(frozen=True)
class Whitener:
  """A map to uncorrelated features of variance 1, small ones less.

  Attributes:
    mean_F: subtracted first.
    inverse_F: then multiplied with; 0 for a constant feature.
    matrix_FF: then multiplied with from the right.
  """

  mean_F: np.ndarray
  inverse_F: np.ndarray
  matrix_FF: np.ndarray

  def __call__(self, x_NF: np.ndarray) -> np.ndarray:
    """Returns the whitened features, [N, F]."""
    return (x_NF - self.mean_F) * self.inverse_F @ self.matrix_FF


@dataclasses.dataclass(frozen=True)
class Curve:
  """The prediction of one target.

  Attributes:
    length: width of the kernel, in whitened features.
    root_MK: combinations of kernel values that features are made of.
    weights_K: of these features.
    constant: added.
  """

  length: float
  root_MK: np.ndarray
  weights_K: np.ndarray
  constant: float


class KernelRidge:
  """A fitted regression.

  Args:
    whiten: of the features.
    centres_MF: whitened.
    curves: one for each target.
  """

  def __init__(
    self, whiten: Whitener, centres_MF: np.ndarray, curves: Sequence[Curve]
  ):
    self._whiten, self._centres_MF = whiten, centres_MF
    self._curves = tuple(curves)

  def predict(self, x_NF: np.ndarray) -> np.ndarray:
    """Returns predictions, [N, T]."""
    z_NF = self._whiten(np.asarray(x_NF, np.float64))
    columns = [
      _features(z_NF, self._centres_MF, curve.root_MK, curve.length)
      @ curve.weights_K
      + curve.constant
      for curve in self._curves
    ]
    return np.column_stack(columns)

  def arrays(self) -> dict[str, np.ndarray]:
    """Returns the arguments of `of_arrays`.

    Of root and weights they have the product, a number for each centre: its
    predictions are equal but for rounding.
    """
    return {
      **dataclasses.asdict(self._whiten),
      'centres_MF': self._centres_MF,
      'length_T': np.array([c.length for c in self._curves]),
      'constant_T': np.array([c.constant for c in self._curves]),
      'weights_MT': np.column_stack(
        [c.root_MK @ c.weights_K for c in self._curves]
      ),
    }

  @classmethod
  def of_arrays(
    cls, mean_F, inverse_F, matrix_FF, centres_MF, length_T, constant_T,
    weights_MT,
  ) -> 'KernelRidge':  # fmt: skip
    """Returns the regression that `arrays` describes."""
    columns = zip(length_T, weights_MT.T, constant_T, strict=True)
    return cls(
      Whitener(mean_F, inverse_F, matrix_FF),
      centres_MF,
      [Curve(w, a_M[:, None], np.ones(1), c) for w, a_M, c in columns],
    )


def fit(
  x_NF: np.ndarray,
  y_NT: np.ndarray,
  *,
  x_val: np.ndarray,
  y_val: np.ndarray,
  centres: int = CENTRES,
  widths: Sequence[float] = WIDTHS,
  strengths: Sequence[float] = STRENGTHS,
) -> KernelRidge:
  """Fits a ridge regression with a Gaussian kernel on whitened features.

  Minimises |y - K a|^2 / N + strength a^T C a, with the kernels K between
  examples and centres (random training examples) and C between centres: all
  examples count, with as many unknowns as centres (Nystroem approximation,
  Williams and Seeger 2001; Rudi et al. 2015, arXiv 1507.04717). Width and
  strength are chosen for each target by its validation MAE.

  Args:
    x_NF: training features. They are whitened by their own mean and
      correlations; small directions stay small.
    y_NT: training targets.
    x_val, y_val: validation features and targets.
    centres: their largest number.
    widths: of the kernel, in median distances between centres.
    strengths: of the penalty, for targets of unit variance.

  Raises:
    ValueError: see `ridge_regression.fit_data`.
  """
  x_NF, y_NT, x_val, y_val = ridge_regression.fit_data(x_NF, y_NT, x_val, y_val)
  whiten = _whitener(x_NF)
  mean_T, scale_T = y_NT.mean(0), _nonzero(y_NT.std(0))
  chosen = np.random.default_rng(0).permutation(len(x_NF))[:centres]
  centres_MF = whiten(x_NF[chosen])
  to_centres = _squared_distances(centres_MF, centres_MF)
  median = _nonzero(np.sqrt(np.median(to_centres)))

  best = [(np.inf, None)] * y_NT.shape[1]
  for width in widths:
    length = width * median
    # Features whose products are the kernel.
    kernel_MM = np.exp(-to_centres / (2 * length**2))
    values_M, vectors_MM = np.linalg.eigh(kernel_MM)
    keep_M = values_M > _KERNEL_FLOOR * values_M[-1]
    root_MK = vectors_MM[:, keep_M] / np.sqrt(values_M[keep_M])
    # Sums over training examples, some thousands at a time.
    count = root_MK.shape[1]
    sum_K, square_KK = np.zeros(count), np.zeros((count, count))
    against_KT = np.zeros((count, len(mean_T)))
    for begin in range(0, len(x_NF), _BLOCK):
      block = slice(begin, begin + _BLOCK)
      block_BK = _features(whiten(x_NF[block]), centres_MF, root_MK, length)
      sum_K += block_BK.sum(0)
      square_KK += block_BK.T @ block_BK
      against_KT += block_BK.T @ ((y_NT[block] - mean_T) / scale_T)
    centre_K = sum_K / len(x_NF)
    covariance_KK = square_KK / len(x_NF) - np.outer(centre_K, centre_K)
    # One eigendecomposition serves all strengths. (Targets have mean 0.)
    values_K, turn_KK = np.linalg.eigh(covariance_KK)
    against_KT = turn_KK.T @ against_KT / len(x_NF)
    val_BK = _features(whiten(x_val), centres_MF, root_MK, length)
    for strength in strengths:
      damped_K = np.maximum(values_K, 0) + strength
      weights_KT = turn_KK @ (against_KT / damped_K[:, None])
      guess_BT = (val_BK - centre_K) @ weights_KT * scale_T + mean_T
      for t, error in enumerate(np.abs(guess_BT - y_val).mean(0)):
        if error < best[t][0]:
          weights_K = weights_KT[:, t] * scale_T[t]
          constant = mean_T[t] - centre_K @ weights_K
          best[t] = error, Curve(length, root_MK, weights_K, constant)

  return KernelRidge(whiten, centres_MF, [curve for _, curve in best])


def _features(x_NF, centres_MF, root_MK, length) -> np.ndarray:
  """Returns the features [N, K] whose products are the kernel."""
  square_NM = _squared_distances(x_NF, centres_MF)
  return np.exp(-square_NM / (2 * length**2)) @ root_MK


def _whitener(x_NF: np.ndarray) -> Whitener:
  mean_F, std_F = x_NF.mean(0), x_NF.std(0)
  # A constant feature may vary by rounding errors.
  varies_F = std_F > 1e-6 * np.abs(mean_F)
  inverse_F = np.where(varies_F, 1 / _nonzero(std_F), 0)
  z_NF = (x_NF - mean_F) * inverse_F
  values_F, vectors_FF = np.linalg.eigh(z_NF.T @ z_NF / len(z_NF))
  floor = _FLOOR * max(values_F[-1], 1.0)
  matrix_FF = vectors_FF / np.sqrt(np.maximum(values_F, 0) + floor)
  return Whitener(mean_F, inverse_F, matrix_FF)


def _squared_distances(a_NF: np.ndarray, b_MF: np.ndarray) -> np.ndarray:
  """Returns squared distances, [N, M]."""
  square = (a_NF**2).sum(1)[:, None] + (b_MF**2).sum(1) - 2 * a_NF @ b_MF.T
  return np.maximum(square, 0)


def _nonzero(x):
  return np.where(x > 0, x, 1.0)
