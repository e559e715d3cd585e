"""Studies of choices that a comparison of inputs makes.

  python launch.py --mode study --workdir DIR --config \
    configs/study_choices.py:origin|:head|:head_ligands|:nonlinearity \
    --config.data.manual_dir=DIR_OF_QM9_OR_PDBBIND

docs/protocol.md has what each is to show.
"""

from ml_collections import ConfigDict

from configs import pdbbind_base, qm9_base, study_base

# Heads: see `model.input_moments` and 'moments' of `model.name`.
_HEADS = {
  'moments alone': {'model': {'name': 'moments'}},
  'moments too': {'model': {'input_moments': True}},
}


def get_config(variant: str = ''):
  """Returns a variant of the study.

  Args:
    variant: 'origin' (of the frame, for convolutions and for a head that sees
      moments of the input alone), 'head' (what the head sees: convolutions,
      moments of the input, or both), 'head_ligands' (as 'head', on PDBbind's
      ligands), 'nonlinearity' (bins of an input's logarithm at the sub-points
      of a voxel).

  Raises:
    ValueError: another variant.
  """
  return _ligands() if variant == 'head_ligands' else _qm9(variant)


def _ligands() -> ConfigDict:
  config = pdbbind_base.get_config('ligands')
  study = study_base.add_study(config)
  study.title = 'Ligands of PDBbind: what the head sees'
  study.trial_learning_rates = (config.optim.learning_rate,)
  config.data.seed = 1
  config.data.max_eval = 1000
  config.train.steps = 300
  config.train.eval_every = 300
  config.train.checkpoint_every = 300
  study.primary = ('pk',)
  study.metric = 'rmse'
  study.representations = ('atoms', 'density', 'shape')
  study.sizes = (200,)
  study.middle_size = 200
  study.subset_seeds = study.ablation_seeds = 10
  study.ablations = ('variants',)
  study.variants = _HEADS
  return config


def _qm9(variant: str) -> ConfigDict:
  config = qm9_base.get_config('qm9_cpu')
  study = study_base.add_study(config)
  # A split of its own: earlier studies suggested these choices on another.
  config.data.seed = 1
  config.data.max_eval = 1000
  config.data.origin = 'valence'
  config.eval.rotations = 8
  # The main job's network: a block at the finest grid takes half of a step.
  config.model.blocks = (0, 1, 1)
  config.model.input_moments = False
  config.train.batch_size = 16
  config.train.steps = 800
  config.train.eval_every = 800
  config.train.checkpoint_every = 800
  study.primary = ('gap', 'mu', 'alpha', 'u0_atom')
  study.sizes = (2000,)
  study.middle_size = 2000
  study.ablations = ('variants',)
  if variant == 'origin':
    study.title = 'QM9: the origin of the frame'
    study.representations = ('atoms', 'density', 'promolecule')
    study.ablation_seeds = study.subset_seeds
    mass = {'data': {'origin': 'mass'}}
    alone = _HEADS['moments alone']
    study.variants = {
      'mass': mass,
      'valence, moments alone': alone,
      'mass, moments alone': mass | alone,
    }
  elif variant == 'head':
    study.title = 'QM9: what the head sees'
    study.representations = ('atoms', 'density', 'valence', 'shape')
    study.subset_seeds = study.ablation_seeds = 10
    study.variants = _HEADS
  elif variant == 'nonlinearity':
    study.title = 'QM9: nonlinear below a voxel'
    study.representations = (
      'atoms', 'atoms_bins', 'density', 'density_bins', 'promolecule_bins',
    )  # fmt: skip
    study.sizes = (8000,)
    study.middle_size = 8000
    study.subset_seeds = 3
    study.ablations = ()
    config.train.steps = 2000
    config.train.eval_every = 2000
    config.train.checkpoint_every = 500
  else:
    raise ValueError(
      f"no variant {variant!r}; there are 'origin', 'head', 'head_ligands' and "
      "'nonlinearity'"
    )
  return config
