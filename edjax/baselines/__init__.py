"""Baselines: what stands beside every result without a network."""

from edjax.baselines.linear import MOMENTS, WORDS, composition, fit, reference

__all__ = ['MOMENTS', 'WORDS', 'composition', 'fit', 'reference']
