"""Baselines without a network, reported beside every result."""

from edjax.baselines.descriptors import (
  LABELS,
  MOMENTS,
  composition,
  delta_offset,
  fit,
  reference,
)

__all__ = [
  'LABELS', 'MOMENTS', 'composition', 'delta_offset', 'fit', 'reference',
]  # fmt: skip
