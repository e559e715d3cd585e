"""Atom types as the only input: one channel of Gaussians per element.

  python launch.py --config configs/qm9_atoms.py[:smoke|:qm9_cpu|:full]

Device and wall time of each variant: docs/running.md and docs/results/.
"""

from configs import qm9_base


def get_config(variant: str = ''):
  config = qm9_base.get_config(variant)
  config.representation.channels = ('atoms',)
  return config
