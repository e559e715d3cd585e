"""Electron density from GFN2-xTB orbitals as the only input.

  python launch.py --config configs/qm9_density.py[:smoke|:qm9_cpu|:full]

Device and wall time of each variant: docs/running.md and docs/results/.
"""

from configs import qm9_base


def get_config(variant: str = ''):
  config = qm9_base.get_config(variant)
  config.representation.channels = ('density',)
  return config
