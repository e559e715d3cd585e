"""Checks a configuration before anything is computed.

`configs/default.py` explains the fields, and `schema` has their rules. Every
complaint names its field.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict, FrozenConfigDict

from edjax.config import rules
from edjax.config.consistency import ENDS, contradictions, default_origin
from edjax.config.errors import ConfigError
from edjax.config.schema import fill_model, rules_of
from edjax.fields import channels


def flatten(config: Mapping, prefix: str = '') -> dict[str, Any]:
  """Returns {'data.name': ...}: one level, names joined by dots."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, (Mapping, ConfigDict, FrozenConfigDict)):
      flat |= flatten(value, f'{prefix}{key}.')
    else:
      flat[f'{prefix}{key}'] = value
  return flat


def resolve(config: ConfigDict) -> FrozenConfigDict:
  """Checks every field and fills in the values that were left open.

  Args:
    config: as made by a file of configs/.

  Returns:
    A frozen copy, in which `data.origin` is chosen for the dataset and
    `train.steps_per_call` for the devices at hand, and omitted fields of the
    network have their defaults.

  Raises:
    ConfigError: a field is unknown, missing or wrong, or fields contradict each
      other. The message has all complaints.
  """
  config = ConfigDict(config, convert_dict=True).copy_and_resolve_references()
  _name_functions(config)
  fill_model(config)
  flat = flatten(config)
  complaints = rules.complaints(flat, rules_of(config), 'config.')
  if not complaints:
    complaints = contradictions(config)
  if complaints:
    raise ConfigError('\n'.join(['wrong configuration:', *complaints]))
  if not config.data.origin:
    config.data.origin = default_origin(config.data.name)
  if not config.train.steps_per_call:
    config.train.steps_per_call = _steps_per_call(config.train)
  return FrozenConfigDict(config)


def _name_functions(config: ConfigDict) -> None:
  """Replaces channels that are functions by their names, and adds them."""
  try:
    config.representation.channels = tuple(
      channel if isinstance(channel, str) else channels.add(channel)
      for channel in config.representation.channels
    )
  except (AttributeError, TypeError):
    pass  # missing, or no tuple: the rules complain
  except ValueError as error:
    raise ConfigError(f'config.representation.channels: {error}') from error


def _steps_per_call(train) -> int:
  """Returns 1 on CPU, else a divisor of 20 and of all intervals in `ENDS`."""
  if jax.default_backend() == 'cpu':
    return 1
  return math.gcd(20, *(train[field] for field in ENDS))
