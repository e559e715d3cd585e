"""Losses, optimisers, schedule and weight average: `config.optim`."""

from edjax.optim.losses import CLASSES, LOSSES, loss_sum
from edjax.optim.optimizer import (
  OPTIMIZERS,
  ema_update,
  last_update_norms,
  make_optimizer,
  make_schedule,
  update_over_weight,
)

__all__ = [
  'CLASSES',
  'LOSSES',
  'OPTIMIZERS',
  'ema_update',
  'last_update_norms',
  'loss_sum',
  'make_optimizer',
  'make_schedule',
  'update_over_weight',
]
