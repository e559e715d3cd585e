"""Magnitude of the promolecule's gradient, ligand and pocket apart.

  python launch.py --config \
    configs/pdbbind_gradient.py[:ligands|:paper_like|:full] \
    --config.data.manual_dir=DIR_OF_PDBBIND

Wall times: docs/running.md, docs/results/.
"""

from configs import pdbbind_base


def get_config(variant: str = ''):
  config = pdbbind_base.get_config(variant)
  config.representation.channels = ('gradient',)
  return config
