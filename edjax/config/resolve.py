"""Checks a configuration before anything is computed.

`configs/default.py` says what each field means; `schema` says what it may be.
Every complaint names the field.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict, FrozenConfigDict

from edjax.config import rules
from edjax.config.consistency import ENDS, contradictions
from edjax.config.errors import ConfigError
from edjax.config.schema import fill_model, rules_of
from edjax.fields import channels


def flatten(config: Mapping, prefix: str = '') -> dict[str, Any]:
  """{'data.name': ...}: one level, fields joined by dots."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, (Mapping, ConfigDict, FrozenConfigDict)):
      flat |= flatten(value, f'{prefix}{key}.')
    else:
      flat[f'{prefix}{key}'] = value
  return flat


def resolve(config: ConfigDict) -> FrozenConfigDict:
  """Checks every field and fills in what was left to choose.

  Args:
    config: as made by a file of configs/.

  Returns:
    A frozen copy: `train.steps_per_call` chosen for the devices at hand,
    fields of the network that were left out at their defaults.

  Raises:
    ConfigError: a field is unknown, missing, of a wrong type or value, or
      fields contradict each other. All complaints at once.
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
  if not config.train.steps_per_call:
    config.train.steps_per_call = _steps_per_call(config.train)
  return FrozenConfigDict(config)


def _name_functions(config: ConfigDict) -> None:
  """Channels that are functions of a user become known by their names."""
  try:
    config.representation.channels = tuple(
      channel if isinstance(channel, str) else channels.add(channel)
      for channel in config.representation.channels
    )
  except (AttributeError, TypeError):
    pass  # not there, or no tuple: the rules say so
  except ValueError as error:
    raise ConfigError(f'config.representation.channels: {error}') from error


def _steps_per_call(train) -> int:
  """One on CPU, else at most 20, so that calls end where they have to."""
  if jax.default_backend() == 'cpu':
    return 1
  return math.gcd(20, *(train[field] for field in ENDS))
