"""Checkpoints written by some devices and processes, restored by others.

  python -m benchmarks.speed.layouts [--steps 100]

A small run is begun on 1, 2 and 4 forced CPU devices and by two processes of
two devices each (over gloo), stopped by SIGTERM about half way, and each of
these is continued to its end by all. Every one must log the same steps as the
run that was not stopped, on one device; values differ by the rounding of sums
over devices, which the optimiser enlarges.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import numpy as np

from benchmarks import timing
from benchmarks.robustness import faults

# Name -> processes, devices of each.
LAYOUTS = {
  '1 device': (1, 1),
  '2 devices': (1, 2),
  '4 devices': (1, 4),
  '2 processes x 2 devices': (2, 2),
}


def devices(count: int) -> dict:
  """Options of `faults.Runs.start` for so many forced devices."""
  flags = f'--xla_force_host_platform_device_count={count} {faults.XLA_FLAGS}'
  return {'env': os.environ | {'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu'}}


def start(
  runs: faults.Runs, name: str, count: int, each: int
) -> list[subprocess.Popen]:
  """Starts a run, or goes on with it, by processes of so many devices each."""
  if count == 1:
    return [runs.start(name, **devices(each))]
  with socket.socket() as free:
    free.bind(('localhost', 0))
    port = free.getsockname()[1]
  return [
    runs.start(
      name, f'--coordinator=localhost:{port}', f'--processes={count}',
      f'--process={i}', **devices(each),
    )
    for i in range(count)
  ]  # fmt: skip


def ends(started: list[subprocess.Popen]) -> list[tuple[int, str, str]]:
  """(status, output, errors) of all, whose pipes are read at once."""
  found = [None] * len(started)

  def read(i):
    output, errors = started[i].communicate(timeout=200)
    found[i] = started[i].returncode, output, errors

  threads = [
    threading.Thread(target=read, args=(i,)) for i in range(len(started))
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  return found


def until(runs: faults.Runs, name: str, step: int, process) -> int:
  """Waits for a checkpoint of a step; the newest one."""
  latest = runs.path(name) / 'checkpoints' / 'latest'
  deadline = time.monotonic() + 200
  while True:
    names = [p.name for p in latest.iterdir()] if latest.is_dir() else []
    newest = max((int(n) for n in names if n.isdigit()), default=0)
    if newest >= step:
      return newest
    if time.monotonic() > deadline or process.poll() is not None:
      raise RuntimeError(f'{name}: no checkpoint of step {step}')
    time.sleep(0.01)


def metrics(runs: faults.Runs, name: str) -> list[dict]:
  """Lines of metrics.jsonl."""
  text = (runs.path(name) / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


def _statuses(name: str, found, expected: int) -> None:
  for status, _, errors in found:
    if status != expected:
      raise RuntimeError(f'{name}: status {status}: {errors[-2000:]}')


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--steps', type=int, default=100)
  steps = parser.parse_args().steps
  with tempfile.TemporaryDirectory() as directory:
    runs = faults.Runs(pathlib.Path(directory), **{'train.steps': steps})
    runs.finish('data', '--mode=build')
    runs.finish('whole', **devices(1))
    expected = metrics(runs, 'whole')
    table = timing.Table(
      'layouts',
      'Checkpoints restored by other devices and processes',
      [
        timing.machine(packages=('jax', 'orbax-checkpoint')),
        f'{steps} steps; stopped by SIGTERM after half of them, and continued. '
        'Largest relative difference of what is logged to a run on one device '
        'that was not stopped; all log the same steps.',
      ],
      ('begun by', 'stopped after', *(f'ended by {x}' for x in LAYOUTS)),
    )
    for begun, layout in LAYOUTS.items():
      first = start(runs, 'begun', *layout)
      until(runs, 'begun', steps // 2, first[0])
      first[-1].send_signal(signal.SIGTERM)
      _statuses(begun, ends(first), 75)
      saved = until(runs, 'begun', steps // 2, first[0])
      row = []
      for ended, other in LAYOUTS.items():
        shutil.copytree(runs.path('begun'), runs.path('r'))
        _statuses(f'{begun}, {ended}', ends(start(runs, 'r', *other)), 0)
        found = metrics(runs, 'r')
        names = [[(m['step'], m['name']) for m in x] for x in (found, expected)]
        if names[0] != names[1]:
          raise RuntimeError(f'{begun}, {ended}: other steps were logged')
        values = [np.array([m['value'] for m in x]) for x in (found, expected)]
        size = np.maximum(np.abs(values[1]), np.finfo(float).tiny)
        row.append(f'{np.max(np.abs(values[0] - values[1]) / size):.1e}')
        shutil.rmtree(runs.path('r'))
      table.row(begun, saved, *row)
      shutil.rmtree(runs.path('begun'))


if __name__ == '__main__':
  main()
