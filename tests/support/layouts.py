"""Runs over several forced CPU devices and processes."""

import json
import os
import socket
import subprocess
import threading

from support import waiting, xla_flags

from benchmarks.robustness import faults

# Less to compile and to compute than in the benchmark.
SMALLER = {'train.steps': 200, 'model.blocks': '(0,)', 'model.local': 4}


def devices(count: int) -> dict:
  """Returns options of `faults.Runs.start` for so many forced devices."""
  flags = {'XLA_FLAGS': xla_flags.on_devices(count), 'JAX_PLATFORMS': 'cpu'}
  return {'env': os.environ | flags}


def start(
  runs: faults.Runs, name: str, count: int, each: int
) -> list[subprocess.Popen]:
  """Starts or resumes a run by processes of so many devices each."""
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
  """Returns (status, output, errors) of each, reading all pipes at once."""
  results = [None] * len(started)

  def read(i):
    output, errors = started[i].communicate(timeout=waiting.HANG)
    results[i] = started[i].returncode, output, errors

  threads = [
    threading.Thread(target=read, args=(i,)) for i in range(len(started))
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  return results


def until(runs: faults.Runs, name: str, step: int, process) -> int:
  """Waits for a checkpoint of a step or a later one; returns the newest."""
  latest = runs.path(name) / 'checkpoints' / 'latest'

  def newest():
    names = [p.name for p in latest.iterdir()] if latest.is_dir() else []
    found = max((int(n) for n in names if n.isdigit()), default=0)
    return found if found >= step else None

  return waiting.until(newest, lambda: process.poll() is None)


def metrics(runs: faults.Runs, name: str) -> list[dict]:
  """Returns the lines of a run's metrics.jsonl."""
  text = (runs.path(name) / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]
