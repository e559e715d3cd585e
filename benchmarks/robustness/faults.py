"""Kills programs at random moments; the same command must end the same.

  python -m benchmarks.robustness.faults [--what training|build] \
    [--kills 50] [--seed 0]

A small run (a few seconds of steps, checkpoints and evaluations after some
seconds of imports and compilation) is done once undisturbed. Then others are
killed (SIGKILL) after a time drawn uniformly from its duration, the same
command is given again, killed again, and so on, until it ends; and from the
beginning, until there have been so many kills. Each run must end with the
same parameters, bit for bit, the same predictions and the same lines in
metrics.jsonl as the undisturbed one, each step once.

With `--what build` it is the build of the embedded dataset with its pack, which
must end with the same records and the same arrays, and leave nothing beside
them.
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks import timing

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

# Speed is not tested, and half of these runs would be compilation.
XLA_FLAGS = '--xla_backend_optimization_level=0'
# A small network on few voxels; checkpoints and evaluations are frequent.
FIELDS = {
  'data.targets': "('gap','mu')",
  'data.train_size': 64.0,
  'representation.grid_size': 8,
  'representation.spacing': 1.5,
  'model.widths': '(4,)',
  'model.blocks': '(1,)',
  'model.head_width': 8,
  # Muon scales up the smallest directions of a gradient, which hold the
  # rounding of sums over devices; its resuming is tested elsewhere.
  'optim.name': 'adamw',
  # Small steps, so that rounding stays small in four channels.
  'optim.learning_rate': 3e-4,
  'train.steps': 400,
  'train.checkpoint_every': 10,
  'train.eval_every': 20,
  'eval.rotations': 1,
}


@dataclasses.dataclass(frozen=True)
class Kill:
  """One SIGKILL.

  Attributes:
    run: number of the run, from 0.
    seconds: after its start.
    phase: as the run directory showed it.
  """

  run: int
  seconds: float
  phase: str


class Runs:
  """Runs of one configuration in directories beside each other.

  Args:
    directory: of data and runs.
    fields: instead of those in FIELDS, or beside them.
  """

  def __init__(self, directory: pathlib.Path, **fields):
    self._directory = directory
    self._fields = FIELDS | fields
    self.seconds = 0.0
    """Time of the undisturbed run, with imports."""

  def path(self, name: str) -> pathlib.Path:
    """Returns the path of a run directory."""
    return self._directory / name

  def data_dir(self, name: str) -> pathlib.Path:
    """Returns the directory of a run's dataset."""
    del name
    return self._directory / 'data'

  def start(self, name: str, *more: str, before=(), **options):
    """Starts or resumes a run.

    Args:
      name: of its directory.
      more: arguments of launch.py.
      before: a command that runs it.
      options: of Popen.

    Returns:
      The process, with pipes for its output.
    """
    fields = [f'--config.{k}={v}' for k, v in self._fields.items()]
    command = [
      *before, sys.executable, str(REPOSITORY / 'launch.py'),
      f'--config={REPOSITORY}/configs/qm9_shape.py:smoke',
      f'--workdir={self.path(name)}',
      f'--config.data.data_dir={self.data_dir(name)}',
      *fields, *more,
    ]  # fmt: skip
    # One device, as a user of a CPU has.
    environment = os.environ | {'XLA_FLAGS': XLA_FLAGS, 'JAX_PLATFORMS': 'cpu'}
    options = {'env': environment} | options
    return subprocess.Popen(
      command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
      text=True, **options,
    )  # fmt: skip

  def finish(self, name: str, *more: str, **options) -> str:
    """Runs to the end; returns its output.

    Raises:
      RuntimeError: it failed.
    """
    process = self.start(name, *more, **options)
    output, errors = process.communicate()
    if process.returncode:
      raise RuntimeError(f'status {process.returncode}: {errors}')
    return output

  def undisturbed(self) -> None:
    """Makes and times the run that others are compared with."""
    self.finish('data', '--mode=build')
    begun = time.monotonic()
    self.finish('undisturbed')
    self.seconds = time.monotonic() - begun

  def differences(self, name: str) -> list[str]:
    """Lists the differences of a finished run from the undisturbed one."""
    found = []
    one, other = self.path('undisturbed'), self.path(name)
    for kind in ('latest', 'best'):
      if not _equal(weights(one, kind), weights(other, kind)):
        found.append(f'{kind} weights')
    for file in ('metrics.jsonl', 'predictions_test.csv'):
      if (one / file).read_bytes() != (other / file).read_bytes():
        found.append(file)
    return found

  def kill(self, count: int, seed: int) -> tuple[list[Kill], dict]:
    """Kills runs so many times; the last run is then left to its end.

    Returns:
      The kills, and run -> `differences` of each.
    """
    draw = random.Random(seed)
    kills, differences = [], {}
    number, begun = 0, 0
    while len(kills) < count or begun:
      name = f'killed{number}'
      if len(kills) == count:
        self.finish(name)
      else:
        after = draw.uniform(0, self.seconds)
        process = self.start(name)
        try:
          _, errors = process.communicate(timeout=after)
          if process.returncode:
            raise RuntimeError(f'status {process.returncode}: {errors}')
        except subprocess.TimeoutExpired:
          process.kill()
          process.communicate()
          kills.append(Kill(number, after, self.phase(name)))
          begun = 1
          print(f'{len(kills)} of {count}: {kills[-1]}', flush=True)
          continue
      differences[number] = self.differences(name)
      shutil.rmtree(self.path(name), ignore_errors=True)
      number, begun = number + 1, 0
    return kills, differences

  def phase(self, name: str) -> str:
    """Names the phase of a killed run, from its run directory."""
    path = self.path(name)
    if not (path / 'config.json').exists():
      return 'before its data were there'
    if (path / 'results.json').exists():
      return 'after its results'
    latest = path / 'checkpoints' / 'latest'
    names = [p.name for p in latest.iterdir()] if latest.is_dir() else []
    if any(not n.isdigit() for n in names):
      return 'in a checkpoint'
    if not names:
      return 'before the first checkpoint (compilation, first steps)'
    if max(map(int, names)) == int(FIELDS['train.steps']):
      return 'in the evaluation on test'
    return 'between checkpoints'


class Builds(Runs):
  """Builds of datasets, each in a directory of its own."""

  def data_dir(self, name: str) -> pathlib.Path:
    """See `Runs`."""
    return self.path(name)

  def start(self, name: str, *more: str, **options):
    """See `Runs`."""
    return super().start(name, '--mode=build', *more, **options)

  def undisturbed(self) -> None:
    """See `Runs`."""
    begun = time.monotonic()
    self.finish('undisturbed')
    self.seconds = time.monotonic() - begun

  def differences(self, name: str) -> list[str]:
    """See `Runs`."""
    one, other = (self._contents(n) for n in ('undisturbed', name))
    found = [k for k in one.keys() | other.keys() if one.get(k) != other.get(k)]
    left = [
      p.name
      for p in self.path(name).rglob('*')
      if any(word in p.name for word in ('.results', 'incomplete', 'partial'))
    ]
    return sorted(found) + left

  def _contents(self, name: str) -> dict[str, object]:
    """Returns the hash of the records and the files of the pack."""
    path = self.path(name)
    report = json.loads(next(path.glob('edjax_*/*/report.json')).read_text())
    found = {'records': (report['sha256'], report['written'])}
    for file in path.glob('packs/*/*'):
      content = file.read_bytes()
      if file.suffix == '.npz':  # holds the time at which it was written
        with np.load(file) as arrays:
          content = {k: v.tobytes() for k, v in arrays.items()}
      found[f'{file.parent.name}/{file.name}'] = content
    return found

  def phase(self, name: str) -> str:
    """See `Runs`."""
    path = self.path(name)
    packs = [p.name for p in path.glob('packs/*') if p.is_dir()]
    if any('partial' in n for n in packs):
      return 'while the pack was written'
    if packs:
      return 'after its pack'
    if list(path.glob('edjax_*/*/report.json')) and not list(
      path.glob('edjax_*/incomplete*')
    ):
      return 'between dataset and pack'
    if list(path.glob('.*.results')):
      return 'in xTB, or while the dataset was written'
    return 'before the first molecule'


def weights(path: pathlib.Path, kind: str) -> tuple[int, dict]:
  """Reads (step, arrays by name) of the newest checkpoint, by Orbax alone."""
  import jax
  import orbax.checkpoint as ocp

  root = path / 'checkpoints' / kind
  step = max(int(p.name) for p in root.iterdir() if p.name.isdigit())
  tree = ocp.StandardCheckpointer().restore(root / str(step) / 'state')
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return step, {jax.tree_util.keystr(k): np.asarray(v) for k, v in leaves}


def _equal(one, other) -> bool:
  (step, arrays), (other_step, others) = one, other
  return (
    step == other_step
    and arrays.keys() == others.keys()
    and all(np.array_equal(v, others[k]) for k, v in arrays.items())
  )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--what', choices=_KINDS, default='training')
  parser.add_argument('--kills', type=int, default=50)
  parser.add_argument('--seed', type=int, default=0)
  options = parser.parse_args()
  kind, title, same = _KINDS[options.what]
  with tempfile.TemporaryDirectory() as directory:
    runs = kind(pathlib.Path(directory))
    runs.undisturbed()
    print(f'undisturbed: {runs.seconds:.1f} s', flush=True)
    kills, differences = runs.kill(options.kills, options.seed)
  bad = {n: d for n, d in differences.items() if d}
  table = timing.Table(
    f'faults_{options.what}',
    title,
    [
      timing.machine(packages=('jax', 'orbax-checkpoint', 'tblite')),
      f'{len(kills)} times SIGKILL, after 0 to {runs.seconds:.1f} s drawn '
      f'uniformly (seed {options.seed}), over {len(differences)} of them, each '
      'killed and continued until it ended. '
      f'{len(differences) - len(bad)} of {len(differences)} ended with the '
      f'{same} of the undisturbed one, bit for bit.',
    ],
    ('killed', 'times'),
  )
  for phase, times in collections.Counter(k.phase for k in kills).most_common():
    table.row(phase, times)
  for number, names in bad.items():
    table.text('', f'Number {number} differs in {", ".join(names)}.')
  raise SystemExit(bool(bad))


_KINDS = {
  'training': (
    Runs, 'Training killed at random moments',
    'parameters, predictions and metrics',
  ),
  'build': (
    Builds, "A dataset's build killed at random moments", 'records and arrays',
  ),
}  # fmt: skip


if __name__ == '__main__':
  main()
