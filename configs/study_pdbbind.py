"""The study on PDBbind: which input, with how many complexes.

  python launch.py --config configs/study_pdbbind.py[:ligands|:smoke|:full] \
    --config.data.manual_dir=DIR_OF_PDBBIND --mode study

Rules of the comparison: docs/protocol.md.
"""

from configs import pdbbind_base, study_base


def get_config(variant: str = ''):
  """Returns a variant of the study.

  Args:
    variant: '' (32^3 at 0.75 Å, for some hundred complexes and 2 cores),
      'ligands' (ligands without proteins, more of them, random split), 'smoke'
      (a few steps, to check your files), 'full' (96^3 at
      0.25 Å, thousands of complexes, for accelerators).

  Raises:
    ValueError: another variant.
  """
  bases = {'': '', 'ligands': 'ligands', 'smoke': '', 'full': 'full'}
  if variant not in bases:
    raise ValueError(
      f"no variant {variant!r}; there are '', 'ligands', 'smoke' and 'full'"
    )
  config = pdbbind_base.get_config(bases[variant])
  study = study_base.add_study(config)
  study.title = 'PDBbind: which input, with how many complexes'
  # The density of the base is the promolecule. Noise is the control of claims
  # of equivalence.
  study.representations = ('atoms', 'density', 'gradient', 'shape', 'noise')
  # Three leave two thirds for training, and cost less than more of them.
  study.folds = 3
  study.primary = ('pk',)
  study.metric = 'rmse'
  study.margins = (0.05,)
  study.hypotheses = ('H1', 'H2', 'H3')
  study.deltas = ('composition',)
  study.trial_learning_rates = (config.optim.learning_rate,)
  if variant == 'smoke':
    config.train.steps = 10
    config.train.eval_every = 10
    config.train.checkpoint_every = 10
    config.eval.rotations = 1
    study.sizes = (60, 120)
    study.subset_seeds = 2
    study.middle_size = 60
  elif variant == 'full':
    study.representations += (
      'valence', 'shape_one_radius', 'density_gradient', 'atoms_density',
    )  # fmt: skip
    study.sizes = (100, 316, 1000, 3162, 10_000)
    study.folds = 5
    study.small_size = 1000
    study.small_seeds = 10
    study.ablations = ('stopping', 'delta', 'spacing', 'controls')
    study.middle_size = 1000
    study.spacings = (0.25, 0.5)
    study.boxes = (24.0,)
    study.trial_learning_rates = (3e-4, 1e-3, 3e-3)
    study.trial_transforms = ('none', 'arcsinh')
    study.trial_size = 1000
    study.trial_steps = 2000
  else:
    config.train.steps = 300
    config.train.eval_every = 300
    study.sizes = (60, 120, 240)
    study.small_size = 60
    study.small_seeds = 10
    study.middle_size = 120
    study.trial_learning_rates = (5e-4, 2e-3, 8e-3)
    study.trial_size = 120
    study.trial_steps = 100
    if variant == 'ligands':
      study.title = 'Ligands of PDBbind: which input, with how many of them'
      study.folds = 0
      config.data.max_eval = 500
      study.sizes = (200, 800, 3200)
      study.small_size = 200
      study.middle_size = 800
      study.trial_size = 800
  return config
