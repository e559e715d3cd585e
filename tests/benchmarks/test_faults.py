"""Runs that something goes wrong with, as processes.

Each test takes longer than 20 s: every launch imports JAX and compiles, 8 s of
2 idle cores, and what is tested is what becomes of processes.
"""

import json
import os
import re
import shutil
import signal

import numpy as np
import pytest
from support import layouts, waiting, xla_flags

from benchmarks.robustness import faults as script

ERRORS = ('loss', 'mae_')


@pytest.fixture(scope='module')
def faults(qm9_mini, tmp_path_factory):
  """`benchmarks.robustness.faults` with an undisturbed run to compare with."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(script, 'XLA_FLAGS', xla_flags.QUICK)
    runs = script.Runs(tmp_path_factory.mktemp('faults'), **layouts.SMALLER)
    shutil.copytree(qm9_mini, runs.data_dir('undisturbed'))
    runs.undisturbed()
    yield runs


def preempt(runs, name, after=10, number=signal.SIGTERM, **options):
  """Sends a signal once there is a checkpoint of a step; returns the saved."""
  process = runs.start(name, **options)
  layouts.until(runs, name, after, process)
  process.send_signal(number)
  _, errors = process.communicate(timeout=waiting.HANG)
  assert process.returncode == 75, errors
  step = layouts.until(runs, name, after, process)
  assert f'stopped: step {step} of 200 is saved' in errors
  assert after <= step < 200
  return step


def refused(runs, name, before):
  """The message of a launch that cannot write."""
  process = runs.start(name, before=before)
  _, errors = process.communicate(timeout=waiting.HANG)
  assert process.returncode == 2, errors
  found = re.findall(r'^error: .*', errors, re.MULTILINE)
  assert len(found) == 1, errors
  return found[0]


def without_rights_of_root():
  """Root may write everywhere but without its capability to."""
  if os.geteuid():
    return []
  if not shutil.which('setpriv'):
    pytest.skip('root, and no setpriv to take its rights away')
  dropped = '-dac_override,-dac_read_search'
  return ['setpriv', f'--bounding-set={dropped}', f'--inh-caps={dropped}']


def test_killed_at_random_moments(faults):
  """Two of the 50 of `python -m benchmarks.robustness.faults`."""
  kills, differences = faults.kill(2, seed=1)
  assert len(kills) == 2
  assert not any(differences.values()), (differences, kills)


def test_one_misfortune_after_the_other(faults):
  """SIGTERM, a full disk, a directory that may only be read, a cut file."""
  step = preempt(faults, 'r', after=20)
  path = faults.path('r')
  assert not (path / 'results.json').exists()
  latest = path / 'checkpoints' / 'latest'
  # No file may grow beyond 4 kB: less than the numbers of a checkpoint.
  limit = ['bash', '-c', 'ulimit -f 4; exec "$0" "$@"']
  message = refused(faults, 'r', limit)
  assert 'cannot be written' in message
  assert 'Those before are kept' in message
  mode = latest.stat().st_mode
  latest.chmod(0o500)
  try:
    message = refused(faults, 'r', without_rights_of_root())
  finally:
    latest.chmod(mode)
  assert 'Permission denied' in message
  assert str(latest) in message
  assert str(step) in {p.name for p in latest.iterdir()}
  shutil.rmtree(latest / str(step) / 'state' / 'd')
  output = faults.finish('r')
  assert 'damaged: ' in output
  assert 'continuing after step' in output
  assert faults.differences('r') == []


def test_begun_on_two_devices_continued_on_others(faults):
  """On 2, then 4, then 1: the same run but for rounding."""
  ctrl_c = signal.SIGINT
  first = preempt(faults, 'devices', number=ctrl_c, **layouts.devices(2))
  second = preempt(faults, 'devices', after=first + 10, **layouts.devices(4))
  faults.finish('devices', **layouts.devices(1))
  facts = json.loads((faults.path('devices') / 'config.json').read_text())
  assert facts['device_count'] == 2
  assert [c['device_count'] for c in facts['continued']] == [4, 1]
  assert first < second
  found, expected = (
    layouts.metrics(faults, name) for name in ('devices', 'undisturbed')
  )
  assert [(m['step'], m['name']) for m in found] == [
    (m['step'], m['name']) for m in expected
  ]
  # Sums over devices differ in rounding, which 200 steps enlarge; in what four
  # channels carry much more than in errors.
  values = [
    np.array([m['value'] for m in lines if m['name'].startswith(ERRORS)])
    for lines in (found, expected)
  ]
  assert (
    len(values[0]) == 10 * 4
  )  # of evaluations: loss, two errors, their mean
  np.testing.assert_allclose(*values, rtol=0.02)
