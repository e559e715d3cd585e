"""Runs launch.py several times, one run a core, and reads the results."""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def launch(workdir: pathlib.Path, config: str, fields: dict, core: int) -> None:
  """Runs launch.py on one core.

  A finished run is not repeated: launch.py compares its configuration, which
  takes seconds, and refuses another one.

  Args:
    workdir: run directory; log.txt in it holds the output of the run.
    config: file and variant, relative to the repository.
    fields: overrides, without 'config.'.
    core: number of the core that it may use.

  Raises:
    RuntimeError: the run failed; the end of its log is in the message.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  command = [
    sys.executable,
    str(REPOSITORY / 'launch.py'),
    f'--config={REPOSITORY / config}',
    f'--workdir={workdir}',
    *(f'--config.{name}={value}' for name, value in fields.items()),
  ]
  with (workdir / 'log.txt').open('a') as log:
    done = subprocess.run(
      command,
      stdout=log,
      stderr=log,
      check=False,
      cwd=REPOSITORY,
      preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
  if done.returncode:
    end = (workdir / 'log.txt').read_text()[-2000:]
    raise RuntimeError(f'{workdir} failed:\n{end}')


def launch_all(jobs: list[tuple[pathlib.Path, str, dict]]) -> None:
  """Launches all runs, one on each core at a time, with progress."""
  cores = sorted(os.sched_getaffinity(0))
  free = list(cores)
  begun = time.time()

  def one(job):
    core = free.pop()
    try:
      launch(*job, core)
    finally:
      free.append(core)

  with concurrent.futures.ThreadPoolExecutor(len(cores)) as pool:
    futures = [pool.submit(one, job) for job in jobs]
    for i, future in enumerate(
      concurrent.futures.as_completed(futures), start=1
    ):
      if future.exception():
        pool.shutdown(wait=False, cancel_futures=True)
      future.result()
      spent = time.time() - begun
      left = spent / i * (len(jobs) - i)
      print(f'{i}/{len(jobs)} runs, {left / 60:.0f} min left', flush=True)


def results(workdir: pathlib.Path) -> dict:
  """Returns the contents of a run's results.json."""
  return json.loads((workdir / 'results.json').read_text())


def interval(entry: dict) -> str:
  """Formats a figure of results.json with its interval."""
  low, high = entry['low'], entry['high']
  return f'{entry["value"]:.4g} ({low:.4g} to {high:.4g})'


def machine(workdir: pathlib.Path) -> str:
  """Returns one line on the machine and the versions of a run."""
  facts = json.loads((workdir / 'config.json').read_text())
  versions = ', '.join(
    f'{name} {facts["versions"][name]}'
    for name in ('jax', 'flax', 'optax', 'tblite')
  )
  return (
    f'{facts["machine"]}, {facts["cpu_total"]} cores '
    f'({facts["device"]}), Python {facts["python"]}, {versions}'
  )
