"""The error for mistakes that a user can correct."""


class ConfigError(ValueError):
  """The configuration is wrong, or not that of the run directory."""
