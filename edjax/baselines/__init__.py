"""Baselines without a network, reported beside every result."""

from edjax.baselines.linear import MOMENTS, WORDS, composition, fit, reference

__all__ = ['MOMENTS', 'WORDS', 'composition', 'fit', 'reference']
