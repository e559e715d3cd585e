"""Occupancy alone of your own complexes, ligand and pocket apart.

  python launch.py --config configs/complexes_shape.py[:full] \
    --config.data.source=TABLE_OR_FOLDER --config.data.targets="('pKd',)"

The table: docs/datasets.md. Wall times: those of PDBbind in docs/running.md.
"""

from configs import complexes_base


def get_config(variant: str = ''):
  config = complexes_base.get_config(variant)
  config.representation.channels = ('shape',)
  return config
