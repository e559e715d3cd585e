"""Checks config.study, and takes it apart from the base configuration."""

from collections.abc import Mapping

from ml_collections import ConfigDict

from edjax.config import ConfigError, rules, schema
from edjax.study import arms

BLOCKS = (
  'main', 'stopping', 'delta', 'spacing', 'noise', 'size_split', 'geometry',
  'controls',
)  # fmt: skip
# Seeds of initialisation are subset seed + this * number.
INIT_STRIDE = 1000


RULES: Mapping[str, rules.Rule] = {
  'title': rules.text,
  'representations': rules.some_of(arms.ARMS),
  'sizes': rules.growing(2),
  'subset_seeds': rules.number(int, 1, INIT_STRIDE - 1),
  'small_size': rules.number(int, 0),
  'small_seeds': rules.number(int, 0, INIT_STRIDE - 1),
  'init_seeds': rules.number(int, 1, INIT_STRIDE),
  'folds': rules.number(int, 0),
  'blocks': rules.some_of(BLOCKS),
  'middle_size': rules.number(int, 2),
  'block_seeds': rules.number(int, 1, INIT_STRIDE - 1),
  'block_representations': rules.some_of(arms.ARMS, empty=True),
  'patience': rules.number(int, 1),
  'deltas': rules.some_of(('composition', 'gfn2')),
  'spacings': rules.numbers(0, open_low=True),
  'smooths': rules.numbers(0),
  'boxes': rules.numbers(0, open_low=True),
  'noises': rules.numbers(0, open_low=True),
  'trial_learning_rates': rules.numbers(0, open_low=True),
  'trial_transforms': rules.some_of(('', *schema.TRANSFORMS)),
  'trial_size': rules.number(int, 2),
  'trial_steps': rules.number(int, 1),
  'trial_seed': rules.number(int, 0),
  'primary': rules.names(empty=True),
  'metric': rules.one_of('mae', 'rmse'),
  'margins': rules.numbers(0, open_low=True, distinct=False),
  'hypotheses': rules.names(empty=True),
  'processes': rules.number(int, 0),
}


def split(config: ConfigDict) -> tuple[ConfigDict, ConfigDict]:
  """The study and the configuration that its runs share.

  Args:
    config: as made by a file configs/study_*.py.

  Returns:
    (study, base): copies; `base` has no section `study`.

  Raises:
    ConfigError: fields of config.study are unknown, missing, wrong or
      contradict the rest; all complaints at once.
  """
  base = ConfigDict(config, convert_dict=True).copy_and_resolve_references()
  if 'study' not in base:
    raise ConfigError(
      'this configuration has no section config.study; take one of '
      'configs/study_*.py'
    )
  study = base.study
  with base.unlocked():
    del base['study']
  complaints = rules.complaints(study, RULES, 'config.study.')
  if not complaints:
    complaints = _contradictions(study, base)
  if complaints:
    raise ConfigError('\n'.join(['wrong configuration:', *complaints]))
  return study, base


def _contradictions(study, base) -> list[str]:
  found = []
  if 'main' not in study.blocks:
    found.append("config.study.blocks must have 'main', which the rest is "
                 'shown beside')  # fmt: skip
  unknown = [t for t in study.primary if t not in base.data.targets]
  if unknown or not study.primary:
    found.append(
      f'config.study.primary has {unknown or "nothing"}; it is some of '
      f'config.data.targets, {list(base.data.targets)}'
    )
  if study.margins and len(study.margins) != len(study.primary):
    found.append(
      f'config.study.margins has {len(study.margins)} numbers for the '
      f'{len(study.primary)} targets of config.study.primary'
    )
  if study.folds in (1, 2):
    found.append(
      f'config.study.folds={study.folds}: 0 is none, and three are the fewest '
      '(one to test, one to validate, one to train)'
    )
  if (base.data.split == 'clusters') != bool(study.folds):
    found.append(
      f"config.study.folds={study.folds} with config.data.split="
      f"{base.data.split!r}: folds go with 'clusters', and only with it"
    )  # fmt: skip
  seeds = max(study.subset_seeds, study.small_seeds, study.block_seeds)
  rates = study.trial_learning_rates
  if len(rates) == 1 and rates[0] != base.optim.learning_rate:
    found.append(
      f'config.optim.learning_rate={base.optim.learning_rate:g}, but the only '
      f'one of config.study.trial_learning_rates is {rates[0]:g}'
    )
  number, subset = divmod(study.trial_seed, INIT_STRIDE)
  if subset < seeds and number < study.init_seeds:
    found.append(
      f'config.study.trial_seed={study.trial_seed} is a seed of the runs too'
    )
  if set(study.blocks) != {'main'} and study.middle_size not in study.sizes:
    found.append(
      f'config.study.middle_size={study.middle_size} is none of '
      f'config.study.sizes={study.sizes}: blocks would have nothing beside them'
    )
  if not base.data.validation_share:
    found.append(
      'config.data.validation_share must be above 0 in a study, so that a run '
      'at size n uses n labels in all'
    )
  if base.train.weights != 'last' or base.train.patience:
    found.append(
      "config.train.weights must be 'last' and config.train.patience 0 in a "
      "study: its main block has a fixed number of steps; see 'stopping' of "
      'config.study.blocks'
    )
  if 'stopping' in study.blocks and base.train.eval_every >= base.train.steps:
    found.append(
      f"config.study.blocks has 'stopping', but config.train.eval_every="
      f'{base.train.eval_every} evaluates once in {base.train.steps} steps'
    )
  if 'spacing' in study.blocks:
    for spacing in study.spacings:
      for box in study.boxes:
        voxels = round(box / spacing)
        if abs(voxels * spacing - box) > 1e-6 * box:
          found.append(
            f'config.study.boxes: {box:g} Å is no multiple of the spacing '
            f'{spacing:g} Å'
          )
  return found + _verdicts(study)


def _verdicts(study) -> list[str]:
  if not study.hypotheses:
    return []
  from edjax.study import verdicts

  unknown = [h for h in study.hypotheses if h not in verdicts.HYPOTHESES]
  if not unknown:
    return []
  return [
    f'config.study.hypotheses has {unknown}; known are '
    f'{list(verdicts.HYPOTHESES)}'
  ]
