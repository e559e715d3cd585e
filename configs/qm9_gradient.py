"""Magnitude of the gradient of the GFN2-xTB density as the only input.

  python launch.py --config configs/qm9_gradient.py[:smoke|:qm9_cpu|:full]

Device and wall time of each variant: docs/running.md and docs/results/.
"""

from configs import qm9_base


def get_config(variant: str = ''):
  config = qm9_base.get_config(variant)
  config.representation.channels = ('gradient',)
  return config
