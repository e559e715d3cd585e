"""Checks config.study, and takes it apart from the base configuration."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from edjax import arms
from edjax import config as configuration
from edjax.config import ConfigError

BLOCKS = (
  'main', 'stopping', 'delta', 'spacing', 'noise', 'size_split', 'geometry',
  'controls',
)  # fmt: skip
# Seeds of initialisation are subset seed + this * number.
INIT_STRIDE = 1000


def _whole(low: int, high: int = 2**31 - 1) -> Callable[[Any], str]:
  def rule(value):
    ok = isinstance(value, int) and not isinstance(value, bool)
    if ok and low <= value <= high:
      return ''
    return f'must be a whole number from {low} to {high}, not {value!r}'

  return rule


def _numbers(low: float, *, open_low=False, empty=False):
  bounds = f'{">" if open_low else ">="} {low:g}'

  def rule(value):
    ok = isinstance(value, tuple) and (value or empty)
    ok = ok and all(
      isinstance(v, (int, float))
      and not isinstance(v, bool)
      and low <= v < float('inf')
      and not (open_low and v == low)
      for v in value
    )
    if ok and len(set(value)) == len(value):
      return ''
    what = 'numbers' if empty else 'one or more numbers'
    return f'must be a tuple of {what} {bounds}, none twice, not {value!r}'

  return rule


def _sizes(value):
  ok = isinstance(value, tuple) and value
  ok = ok and all(isinstance(v, int) and v >= 2 for v in value)
  if ok and sorted(set(value)) == list(value):
    return ''
  return f'must be a tuple of growing whole numbers >= 2, not {value!r}'


def _some(known, *, empty=False):
  def rule(value):
    if not isinstance(value, tuple) or not (value or empty):
      return f'must be a tuple of some of {list(known)}, not {value!r}'
    unknown = [v for v in value if v not in known]
    if unknown:
      return f'has {unknown}; known are {list(known)}'
    return '' if len(set(value)) == len(value) else f'repeats one: {value!r}'

  return rule


def _names(value):
  ok = isinstance(value, tuple) and all(isinstance(v, str) for v in value)
  return '' if ok else f'must be a tuple of names, not {value!r}'


def _margins(value):
  """Several targets may share a margin's number."""
  ok = isinstance(value, tuple) and all(
    isinstance(v, (int, float)) and not isinstance(v, bool) and v > 0
    for v in value
  )
  return '' if ok else f'must be a tuple of numbers > 0, not {value!r}'


def _one(*known):
  return lambda value: (
    '' if value in known else f'must be one of {list(known)}, not {value!r}'
  )


def _text(value):
  return '' if isinstance(value, str) else f'must be a string, not {value!r}'


RULES: Mapping[str, Callable[[Any], str]] = {
  'title': _text,
  'representations': _some(arms.ARMS),
  'sizes': _sizes,
  'subset_seeds': _whole(1, INIT_STRIDE - 1),
  'small_size': _whole(0),
  'small_seeds': _whole(0, INIT_STRIDE - 1),
  'init_seeds': _whole(1, INIT_STRIDE),
  'folds': _whole(0),
  'blocks': _some(BLOCKS),
  'middle_size': _whole(2),
  'block_seeds': _whole(1, INIT_STRIDE - 1),
  'block_representations': _some(arms.ARMS, empty=True),
  'patience': _whole(1),
  'deltas': _some(('composition', 'gfn2')),
  'spacings': _numbers(0, open_low=True),
  'smooths': _numbers(0),
  'boxes': _numbers(0, open_low=True),
  'noises': _numbers(0, open_low=True),
  'trial_learning_rates': _numbers(0, open_low=True),
  'trial_transforms': _some(('', *configuration.TRANSFORMS)),
  'trial_size': _whole(2),
  'trial_steps': _whole(1),
  'trial_seed': _whole(0),
  'primary': _names,
  'metric': _one('mae', 'rmse'),
  'margins': _margins,
  'hypotheses': _names,
  'processes': _whole(0),
  'vmap_seeds': _one('auto', 'on', 'off'),
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
  complaints = []
  for name in sorted(set(study) - set(RULES)):
    near = difflib.get_close_matches(name, RULES, 1)
    hint = f' (did you mean config.study.{near[0]}?)' if near else ''
    complaints.append(f'config.study.{name}: no such field{hint}')
  for name, rule in RULES.items():
    complaint = rule(study[name]) if name in study else 'is missing'
    if complaint:
      complaints.append(f'config.study.{name} {complaint}')
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
  from edjax import verdicts

  unknown = [h for h in study.hypotheses if h not in verdicts.HYPOTHESES]
  if not unknown:
    return []
  return [
    f'config.study.hypotheses has {unknown}; known are '
    f'{list(verdicts.HYPOTHESES)}'
  ]
