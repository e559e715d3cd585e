"""Predictions of a trained run for molecules that it has not seen."""

from edjax.predict.kept import Kept, keep, read
from edjax.predict.model import Model, Prediction, load

__all__ = ['Kept', 'Model', 'Prediction', 'keep', 'load', 'read']
