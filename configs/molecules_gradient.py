"""The magnitude of the density's gradient as the only input.

  python launch.py --config configs/molecules_gradient.py[:full] \
    --config.data.source=FILE_OR_FOLDER --config.data.targets="('COLUMN',)"

Your own molecules: docs/own_molecules.md.
"""

from configs import molecules_base


def get_config(variant: str = ''):
  config = molecules_base.get_config(variant)
  config.representation.channels = ('gradient',)
  return config
