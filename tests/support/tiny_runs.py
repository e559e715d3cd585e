"""The smallest configuration that trains."""

from configs import qm9_base, study_qm9


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


def tiny_study(data_dir):
  """Shape alone, two subsets of 60 labels, no choice of fields by trials."""
  config, small = study_qm9.get_config('smoke'), tiny(data_dir)
  for section in ('model', 'representation'):
    config[section].update(small[section])
  config.data.update(
    {'data_dir': str(data_dir), 'targets': ('gap', 'mu'), 'max_eval': 16}
  )
  config.eval.rotations = 1
  config.study.update(
    {
      'representations': ('shape',), 'sizes': (60,),
      'subset_seeds': 2, 'primary': ('gap', 'mu'), 'hypotheses': (),
      'trial_learning_rates': (config.optim.learning_rate,),
      'trial_transforms': ('',),
    }
  )  # fmt: skip
  return config
