"""Training: the loop and its step."""

from edjax.train.loop import train_and_evaluate

__all__ = ['train_and_evaluate']
