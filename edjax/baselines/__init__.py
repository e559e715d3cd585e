"""Baselines without a network, reported beside every result."""

from edjax.baselines.descriptors import (
  LABELS,
  MOMENTS,
  Fitted,
  delta_offset,
  fit,
  reference,
)
from edjax.baselines.features import composition
from edjax.baselines.regression import Regression, of_arrays

__all__ = [
  'LABELS', 'MOMENTS', 'Fitted', 'Regression', 'composition', 'delta_offset',
  'fit', 'of_arrays', 'reference',
]  # fmt: skip
