"""Every field of config.study: meaning, unit, allowed values.

A study is a base configuration with this section beside it. Values are
literals, as in configs/default.py; `edjax.study.settings` checks them.
"""

from ml_collections import ConfigDict


def add_study(config: ConfigDict) -> ConfigDict:
  """Makes a study of a base configuration, by the rules of docs/protocol.md.

  Validation comes out of the labels of a run, and the last weights count.

  Args:
    config: gets a section `study`.

  Returns:
    That section.
  """
  config.data.validation_share = 0.2
  config.train.weights = 'last'
  config.study = get_study()
  return config.study


def get_study() -> ConfigDict:
  """Five representations, two sizes, five seeds; nothing is tuned."""
  study = ConfigDict()
  # Heading of the report.
  study.title = 'Which representation, with how much data'

  # Names of edjax/study/representations.py.
  study.representations = (
    'atoms', 'density', 'gradient', 'promolecule', 'shape',
  )  # fmt: skip
  # Labels that a run may use in all, smallest first.
  study.sizes = (100, 400)
  # Subset seeds 0, 1, ...: so many at each size. The subsets of one seed are
  # nested in size.
  study.subset_seeds = 5
  # At sizes up to this one, so many (0: as many as above).
  study.small_size = 0
  study.small_seeds = 0
  # Initialisations for each subset seed. Number k of subset seed s has
  # train.seed = s + 1000 k, in every representation.
  study.init_seeds = 1
  # For data.split='clusters': every run once for each of so many folds, which
  # then predict every example once. 0: the split's own test set.
  study.folds = 0

  # Varied beside the main runs (of fixed steps), any of: 'stopping' (best
  # weights, patience), 'delta', 'spacing', 'noise' (of coordinates),
  # 'size_split', 'geometry', 'controls' (noise as input, exchanged labels).
  study.ablations = ()
  # These at one size, for so many subset seeds, of these representations (all
  # for ()).
  study.middle_size = 400
  study.ablation_seeds = 3
  study.ablation_representations = ()
  # 'stopping': train.patience.
  study.patience = 4
  # 'delta': values of data.delta.
  study.deltas = ('composition', 'gfn2')
  # 'spacing': every combination of spacing (Å), blur of every channel
  # (standard deviation, Å) and edge of the box (Å).
  study.spacings = (0.5, 0.75)
  study.smooths = (0.0, 0.5)
  study.boxes = (12.0,)
  # 'noise': standard deviations, Å.
  study.noises = (0.1, 0.2, 0.5)

  # Trials, the same for each representation: every learning rate with every
  # transform (of all its channels), chosen by the last weights' standardised
  # validation MAE, then frozen in tuned.json. One learning rate and '' as the
  # only transform (that of the configuration): no trials.
  study.trial_learning_rates = (3e-3,)
  study.trial_transforms = ('',)
  study.trial_size = 400
  study.trial_steps = 200
  # Subset seed and initialisation of the trials: not one of the runs'.
  study.trial_seed = 999

  # What is judged: targets (Holm correction over them), 'mae' or 'rmse',
  # margins of equivalence (in units of the tables, one for each target, or
  # () where no equivalence is claimed) and names of edjax/study/verdicts.py.
  study.primary = ('gap',)
  study.metric = 'mae'
  study.margins = ()
  study.hypotheses = ()

  # Runs at a time; 0: on a CPU one a core (each on its core), else one.
  study.processes = 0
  return study
