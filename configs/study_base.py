"""Every field of config.study: meaning, unit, allowed values.

A study is a base configuration with the section `study`. Values are literals,
as in configs/default.py; `edjax.study.settings` checks them.
"""

from ml_collections import ConfigDict


def add_study(config: ConfigDict) -> ConfigDict:
  """Adds the section `study` to a configuration, and returns the section.

  By docs/protocol.md, validation takes a share of the labels of a run, and the
  last weights are evaluated.
  """
  config.data.validation_share = 0.2
  config.train.weights = 'last'
  config.study = get_study()
  return config.study


def get_study() -> ConfigDict:
  """Returns five representations, two sizes, five seeds, without tuning."""
  study = ConfigDict()
  # Heading of the report.
  study.title = 'Which representation, with how much data'

  # Names of edjax/study/representations.py.
  study.representations = (
    'atoms', 'density', 'gradient', 'promolecule', 'shape',
  )  # fmt: skip
  # Labels of a run, validation included, smallest first: whole numbers, or
  # shares of those that are not in the test set, such as (0.5, 1.0).
  study.sizes = (100, 400)
  # Number of subset seeds 0, 1, ... at each size. Subsets of a seed are nested.
  study.subset_seeds = 5
  # Number of subset seeds at sizes up to small_size (0: subset_seeds).
  study.small_size = 0
  study.small_seeds = 0
  # Initialisations for each subset seed. Number k of subset seed s has
  # train.seed = s + 1000 k, in every representation.
  study.init_seeds = 1
  # For data.split='clusters': number of folds; every run is done once for each,
  # and together they predict every example once. 0: the test set of the split.
  study.folds = 0

  # Ablations beside the main runs (of fixed steps), any of: 'stopping' (best
  # weights, patience), 'delta', 'spacing', 'noise' (of coordinates),
  # 'size_split', 'geometry', 'controls' (noise as input, exchanged labels),
  # 'variants'.
  study.ablations = ()
  # Size, number of subset seeds and representations (all for ()) of ablations.
  study.middle_size = 400
  study.ablation_seeds = 3
  study.ablation_representations = ()
  # 'stopping': train.patience.
  study.patience = 4
  # 'delta': values of data.delta.
  study.deltas = ('composition', 'gfn2')
  # 'spacing': all combinations of spacing (Å), blur of every channel (standard
  # deviation, Å) and edge of the box (Å).
  study.spacings = (0.5, 0.75)
  study.smooths = (0.0, 0.5)
  study.boxes = (12.0,)
  # 'noise': standard deviations, Å.
  study.noises = (0.1, 0.2, 0.5)
  # 'variants': settings of your own by name, each a dict of fields that differ:
  # {'mass': {'data': {'origin': 'mass'}}}.
  study.variants = ConfigDict()

  # Trials, the same for each representation: every learning rate with every
  # transform (of all its channels). The validation error of the last weights
  # (standardised MAE, or log loss) chooses; tuned.json keeps the choice. There
  # are no trials for one learning rate with the transform '' (those of the
  # configuration).
  study.trial_learning_rates = (3e-3,)
  study.trial_transforms = ('',)
  study.trial_size = 400
  study.trial_steps = 200
  # Subset seed and initialisation of the trials, which no run may have.
  study.trial_seed = 999

  # For verdicts: targets (() for all of them; Holm correction over them), 'mae'
  # or 'rmse' (of classes 'log_loss'), margins of equivalence (in units of the
  # tables, one per target, or () if none is claimed) and hypotheses of
  # edjax/study/verdicts.py.
  study.primary = ('gap',)
  study.metric = 'mae'
  study.margins = ()
  study.hypotheses = ()

  # Runs at a time; 0: on a CPU one per core (each on its core), else one; with
  # --dask one per worker.
  study.processes = 0
  return study
