"""The error of everything that a user can mend."""


class ConfigError(ValueError):
  """A mistake in the configuration, or a run directory of another one."""
