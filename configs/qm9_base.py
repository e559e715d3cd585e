"""Fields that the four QM9 configurations share.

They differ in the representation alone.
"""

from configs import default

QM9_TARGETS = (
  'mu', 'alpha', 'homo', 'lumo', 'gap', 'r2', 'zpve', 'cv',
  'u0_atom', 'u_atom', 'h_atom', 'g_atom',
)  # fmt: skip


def get_config(variant: str = ''):
  """Returns a variant of the QM9 task.

  Args:
    variant: '' (the embedded molecules, minutes on 2 cores), 'smoke' (the
      same, a minute), 'qm9_cpu' (QM9, 24^3 at 0.5 Å), 'full' (QM9, 48^3 at
      0.25 Å, 12 targets, for accelerators).

  Raises:
    ValueError: another variant.
  """
  config = default.get_config()
  # About the origin of `data.origin` a density's first moment is the dipole
  # moment (docs/results/choices.md).
  config.model.input_moments = True
  if not variant:
    # A block at the finest grid takes half of a step; with (1, 1, 1) errors are
    # some 5 % lower (docs/training.md).
    config.model.blocks = (0, 1, 1)
    add_bins(config)
    # What GFN2-xTB's energies tell is not learned again.
    config.data.delta = 'gfn2_kernel'
    config.train.steps = 800
    config.train.eval_every = 200
    config.train.checkpoint_every = 200
  if variant == 'smoke':
    config.data.train_size = 64.0
    config.data.max_eval = 16
    config.model.widths = (8, 16)
    config.model.blocks = (0, 1)
    config.representation.grid_size = 12
    config.representation.spacing = 1.0
    config.train.steps = 40
    config.train.eval_every = 20
    config.train.checkpoint_every = 10
    config.eval.rotations = 2
    config.eval.batch_size = 16
  elif variant == 'qm9_cpu':
    config.data.name = 'qm9'
    config.data.targets = ('gap', 'mu', 'alpha', 'u0_atom')
    config.data.train_size = 4000.0
    config.data.max_eval = 1000
    config.train.steps = 8000
    config.train.eval_every = 1000
    config.train.checkpoint_every = 500
    config.eval.rotations = 2
  elif variant == 'full':
    config.data.name = 'qm9'
    config.data.split = 'cormorant'
    config.data.targets = QM9_TARGETS
    config.representation.grid_size = 48
    config.representation.spacing = 0.25
    config.model.widths = (64, 128, 256)
    config.model.blocks = (2, 2, 2)
    config.model.dtype = 'bfloat16'
    config.train.batch_size = 128
    config.train.steps = 200_000
    config.train.eval_every = 2000
    config.train.checkpoint_every = 2000
    config.eval.batch_size = 256
  elif variant:
    raise ValueError(
      f"no variant {variant!r}; there are '', 'smoke', 'qm9_cpu' and 'full'"
    )
  return config


def add_bins(config) -> None:
  """Gives densities, gradient and shape bins of their logarithm.

  They take a fifth off the validation error of the density
  (docs/training.md).
  """
  for channel in ('density', 'gradient', 'shape', 'valence'):
    config.representation.transforms[channel] = 'none+bins:8'
