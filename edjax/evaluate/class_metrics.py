"""Scores of predicted probabilities of a class, of many resamples at once.

scikit-learn's functions judge them in the tests; called for each resample they
would take half a minute a target. Arrays have one target: true classes 0 and 1,
and the predicted probability of class 1.
"""

import numpy as np

# Probabilities are kept so far from 0 and 1, as scikit-learn's log_loss does:
# one sure mistake would otherwise cost infinitely much.
_CLIP = np.finfo(np.float64).eps


def log_losses(target_N: np.ndarray, prediction_N: np.ndarray) -> np.ndarray:
  """Returns minus the logarithm of the true class's probability, in nats.

  Args:
    target_N: classes, of any shape.
    prediction_N: probabilities of class 1, of the same shape.
  """
  sure_N = np.where(target_N > 0, prediction_N, 1 - prediction_N)
  return -np.log(np.clip(sure_N, _CLIP, 1))


def scores(
  target_N: np.ndarray, prediction_N: np.ndarray, counts_RN: np.ndarray
) -> dict[str, np.ndarray]:
  """Returns the scores of each resample, given by the count of each example.

  Returns:
    name -> [R]: 'log_loss', its mean; 'auroc', the probability that an example
    of class 1 is ranked before one of class 0, ties half (Hanley and McNeil
    1982, Radiology 143, 29); 'auprc', the average precision: the sum over
    thresholds of precision times the step in recall, without interpolation
    (Davis and Goadrich 2006, ICML). Both are NaN where one class is absent.
  """
  order_N = np.argsort(-prediction_N, kind='stable')
  ordered_N = prediction_N[order_N]
  # An index for each threshold: where the probability falls.
  begins_U = np.flatnonzero(np.r_[True, np.diff(ordered_N) != 0])
  counts_RN = counts_RN[:, order_N]

  def by_threshold(chosen_N):
    return np.add.reduceat(counts_RN * chosen_N, begins_U, axis=1)

  of_one_N = target_N[order_N] > 0
  ones_RU, zeros_RU = by_threshold(of_one_N), by_threshold(~of_one_N)
  ones_R, zeros_R = ones_RU.sum(1), zeros_RU.sum(1)
  absent_R = (ones_R == 0) | (zeros_R == 0)
  pairs_R = np.where(absent_R, np.nan, ones_R * zeros_R)
  # Class 0 after class 1, and ties.
  after_RU = zeros_R[:, None] - zeros_RU.cumsum(1) + zeros_RU / 2
  found_RU = ones_RU.cumsum(1)
  taken_RU = found_RU + zeros_RU.cumsum(1)
  precision_RU = found_RU / np.maximum(taken_RU, 1)
  return {
    'log_loss': (
      counts_RN @ log_losses(target_N, prediction_N)[order_N] / counts_RN.sum(1)
    ),
    'auroc': (ones_RU * after_RU).sum(1) / pairs_R,
    'auprc': (
      (ones_RU * precision_RU).sum(1) / np.where(absent_R, np.nan, ones_R)
    ),
  }
