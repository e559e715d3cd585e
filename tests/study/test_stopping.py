"""Which weights a run is judged by, when it ends, and which labels it saw."""

import dataclasses
import itertools
import json
import math
import types

import jax
import numpy as np
import pytest

from configs import default
from edjax import config as configuration
from edjax import task as tasks
from edjax.data import loading, packed_dataset
from edjax.evaluate import evaluator, predicting, summary, vitals
from edjax.runtime import checkpoint, compile_cache, parallel, run_directory
from edjax.train import loop, nonfinite, train_and_evaluate, train_step

TARGETS = ('gap', 'mu')


def record(i):
  rng = np.random.default_rng(i)
  numbers = [6] * (1 + i % 3) + [1] * (1 + i % 4) + [8] * (i % 2)
  return {
    'example_id': f'm_{i:03d}'.encode(),
    'index': i,
    'smiles': 'X',
    'numbers': np.array(numbers, np.int32),
    'positions': rng.normal(size=(len(numbers), 3)),
    'orbitals': rng.normal(size=len(numbers) * 4),
    'n_orbitals': 1,
    'orbital_width': 4,
    'xtb_energy': np.float64(-sum(numbers) + rng.normal()),
    'xtb_dipole': rng.normal(size=3),
    'xtb_levels': np.linspace(-3, 3, 12) + rng.normal(),
    'gap': np.float64(len(numbers) + rng.normal()),
    'mu': np.float64(rng.normal()),
  }


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  path = tmp_path_factory.mktemp('pack') / 'p'
  packed_dataset.write(path, [record(i) for i in range(60)], 'fingerprint')
  return packed_dataset.open_pack(path)


def resolved(**changes):
  config = default.get_config()
  config.update_from_flattened_dict(
    {
      'data.targets': TARGETS,
      'data.train_size': 16.0,
      'data.validation_share': 0.25,
      'representation.density': 'promolecule',
      'representation.grid_size': 8,
      'representation.spacing': 1.0,
      'representation.supersample': 1,
      # One stage: its convolutions compile in seconds.
      'model.widths': (8,),
      'model.blocks': (0,),
      'model.dropout': 0.0,
      'train.batch_size': 8,
      'train.steps': 12,
      'train.eval_every': 2,
      'train.checkpoint_every': 3,
      'eval.rotations': 2,
      'eval.batch_size': 8,
      'eval.bootstrap': 100,
    }
    | changes
  )
  return configuration.resolve(config)


@pytest.fixture
def data(source, monkeypatch):
  """Puts another pack in the place of the dataset."""

  def put(**changes):
    changed = dataclasses.replace(source, **changes)
    monkeypatch.setattr(loading, 'load_pack', lambda *_: changed)

  put()
  return put


class Killed(Exception):
  """Stands for the end of a process."""


@pytest.fixture
def scripted(monkeypatch):
  """A loop whose steps add 1 and whose validation errors are given.

  Returns:
    run(config, workdir, errors, kill_at=None) -> the steps whose weights were
    validated; an error for each step, killed before the step kill_at.
  """

  def run(config, workdir, errors, kill_at=None):
    def make_train_call(*_):
      def call(state, *_):
        if int(parallel.unreplicate(state.step)) + 1 == kill_at:
          raise Killed
        state = jax.tree.map(lambda x: x + 1, state)
        return state, parallel.replicate(np.ones(1, np.float32))

      return call

    seen = []

    def log(self, params, step, run):
      del self
      seen.append(step)
      run.log(step, 'validation', 'mae_standardised', errors[step], '')
      return errors[step]

    # Weights that grow by 1 a step predict nothing worth compiling for.
    empty = {'trunk_share': {}, 'dead_channels': {}}
    monkeypatch.setattr(vitals.Observer, 'carried', lambda *_: empty)
    monkeypatch.setattr(train_step, 'make_train_call', make_train_call)
    monkeypatch.setattr(evaluator.Evaluator, 'log', log)
    monkeypatch.setattr(
      evaluator,
      'final_evaluation',
      lambda *args: {'params': args[2], 'cost': {}},
    )
    # Without predictions there is nothing to keep for others.
    monkeypatch.setattr(loop, 'keep', lambda *args: None)
    monkeypatch.setattr(
      run_directory.RunDirectory, 'finish', lambda self, results: None
    )
    results = train_and_evaluate(config, workdir)
    return seen, results

  return run


# Of the evaluations at steps 2, 4, ...: the best are at steps 6, 12 and 14.
VALUES = 0.9, 0.7, 0.5, 0.6, 0.8, 0.4, 0.3, 1.0, 1.0, 1.0
ERRORS = {2 * i + 2: value for i, value in enumerate(VALUES)}


def first_weight(results):
  return float(np.ravel(jax.tree.leaves(results['params'])[0])[0])


@pytest.mark.parametrize(
  ('patience', 'selected', 'end'),
  [(0, 14, 20), (1, 6, 8), (2, 6, 10), (3, 14, 20)],
)
def test_patience_ends_training(
  data, scripted, tmp_path, patience, selected, end
):
  """Two evaluations are worse than the third, and then two are better."""
  config = resolved(**{'train.steps': 20, 'train.patience': patience})
  seen, results = scripted(config, tmp_path, ERRORS)
  assert seen == list(range(2, end + 1, 2))
  assert results['selected_step'] == selected
  assert results['trained_steps'] == end


def test_the_last_weights_are_the_last(data, scripted, tmp_path):
  """Weights grow by 1 a step, which tells which ones were evaluated."""
  options = {'train.steps': 14, 'train.eval_every': 2}
  rising = {step: float(step) for step in range(2, 15, 2)}
  found = {}
  for weights in ('best', 'last'):
    config = resolved(**options, **{'train.weights': weights})
    _, found[weights] = scripted(config, tmp_path / weights, rising)
  assert found['best']['selected_step'] == 2
  assert found['last']['selected_step'] == 14
  assert first_weight(found['last']) - first_weight(found['best']) == 12
  best = tmp_path / 'last' / 'checkpoints' / 'best'
  assert not list(best.iterdir())
  # A validation error that is not finite chooses nothing, and ends nothing.
  config = resolved(**options, **{'train.weights': 'last'})
  nan = dict.fromkeys(rising, math.nan)
  _, results = scripted(config, tmp_path / 'nan', nan)
  assert results['selected_step'] == 14
  config = resolved(**options)
  with pytest.raises(FloatingPointError, match='no validation error'):
    scripted(config, tmp_path / 'none', nan)


@pytest.mark.parametrize('kill_at', [3, 6, 7, 8, 9, 10])
def test_a_killed_run_stops_where_it_would_have(
  data, scripted, tmp_path, kill_at
):
  """Checkpoints are every 3 steps, evaluations every 2; it stops at 10."""
  config = resolved(**{'train.steps': 18, 'train.patience': 2})
  with pytest.raises(Killed):
    scripted(config, tmp_path / 'r', ERRORS, kill_at)
  _, results = scripted(config, tmp_path / 'r', ERRORS)
  _, undisturbed = scripted(config, tmp_path / 'u', ERRORS)
  for name in ('selected_step', 'trained_steps'):
    assert results[name] == undisturbed[name]
  assert results['trained_steps'] == 10
  assert first_weight(results) == first_weight(undisturbed)
  lines = [
    (tmp_path / name / 'metrics.jsonl').read_text() for name in ('r', 'u')
  ]
  assert lines[0] == lines[1]
  # Stopped and killed before its results were written: nothing is trained.
  seen, again = scripted(config, tmp_path / 'r', ERRORS)
  assert not seen
  assert again['selected_step'] == results['selected_step']


def test_the_time_of_a_step_is_of_steps_alone(
  data, scripted, tmp_path, monkeypatch
):
  """By a clock that the test moves: 2 s a call, 100 s an evaluation."""
  clock = [0.0]

  def tick(seconds):
    clock[0] += seconds
    return clock[0]

  def add(self, pending):
    if pending:
      tick(2.0)  # a step ends when its loss is there
      self.count += 1

  monkeypatch.setattr(
    loop, 'time', types.SimpleNamespace(time=lambda: tick(1e-3))
  )
  monkeypatch.setattr(nonfinite.Losses, 'add', add)
  monkeypatch.setattr(nonfinite, 'check_parameters', lambda _: tick(100.0))
  config = resolved(
    **{'train.steps': 12, 'train.eval_every': 6, 'train.checkpoint_every': 3}
  )
  with pytest.raises(Killed):
    scripted(config, tmp_path, dict.fromkeys((6, 12), 0.5), kill_at=10)
  _, results = scripted(config, tmp_path, dict.fromkeys((6, 12), 0.5))
  assert results['cost']['train_seconds_per_step'] == pytest.approx(2, rel=0.01)
  assert results['seconds'] > 4 * 100


def test_what_results_say_of_costs_and_rotations(data, tmp_path):
  """xTB costs what the dataset says where it is used, and else nothing."""
  data(xtb_seconds=0.25)
  config = resolved()
  task = tasks.make_task(config)
  assert summary.cost(config, task).keys() == {'voxelize_seconds_per_molecule'}
  assert summary.cost(config, task)['voxelize_seconds_per_molecule'] > 0
  for changes in (
    {'data.delta': 'gfn2'},
    {'data.delta': 'gfn2_kernel'},
    {'representation.density': 'xtb'},
    {'data.geometry': 'gfn2'},
  ):
    found = summary.cost(resolved(**changes), task)
    assert found['xtb_seconds_per_molecule'] == 0.25
  unknown = dataclasses.replace(
    task, pack=dataclasses.replace(task.pack, xtb_seconds=None)
  )
  found = summary.cost(resolved(**{'data.delta': 'gfn2'}), unknown)
  assert 'xtb_seconds_per_molecule' not in found

  n = len(task.rows['test'])
  truth_RBT = np.tile(task.labels.columns_NT[task.rows['test']], (2, 1, 1))
  # Turned one way 1 above, turned the other 3 below for every second molecule.
  apart_B = np.where(np.arange(n) % 2, 3.0, 0.0)
  prediction_RBT = truth_RBT + 1.0
  prediction_RBT[1] -= apart_B[:, None]
  results = summary.summarise(config, task, prediction_RBT)
  entry = results['targets']['mu']
  spread = (n // 2) / n * 3.0 / np.sqrt(2)  # of two numbers 3 apart
  assert entry['rotation_spread'] == pytest.approx(spread)
  assert entry['rotation_std'] > entry['rotation_spread']
  # In the unit of the tables: meV, where the labels are in Ha.
  gap = results['targets']['gap']
  assert gap['rotation_spread'] == pytest.approx(spread * 27211.386, rel=1e-6)
  one = summary.summarise(config, task, prediction_RBT[:1])
  assert 'rotation_spread' not in one['targets']['gap']


def trained(config, workdir, shared):
  """What a few steps leave, and everything fitted before them."""
  task = tasks.make_task(config)
  run = run_directory.RunDirectory(workdir)
  run.path.mkdir()
  fresh = train_step.fresh_state(config, task)
  predict = predicting.make_predict(config, task, shared)
  validate = evaluator.Evaluator(config, task, 'validation', predict)
  with checkpoint.Checkpoints(workdir) as checkpoints:
    trained = loop.train(
      config, task, loop.LoopState(fresh), checkpoints, run, validate, shared
    )
    selected = checkpoints.selected(config.train.weights, fresh)
  fitted = {
    'labels': (task.labels.mean_T, task.labels.scale_T),
    'ridge': [b[task.rows['train']] for b in task.baselines.values()],
    'scales': task.voxelizer.scales,
    'whitening': task.sample_BXYZC,
    'params': trained.state.params,
    'selected': selected,
    'validation': [
      json.loads(line)['value']
      for line in (run.path / 'metrics.jsonl').read_text().splitlines()
    ],
  }
  return task, fitted


def equal(a, b):
  return all(
    np.array_equal(x, y)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )


def test_what_is_learned_is_what_a_ridge_leaves(data):
  """The residual is standardised, and the ridge comes back at the end."""
  found = {}
  baseline = {
    'composition': 'ridge_composition',
    'gfn2': 'ridge_gfn2',
    'gfn2_kernel': 'kernel_gfn2',
  }
  for delta in ('', *baseline):
    task = tasks.make_task(resolved(**{'data.delta': delta}))
    labels, rows = task.labels, task.rows['test']
    found[delta] = labels.values_NT
    zero = labels.to_native(np.zeros((len(rows), len(TARGETS))), rows)
    ridge = task.baselines[baseline[delta]][rows] if delta else 0
    want = ridge + labels.mean_T * np.ones_like(zero)
    np.testing.assert_allclose(zero, want, rtol=1e-12, atol=1e-12)
    back = labels.to_native(labels.values_NT[rows], rows)
    np.testing.assert_allclose(
      back, labels.columns_NT[rows], rtol=1e-5, atol=1e-5
    )
  for one, other in itertools.pairwise(found):
    assert np.abs(found[one] - found[other]).max() > 0.1


def test_labels_outside_of_the_n_are_of_no_effect(source, data, tmp_path):
  """Neither they nor those molecules' coordinates change a bit of a run.

  Control: two labels of the n change all but what is made of voxels.
  """
  config = resolved(**{'train.steps': 4, 'data.delta': 'composition'})
  shared = compile_cache.CompileCache()  # compiled once
  task, before = trained(config, tmp_path / 'before', shared)
  used = np.concatenate([task.rows['train'], task.rows['validation']])
  assert len(used) == 16
  assert len(task.rows['validation']) == 4
  outside = np.setdiff1d(np.arange(len(source)), used)
  assert {*task.rows['test']} <= {*outside}

  def changed_labels(rows):
    columns = {k: v.copy() for k, v in source.columns.items()}
    for name in TARGETS:
      columns[name][rows] = 50 - 3 * columns[name][rows]
    return columns

  atoms = np.isin(
    np.repeat(np.arange(len(source)), source.atom_counts), outside
  )
  data(
    columns=changed_labels(outside),
    positions=np.where(atoms[:, None], 2, 1) * np.asarray(source.positions),
  )
  _, after = trained(config, tmp_path / 'after', shared)
  for name, value in before.items():
    assert equal(value, after[name]), name

  chosen = [task.rows[part][0] for part in ('train', 'validation')]
  data(columns=changed_labels(chosen))
  _, other = trained(config, tmp_path / 'other', shared)
  for name, value in before.items():
    # Those are of coordinates alone.
    assert equal(value, other[name]) == (name in ('scales', 'whitening')), name
