"""Trials: as many for each representation, then frozen in tuned.json."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Iterable, Mapping

from edjax.config import ConfigError
from edjax.study import arms, planning

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Trial:
  """One point of one representation.

  Attributes:
    name: of its directory.
    arm: name of `arms.ARMS`.
    fold: -1 where there are none.
    chosen: the fields that a study tunes, with their values here.
    fields: all overrides of the base configuration.
  """

  name: str
  arm: str
  fold: int
  chosen: Mapping[str, object]
  fields: Mapping[str, object]


def trials(study, base, names: Iterable[str]) -> list[Trial]:
  """The same points for each representation.

  With folds, every fold has trials of its own: the training part of one holds
  the test examples of another, which must not choose.

  Args:
    study, base: from `settings.split`.
    names: representations.

  Returns:
    Point by point, so that an interrupted study has tried all representations
    about equally often; one point for each where nothing is tuned.
  """
  folds = range(study.folds) if study.folds else (-1,)
  found = []
  for rate in study.trial_learning_rates:
    for transform in study.trial_transforms:
      for fold in folds:
        found += [
          _trial(study, base, name, rate, transform, fold) for name in names
        ]
  return found


def is_tuned(study) -> bool:
  """Whether there is anything to choose from."""
  return len(study.trial_learning_rates) * len(study.trial_transforms) > 1


def _trial(study, base, arm, rate, transform, fold) -> Trial:
  chosen = {'optim.learning_rate': float(rate)}
  if transform:
    chosen |= arms.transform_fields(arm, transform)
  fields = {
    **arms.fields_of(arm),
    **chosen,
    'data.train_size': float(study.trial_size),
    'data.subset_seed': study.trial_seed,
    'train.seed': study.trial_seed,
    'train.steps': study.trial_steps,
    'train.eval_every': study.trial_steps,
    'train.checkpoint_every': study.trial_steps,
    # Nothing reads what a trial says of test molecules.
    'data.max_eval': _FEW,
    'eval.rotations': 1,
    'eval.bootstrap': 100,
  }
  if fold >= 0:
    fields |= {'data.folds': study.folds, 'data.fold': fold}
  name = f'{arm}-lr{rate:g}' + (f'-{transform}' if transform else '')
  name += f'-f{fold}' if fold >= 0 else ''
  content = planning.content(planning.with_fields(base, fields))
  name += f'-{planning.digest(content)}'
  return Trial(name, arm, fold, chosen, fields)


# Test molecules of a trial, which the run's own summary needs.
_FEW = 16


def score(directory: pathlib.Path) -> float | None:
  """The last weights' standardised validation MAE of a trial.

  From metrics.jsonl, where nothing is about test molecules.

  Args:
    directory: of the trial.

  Returns:
    inf where training diverged, None where the trial is not finished.
  """
  if (directory / 'diverged').exists():
    return math.inf
  if not (directory / 'results.json').exists():
    return None
  lines = (directory / 'metrics.jsonl').read_text(encoding='utf-8')
  values = [
    line['value']
    for line in map(json.loads, lines.splitlines())
    if line['name'] == 'mae_standardised' and line['split'] == 'validation'
  ]
  return values[-1] if math.isfinite(values[-1]) else math.inf


def key(arm: str, fold: int) -> str:
  """Of an entry of tuned.json."""
  return arm if fold < 0 else f'{arm}/{fold}'


def frozen(workdir) -> dict[str, dict]:
  """What has been chosen: `key` -> fields."""
  path = pathlib.Path(workdir) / 'tuned.json'
  if not path.exists():
    return {}
  return json.loads(path.read_text(encoding='utf-8'))['chosen']


def freeze(workdir, study, all_trials: Iterable[Trial]) -> dict[str, dict]:
  """Chooses for every representation whose trials have all ended.

  Not for one whose trials have all diverged: its runs cannot begin.

  What tuned.json holds is never chosen again.

  Args:
    workdir: of the study.
    study: from `settings.split`.
    all_trials: from `trials`.

  Returns:
    As `frozen`.

  Raises:
    ConfigError: tuned.json rests on other trials.
  """
  from edjax.runtime import locks  # builders only where they are needed

  workdir = pathlib.Path(workdir)
  settings = planning.trial_settings(study)
  groups: dict[str, list[Trial]] = {}
  for trial in all_trials:
    groups.setdefault(key(trial.arm, trial.fold), []).append(trial)
  with locks.locked(workdir / '.tuned.lock', 'tuned.json'):
    path = workdir / 'tuned.json'
    content = {'format': FORMAT, **settings, 'chosen': {}, 'trials': []}
    if path.exists():
      before = json.loads(path.read_text(encoding='utf-8'))
      if any(before[k] != v for k, v in settings.items()):
        raise ConfigError(f'{path} rests on other trials; it stays as it is')
      content = before
    for group, members in groups.items():
      if group in content['chosen']:
        continue
      scores = [_score(workdir, study, trial) for trial in members]
      if any(s is None for s in scores):
        continue
      best = min(range(len(members)), key=scores.__getitem__)
      if math.isinf(scores[best]):
        continue  # every trial diverged: nothing to choose
      content['chosen'][group] = dict(members[best].chosen)
      content['trials'] += [
        {
          'name': trial.name, 'arm': trial.arm, 'fold': trial.fold,
          'fields': dict(trial.chosen),
          'score': None if math.isinf(value) else value,
        }
        for trial, value in zip(members, scores, strict=True)
      ]  # fmt: skip
    planning.write_json(path, content)
  return content['chosen']


def _score(workdir, study, trial: Trial) -> float | None:
  if not is_tuned(study):
    return 0.0  # the only point
  return score(workdir / 'trials' / trial.name)
