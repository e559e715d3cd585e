"""Fields that the four configurations of your own molecules share.

They differ in the representation alone.
"""

from configs import default, qm9_base

ELEMENTS = ('H', 'C', 'N', 'O', 'F', 'P', 'S', 'Cl', 'Br', 'I', 'metals')


def get_config(variant: str = ''):
  """Returns a variant of the task.

  Args:
    variant: '' (24^3 at 0.875 Å, for some hundred molecules and 2 cores),
      'full' (48^3 at 0.5 Å, thousands of molecules, for accelerators).

  Raises:
    ValueError: another variant.
  """
  config = default.get_config()
  config.data.name = 'molecules'
  config.data.targets = ()
  config.representation.elements = ELEMENTS
  # A box of 21 Å: of 937 molecules of 20 to 35 heavy atoms 93 % fit into it in
  # every orientation (of 18 Å 81 %, of 12 Å, which is for QM9, 8 %). Few voxels
  # are for minutes on a CPU; bins are taken at their sub-points.
  config.representation.grid_size = 24
  config.representation.spacing = 0.875
  qm9_base.add_bins(config)
  config.model.blocks = (0, 1, 1)
  config.model.input_moments = True
  config.train.steps = 400
  config.train.eval_every = 100
  config.train.checkpoint_every = 100
  config.eval.rotations = 4
  config.eval.batch_size = 16
  if variant == 'full':
    config.representation.grid_size = 48
    config.representation.spacing = 0.5
    config.model.widths = (32, 64, 128, 256)
    config.model.blocks = (1, 1, 1, 1)
    config.model.dtype = 'bfloat16'
    config.train.batch_size = 64
    config.train.steps = 20_000
    config.train.eval_every = 1000
    config.train.checkpoint_every = 1000
    config.eval.batch_size = 64
  elif variant:
    raise ValueError(f"no variant {variant!r}; there are '' and 'full'")
  return config
