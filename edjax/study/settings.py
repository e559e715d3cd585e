"""Rules of the section `study` of a configuration."""

import itertools
from collections.abc import Iterator, Mapping

from ml_collections import ConfigDict

from edjax import config as configuration
from edjax import datasets, optim
from edjax.config import ConfigError, rules, schema
from edjax.evaluate import paired
from edjax.study import verdicts
from edjax.study.representations import REPRESENTATIONS

# Comparisons beside the main one, each with one choice varied.
ABLATIONS = (
  'stopping', 'delta', 'spacing', 'noise', 'size_split', 'geometry', 'controls',
  'variants',
)  # fmt: skip
# Seeds of initialisation are subset seed + this * number.
INIT_STRIDE = 1000


def _variants(value) -> str:
  """Allows a ConfigDict of dicts of fields; `_contradictions` checks these."""
  ok = isinstance(value, ConfigDict) and all(
    isinstance(fields, ConfigDict) and len(fields) for fields in value.values()
  )
  return '' if ok else f'must be a dict of dicts of fields, not {value!r}'


def _trial_transforms(value) -> str:
  """Allows a tuple of transforms, or '' for those of the configuration."""
  wrong = rules.names()(value)
  if wrong or len(set(value)) < len(value):
    return wrong or f'names something twice: {value!r}'
  return next(filter(None, map(schema.transform, filter(None, value))), '')


def _sizes(value) -> str:
  """Allows growing whole numbers, or growing shares."""
  share = rules.number(float, 0, 1, open_low=True)
  if (
    isinstance(value, tuple)
    and value
    and not any(isinstance(size, int) or share(size) for size in value)
    and sorted(set(value)) == list(value)
  ):
    return ''
  wrong = rules.growing(2)(value)
  return f'{wrong}, or of growing shares up to 1.0' if wrong else ''


RULES: Mapping[str, rules.Rule] = {
  'title': rules.text,
  'representations': rules.some_of(REPRESENTATIONS),
  'sizes': _sizes,
  'subset_seeds': rules.number(int, 1, INIT_STRIDE - 1),
  'small_size': rules.number(int, 0),
  'small_seeds': rules.number(int, 0, INIT_STRIDE - 1),
  'init_seeds': rules.number(int, 1, INIT_STRIDE),
  'folds': rules.number(int, 0),
  'ablations': rules.some_of(ABLATIONS, empty=True),
  'middle_size': rules.number(int, 2),
  'ablation_seeds': rules.number(int, 1, INIT_STRIDE - 1),
  'ablation_representations': rules.some_of(REPRESENTATIONS, empty=True),
  'patience': rules.number(int, 1),
  'deltas': rules.some_of(datasets.names_of('deltas')),
  'spacings': rules.numbers(0, open_low=True),
  'smooths': rules.numbers(0),
  'boxes': rules.numbers(0, open_low=True),
  'noises': rules.numbers(0, open_low=True),
  'variants': _variants,
  'trial_learning_rates': rules.numbers(0, open_low=True),
  'trial_transforms': _trial_transforms,
  'trial_size': rules.number(int, 2),
  'trial_steps': rules.number(int, 1),
  'trial_seed': rules.number(int, 0),
  'primary': rules.names(empty=True),
  'metric': rules.one_of(*paired.METRICS),
  'margins': rules.numbers(0, open_low=True, distinct=False),
  'hypotheses': rules.some_of(verdicts.HYPOTHESES, empty=True),
  'processes': rules.number(int, 0),
}


def split(config: ConfigDict) -> tuple[ConfigDict, ConfigDict]:
  """Separates a study from the configuration that its runs share.

  Args:
    config: as made by a file configs/study_*.py.

  Returns:
    (study, base): copies; `base` has no section `study`.

  Raises:
    ConfigError: fields of config.study are unknown, missing or wrong, or
      contradict others. The message has all complaints.
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
    complaints = list(_contradictions(study, base))
  if complaints:
    raise ConfigError('\n'.join(['wrong configuration:', *complaints]))
  study.primary = study.primary or base.data.targets
  return study, base


def variant_fields(study) -> dict[str, dict[str, object]]:
  """Returns name of a variant -> {'data.origin': ...}."""
  return {
    name: configuration.flatten(fields)
    for name, fields in study.variants.items()
  }


def _contradictions(study, base) -> Iterator[str]:
  unknown = [t for t in study.primary if t not in base.data.targets]
  if unknown:
    yield (
      f'config.study.primary has {unknown}; it is some of '
      f'config.data.targets, {list(base.data.targets)}'
    )
  losses = [base.optim.loss]
  losses += [f.get('optim.loss') for f in variant_fields(study).values()]
  if {x == optim.CLASSES for x in losses if x} != {study.metric == 'log_loss'}:
    yield (
      f'config.study.metric={study.metric!r} with config.optim.loss='
      f"{base.optim.loss!r}: 'log_loss' goes with 'log_loss', of classes, also "
      'in every variant'
    )
  if study.margins and len(study.margins) != len(study.primary):
    yield (
      f'config.study.margins has {len(study.margins)} numbers for the '
      f'{len(study.primary)} targets of config.study.primary'
    )
  if study.folds in (1, 2):
    yield (
      f'config.study.folds={study.folds}: 0 is none, and three are the fewest '
      '(one to test, one to validate, one to train)'
    )
  if (base.data.split == 'clusters') != bool(study.folds):
    yield (
      f'config.study.folds={study.folds} with config.data.split='
      f"{base.data.split!r}: folds go with 'clusters', and only with it"
    )
  rates = study.trial_learning_rates
  if len(rates) == 1 and rates[0] != base.optim.learning_rate:
    yield (
      f'config.optim.learning_rate={base.optim.learning_rate:g}, but the only '
      f'one of config.study.trial_learning_rates is {rates[0]:g}'
    )
  seeds = max(study.subset_seeds, study.small_seeds, study.ablation_seeds)
  number, subset = divmod(study.trial_seed, INIT_STRIDE)
  if subset < seeds and number < study.init_seeds:
    yield (
      f'config.study.trial_seed={study.trial_seed} is a seed of the runs too'
    )
  if study.ablations and study.middle_size not in study.sizes:
    yield (
      f'config.study.middle_size={study.middle_size} is none of '
      f'config.study.sizes={study.sizes}: ablations would have no main runs to '
      'compare with'
    )
  if not base.data.validation_share:
    yield (
      'config.data.validation_share must be above 0 in a study, so that a run '
      'at size n uses n labels in all'
    )
  if base.train.weights != 'last' or base.train.patience:
    yield (
      "config.train.weights must be 'last' and config.train.patience 0 in a "
      'study: its main comparison has a fixed number of steps; see '
      "'stopping' of config.study.ablations"
    )
  evaluates_once = base.train.eval_every >= base.train.steps
  if 'stopping' in study.ablations and evaluates_once:
    yield (
      "config.study.ablations has 'stopping', but config.train.eval_every="
      f'{base.train.eval_every} evaluates once in {base.train.steps} steps'
    )
  if ('variants' in study.ablations) != bool(len(study.variants)):
    yield (
      f'config.study.variants has {list(study.variants)}, and '
      f'config.study.ablations {study.ablations}: variants go with '
      "'variants', and only with it"
    )
  known = configuration.flatten(base)
  for name, fields in variant_fields(study).items():
    unknown = sorted(fields.keys() - known.keys())
    if unknown:
      yield (
        f'config.study.variants.{name} has {unknown}: no such field of the '
        'configuration'
      )
  if 'spacing' in study.ablations:
    for spacing, box in itertools.product(study.spacings, study.boxes):
      if abs(round(box / spacing) * spacing - box) > 1e-6 * box:
        yield (
          f'config.study.boxes: {box:g} Å is no multiple of the spacing '
          f'{spacing:g} Å'
        )
