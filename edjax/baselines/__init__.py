"""Baselines without a network, reported beside every result."""

from edjax.baselines.linear import LABELS, MOMENTS, composition, fit, reference

__all__ = ['LABELS', 'MOMENTS', 'composition', 'fit', 'reference']
