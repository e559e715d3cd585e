"""The configuration of a run: fields, rules, and what follows from them."""

from edjax.config.errors import ConfigError
from edjax.config.resolve import flatten, resolve

__all__ = ['ConfigError', 'flatten', 'resolve']
