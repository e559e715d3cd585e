"""Trials, the same for each representation, and the choice in tuned.json."""

import dataclasses
import itertools
import json
import math
import pathlib
from collections.abc import Iterable, Mapping

from edjax.config import ConfigError
from edjax.evaluate import evaluator
from edjax.runtime import atomic_files, locks
from edjax.study import planning
from edjax.study.representations import REPRESENTATIONS


@dataclasses.dataclass(frozen=True)
class Trial:
  """One choice of learning rate and transform for one representation.

  Attributes:
    name, representation, fold: see `planning.Entry`.
    chosen: overrides that the runs get if this trial is the best.
    fields: all overrides of the base configuration.
  """

  name: str
  representation: str
  fold: int
  chosen: Mapping[str, object]
  fields: Mapping[str, object]


def trials(study, base, names: Iterable[str]) -> list[Trial]:
  """Lists the trials, the same choices for each representation.

  Every fold has trials of its own: the training part of one fold holds test
  examples of another, which must not influence the choice.

  Args:
    study, base: from `settings.split`.
    names: representations.

  Returns:
    Choice by choice, so that an interrupted study has tried all representations
    about equally often; one trial for each where nothing is tuned.
  """
  folds = range(study.folds) if study.folds else (-1,)
  found = []
  for rate, transform, fold, representation in itertools.product(
    study.trial_learning_rates, study.trial_transforms, folds, names
  ):
    chosen = {'optim.learning_rate': float(rate)}
    if transform:
      chosen |= REPRESENTATIONS[representation].transforms(transform)
    fields = {
      **REPRESENTATIONS[representation].fields,
      **chosen,
      'data.train_size': float(study.trial_size),
      'data.subset_seed': study.trial_seed,
      'train.seed': study.trial_seed,
      'train.steps': study.trial_steps,
      'train.eval_every': study.trial_steps,
      'train.checkpoint_every': study.trial_steps,
      # Few test molecules: nothing reads the test errors of a trial.
      'data.max_eval': 16,
      'eval.rotations': 1,
      'eval.bootstrap': 100,
      **planning.fold_fields(study, fold),
    }
    name = f'{representation}-lr{rate:g}'
    name += f'-{transform}' if transform else ''
    name += f'-f{fold}' if fold >= 0 else ''
    content = planning.content(planning.with_fields(base, fields))
    name += f'-{planning.digest(content)}'
    found.append(Trial(name, representation, fold, chosen, fields))
  return found


def is_tuned(study) -> bool:
  """Returns whether there is more than one choice."""
  return len(study.trial_learning_rates) * len(study.trial_transforms) > 1


def score(directory: pathlib.Path) -> float | None:
  """Reads the validation error of a trial's last weights.

  It is the last one in metrics.jsonl: the standardised MAE, or the log loss.

  Args:
    directory: of the trial.

  Returns:
    inf if training diverged, None if the trial is not finished.
  """
  if (directory / 'diverged').exists():
    return math.inf
  if not (directory / 'results.json').exists():
    return None
  lines = (directory / 'metrics.jsonl').read_text(encoding='utf-8')
  values = [
    line['value']
    for line in map(json.loads, lines.splitlines())
    if line['name'] in evaluator.SELECTED_BY and line['split'] == 'validation'
  ]
  return values[-1] if math.isfinite(values[-1]) else math.inf


def key(representation: str, fold: int) -> str:
  """Returns the name of a choice in tuned.json."""
  return representation if fold < 0 else f'{representation}/{fold}'


def frozen(workdir) -> dict[str, dict]:
  """Reads tuned.json: overrides of the runs by `key`; {} if it is missing."""
  path = pathlib.Path(workdir) / 'tuned.json'
  if not path.exists():
    return {}
  return json.loads(path.read_text(encoding='utf-8'))['chosen']


def freeze(workdir, study, all_trials: Iterable[Trial]) -> dict[str, dict]:
  """Chooses for every representation whose trials have all ended.

  Where all trials have diverged nothing is chosen, and the runs cannot begin.
  Earlier choices in tuned.json stay.

  Args:
    workdir: of the study.
    study: from `settings.split`.
    all_trials: from `trials`.

  Returns:
    As `frozen`.

  Raises:
    ConfigError: tuned.json rests on other trials.
  """
  workdir = pathlib.Path(workdir)
  path = workdir / 'tuned.json'
  settings = planning.trial_settings(study)
  groups: dict[str, list[Trial]] = {}
  for trial in all_trials:
    groups.setdefault(key(trial.representation, trial.fold), []).append(trial)
  with locks.locked(workdir / '.tuned.lock', 'tuned.json'):
    tuned = {'format': planning.FORMAT, **settings, 'chosen': {}, 'trials': []}
    if path.exists():
      tuned = json.loads(path.read_text(encoding='utf-8'))
      if any(tuned[k] != v for k, v in settings.items()):
        raise ConfigError(f'{path} rests on other trials; it stays as it is')
    for group, members in groups.items():
      if group in tuned['chosen']:
        continue
      scores = [0.0] * len(members)
      if is_tuned(study):
        scores = [score(workdir / 'trials' / trial.name) for trial in members]
      if None in scores or math.isinf(min(scores)):
        continue  # some have not ended, or every one has diverged
      tuned['chosen'][group] = dict(members[scores.index(min(scores))].chosen)
      tuned['trials'] += [
        {
          'name': trial.name, 'representation': trial.representation,
          'fold': trial.fold,
          'fields': dict(trial.chosen),
          'score': None if math.isinf(value) else value,
        }
        for trial, value in zip(members, scores, strict=True)
      ]  # fmt: skip
    atomic_files.write_json(path, tuned)
  return tuned['chosen']
