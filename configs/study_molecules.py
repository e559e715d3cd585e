"""The study on your own molecules: which input, with how many of them.

  python launch.py --config configs/study_molecules.py[:full] \
    --config.data.source=FILE_OR_FOLDER --config.data.targets="('COLUMN',)" \
    --mode study

Your own molecules: docs/own_molecules.md. Rules: docs/protocol.md.
"""

from configs import molecules_base, study_base


def get_config(variant: str = ''):
  """Returns a variant of the study.

  Args:
    variant: '' (four inputs with half and all of some hundred molecules, three
      subsets: minutes on 2 cores), 'full' (thousands of molecules, for
      accelerators).

  Raises:
    ValueError: another variant.
  """
  config = molecules_base.get_config(variant)
  study = study_base.add_study(config)
  study.title = 'Your molecules: which input, with how many of them'
  study.representations = ('atoms', 'density', 'gradient', 'shape')
  study.primary = ()
  study.sizes = (0.5, 1.0)
  study.subset_seeds = 3
  if variant == 'full':
    study.representations += ('promolecule', 'atoms_density')
    study.sizes = (0.125, 0.25, 0.5, 1.0)
    study.subset_seeds = 5
    study.trial_learning_rates = (1e-3, 3e-3, 1e-2)
    study.trial_steps = 2000
  else:
    config.model.widths = (8, 16, 32)
    config.train.steps = 200
    config.eval.rotations = 2
  config.train.eval_every = config.train.steps
  return config
