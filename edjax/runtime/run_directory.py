"""The run directory: configuration, metrics, predictions, results."""

import contextlib
import csv
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform

import jax
import numpy as np

from edjax import config as configuration
from edjax import optim
from edjax.config import ConfigError
from edjax.fields import channels
from edjax.runtime import atomic_files, locks, stores

_PACKAGES = (
  'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy', 'scipy',
  'ml_collections', 'tensorflow-datasets', 'tblite', 'edjax',
)  # fmt: skip

# Fields that change where or how fast a run computes, but not its numbers: it
# may be continued with other values of these.
FREE = {
  'data.data_dir', 'data.manual_dir', 'data.source', 'data.download',
  'data.workers', 'data.memory_gib',
  'train.device_data_gib', 'train.steps_per_call',
}  # fmt: skip

# Settings of JAX that change numbers, and what they were in runs of before
# config.json had them.
NUMERICS = {
  'jax_enable_x64': False,
  'jax_default_prng_impl': 'threefry2x32',
  'jax_threefry_partitionable': True,
  'jax_random_seed_offset': 0,
  'jax_default_matmul_precision': None,
}


class LockedError(ConfigError):
  """Another process is at work in a run directory."""


def machine_facts() -> dict:
  """Returns what bitwise repetition depends on, besides the configuration."""
  versions = {}
  for name in _PACKAGES:
    try:
      versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue  # edjax run from a checkout, or an optional package
  device = jax.local_devices()[0]
  return {
    'python': platform.python_version(),
    'machine': f'{platform.system()} {platform.machine()}',
    # Cores that this process may use (XLA's thread pool has as many threads),
    # and all of them.
    'cpu_count': _usable_cores(),
    'cpu_total': os.cpu_count(),
    'backend': jax.default_backend(),
    'device': device.device_kind,
    'device_count': jax.device_count(),
    'process_count': jax.process_count(),
    'xla_flags': os.environ.get('XLA_FLAGS', ''),
    'versions': versions,
  }


def _usable_cores() -> int:
  if hasattr(os, 'sched_getaffinity'):  # Linux
    return len(os.sched_getaffinity(0))
  return os.cpu_count()


def _units(task) -> list[str]:
  """Returns the units of channels; those of cubes are not those of maps."""
  units = task.voxelizer.units
  if not {'valence', 'all_electron', 'electrons'} & {*task.pack.map_kinds()}:
    return [*units]
  return [unit.replace('sigma', 'e/Å^3') for unit in units]


def describe(task) -> str:
  """Returns a few lines that say what is about to be learned."""
  config, rows = task.config, task.rows
  channels = ', '.join(task.voxelizer.channel_names)
  units = ', '.join(
    f'{kind} in {unit}'
    for kind, unit in zip(task.voxelizer.kinds, _units(task), strict=True)
    if unit
  )
  lines = [
    f'{config.data.name}: {len(rows["train"])} training, '
    f'{len(rows["validation"])} validation, {len(rows["test"])} test '
    f'molecules (split {config.data.split}, {task.split_sha256[:12]})',
    f'input: {channels}; {config.representation.grid_size}^3 voxels of '
    f'{config.representation.spacing} Å' + (f'; {units}' if units else ''),
  ]
  if config.model.dtype == 'bfloat16' and jax.default_backend() == 'cpu':
    lines.append(
      "model.dtype='bfloat16' is slower than 'float32' on this CPU, and less "
      'exact; it is for GPUs and TPUs'
    )
  if task.split_missing:
    lines.append(
      f'{task.split_missing} molecules of the published split are not in '
      'this copy of the dataset'
      + ('; missing_ids.csv lists them' if task.missing_ids else '')
    )
  lines += task.remarks
  lines += _gaps(task)
  filled = task.pack.columns.get('box_filled')
  if filled is not None and 'pocket' in config.data.parts:
    used = np.concatenate(list(rows.values()))
    cut = int(np.sum(filled[used] < 1))
    if cut:
      lines.append(
        f'{cut} pockets come from files that were cut off around the ligand '
        'and do not fill a box of 24 Å; see box_filled in the manifest'
      )
  if task.outside:
    lines.append(
      f'{len(task.outside)} molecules do not fit into the box in every '
      'orientation; outside_box.csv lists them'
    )
  for name, others in task.unseen.items():
    lines.append(
      f'no training molecule has atoms of channel {name}, {others} of '
      'validation and test have: their predictions rest on nothing there'
    )
  return '\n'.join(lines)


def _gaps(task) -> list[str]:
  """Returns lines on labels that were not measured; none where all were."""
  columns_NT, names = task.labels.columns_NT, task.config.data.targets
  lines = []
  if without := int(np.isnan(columns_NT).all(1).sum()):
    lines.append(f'{without} molecules have no label and are left out')
  for name, column_N in zip(names, columns_NT.T, strict=True):
    values = [column_N[rows] for rows in task.rows.values()]
    counts = [int(np.isfinite(v).sum()) for v in values]
    if counts != [*map(len, values)]:
      lines.append(
        f'{name} is measured for {counts[0]} training, {counts[1]} validation '
        f'and {counts[2]} test molecules'
      )
  return lines


def numerics() -> dict:
  """Returns the settings of `NUMERICS` as they are."""
  return {name: getattr(jax.config, name) for name in NUMERICS}


def _functions(config) -> dict[str, str]:
  """Returns hashes of the functions of a user that are channels."""
  sources = {c: channels.source(c) for c in config.representation.channels}
  return {
    name: hashlib.sha256(source.encode()).hexdigest()
    for name, source in sources.items()
    if source
  }


def _steps(stored: dict) -> int:
  """Returns the steps of a run by its config.json."""
  return stored['config']['train.steps']


def _no_nan(content):
  """Replaces numbers that are not finite by None, which JSON calls null."""
  if isinstance(content, dict):
    return {k: _no_nan(v) for k, v in content.items()}
  if isinstance(content, (list, tuple)):
    return [_no_nan(v) for v in content]
  if isinstance(content, float) and not np.isfinite(content):
    return None
  return content


class RunDirectory:
  """The files of one run.

  Args:
    path: of this machine; or the `stores.Mirror` of a directory in an object
      store, to which `saved()` copies the files that are whole.
  """

  def __init__(self, path):
    store = stores.of(path)
    self.path, self.place = store.local, store.address
    self._store = store

  @contextlib.contextmanager
  def lock(self):
    """Keeps other processes from writing here during the block.

    Where the storage has no locks, a message says so.

    Raises:
      LockedError: another process holds it.
    """
    self.path.mkdir(parents=True, exist_ok=True)
    with (self.path / '.lock').open('w') as file:
      try:
        locks.lock(file, wait=False)
      except BlockingIOError as error:
        raise LockedError(
          f'another process is at work in {self.place}; wait for it, or give '
          'another --workdir'
        ) from error
      except OSError as error:
        print(
          f'{self.path} cannot be locked ({error}): see to it that no other '
          'process is at work in it',
          flush=True,
        )
      yield

  def _identity(self, config) -> dict:
    fields = configuration.flatten(config)
    return {k: v for k, v in fields.items() if k not in FREE}

  def _check(self, config, extend: bool) -> dict | None:
    """Reads config.json, which must be of this run; None: no file.

    Args:
      config: resolved.
      extend: allow more steps than the run has had so far.
    """
    path = self.path / 'config.json'
    if not path.exists():
      return None
    stored = json.loads(path.read_text(encoding='utf-8'))
    now = json.loads(json.dumps(self._identity(config)))
    before = {k: v for k, v in stored['config'].items() if k not in FREE}
    for field in sorted(now.keys() | before.keys()):
      if now.get(field) == before.get(field) or (
        extend and field == 'train.steps' and now[field] > before[field]
      ):
        continue
      raise ConfigError(
        f'{self.place} holds a run with config.{field}='
        f'{before.get(field)!r}, not {now.get(field)!r}; give another '
        '--workdir, or delete it'
      )
    self._check_code(stored, numerics(), _functions(config))
    return stored

  def _check_code(self, stored: dict, now: dict, functions: dict) -> None:
    """Refuses what changes numbers, but is no field of the configuration."""
    before = NUMERICS | stored.get('numerics', {})
    for name, value in now.items():
      if before[name] != value:
        raise ConfigError(
          f'{self.place} holds a run with {name}={before[name]}, not {value}, '
          f'which changes numbers; set it (or {name.upper()} in the '
          'environment) as it was, or give another --workdir'
        )
    for name, source in stored.get('functions', {}).items():
      if functions.get(name, source) != source:
        raise ConfigError(
          f'{self.place} holds a run with another function as the channel '
          f'{name}; give this one another name, and another --workdir'
        )

  def results(self, config, extend: bool = False) -> dict | None:
    """Returns the results where this run has ended, else None.

    Args:
      config: resolved.
      extend: take a run of fewer steps for one that has not ended.

    Raises:
      ConfigError: the directory is of another configuration, or of other
        settings of JAX (`NUMERICS`).
    """
    stored = self._check(config, extend)
    path = self.path / 'results.json'
    if not path.exists() or (stored and _steps(stored) < config.train.steps):
      return None
    return json.loads(path.read_text(encoding='utf-8'))

  def start(self, config, task, extend: bool = False) -> None:
    """Writes config.json, or checks that the data are still the same.

    Args:
      config: resolved.
      task: of the run.
      extend: go on with a run of fewer steps; config.json says so, and its
        results get another name.

    Raises:
      ConfigError: the directory is of another configuration or other data.
    """
    data = {
      'fingerprint': task.pack.fingerprint,
      'split_sha256': task.split_sha256,
    }
    stored = self._check(config, extend)
    if stored is not None:
      for name, value in data.items():
        if stored['data'][name] != value:
          raise ConfigError(
            f'the data of {self.place} have changed since the run began '
            f'({name}); give another --workdir'
          )
      if _steps(stored) != config.train.steps:
        stored = self._extend(stored, config)
      self._note_other_machine(stored)
      return
    self.path.mkdir(parents=True, exist_ok=True)
    self._write_rows('outside_box.csv', ('id', 'reason'), task.outside.items())
    missing = [(p, i) for p, ids in task.missing_ids.items() for i in ids]
    if missing:
      self._write_rows('missing_ids.csv', ('part', 'id'), missing)
    facts = {
      'config': configuration.flatten(config),
      'data': data,
      'numerics': numerics(),
      'functions': _functions(config),
      **machine_facts(),
    }
    self._write_json('config.json', facts)

  def _extend(self, stored: dict, config) -> dict:
    """Records more steps in config.json; returns its new contents."""
    before, steps = _steps(stored), config.train.steps
    share = optim.make_schedule(config.optim, steps)(before)
    print(
      f'{self.place} is extended from {before} to {steps} steps. The learning '
      f'rate takes the schedule of {steps} steps, {100 * float(share):.0f} % '
      f'of its peak at step {before}: another result than that of {steps} '
      'steps from the beginning',
      flush=True,
    )
    # The results go first, in a store as well: with them and the new steps the
    # run would count as finished.
    results = self.path / 'results.json'
    if results.exists():
      results.replace(self.path / f'results_{before}_steps.json')
      self.saved()
    extended = [*stored.get('extended', ()), {'from': before, 'to': steps}]
    fields = stored['config'] | {'train.steps': steps}
    stored = stored | {'config': fields, 'extended': extended}
    self._write_json('config.json', stored)
    return stored

  def _note_other_machine(self, stored) -> None:
    """Prints and records that a run goes on with other bits than it began."""
    now = machine_facts()
    last = (stored.get('continued') or [stored])[-1]
    changed = sorted(k for k, v in now.items() if last.get(k) != v)
    if not changed:
      return
    print(
      f'{self.place} goes on with another {", ".join(changed)}: not bit for '
      'bit what it would have been; config.json has both',
      flush=True,
    )
    continued = [*stored.get('continued', ()), now]
    self._write_json('config.json', stored | {'continued': continued})

  def _write_rows(self, name: str, header, rows) -> None:
    with (self.path / name).open('w', newline='', encoding='utf-8') as file:
      writer = csv.writer(file)
      writer.writerow(header)
      writer.writerows(sorted(rows))

  def _write_json(self, name: str, content: dict) -> None:
    atomic_files.write_json(self.path / name, _no_nan(content))

  def log(self, step: int, split: str, name: str, value, unit: str) -> None:
    """Appends one line to metrics.jsonl."""
    line = {
      'step': int(step), 'split': split, 'name': name,
      'value': float(value), 'unit': unit,
    }  # fmt: skip
    with (self.path / 'metrics.jsonl').open('a', encoding='utf-8') as file:
      file.write(json.dumps(line) + '\n')

  def cut_metrics(self, step: int) -> None:
    """Drops metrics after a step: the resumed run writes them again."""
    path = self.path / 'metrics.jsonl'
    if not path.exists():
      return
    lines = []
    for line in path.read_text(encoding='utf-8').splitlines():
      try:
        if json.loads(line)['step'] <= step:
          lines.append(f'{line}\n')
      except json.JSONDecodeError:
        continue  # the line at which the run was killed
    atomic_files.write(path, ''.join(lines))

  def write_predictions(
    self, part, ids, names, target_BT, prediction_BT, clusters_B=None
  ):
    """Writes predictions_<part>.csv: id, name, target, prediction.

    Args:
      part: 'validation' or 'test'.
      ids: [B] of the examples.
      names: [T] of the targets.
      target_BT: native units.
      prediction_BT: native units.
      clusters_B: of the examples, where these are related: comparisons of runs
        need them without the dataset.
    """
    path = self.path / f'predictions_{part}.csv'
    with path.open('w', newline='', encoding='utf-8') as file:
      writer = csv.writer(file)
      more = () if clusters_B is None else ('cluster',)
      writer.writerow(('id', 'name', 'target', 'prediction', *more))
      for i, identifier in enumerate(ids):
        cluster = () if clusters_B is None else (clusters_B[i],)
        for j, name in enumerate(names):
          row = float(target_BT[i, j]), float(prediction_BT[i, j])
          writer.writerow((identifier, name, *map(repr, row), *cluster))

  def read_predictions(self, part: str) -> dict[str, np.ndarray]:
    """Returns name -> [n, 2] target and prediction, native units."""
    pairs: dict[str, list] = {}
    path = self.path / f'predictions_{part}.csv'
    with path.open(newline='', encoding='utf-8') as file:
      for row in csv.DictReader(file):
        pair = float(row['target']), float(row['prediction'])
        pairs.setdefault(row['name'], []).append(pair)
    return {name: np.array(rows) for name, rows in pairs.items()}

  def saved(self) -> None:
    """Copies what is whole to the object store, where the run is in one."""
    self._store.saved()

  def finish(self, results: dict) -> None:
    """Writes results.json: from now on the run counts as finished."""
    self._write_json('results.json', results)
    self.saved()


class Onlooker:
  """Stands for the run directory in all processes but the first.

  Every method does nothing and returns None.
  """

  path, place = pathlib.Path(), '.'

  def lock(self):
    """Returns a context in which nothing is locked."""
    return contextlib.nullcontext()

  def __getattr__(self, name: str):
    if not hasattr(RunDirectory, name):
      raise AttributeError(name)
    return lambda *args, **kwargs: None
