"""Intervals that hold new values with a chosen probability.

Split conformal prediction: J. Lei, M. G'Sell, A. Rinaldo, R. J. Tibshirani,
L. Wasserman, J. Am. Stat. Assoc. 2018, 113, 1094, section 2.2. It assumes
nothing about the errors, but that new molecules are drawn as those of the
validation part were.
"""

import math
from collections.abc import Sequence

import numpy as np

from edjax.predict.kept import Kept

LEVEL = 0.9


def half_width(residual_N: np.ndarray, level: float = LEVEL) -> float:
  """Returns the half width of the interval about a prediction.

  Args:
    residual_N: target minus prediction of molecules that were not learned from;
      NaN where not measured.
    level: probability with which the interval holds the target, or more.

  Returns:
    The ceil((n + 1) level)-th smallest absolute residual; infinite where there
    are fewer residuals.
  """
  size_N = np.sort(np.abs(residual_N[~np.isnan(residual_N)]))
  # Products that are whole numbers may be rounded up.
  rank = math.ceil((len(size_N) + 1) * level - 1e-9)
  return float(size_N[rank - 1]) if rank <= len(size_N) else math.inf


def half_widths(members: Sequence[Kept]) -> np.ndarray:
  """Returns the half widths of the mean of an ensemble, [T].

  They come from molecules that validate every member.
  """
  positions = [
    {name: row for row, name in enumerate(m.validation_ids)} for m in members
  ]
  common = [
    name
    for name in members[0].validation_ids
    if all(name in of_member for of_member in positions)
  ]
  prediction_MNT = np.stack(
    [
      member.prediction_VT[[of_member[name] for name in common]]
      for member, of_member in zip(members, positions, strict=True)
    ]
  )
  target_NT = members[0].target_VT[[positions[0][name] for name in common]]
  residual_NT = target_NT - prediction_MNT.mean(0)
  return np.array([half_width(residual_N) for residual_N in residual_NT.T])
