"""The study on QM9: which input, with how many molecules.

  python launch.py --config configs/study_qm9.py[:smoke|:full] --mode study

Rules of the comparison: docs/protocol.md.
"""

from configs import qm9_base, study_base

# All representations without noise.
TEN = (
  'atoms', 'density', 'gradient', 'promolecule', 'shape', 'deformation',
  'valence', 'shape_one_radius', 'density_gradient', 'atoms_density',
)  # fmt: skip


def get_config(variant: str = ''):
  """Returns a variant of the study.

  Args:
    variant: '' (QM9, 24^3 at 0.5 Å: 30 hours of a core, by estimate), 'smoke'
      (the embedded molecules, minutes on 2 cores; a test of the program alone),
      'full' (QM9, 48^3 at 0.25 Å, every representation, size and ablation, for
      accelerators).

  Raises:
    ValueError: another variant.
  """
  bases = {'': 'qm9_cpu', 'smoke': 'smoke', 'full': 'full'}
  if variant not in bases:
    raise ValueError(f"no variant {variant!r}; there are '', 'smoke', 'full'")
  config = qm9_base.get_config(bases[variant])
  study = study_base.add_study(config)
  study.title = 'QM9: which input, with how many molecules'
  study.primary = ('gap', 'mu', 'alpha', 'u0_atom')
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
    return config
  # A split that the older studies did not have.
  config.data.seed = 1
  config.eval.rotations = 8
  qm9_base.add_bins(config)
  study.trial_learning_rates = (1e-3, 3e-3, 1e-2)
  if not variant:
    config.data.max_eval = 1000
    config.model.blocks = (0, 1, 1)
    # On a CPU twice the steps of half a batch cost the same.
    config.train.batch_size = 16
    config.train.steps = 4000
    config.train.eval_every = 4000
    config.train.checkpoint_every = 500
    study.representations = (
      'atoms', 'density', 'promolecule', 'atoms_density', 'deformation',
      'shape',
    )  # fmt: skip
    study.sizes = (500, 2000, 8000, 32_000)
    study.middle_size = 2000
    study.trial_size = 2000
    study.trial_steps = 500
    study.hypotheses = ('H4', 'H6', 'H7')
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
    study.trial_size = 10_000
    study.trial_steps = 5000
    study.hypotheses = ('H4', 'H5a', 'H5b', 'H6', 'H7')
  return config
