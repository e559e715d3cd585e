"""The study on your own complexes: which input, with how many of them.

  python launch.py --config configs/study_complexes.py \
    --config.data.source=TABLE_OR_FOLDER \
    --config.data.targets="('COLUMN',)" --mode study

Your own complexes: docs/datasets.md. Rules: docs/protocol.md.
"""

from configs import complexes_base, study_base


def get_config(variant: str = ''):
  """Returns the study.

  Args:
    variant: '' (four inputs with half and all of some hundred complexes, three
      folds over clusters of sequences).

  Raises:
    ValueError: another variant.
  """
  if variant:
    raise ValueError(f"no variant {variant!r}; there is ''")
  config = complexes_base.get_config()
  study = study_base.add_study(config)
  study.title = 'Your complexes: which input, with how many of them'
  # The density of the base is the promolecule.
  study.representations = ('atoms', 'density', 'gradient', 'shape')
  study.primary = ()
  study.sizes = (0.5, 1.0)
  study.subset_seeds = 2
  study.folds = 3
  study.trial_learning_rates = (config.optim.learning_rate,)
  config.train.steps = 300
  config.train.eval_every = 300
  return config
