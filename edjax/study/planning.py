"""Plans the runs of a study, in plan.json before the first of them."""

import dataclasses
import hashlib
import itertools
import json
import pathlib
import time
from collections.abc import Iterable, Iterator, Mapping

from ml_collections import ConfigDict

from edjax import config as configuration
from edjax.config import ConfigError
from edjax.runtime import atomic_files, locks, run_directory
from edjax.study import settings
from edjax.study.representations import REPRESENTATIONS

FORMAT = 2


@dataclasses.dataclass(frozen=True)
class Entry:
  """One run of a study.

  Attributes:
    name: of its directory: description and hash of its fields.
    ablation: 'main', or one of `settings.ABLATIONS`.
    setting: description of the ablation's setting; '' in 'main'.
    representation: name in `REPRESENTATIONS`.
    size: labels that it may use.
    subset_seed: of the subset.
    init_seed: number of the initialisation, from 0.
    fold: number of the fold; -1 without folds.
    fields: overrides of the base configuration, without those of the trials.
  """

  name: str
  ablation: str
  setting: str
  representation: str
  size: int
  subset_seed: int
  init_seed: int
  fold: int
  fields: Mapping[str, object]


def with_fields(base: ConfigDict, fields: Mapping[str, object]) -> ConfigDict:
  """Returns a copy of a configuration with {'data.seed': ...} replaced."""
  config = base.copy_and_resolve_references()
  config.update_from_flattened_dict(dict(fields))
  return config


def content(config: ConfigDict) -> dict:
  """Returns the fields of a run that its results depend on."""
  flat = configuration.flatten(config)
  return {k: v for k, v in flat.items() if k not in run_directory.FREE}


def digest(*parts) -> str:
  """Returns 8 hexadecimal digits of a hash of the parts."""
  text = json.dumps(parts, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:8]


def trial_settings(study) -> dict:
  """Returns the fields that the choice of the trials depends on."""
  return {
    'learning_rates': list(study.trial_learning_rates),
    'transforms': list(study.trial_transforms),
    'size': study.trial_size,
    'steps': study.trial_steps,
    'seed': study.trial_seed,
  }


def _parts(study) -> Iterator[tuple]:
  """Yields the main comparison, then each setting of each ablation.

  Yields:
    Ablation, setting, overrides, representations, sizes; see `Entry`.
  """
  yield 'main', '', {}, study.representations, study.sizes
  settings_of = _settings(study)
  for ablation in settings.ABLATIONS:
    if ablation not in study.ablations:
      continue
    for setting, fields in settings_of[ablation].items():
      names = study.ablation_representations or study.representations
      if (ablation, setting) == ('controls', 'noise'):
        noisy = 'noise', 'density_noise'
        names = [n for n in noisy if n not in study.representations]
      yield ablation, setting, fields, names, (study.middle_size,)


def _settings(study) -> dict[str, dict[str, dict]]:
  """Returns the overrides of each setting of each ablation."""
  return {
    'stopping': {
      f'patience {study.patience}': {
        'train.weights': 'best', 'train.patience': study.patience,
      }
    },
    'delta': {kind: {'data.delta': kind} for kind in study.deltas},
    'spacing': {
      f'spacing {spacing:g} Å, blur {smooth:g} Å, box {box:g} Å': {
        'representation.spacing': float(spacing),
        'representation.smooth': float(smooth),
        'representation.grid_size': round(box / spacing),
      }
      for spacing, smooth, box in itertools.product(
        study.spacings, study.smooths, study.boxes
      )
    },
    'noise': {
      f'{noise:g} Å': {'data.geometry': 'noise', 'data.noise': float(noise)}
      for noise in study.noises
    },
    'size_split': {'larger molecules': {'data.split': 'size'}},
    'geometry': {'GFN2 geometries': {'data.geometry': 'gfn2'}},
    'controls': {
      'noise': {},
      'exchanged labels': {'data.shuffle_labels': True},
    },
    'variants': settings.variant_fields(study),
  }  # fmt: skip


def _seeds(study, ablation: str, size: int) -> int:
  if ablation != 'main':
    return study.ablation_seeds
  if size <= study.small_size:
    return max(study.subset_seeds, study.small_seeds)
  return study.subset_seeds


def entries(study, base) -> list[Entry]:
  """Lists every run of a study, in the order in which they are run.

  The main comparison is first, then the ablations, both seed by seed (all
  representations and sizes of seed 0, then of seed 1, ...): an interrupted
  study has about equally many seeds of each. An ablation leaves out runs that
  the main comparison has.

  Args:
    study, base: from `settings.split`.
  """
  folds = range(study.folds) if study.folds else (-1,)
  planned: dict[str, Entry] = {}
  for ablation, setting, overrides, representations, sizes in _parts(study):
    inits = study.init_seeds if ablation == 'main' else 1
    for size in sizes:
      seeds = _seeds(study, ablation, size)
      for seed, init, fold, representation in itertools.product(
        range(seeds), range(inits), folds, representations
      ):
        fields = {
          **REPRESENTATIONS[representation].fields,
          **overrides,
          'data.train_size': float(size),
          'data.subset_seed': seed,
          'train.seed': seed + settings.INIT_STRIDE * init,
          **fold_fields(study, fold),
        }
        name = f'{representation}-n{size}-s{seed}'
        name += f'-f{fold}' if fold >= 0 else ''
        name += f'-i{init}' if init else ''
        run_content = content(with_fields(base, fields))
        name += f'-{digest(run_content, trial_settings(study))}'
        entry = Entry(
          name, ablation, setting, representation, size, seed, init, fold,
          fields,
        )  # fmt: skip
        planned.setdefault(name, entry)
  return sorted(
    planned.values(),
    key=lambda e: (e.ablation != 'main', e.subset_seed, e.init_seed, e.fold),
  )


def fold_fields(study, fold: int) -> dict[str, int]:
  """Returns the overrides of a fold; none for -1."""
  return {'data.folds': study.folds, 'data.fold': fold} if fold >= 0 else {}


def in_shard(name: str, shard: tuple[int, int]) -> bool:
  """Returns whether a name belongs to shard (i, n)."""
  number, count = shard
  value = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], 'big')
  return value % count == number


def read(workdir) -> dict:
  """Reads plan.json of a study.

  Raises:
    FileNotFoundError: there is no plan.json.
    ConfigError: another version of edjax wrote it.
  """
  path = pathlib.Path(workdir) / 'plan.json'
  if not path.exists():
    raise FileNotFoundError(
      f'{workdir} holds no plan.json, so no study; --mode study makes one'
    )
  plan = json.loads(path.read_text(encoding='utf-8'))
  if plan.get('format') != FORMAT:
    raise ConfigError(
      f'{path} has format {plan.get("format")}, not {FORMAT}: another version '
      'of edjax made it'
    )
  return plan


def write(workdir, study, base, planned: Iterable[Entry]) -> dict:
  """Writes plan.json, or adds entries to an existing one.

  Args:
    workdir: of the study.
    study, base: from `settings.split`.
    planned: from `entries`.

  Returns:
    The plan with all entries, those of earlier commands included.

  Raises:
    ConfigError: the directory holds another study. Names the difference.
  """
  workdir = pathlib.Path(workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  with locks.locked(workdir / '.plan.lock', 'the plan'):
    header = {
      'format': FORMAT,
      'title': study.title,
      'dataset': base.data.name,
      'primary': study.primary,
      'metric': study.metric,
      'margins': dict(zip(study.primary, study.margins, strict=False)),
      'hypotheses': study.hypotheses,
      'folds': study.folds,
      'trials': trial_settings(study),
      'base': content(base),
      'numerics': run_directory.numerics(),
    }
    now = json.loads(json.dumps(header))  # tuples as lists, as in the file
    rows = {
      entry.name: {k: v for k, v in vars(entry).items() if k != 'fields'}
      for entry in planned
    }
    history = []
    if (workdir / 'plan.json').exists():
      # Plans of before had JAX's own settings.
      before = {'numerics': run_directory.NUMERICS} | read(workdir)
      _check_same(workdir, before, now)
      known = {row['name']: row for row in before['entries']}
      history = before.get('history', [])
      if added := len(rows.keys() - known.keys()):
        history = [*history, _growth(workdir, known, added)]
      rows = known | rows
    used = {row['representation'] for row in rows.values()}
    labels = {k: v.label for k, v in REPRESENTATIONS.items() if k in used}
    plan = now | {
      'labels': labels, 'entries': list(rows.values()), 'history': history,
    }  # fmt: skip
    atomic_files.write_json(workdir / 'plan.json', plan)
  return plan


def _growth(workdir, known: Iterable[str], added: int) -> dict:
  """Returns how many runs a plan gained, and how many were finished by then.

  The report names runs that were added after results: seeds that are added
  until a verdict pleases invalidate its error rates.
  """
  return {
    'date': time.strftime('%Y-%m-%d', time.gmtime()),
    'added': added,
    'finished': sum(
      (workdir / 'runs' / name / 'results.json').exists() for name in known
    ),
  }


def _check_same(workdir, before: dict, now: dict) -> None:
  changed = [
    f'{key}={before[key]!r}, not {now[key]!r}'
    for key in now
    if key not in ('title', 'base') and before[key] != now[key]
  ]
  old, new = before['base'], now['base']
  changed += [
    f'config.{field}={old.get(field)!r}, not {new.get(field)!r}'
    for field in sorted(old.keys() | new.keys())
    if old.get(field) != new.get(field)
  ]
  if changed:
    raise ConfigError(
      f'{workdir} holds a study with {"; ".join(changed)}. These fields are '
      'fixed before the first run; give another --workdir'
    )
