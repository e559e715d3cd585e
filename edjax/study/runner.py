"""Does a study from the command line: plan, trials, runs.

Every run has a run directory of its own, named by its fields: the same command
resumes a study, adds runs that the configuration has gained, and can be given
on several machines that share the directory.
"""

import re
import sys
import time
from collections.abc import Callable

import jax

from edjax import config as configuration
from edjax import task as tasks
from edjax.config import ConfigError
from edjax.config.representation import dataset_variant
from edjax.data import loading, splitting
from edjax.runtime import stores
from edjax.study import planning, settings, tuning, work_queue, worker


def parse_shard(text: str) -> tuple[int, int]:
  """Reads (i, n) from 'i/n', i from 0; '' is (0, 1).

  Raises:
    ConfigError: the text is neither.
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
  """Does the missing runs of a study.

  Args:
    config: as made by a file configs/study_*.py.
    workdir: of the study, or a store of it from `stores.opened`.
    shard: 'i/n': every n-th run; '' for all.
    make_slots: () -> slots; by default those for this machine.

  Returns:
    Exit status: 0, or 1 for failed runs and runs that wait for failed trials.

  Raises:
    ConfigError: the configuration is wrong, the directory is that of another
      study, or a dataset cannot be built or has fewer labels than a size.
    FileNotFoundError: source files are missing.
  """
  part = parse_shard(shard)
  study, base, entries, trials = prepare(config)
  store = stores.of(workdir)
  directory = store.local

  def unfinished(name: str) -> bool:  # runs that have ended need no checkpoints
    run_of_file = directory.joinpath(*name.split('/')[:2])
    return not (run_of_file / 'results.json').exists()

  store.pull(unfinished)
  planning.write(directory, study, base, entries)
  store.push()
  suffix = f'-{part[0]}-of-{part[1]}' if shard else ''
  log = _make_log(directory / f'study{suffix}.log')
  slots = make_slots or (lambda: _slots(study))
  jobs = _trial_jobs(directory, study, base, trials, part)
  failed = _do('trials', jobs, slots, log, store)
  # A trial that diverged has not failed: it has the worst score.
  failed = {
    name: message
    for name, message in failed.items()
    if tuning.score(directory / 'trials' / name) is None
  }
  store.pull(stores.light)  # another shard may have chosen
  chosen = tuning.freeze(directory, study, trials)
  store.push()
  jobs, waiting = _run_jobs(directory, base, entries, chosen, part)
  failed |= waiting | _do('runs', jobs, slots, log, store)
  for name, message in failed.items():
    print(f'error: {name}: {message}', file=sys.stderr)
  if failed:
    print(
      f'{len(failed)} runs failed; error.txt in their directories in '
      f'{store.address} says why. The same command tries these again.',
      file=sys.stderr,
    )
  return int(bool(failed))


def _whole_sizes(sizes, base, beam: str) -> tuple[int, ...]:
  """Returns numbers of labels in the place of shares of the data."""
  if isinstance(sizes[0], int):
    return sizes
  config = configuration.resolve(base)
  pack = loading.load_pack(config.data, dataset_variant(config), beam)
  pool = splitting.make_split(pack, config.data).pool
  return tuple(dict.fromkeys(max(2, round(share * pool)) for share in sizes))


def prepare(config, beam: str = '') -> tuple:
  """Plans a study, checks all of its configurations and builds its datasets.

  Args:
    config: of the study.
    beam: see `loading.load_pack`.

  Returns:
    study, base, entries, trials; see `settings.split` for the first two.

  Raises:
    ConfigError, FileNotFoundError: see `run`.
  """
  study, base = settings.split(config)
  if jax.default_backend() == 'cpu':
    # On a CPU, data on the device save no time, and a program would depend on
    # their number.
    base.train.device_data_gib = 0.0
  study.sizes = _whole_sizes(study.sizes, base, beam)
  entries = planning.entries(study, base)
  names = list(dict.fromkeys(entry.representation for entry in entries))
  trials = tuning.trials(study, base, names)
  # Sorted by size, the largest of each kind is the last.
  largest = {
    (entry.ablation, entry.setting, entry.representation, entry.fold): entry
    for entry in sorted(entries, key=lambda entry: entry.size)
  }
  packs, drawn = {}, set()
  for item in (*largest.values(), *(trials if tuning.is_tuned(study) else ())):
    try:
      item_config = planning.with_fields(base, item.fields)
      item_config = configuration.resolve(item_config)
      data, variant = item_config.data, dataset_variant(item_config)
      dataset = data.name, variant, data.geometry, data.noise
      if dataset not in packs:
        packs[dataset] = loading.load_pack(data, variant, beam)
      if (dataset, data) not in drawn:
        tasks.divide(packs[dataset], item_config)
      drawn.add((dataset, data))
    except ConfigError as error:
      raise ConfigError(f'{item.name}: {error}') from error
  return study, base, entries, trials


def _trial_jobs(directory, study, base, trials, part) -> list[work_queue.Job]:
  """Lists the missing trials: those of this shard, then the others.

  Runs need the trials of all shards: each shard does those that are missing.
  """
  if not tuning.is_tuned(study):
    return []
  chosen = tuning.frozen(directory)
  jobs = [
    work_queue.Job(
      trial.name,
      directory / 'trials' / trial.name,
      planning.with_fields(base, trial.fields),
      (trial.representation,),
    )
    for trial in trials
    if tuning.key(trial.representation, trial.fold) not in chosen
  ]
  missing = [job for job in jobs if tuning.score(job.directory) is None]
  return sorted(missing, key=lambda job: not planning.in_shard(job.name, part))


def _run_jobs(directory, base, entries, chosen, part) -> tuple[list, dict]:
  """Lists the runs of this shard.

  Returns:
    Jobs, and name -> message for runs whose trials have not chosen.
  """
  jobs, waiting = [], {}
  for entry in entries:
    if not planning.in_shard(entry.name, part):
      continue
    key = tuning.key(entry.representation, entry.fold)
    if key not in chosen:
      waiting[entry.name] = (
        f'waits for trials of {key}, which have failed, or all diverged '
        '(lower config.study.trial_learning_rates)'
      )
      continue
    kind = entry.ablation, entry.setting, entry.representation
    sized = *kind, entry.size
    jobs.append(
      work_queue.Job(
        entry.name,
        directory / 'runs' / entry.name,
        planning.with_fields(base, {**entry.fields, **chosen[key]}),
        ((*sized, entry.fold), sized, kind, entry.representation),
      )
    )
  return jobs, waiting


def _do(label: str, jobs: list, make_slots, log, store) -> dict[str, str]:
  """Does the missing jobs, and copies their results to the store.

  Returns:
    name -> message of the jobs that failed.
  """
  if not jobs:
    return {}
  slots = make_slots()
  progress = work_queue.Progress(
    jobs, len(slots), lambda line: log(f'{label}: {line}')
  )

  def look(job) -> None:
    run_name = job.directory.relative_to(store.local).as_posix()
    store.pull(
      lambda name: name.startswith(f'{run_name}/') and stores.light(name)
    )

  def watch(event, job, outcome) -> None:
    progress.watch(event, job, outcome)
    if event != 'start':
      store.saved()

  work_queue.Queue(jobs, watch, look).run(slots)
  return progress.failed


def _make_log(path) -> Callable[[str], None]:
  """Returns log(line), which writes to standard output and to a file."""
  out = sys.stdout  # a run in this process redirects sys.stdout

  def log(line: str) -> None:
    print(line, file=out, flush=True)
    with path.open('a', encoding='utf-8') as file:
      file.write(f'{time.strftime("%Y-%m-%d %H:%M:%S")} {line}\n')

  return log


def _slots(study) -> list:
  """Returns one worker process per core, or this process for accelerators."""
  if jax.default_backend() != 'cpu':
    if study.processes > 1:
      raise ConfigError(
        'config.study.processes: an accelerator belongs to one process; '
        'spread a study with --shard over machines'
      )
    return [worker.LocalSlot()]
  cores = worker.cores()
  count = study.processes or len(cores)
  return [
    worker.ProcessSlot(cores[i % len(cores) :: count]) for i in range(count)
  ]
