"""A study from the command line: plan, trials, runs.

Every run is a run directory of its own, named by its content, so that the
same command goes on where it was stopped, adds what the configuration has
gained, and can be given on several machines that share the directory.
"""

import functools
import os
import pathlib
import re
import sys
import time
from collections.abc import Sequence

import jax

from edjax import config as configuration
from edjax.config import ConfigError
from edjax.config.representation import dataset_variant
from edjax.data import loading, splitting
from edjax.runtime import compile_cache, stores
from edjax.study import (
  planning,
  settings,
  tuning,
  work_queue,
  worker,
)
from edjax.train import train_and_evaluate

# The file that tells that a run has ended.
RESULTS = 'results.json'


def parse_shard(text: str) -> tuple[int, int]:
  """(i, n) of 'i/n', i from 0; (0, 1) of ''.

  Raises:
    ConfigError: it is neither.
  """
  if not text:
    return 0, 1
  match = re.fullmatch(r'(\d+)/(\d+)', text)
  if not match or not int(match[1]) < int(match[2]):
    raise ConfigError(
      f'--shard={text} must be i/n with i from 0 to n - 1, such as 0/4'
    )
  return int(match[1]), int(match[2])


def run(config, workdir, shard: str = '', make_slots=None) -> int:
  """Does what is missing of a study.

  Args:
    config: as made by a file configs/study_*.py.
    workdir: of the study, or what `stores.opened` gave for it.
    shard: 'i/n': every n-th run; '' for all.
    make_slots: () -> slots, instead of worker processes.

  Returns:
    Exit status: 0, or 1 where runs failed or wait for trials that did.

  Raises:
    ConfigError: a wrong configuration, the directory of another study, a
      dataset that cannot be built.
    FileNotFoundError: source files are missing.
  """
  part = parse_shard(shard)
  study, base = settings.split(config)
  if jax.default_backend() == 'cpu':
    # Nothing is gained by data that lie on the device, and a program would
    # depend on how many there are.
    base.train.device_data_gib = 0.0
  entries = planning.entries(study, base)
  arms = list(dict.fromkeys(entry.arm for entry in entries))
  trials = tuning.trials(study, base, arms)
  _check(study, base, entries, trials)
  slots = make_slots or (lambda: _slots(study))
  store = stores.of(workdir)
  workdir = store.local
  # Runs that have ended need no checkpoints here.
  store.pull(lambda name: not (_run_of(workdir, name) / RESULTS).exists())
  planning.write(workdir, study, base, entries)
  store.push()
  suffix = f'-{part[0]}-of-{part[1]}' if shard else ''
  log = _Log(workdir / f'study{suffix}.log')
  failed = {}
  if tuning.is_tuned(study):
    failed = _trials(store, study, base, trials, part, slots, log)
  store.pull(stores.light)  # another shard may have chosen
  chosen = tuning.freeze(workdir, study, trials)
  store.push()
  jobs, waiting = _runs(workdir, base, entries, chosen, part)
  failed |= waiting
  failed |= _do('runs', jobs, slots, log, store)
  for name, message in failed.items():
    print(f'error: {name}: {message}', file=sys.stderr)
  if failed:
    print(
      f'{len(failed)} runs failed; error.txt in their directories in '
      f'{store.address} says why. The same command tries these again.',
      file=sys.stderr,
    )
  return int(bool(failed))


def build(config, beam: str = '') -> None:
  """Builds every dataset of a study, where it is missing.

  Args:
    config: of the study.
    beam: see `loading.load_pack`.

  Raises:
    ConfigError, FileNotFoundError: see `run`.
  """
  study, base = settings.split(config)
  entries = planning.entries(study, base)
  arms = list(dict.fromkeys(entry.arm for entry in entries))
  trials = tuning.trials(study, base, arms)
  _check(study, base, entries, trials, beam)


def _run_of(workdir: pathlib.Path, name: str) -> pathlib.Path:
  """Directory of the run or trial that a file belongs to."""
  return workdir.joinpath(*name.split('/')[:2])


class _Log:
  """Lines to standard output, and with the time to a file."""

  def __init__(self, path: pathlib.Path):
    self._path, self._out = path, sys.stdout

  def __call__(self, line: str) -> None:
    print(line, file=self._out, flush=True)
    now = time.strftime('%Y-%m-%d %H:%M:%S')
    with self._path.open('a', encoding='utf-8') as file:
      file.write(f'{now} {line}\n')


def _check(study, base, entries, trials, beam: str = '') -> None:
  """Everything that can be known before the first run; builds the datasets.

  Raises:
    ConfigError: a configuration is wrong, or a size is not to be had.
  """
  kinds, largest = {}, {}
  for entry in entries:
    kinds.setdefault((entry.block, entry.setting, entry.arm), entry)
    place = entry.block, entry.setting, entry.fold
    if entry.size > getattr(largest.get(place), 'size', 0):
      largest[place] = entry
  if tuning.is_tuned(study):
    for trial in trials:
      kinds.setdefault(('trial', *sorted(trial.chosen.items()), trial.arm),
                       trial)  # fmt: skip
    for trial in trials:
      largest.setdefault(('trial', '', trial.fold), trial)
  packs = {}
  for item in kinds.values():
    config = _resolve(planning.with_fields(base, item.fields), item.name)
    data = dict(config.data) | {'variant': dataset_variant(config)}
    key = tuple(str(data.get(k)) for k in _DATASET)
    if key not in packs:
      variant = data['variant']
      packs[key] = loading.load_pack(config.data, variant, beam)
  for item in largest.values():
    config = _resolve(planning.with_fields(base, item.fields), item.name)
    data = dict(config.data) | {'variant': dataset_variant(config)}
    key = tuple(str(data.get(k)) for k in _DATASET)
    try:
      splitting.make_split(packs[key], config.data)
    except ConfigError as error:
      raise ConfigError(f'{item.name}: {error}') from error


# What a dataset depends on, beside where it lies.
_DATASET = ('name', 'variant', 'geometry', 'noise')


def _resolve(config, name: str):
  try:
    return configuration.resolve(config)
  except ConfigError as error:
    raise ConfigError(f'{name}: {error}') from error


def _trials(store, study, base, trials, part, slots, log) -> dict[str, str]:
  """Runs trials that are missing: those of this shard first, then all.

  Runs need the trials of all shards, and whoever is there does them.

  Returns:
    name -> message of those that failed otherwise than by diverging.
  """
  workdir = store.local
  chosen = tuning.frozen(workdir)
  jobs = []
  for trial in trials:
    directory = workdir / 'trials' / trial.name
    if tuning.key(trial.arm, trial.fold) in chosen:
      continue
    if tuning.score(directory) is not None:
      continue
    config = planning.with_fields(base, trial.fields)
    kinds = (('trial', trial.arm),)
    jobs.append(work_queue.Job(trial.name, directory, config, kinds))
  jobs.sort(key=lambda job: not planning.in_shard(job.name, part))
  failed = _do('trials', jobs, slots, log, store)
  return {
    name: message
    for name, message in failed.items()
    if tuning.score(workdir / 'trials' / name) is None
  }


def _runs(workdir, base, entries, chosen, part) -> tuple[list, dict[str, str]]:
  """The entries of this shard.

  Returns:
    Jobs, and name -> message of those whose trials have not chosen.
  """
  jobs, waiting = [], {}
  for entry in entries:
    if not planning.in_shard(entry.name, part):
      continue
    key = tuning.key(entry.arm, entry.fold)
    if key not in chosen:
      waiting[entry.name] = (
        f'waits for trials of {key}, which have failed, or all diverged '
        '(lower config.study.trial_learning_rates)'
      )
      continue
    fields = {**entry.fields, **_fields(chosen[key])}
    setting = entry.block, entry.setting, entry.arm
    jobs.append(
      work_queue.Job(
        entry.name,
        workdir / 'runs' / entry.name,
        planning.with_fields(base, fields),
        ((*setting, entry.size, entry.fold), (*setting, entry.size), setting,
         entry.arm),
      )
    )  # fmt: skip
  return jobs, waiting


def _fields(chosen: dict) -> dict:
  return {k: tuple(v) if isinstance(v, list) else v for k, v in chosen.items()}


def _queue(jobs: Sequence, progress, store) -> work_queue.Queue:
  """What others have done is looked at, what is done here told at once."""

  def look(job) -> None:
    run = job.directory.relative_to(store.local).as_posix()
    store.pull(lambda name: name.startswith(f'{run}/') and stores.light(name))

  def watch(event, job, outcome) -> None:
    progress.watch(event, job, outcome)
    if event != 'start':
      store.saved()

  return work_queue.Queue(jobs, watch, look)


def _do(what: str, jobs: Sequence, slots, log, store) -> dict[str, str]:
  if not jobs:
    return {}
  made = slots()
  progress = work_queue.Progress(
    jobs, len(made), lambda line: log(f'{what}: {line}')
  )
  _queue(jobs, progress, store).run(made)
  return progress.failed


def _slots(study) -> list:
  if jax.default_backend() != 'cpu':
    if study.processes > 1:
      raise ConfigError(
        'config.study.processes: an accelerator belongs to one process; '
        'spread a study with --shard over machines'
      )
    execute = functools.partial(
      train_and_evaluate, shared=compile_cache.CompileCache()
    )
    return [worker.LocalSlot(execute)]
  if not hasattr(os, 'sched_getaffinity'):  # not Linux: nothing is pinned
    count = study.processes or os.cpu_count()
    return [worker.ProcessSlot() for _ in range(count)]
  cores = sorted(os.sched_getaffinity(0))
  count = study.processes or len(cores)
  return [
    worker.ProcessSlot(tuple(cores[i::count]) or (cores[i % len(cores)],))
    for i in range(count)
  ]
