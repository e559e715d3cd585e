"""The promolecule's density of your own complexes.

  python launch.py --config configs/complexes_density.py[:full] \
    --config.data.source=TABLE_OR_FOLDER --config.data.targets="('pKd',)"

The table: docs/datasets.md. Wall times: those of PDBbind in docs/running.md.
"""

from configs import complexes_base


def get_config(variant: str = ''):
  config = complexes_base.get_config(variant)
  config.representation.channels = ('density',)
  return config
