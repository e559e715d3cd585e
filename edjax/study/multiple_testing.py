"""Corrects p values for several tests of one family."""

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float]) -> np.ndarray:
  """Returns p values that bound the chance of any false claim among them.

  Holm 1979, Scand. J. Stat. 6, 65: the smallest is multiplied by m, the next
  by m - 1, and so on, and none is smaller than the one before it.

  Args:
    p: p values of a family of tests.

  Raises:
    ValueError: a value is not in 0 to 1.
  """
  p = np.asarray(p, np.float64)
  if not ((p >= 0) & (p <= 1)).all():
    raise ValueError(f'p values must be in 0 to 1, got {p}.')
  order = np.argsort(p, kind='stable')
  stepped = p[order] * np.arange(len(p), 0, -1)
  adjusted = np.empty_like(p)
  adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
  return adjusted
