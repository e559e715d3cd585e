"""The smallest configuration that trains."""

from configs import qm9_base


def tiny(data_dir):
  """Shape alone on 8^3 voxels, one stage, two targets."""
  config = qm9_base.get_config('smoke')
  config.data.data_dir = str(data_dir)
  config.data.targets = ('gap', 'mu')
  config.representation.channels = ('shape',)
  config.representation.grid_size = 8
  config.representation.spacing = 1.5
  config.model.widths = (4,)
  config.model.blocks = (0,)
  config.model.local = 4
  config.model.head_width = 8
  return config
