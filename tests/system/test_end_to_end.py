"""The program as a user runs it: build, train, kill, resume, evaluate.

These are the slowest tests (about a minute each on 2 cores): every launch is
a process of its own that imports JAX and compiles, which is what they test.
"""

import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from support import waiting, xla_flags

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp('data')


def command(data_dir, workdir, *more, variant='smoke', name='density'):
  return [
    sys.executable,
    str(REPOSITORY / 'launch.py'),
    f'--config={REPOSITORY}/configs/qm9_{name}.py:{variant}',
    f'--workdir={workdir}',
    f'--config.data.data_dir={data_dir}',
    *more,
  ]


def environment(flags=''):
  # One device, as a user has; conftest forces 4 in this process.
  return os.environ | {'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu'}


def launch(*args, status=0, flags='', **kwargs):
  done = subprocess.run(
    command(*args, **kwargs),
    env=environment(flags),
    cwd=REPOSITORY,
    capture_output=True,
    text=True,
    timeout=waiting.HANG,
  )
  assert done.returncode == status, done.stdout + done.stderr
  return done


@pytest.fixture(scope='module')
def run(data_dir, tmp_path_factory):
  """One undisturbed run; its directory and what it printed."""
  workdir = tmp_path_factory.mktemp('run')
  return workdir, launch(data_dir, workdir)


def metrics_of(workdir):
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def weights_of(workdir, kind='latest'):
  import orbax.checkpoint as ocp

  steps = [int(p.name) for p in (workdir / 'checkpoints' / kind).iterdir()]
  path = workdir / 'checkpoints' / kind / str(max(steps)) / 'state'
  tree = ocp.StandardCheckpointer().restore(path)
  found = {}

  def walk(node, name):
    if isinstance(node, dict):
      for key, child in node.items():
        walk(child, f'{name}/{key}')
    elif node is not None:
      found[name] = np.asarray(node)

  walk(tree, '')
  return max(steps), found


def test_smoke_run_leaves_everything(run):
  workdir, done = run
  results = json.loads((workdir / 'results.json').read_text())
  assert results['examples'] == {'train': 64, 'validation': 16, 'test': 16}
  for entry in results['targets'].values():
    mae = entry['mae']
    assert mae['low'] <= mae['value'] <= mae['high']
    assert set(entry['baselines']) == {
      'mean', 'median', 'ridge_composition', 'ridge_gfn2', 'kernel_gfn2',
      'moments',
    }  # fmt: skip
    assert entry['rotation_spread'] > 0
  cost = results['cost']
  assert {k.split('_')[0] for k in cost} == {
    'xtb', 'voxelize', 'train', 'predict',
  }  # fmt: skip
  assert all(seconds > 0 for seconds in cost.values())
  with (workdir / 'predictions_test.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert len(rows) == 16 * len(results['targets'])
  name = rows[0]['name']
  mine = [r for r in rows if r['name'] == name]
  assert len({r['id'] for r in mine}) == 16
  # The table's figure follows from the file, by hand.
  errors = [abs(float(r['target']) - float(r['prediction'])) for r in mine]
  entry = results['targets'][name]
  factor = 27211.386 if entry['unit'] == 'meV' else 1.0
  assert np.isclose(np.mean(errors) * factor, entry['mae']['value'], rtol=1e-6)
  assert 'Test errors on 16 molecules' in done.stdout
  assert 'atomization' in done.stdout
  assert (workdir / 'parity.png').read_bytes().startswith(b'\x89PNG')
  facts = json.loads((workdir / 'config.json').read_text())
  assert facts['device_count'] == 1
  assert {'jax', 'tblite'} <= set(facts['versions'])
  assert facts['config']['train.steps'] == 40
  steps = [m['step'] for m in metrics_of(workdir)]
  assert sorted(set(steps)) == [20, 40]
  # What parts of the network carry, in numbers and in words.
  targets = results['targets'].keys()
  assert results['trunk_share'].keys() == targets
  assert all(0 <= share < 10 for share in results['trunk_share'].values())
  logged = {(m['split'], m['name']) for m in metrics_of(workdir)}
  names = [f'trunk_share_{t}' for t in targets]
  names += [f'dead_{layer}' for layer in results['dead_channels']]
  assert 'dead_block_1_0/silu_1' in names
  assert {('validation', name) for name in [*names, 'dead_channels']} < logged
  ratios = results['update_over_weight']
  assert {'trunk/stem/conv', 'head/linear'} < ratios.keys()
  assert {('train', f'update_over_weight_{layer}') for layer in ratios} < logged
  assert all(0 < ratio < 1 for ratio in ratios.values())
  assert 'the trunk (the convolutions) carries: gap ' in done.stdout
  assert 'Traceback' not in done.stderr


def test_killed_and_resumed_is_the_same_bit_for_bit(run, data_dir, tmp_path):
  undisturbed, _ = run
  process = subprocess.Popen(
    command(data_dir, tmp_path / 'r'),
    env=environment(),
    cwd=REPOSITORY,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  checkpoint = tmp_path / 'r' / 'checkpoints' / 'latest' / '10'
  waiting.until(checkpoint.is_dir, lambda: process.poll() is None)
  process.send_signal(signal.SIGKILL)
  process.wait()
  assert not (tmp_path / 'r' / 'results.json').exists()
  done = launch(data_dir, tmp_path / 'r')
  assert 'continuing after step' in done.stdout
  for kind in ('latest', 'best'):
    step, expected = weights_of(undisturbed, kind)
    resumed_step, resumed = weights_of(tmp_path / 'r', kind)
    assert step == resumed_step
    assert expected.keys() == resumed.keys()
    for name, value in expected.items():
      np.testing.assert_array_equal(value, resumed[name], err_msg=name)
  assert metrics_of(undisturbed) == metrics_of(tmp_path / 'r')


def test_another_seed_is_another_run(run, data_dir, tmp_path):
  """Negative control: equality above is not for want of differences.

  The directory also holds what a launch killed before its first checkpoint
  could leave: weights selected later than where this one begins.
  """
  undisturbed, _ = run
  step, _ = weights_of(undisturbed, 'best')
  stale = tmp_path / 's' / 'checkpoints' / 'best' / '1000'
  shutil.copytree(undisturbed / 'checkpoints' / 'best' / str(step), stale)
  launch(data_dir, tmp_path / 's', '--config.train.seed=1')
  assert not stale.exists()
  results = json.loads((tmp_path / 's' / 'results.json').read_text())
  assert results['selected_step'] in (20, 40)
  _, expected = weights_of(undisturbed)
  _, other = weights_of(tmp_path / 's')
  kernels = [n for n in expected if 'kernel' in n and '/params' in n]
  assert kernels
  assert all(not np.array_equal(expected[n], other[n]) for n in kernels)


def test_other_inputs_and_options_run(data_dir, tmp_path):
  """Gradient and atoms together, bfloat16, learning what GFN2 leaves over."""
  done = launch(
    data_dir,
    tmp_path / 'o',
    "--config.representation.channels=('atoms','gradient')",
    '--config.representation.density=deformation',
    '--config.model.dtype=bfloat16',
    '--config.model.widths=(8,)',
    '--config.model.blocks=(0,)',
    '--config.data.delta=gfn2',
    '--config.data.split=size',
    '--config.augment.translate=0.2',
    '--config.train.steps=20',
    '--config.train.steps_per_call=2',
    name='gradient',
    flags=xla_flags.QUICK,
  )
  assert "model.dtype='bfloat16' is slower" in done.stdout
  results = json.loads((tmp_path / 'o' / 'results.json').read_text())
  assert results['channels'] == [
    *(f'atoms_{e}' for e in ('H', 'C', 'N', 'O', 'F', 'other')),
    'gradient',
  ]
  assert results['reference'] == 'ridge_gfn2'
  assert 'learned what ridge, composition + GFN2 leaves' in done.stdout
  entry = results['targets']['atomization']
  # 20 steps hardly move away from the fit that the difference starts from.
  ridge = entry['baselines']['ridge_gfn2']['mae']['value']
  assert 0.5 * ridge < entry['mae']['value'] < 2 * ridge
  assert entry['baselines']['median']['mae']['value'] > 4 * ridge


def test_finished_run_is_not_run_again(run, data_dir):
  workdir, first = run
  before = (workdir / 'results.json').stat().st_mtime_ns
  again = launch(data_dir, workdir)
  assert 'is finished' in again.stdout
  table = first.stdout[first.stdout.index('Test errors') :]
  assert table in again.stdout
  assert (workdir / 'results.json').stat().st_mtime_ns == before
  report = launch(data_dir, workdir, '--mode=report')
  assert table in report.stdout
  # Predicting again with the selected weights gives the same predictions.
  path = workdir / 'predictions_test.csv'
  predictions = path.read_bytes()
  path.unlink()
  evaluated = launch(data_dir, workdir, '--mode=evaluate')
  assert table in evaluated.stdout
  assert path.read_bytes() == predictions


def test_mistakes_end_in_a_message(run, data_dir, tmp_path):
  """In what a run directory and a network say; flags: test_command_line.py."""
  workdir, _ = run
  done = launch(
    data_dir, workdir, '--config.optim.learning_rate=1e-4', status=2
  )
  assert 'config.optim.learning_rate=0.003, not 0.0001' in done.stderr
  done = launch(data_dir, tmp_path, '--config.model.kernels=tied', status=2)
  assert 'config.model.kernels must be one of' in done.stderr
