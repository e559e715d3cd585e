"""The study on QM9: which input, with how many molecules.

  python launch.py --config configs/study_qm9.py[:smoke|:inputs|:long|:full] \
    --mode study

Rules of the comparison: docs/protocol.md.
"""

from configs import qm9_base, study_base

# All representations without noise; those of the default variant come first.
TEN = (
  'atoms', 'density', 'gradient', 'promolecule', 'shape', 'deformation',
  'valence', 'shape_one_radius', 'density_gradient', 'atoms_density',
)  # fmt: skip


def get_config(variant: str = ''):
  """Returns a variant of the study.

  Args:
    variant: '' (QM9, 24^3 at 0.5 Å: a night or two on 2 cores), 'smoke' (the
      embedded molecules, minutes on 2 cores; a test of the program alone),
      'inputs' (as '', every representation at 2,000 labels; an hour on 2
      cores), 'long' (as '', three representations at 8,000 labels and six times
      the steps; 2 hours on 2 cores), 'full' (QM9, 48^3 at 0.25 Å, every
      representation, size and ablation, for accelerators).

  Raises:
    ValueError: another variant.
  """
  bases = dict.fromkeys(('', 'inputs', 'long'), 'qm9_cpu')
  bases |= {'smoke': 'smoke', 'full': 'full'}
  if variant not in bases:
    raise ValueError(
      f"no variant {variant!r}; there are '', 'smoke', 'inputs', 'long', 'full'"
    )
  config = qm9_base.get_config(bases[variant])
  study = study_base.add_study(config)
  study.title = 'QM9: which input, with how many molecules'
  study.primary = ('gap', 'mu', 'alpha', 'u0_atom')
  study.hypotheses = ('H4', 'H5a', 'H5b')
  if variant == 'smoke':
    study.title = 'A trial of the study on the embedded molecules'
    config.data.max_eval = 128
    config.data.targets = ('gap', 'mu', 'r2', 'atomization')
    study.sizes = (60, 240)
    study.subset_seeds = 3
    study.middle_size = 60
    study.trial_learning_rates = (1e-3, 4e-3)
    study.trial_size = 120
    study.trial_steps = config.train.steps
    study.primary = ('gap', 'mu', 'r2', 'atomization')
    study.hypotheses = ('H4', 'H5a')
  elif variant != 'full':
    # On a CPU twice the steps of half a batch cost the same.
    config.train.batch_size = 16
    config.train.steps = 800
    config.train.eval_every = 800
    config.train.checkpoint_every = 200
    config.data.max_eval = 500
    study.sizes = (125, 500, 2000, 8000)
    study.small_size = 500
    study.small_seeds = 10
    study.middle_size = 2000
    study.trial_learning_rates = (1e-3, 3e-3, 1e-2)
    study.trial_transforms = ('none', 'arcsinh')
    study.trial_size = 2000
    study.trial_steps = 300
    study.hypotheses = ('H4', 'H5a')
    if variant == 'inputs':
      study.title = 'QM9: ten inputs at 2,000 labels'
      study.representations = TEN
      study.sizes = (2000,)
      study.trial_learning_rates = (3e-3,)
      study.hypotheses = ('H5a', 'H5b')
    elif variant == 'long':
      study.title = 'QM9: three inputs with six times the steps'
      study.representations = ('atoms', 'density', 'promolecule')
      study.sizes = (8000,)
      study.middle_size = 8000
      study.trial_size = 8000
      study.hypotheses = ('H4',)
      config.train.steps = 4800
      config.train.eval_every = 4800
  else:
    config.train.steps = 50_000
    study.representations = TEN
    study.sizes = (100, 316, 1000, 3162, 10_000, 31_623, 100_000)
    study.small_size = 1000
    study.small_seeds = 10
    study.ablations = (
      'stopping', 'delta', 'spacing', 'noise', 'size_split', 'geometry',
      'controls',
    )  # fmt: skip
    study.middle_size = 10_000
    study.ablation_seeds = 5
    study.patience = 5
    study.spacings = (0.25, 0.5)
    study.smooths = (0.0, 0.3, 0.5)
    study.boxes = (12.0, 16.0)
    study.trial_learning_rates = (1e-3, 3e-3, 1e-2)
    study.trial_transforms = ('none', 'arcsinh')
    study.trial_size = 10_000
    study.trial_steps = 5000
  return config
