"""Times edjax and a peer in turn, and writes tables row by row.

A peer lives in a virtual environment of its own, since some need other
versions of numpy than JAX does:

  python3 -m venv DIR/NAME
  DIR/NAME/bin/pip install -r benchmarks/peers/NAME.txt

for NAME in torch, molgrid, molvoxel; DIR is the argument --peers of the
scripts.
"""

import importlib.metadata
import json
import os
import pathlib
import platform
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

_PEERS = pathlib.Path(__file__).resolve().parent / 'peers'
RESULTS = pathlib.Path(__file__).resolve().parent / 'results'


class Peer:
  """A program that is timed in another environment.

  A context manager; `prepare` sets a case up, `seconds` runs it once.
  """

  def __init__(self, environments: pathlib.Path, name: str):
    """Starts the program.

    Args:
      environments: the directory of virtual environments.
      name: of the environment, and of the module in benchmarks/peers.

    Raises:
      FileNotFoundError: there is no such environment.
    """
    python = pathlib.Path(environments).absolute() / name / 'bin' / 'python'
    if not python.exists():
      raise FileNotFoundError(
        f'{python} is not there: make it with python3 -m venv '
        f'{python.parents[1]} && {python.parent}/pip install -r '
        f'benchmarks/peers/{name}.txt'
      )
    self._process = subprocess.Popen(
      [python, str(_PEERS / 'worker.py'), name],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    self.versions = self._ask({'do': 'versions'})

  def prepare(self, task: str, **arguments) -> None:
    """Sets a case up and runs it once.

    Args:
      task: a function of the peer's module that returns a function without
        arguments.
      **arguments: of that function; JSON.
    """
    self._ask({'do': 'prepare', 'task': task, 'arguments': arguments})

  def seconds(self) -> float:
    """Returns the elapsed time of one run."""
    return self._ask({'do': 'run'})

  def save(self, path: pathlib.Path) -> np.ndarray:
    """Returns the array that a run returns, by way of a file."""
    self._ask({'do': 'save', 'path': str(path)})
    return np.load(path)

  def _ask(self, question):
    # Between questions it is stopped: idle threads of OpenMP, which PyTorch
    # uses, wait for work in a busy loop, and others would lack their core.
    self._process.send_signal(signal.SIGCONT)
    self._process.stdin.write(json.dumps(question) + '\n')
    self._process.stdin.flush()
    answer = self._process.stdout.readline()
    if not answer:
      raise RuntimeError(
        f'{self._process.args[-1]} ended with status '
        f'{self._process.wait()}; its message is above'
      )
    self._process.send_signal(signal.SIGSTOP)
    return json.loads(answer)

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._process.send_signal(signal.SIGCONT)
    self._process.stdin.close()
    self._process.wait()


def elapsed(run: Callable[[], object]) -> Callable[[], float]:
  """Makes a function that times one call of another.

  Args:
    run: must wait for what it starts.
  """

  def seconds():
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin

  return seconds


def jitted(f: Callable, *args) -> Callable[[], float]:
  """Compiles a function; returns one that times a call.

  Args:
    f: any function.
    *args: its arguments, on the device.
  """
  import jax

  f = jax.jit(f)
  jax.block_until_ready(f(*args))
  return elapsed(lambda: jax.block_until_ready(f(*args)))


def in_turn(
  contestants: Mapping[str, Callable[[], float]], repeats: int = 15
) -> dict[str, float]:
  """Returns the median of each, run in turn so that all meet the same load.

  Args:
    contestants: name -> one run, which returns its seconds.
    repeats: rounds, after one that does not count.

  Returns:
    name -> median seconds.
  """
  for run in contestants.values():
    run()
  times = [[run() for run in contestants.values()] for _ in range(repeats)]
  return dict(zip(contestants, np.median(times, axis=0), strict=True))


class Table:
  """A Markdown table, printed and written to a file as rows come."""

  def __init__(
    self,
    name: str,
    title: str,
    notes: Sequence[str],
    columns: Sequence[str],
    append: bool = False,
  ):
    """Begins the table.

    Args:
      name: of the file in benchmarks/results, without '.md'.
      title: heading.
      notes: paragraphs above the table; `machine` makes one.
      columns: headings.
      append: whether to append to the file, under a heading of second rank.
    """
    RESULTS.mkdir(exist_ok=True, parents=True)
    self._path = RESULTS / f'{name}.md'
    if not append:
      self._path.write_text('')
    self.text(*(('', f'## {title}') if append else (f'# {title}',)))
    for note in notes:
      self.text('', note)
    self.head(columns)

  def head(self, columns: Sequence[str]) -> None:
    """Begins another table below."""
    self._width = len(columns)
    self.text('', f'| {" | ".join(columns)} |', '|---' * len(columns) + '|')

  def row(self, *cells) -> None:
    """Writes one row, floats with three digits."""
    if len(cells) != self._width:
      raise ValueError(f'{len(cells)} cells for {self._width} columns')
    texts = [f'{c:.3g}' if isinstance(c, float) else str(c) for c in cells]
    self.text(f'| {" | ".join(texts)} |')

  def text(self, *lines: str) -> None:
    """Writes lines as they are."""
    with self._path.open('a') as file:
      for line in lines:
        print(line, flush=True)
        file.write(line + '\n')


def machine(*peers: Peer, packages: Sequence[str] = ('jax',)) -> str:
  """Returns one sentence on machine and versions.

  Args:
    *peers: whose versions are named too.
    packages: of this environment.
  """
  names = {}
  info = pathlib.Path('/proc/cpuinfo')
  if info.exists():
    for line in info.read_text().splitlines():
      key, _, value = line.partition(':')
      names[key.strip()] = value.strip()
  cpu = names.get('model name', platform.processor() or platform.machine())
  versions = {p: importlib.metadata.version(p) for p in packages}
  for peer in peers:
    versions |= peer.versions
  listed = ', '.join(f'{name} {version}' for name, version in versions.items())
  cores = len(os.sched_getaffinity(0))
  return (
    f'{cpu}, {cores} cores, Python {platform.python_version()}; {listed}. '
    f'Medians; peers are timed in turn. {time.strftime("%Y-%m-%d")}.'
  )
