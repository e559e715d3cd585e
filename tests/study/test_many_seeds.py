"""Seeds trained as one program are what each is alone."""

import json
import threading

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import traverse_util
from support import tiny_runs

from edjax import config as configuration
from edjax import task as tasks
from edjax.runtime import checkpoint, compile_cache, parallel
from edjax.study import many_seeds
from edjax.train import train_and_evaluate, train_step

SEEDS = 3


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp('data')


def tiny(data_dir, seed, **train_fields):
  config = tiny_runs.tiny(data_dir)
  config.data.subset_seed = config.train.seed = seed
  config.train.weights = 'last'
  config.train.steps = 2
  config.train.eval_every = 2
  config.train.checkpoint_every = 1
  config.eval.rotations = 1
  config.train.update(train_fields)
  return config


def params_of(directory, config):
  task = tasks.make_task(config)
  _, fresh = train_step.fresh_state(config, task)
  with checkpoint.Checkpoints(directory) as checkpoints:
    _, state, _ = checkpoints.restore('latest', fresh)
  return np.concatenate([x.ravel() for x in jax.tree.leaves(state.params)])


def update_ratios(directory):
  """Norms of what the last step added to kernels, over those of kernels."""
  latest = directory / 'checkpoints' / 'latest'
  before, after = (
    ocp.StandardCheckpointer().restore(latest / str(step) / 'state')['params']
    for step in (1, 2)
  )
  return {
    '/'.join(path[:-1]): np.linalg.norm(
      traverse_util.flatten_dict(before)[path] - kernel
    ) / np.linalg.norm(kernel)
    for path, kernel in traverse_util.flatten_dict(after).items()
    if path[-1] == 'kernel'
  }  # fmt: skip


def together(configs, directories):
  """Runs them with `many_seeds.slots`; their outcomes."""
  slots = many_seeds.slots(len(configs), compile_cache.Programs())
  outcomes = [None] * len(slots)

  def one(i):
    outcomes[i] = slots[i].run(configs[i], directories[i])

  threads = [threading.Thread(target=one, args=(i,)) for i in range(len(slots))]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(500)  # only a deadlock takes so long
  return outcomes


def test_each_seed_is_what_it_is_alone(data_dir, tmp_path, monkeypatch):
  """Two steps and an evaluation; 30 s, since two programs are compiled."""
  configs = [tiny(data_dir, s) for s in range(SEEDS)]
  for config in configs:
    config.optim.name = 'adamw'  # compiled in a fraction of Muon's time
  directories = [tmp_path / str(s) for s in range(SEEDS)]
  calls = []
  compile_call = train_step.compile_call

  def counted(*key):
    compiled = compile_call(*key)
    if len(key) < 5:  # of one seed
      return compiled
    return lambda *args: calls.append(1) or compiled(*args)

  monkeypatch.setattr(train_step, 'compile_call', counted)
  outcomes = together(configs, directories)
  assert [o.status for o in outcomes] == ['done'] * SEEDS, outcomes
  shared = compile_cache.Programs()
  params = []
  for s in range(SEEDS):
    alone = tmp_path / f'alone{s}'
    expected = train_and_evaluate(configs[s], alone, shared)
    resolved = configuration.resolve(configs[s])
    one, other = (params_of(d, resolved) for d in (directories[s], alone))
    params.append(one)
    # Sums in another order; AdamW's first steps divide a gradient by its
    # size, so that rounding of a tiny one is as large as the step, 1e-3.
    scale = np.abs(other).max()
    assert np.median(np.abs(one - other)) < 1e-6 * scale
    assert np.abs(one - other).max() < 2e-3 * scale
    found = json.loads((directories[s] / 'results.json').read_text())
    for target, entry in expected['targets'].items():
      mae = found['targets'][target]['mae']['value']
      assert np.isclose(mae, entry['mae']['value'], rtol=1e-3)
    # What the state of many seeds tells of the last step is what it did.
    assert found['update_over_weight'] == pytest.approx(
      update_ratios(directories[s]), rel=1e-3
    )
    assert found['dead_channels'] == expected['dead_channels']
    assert found['trunk_share'] == pytest.approx(
      expected['trunk_share'], rel=0.05
    )
  # Negative control: seeds differ by far more.
  for s in range(1, SEEDS):
    difference = np.abs(params[s] - params[0])
    assert np.median(difference) > 1e-4 * np.abs(params[0]).max()
    # Seconds of a step are a share of those of the common program.
    assert found['cost']['runs_at_once'] == SEEDS
    assert expected['cost']['runs_at_once'] == 1
  assert len(calls) == 2  # one a step, for all seeds


def meet(arguments, steps=3, leaves=(), room=99):
  """Seeds that add their batch to a state, through `Together`.

  Args:
    arguments: seed -> host batch.
    steps: calls of each.
    leaves: seeds that leave after one call.
    room: calls of the common program until memory ends.

  Returns:
    (what each ends with, shapes of batches that the common program saw).
  """
  seen, found = [], {}

  def compiled(state, batch, constants):
    if len(seen) == room:
      raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: out of memory')
    seen.append(batch.shape)
    total = state + batch.sum(-1) * constants
    return total, total

  def alone(state, batch, constants):
    seen.append('alone')
    total = state + batch.reshape(len(batch), -1).sum(-1) * constants
    return total, total

  group = many_seeds.Together(len(arguments), None)
  devices = jax.local_device_count()

  def one(i):
    state = parallel.replicate(np.float32(0))
    constants = parallel.replicate(np.float32(1 + i))
    try:
      for _ in range(1 if i in leaves else steps):
        batch = np.stack([np.array(arguments[i], np.float32)] * devices)
        state, loss = group.call(i, compiled, alone, (state, batch, constants))
      found[i] = float(parallel.unreplicate(state).max())
      assert found[i] == float(parallel.unreplicate(loss).max())
    finally:
      group.leave(i)

  threads = [threading.Thread(target=one, args=(i,)) for i in arguments]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(60)
  return found, seen


def test_seeds_keep_what_is_theirs():
  found, seen = meet({i: [i + 1.0, 2.0] for i in range(SEEDS)})
  assert found == {i: 3 * (i + 3.0) * (i + 1) for i in range(SEEDS)}
  assert seen == [(jax.local_device_count(), SEEDS, 2)] * 3


def test_the_others_go_on_without_one():
  found, seen = meet({i: [i + 1.0, 2.0] for i in range(SEEDS)}, leaves=(1,))
  assert found == {0: 9.0, 1: 8.0, 2: 45.0}
  assert len(seen) == 3
  assert 'alone' not in seen


def test_smaller_molecules_are_padded():
  found, seen = meet({0: [1.0], 1: [1.0, 2.0]}, steps=2)
  assert found == {0: 2.0, 1: 12.0}
  assert seen == [(jax.local_device_count(), 2, 2)] * 2


def test_other_kinds_go_alone():
  found, seen = meet({0: [[1.0]], 1: [1.0, 2.0]}, steps=2)
  assert found[1] == 12.0
  assert seen == ['alone'] * 4


@pytest.mark.parametrize('room', [0, 1])
def test_without_room_for_all_they_go_alone(room, capsys):
  found, seen = meet({i: [i + 1.0, 2.0] for i in range(SEEDS)}, room=room)
  assert found == {i: 3 * (i + 3.0) * (i + 1) for i in range(SEEDS)}
  assert seen[room:] == ['alone'] * SEEDS * (3 - room)
  assert f'{SEEDS} seeds at once do not fit' in capsys.readouterr().out


def test_errors_of_the_program_reach_every_seed():
  group = many_seeds.Together(1, None)

  def broken(*args):
    raise MemoryError('no room')

  batch = np.zeros((jax.local_device_count(), 2), np.float32)
  state = parallel.replicate(np.float32(0))
  with pytest.raises(MemoryError, match='no room'):
    group.call(0, broken, None, (state, batch))
