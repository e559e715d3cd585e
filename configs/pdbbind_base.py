"""Fields that the four PDBbind configurations share.

They differ in the representation alone.
"""

from configs import default

ELEMENTS = ('H', 'C', 'N', 'O', 'F', 'P', 'S', 'Cl', 'Br', 'I', 'metals')


def get_config(variant: str = ''):
  """Returns a variant of the affinity task.

  Args:
    variant: '' (32^3 at 0.75 Å, for 2 cores), 'paper_like' (64^3 at 0.25 Å;
      the size of the box is inferred, not stated in the paper), 'full' (96^3
      at 0.25 Å, for accelerators), 'ligands' (as '', for ligands
      without proteins).

  Raises:
    ValueError: another variant.
  """
  config = default.get_config()
  config.data.name = 'pdbbind'
  config.data.targets = ('pk',)
  config.data.split = 'clusters'
  config.representation.density = 'promolecule'
  config.representation.transforms.density = 'arcsinh'
  config.representation.groups = True
  config.representation.elements = ELEMENTS
  config.representation.grid_size = 32
  config.representation.spacing = 0.75
  # At this spacing the blur of the promolecule makes point values exact enough.
  config.representation.supersample = 1
  config.optim.learning_rate = 1e-3
  config.train.batch_size = 8
  config.train.steps = 400
  config.train.eval_every = 100
  config.train.checkpoint_every = 100
  config.eval.rotations = 4
  config.eval.batch_size = 16
  if variant in ('paper_like', 'full'):
    config.representation.grid_size = 64 if variant == 'paper_like' else 96
    config.representation.spacing = 0.25
    config.representation.supersample = 2
    config.model.widths = (32, 64, 128, 256)
    config.model.blocks = (0, 1, 1, 1)
    config.model.dtype = 'bfloat16'
    config.train.batch_size = 32
    config.train.steps = 10_000
    config.train.eval_every = 500
    config.train.checkpoint_every = 500
    config.eval.batch_size = 32
  elif variant == 'ligands':
    config.data.name = 'pdbbind_ligands'
    config.data.split = 'random'
    config.data.parts = ('ligand',)
    config.representation.groups = False
  elif variant:
    raise ValueError(
      f"no variant {variant!r}; there are '', 'ligands', 'paper_like' and "
      "'full'"
    )
  return config
