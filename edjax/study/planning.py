"""The entries of a study, and plan.json, where they are written down."""

import dataclasses
import hashlib
import json
import pathlib
import time
from collections.abc import Iterable, Mapping

from ml_collections import ConfigDict

from edjax import config as configuration
from edjax.config import ConfigError
from edjax.runtime import run_directory
from edjax.study import arms, settings

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Entry:
  """One run of a study.

  Attributes:
    name: of its directory: what it is and a hash of its content.
    block: see `settings.BLOCKS`.
    setting: what is varied within the block, in words; '' in 'main'.
    arm: name of `arms.ARMS`.
    size: labels that it may use.
    subset_seed: of the subset.
    init_seed: number of the initialisation, from 0.
    fold: -1 where there are none.
    fields: all overrides of the base configuration but those of the trials.
  """

  name: str
  block: str
  setting: str
  arm: str
  size: int
  subset_seed: int
  init_seed: int
  fold: int
  fields: Mapping[str, object]

  def row(self) -> dict:
    """As plan.json has it."""
    row = dataclasses.asdict(self)
    del row['fields']
    return row


def with_fields(base: ConfigDict, fields: Mapping[str, object]) -> ConfigDict:
  """A copy with some fields replaced.

  Args:
    base: a configuration.
    fields: {'data.seed': ...}.

  Raises:
    ConfigError: there is no such field.
  """
  config = ConfigDict(base).copy_and_resolve_references()
  for name, value in fields.items():
    *path, last = name.split('.')
    node = config
    for part in path:
      node = node[part]
    if last not in node:
      raise ConfigError(f'config.{name}: no such field')
    node[last] = value
  return config


def content(config: ConfigDict) -> dict:
  """What a run is: its fields without those that only say where and how."""
  flat = configuration.flatten(config)
  return {k: v for k, v in flat.items() if k not in run_directory.FREE}


def digest(*parts) -> str:
  """8 hexadecimal digits of a content."""
  text = json.dumps(parts, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:8]


def trial_settings(study) -> dict:
  """What the choice of learning rate and transform depends on."""
  return {
    'learning_rates': list(study.trial_learning_rates),
    'transforms': list(study.trial_transforms),
    'size': study.trial_size,
    'steps': study.trial_steps,
    'seed': study.trial_seed,
  }


@dataclasses.dataclass(frozen=True)
class _Part:
  """One setting of one block, for some representations."""

  block: str
  setting: str
  arms: tuple[str, ...]
  sizes: tuple[int, ...]
  fields: Mapping[str, object]


def _parts(study) -> Iterable[_Part]:
  chosen = study.block_representations or study.representations

  def part(block, setting='', fields=None, names=chosen):
    sizes = (study.middle_size,)
    return _Part(block, setting, tuple(names), sizes, fields or {})

  yield _Part('main', '', study.representations, study.sizes, {})
  blocks = study.blocks
  if 'stopping' in blocks:
    fields = {'train.weights': 'best', 'train.patience': study.patience}
    yield part('stopping', f'patience {study.patience}', fields)
  if 'delta' in blocks:
    for kind in study.deltas:
      yield part('delta', kind, {'data.delta': kind})
  if 'spacing' in blocks:
    for spacing in study.spacings:
      for smooth in study.smooths:
        for box in study.boxes:
          yield part(
            'spacing',
            f'spacing {spacing:g} Å, blur {smooth:g} Å, box {box:g} Å',
            {
              'representation.spacing': float(spacing),
              'representation.smooth': float(smooth),
              'representation.grid_size': round(box / spacing),
            },
          )
  if 'noise' in blocks:
    for noise in study.noises:
      fields = {'data.geometry': 'noise', 'data.noise': float(noise)}
      yield part('noise', f'{noise:g} Å', fields)
  if 'size_split' in blocks:
    yield part('size_split', 'larger molecules', {'data.split': 'size'})
  if 'geometry' in blocks:
    yield part('geometry', 'GFN2 geometries', {'data.geometry': 'gfn2'})
  if 'controls' in blocks:
    inputs = [
      a for a in ('noise', 'density_noise') if a not in study.representations
    ]
    yield part('controls', 'noise', names=inputs)
    yield part('controls', 'exchanged labels', {'data.shuffle_labels': True})


def _seeds(study, block: str, size: int) -> int:
  if block != 'main':
    return study.block_seeds
  if size <= study.small_size:
    return max(study.subset_seeds, study.small_seeds)
  return study.subset_seeds


def entries(study, base) -> list[Entry]:
  """Every run of a study, in the order in which they are run.

  The main block first, and in each block seed by seed (all representations
  and sizes of seed 0, then of seed 1, ...): interrupted anywhere, the study
  compares all of them on about equally many seeds. An entry that is also one
  of the main block is left out elsewhere.

  Args:
    study, base: from `settings.split`.

  Raises:
    ConfigError: a field that a block needs does not exist.
  """
  folds = range(study.folds) if study.folds else (-1,)
  found: dict[str, Entry] = {}
  rank: dict[str, tuple] = {}
  for number, part in enumerate(_parts(study)):
    for size in part.sizes:
      for seed in range(_seeds(study, part.block, size)):
        for init in range(study.init_seeds if part.block == 'main' else 1):
          for fold in folds:
            for place, arm in enumerate(part.arms):
              entry = _entry(study, base, part, arm, size, seed, init, fold)
              if entry.name in found:
                continue
              found[entry.name] = entry
              block = settings.BLOCKS.index(part.block)
              rank[entry.name] = (
                block > 0, seed, init, fold, block, number, size, place,
              )  # fmt: skip
  return sorted(found.values(), key=lambda entry: rank[entry.name])


def _entry(study, base, part: _Part, arm, size, seed, init, fold) -> Entry:
  fields = {
    **arms.fields_of(arm),
    **part.fields,
    'data.train_size': float(size),
    'data.subset_seed': seed,
    'train.seed': seed + settings.INIT_STRIDE * init,
  }
  if fold >= 0:
    fields |= {'data.folds': study.folds, 'data.fold': fold}
  name = f'{arm}-n{size}-s{seed}'
  name += f'-f{fold}' if fold >= 0 else ''
  name += f'-i{init}' if init else ''
  whole = content(with_fields(base, fields))
  name += f'-{digest(whole, trial_settings(study))}'
  return Entry(
    name, part.block, part.setting, arm, size, seed, init, fold, fields
  )


def in_shard(name: str, shard: tuple[int, int]) -> bool:
  """Whether an entry is one of shard i of n: by its name alone."""
  number, count = shard
  value = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], 'big')
  return value % count == number


def header(study, base) -> dict:
  """What plan.json holds beside the entries."""
  margins = dict(zip(study.primary, study.margins, strict=False))
  return {
    'format': FORMAT,
    'title': study.title,
    'dataset': base.data.name,
    'primary': list(study.primary),
    'metric': study.metric,
    'margins': margins,
    'hypotheses': list(study.hypotheses),
    'folds': study.folds,
    'trials': trial_settings(study),
    'base': content(base),
  }


# What was laid down before the first run and stays.
_FIXED = ('dataset', 'primary', 'metric', 'margins', 'hypotheses', 'folds',
          'trials', 'base')  # fmt: skip


def read(workdir) -> dict:
  """plan.json of a study.

  Raises:
    FileNotFoundError: there is none.
    ConfigError: it is of another version.
  """
  path = pathlib.Path(workdir) / 'plan.json'
  if not path.exists():
    raise FileNotFoundError(
      f'{workdir} holds no plan.json, so no study; --mode study makes one'
    )
  plan = json.loads(path.read_text(encoding='utf-8'))
  if plan.get('format') != FORMAT:
    raise ConfigError(f'{path} has format {plan.get("format")}, not {FORMAT}')
  return plan


def write(workdir, study, base, planned: Iterable[Entry]) -> dict:
  """Writes plan.json, or adds entries to the one that is there.

  Args:
    workdir: of the study.
    study, base: from `settings.split`.
    planned: from `entries`.

  Returns:
    The plan with all entries, those of earlier commands included.

  Raises:
    ConfigError: the directory holds another study: something but the entries
      differs; it is named.
  """
  from edjax.runtime import locks  # builders only where they are needed

  workdir = pathlib.Path(workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  with locks.locked(workdir / '.plan.lock', 'the plan'):
    now = json.loads(json.dumps(header(study, base)))
    rows = {entry.name: entry.row() for entry in planned}
    history = []
    if (workdir / 'plan.json').exists():
      before = read(workdir)
      _check_same(workdir, before, now)
      known = {row['name']: row for row in before['entries']}
      history = before.get('history', [])
      if added := len(rows.keys() - known.keys()):
        history = [*history, _growth(workdir, known, added)]
      rows = known | rows
    used = {row['arm'] for row in rows.values()}
    labels = {name: a.words for name, a in arms.ARMS.items() if name in used}
    plan = now | {
      'labels': labels, 'entries': list(rows.values()), 'history': history,
    }  # fmt: skip
    write_json(workdir / 'plan.json', plan)
  return plan


def _growth(workdir, known: Iterable[str], added: int) -> dict:
  """What a plan gains when, and what could be known by then.

  Whoever adds seeds until a verdict pleases has no error rates; the report
  says what was added after results.
  """
  return {
    'date': time.strftime('%Y-%m-%d', time.gmtime()),
    'added': added,
    'finished': sum(
      (workdir / 'runs' / name / 'results.json').exists() for name in known
    ),
  }


def _check_same(workdir, before: dict, now: dict) -> None:
  changed = []
  for key in _FIXED:
    if before[key] == now[key]:
      continue
    if key != 'base':
      changed.append(f'{key}={before[key]!r}, not {now[key]!r}')
      continue
    for field in sorted(before[key].keys() | now[key].keys()):
      old, new = before[key].get(field), now[key].get(field)
      if old != new:
        changed.append(f'config.{field}={old!r}, not {new!r}')
  if changed:
    raise ConfigError(
      f'{workdir} holds a study with {"; ".join(changed)}. What is fixed '
      'before the first run stays; give another --workdir'
    )


def write_json(path: pathlib.Path, value) -> None:
  """Replaces a file at once, so that readers never see half of it."""
  temporary = path.with_name(f'.{path.name}')
  text = json.dumps(value, indent=1, allow_nan=False) + '\n'
  temporary.write_text(text, encoding='utf-8')
  temporary.replace(path)
