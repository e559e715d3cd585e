"""Baselines without a network, which stand beside every result."""

from edjax.baselines.linear import MOMENTS, WORDS, composition, fit, reference

__all__ = ['MOMENTS', 'WORDS', 'composition', 'fit', 'reference']
