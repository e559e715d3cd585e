"""Data that are read as they are needed: the same batches, less memory."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from support import tiny_runs

from edjax import config as configuration
from edjax import task
from edjax.data import batching, packed_dataset, padded
from edjax.runtime import compile_cache
from edjax.train import train_and_evaluate

ATOMS, ORBITALS = 30, 25


def record(i):
  """Made up; different molecules of different sizes."""
  rng = np.random.default_rng(i)
  atoms, orbitals = rng.integers(3, ATOMS + 1), rng.integers(2, ORBITALS + 1)
  return {
    'example_id': f'm_{i:06d}'.encode(),
    'index': i,
    'numbers': rng.choice([1, 6, 7, 8], atoms).astype(np.int32),
    'positions': rng.normal(size=(atoms, 3)),
    'orbitals': rng.normal(size=orbitals * atoms * 4).astype(np.float32),
    'n_orbitals': int(orbitals),
    'orbital_width': 4,
    'gap': np.float64(i),
  }


def write(path, count):
  packed_dataset.write(path, map(record, range(count)), 'f')
  return path


@pytest.fixture(scope='module')
def parts(tmp_path_factory):
  """(in memory, streamed) of the same rows."""
  source = packed_dataset.open_pack(
    write(tmp_path_factory.mktemp('pack') / 'p', 60)
  )
  selection = padded.Selection(orbitals=True)
  rows = np.arange(59, -1, -2)
  padding = padded.padding_of(source, np.arange(60), selection)
  return [
    batching.molecules_of(source, rows, padding, selection, memory)
    for memory in (1e9, 1e4)
  ]


def same(one, other):
  for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    np.testing.assert_array_equal(x, y)
    assert x.dtype == y.dtype


@pytest.mark.parametrize('shape', [(7,), (2, 3), (4, 2, 3)])
def test_the_same_molecules(parts, shape):
  memory, stream = parts
  assert isinstance(stream, batching.Stream)
  assert not isinstance(memory, batching.Stream)
  assert len(stream) == 30
  indices = np.random.default_rng(0).integers(0, 30, shape)
  found = batching.take(stream, indices)
  assert found.numbers_A.shape == (*shape, memory.numbers_A.shape[1])
  same(found, batching.take(memory, indices))


def test_blocks_are_everything_in_order(parts, monkeypatch):
  memory, stream = parts
  monkeypatch.setattr(batching, '_BLOCK', 7)
  blocks = list(batching.blocks(stream))
  assert [len(b.index) for b in blocks] == [7, 7, 7, 7, 2]
  joined = jax.tree.map(lambda *x: np.concatenate(x), *blocks)
  same(joined, memory)
  assert [b is memory for b in batching.blocks(memory)] == [True]


def test_batches_come_in_order_and_from_anywhere():
  made = []

  def make(step):
    made.append(step)
    return step * 10

  prefetcher = batching.Prefetcher(make, steps=40, per_call=2)
  assert [prefetcher(s) for s in (4, 6, 8)] == [40, 60, 80]
  assert [prefetcher(s) for s in (0, 2)] == [0, 20]  # begun again
  # Made ahead, but not without end.
  assert max(made) < 30


def test_a_run_is_the_same(qm9_mini, tmp_path):
  """Bit for bit: metrics and predictions."""
  shared, found = compile_cache.CompileCache(), []
  for name, memory in (('memory', 8.0), ('stream', 1e-6)):
    config = tiny_runs.tiny(qm9_mini)
    config.train.device_data_gib = 0.0
    config.train.steps = config.train.eval_every = 6
    config.train.checkpoint_every = 3
    config.data.memory_gib = memory
    train_and_evaluate(config, tmp_path / name, shared)
    found.append(
      [
        (tmp_path / name / file).read_bytes()
        for file in ('metrics.jsonl', 'predictions_test.csv', 'outside_box.csv')
      ]
    )
  assert found[0] == found[1]
  made = task.make_task(configuration.resolve(config))
  assert isinstance(made.molecules['train'], batching.Stream)


_MEASURE = """
import sys, json
import numpy as np
from edjax.data import batching, packed_dataset, padded

def anonymous():
  with open('/proc/self/status') as file:
    for line in file:
      if line.startswith('RssAnon'):
        return int(line.split()[1]) / 1024

path, memory = sys.argv[1], float(sys.argv[2])
source = packed_dataset.open_pack(path)
selection = padded.Selection(orbitals=True)
rows = np.arange(len(source))
padding = padded.padding_of(source, rows, selection)
few = padded.make_molecules(source, rows[:64], padding, selection)
before = anonymous()
molecules = batching.molecules_of(
  source, rows, padding, selection, memory)
batches = batching.Prefetcher(
  lambda step: batching.take(molecules, batching.batch_indices(
    0, step, len(rows), 64)), 200, 1)
total = sum(float(batches(step).coords_A3.sum()) for step in range(200))
print(json.dumps([anonymous() - before, total]))
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_memory_stays_within_a_limit(tmp_path):
  """160 MiB of molecules, in memory and streamed under a limit of 16 MiB."""
  path = write(tmp_path / 'p', 12_000)

  def measured(memory):
    done = subprocess.run(
      [sys.executable, '-c', _MEASURE, str(path), str(memory)],
      capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])

  whole, total = measured(2**34)
  streamed, same_total = measured(2**24)
  assert total == same_total
  assert whole > 120
  assert streamed < 0.3 * whole
