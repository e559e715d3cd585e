"""Electron density from GFN2-xTB orbitals as the only input.

  python launch.py --config configs/molecules_density.py[:full] \
    --config.data.source=FILE_OR_FOLDER --config.data.targets="('COLUMN',)"

From densities in files (cubes, maps) with --config.representation.density=map.
Your own molecules: docs/own_molecules.md.
"""

from configs import molecules_base


def get_config(variant: str = ''):
  config = molecules_base.get_config(variant)
  config.representation.channels = ('density',)
  return config
