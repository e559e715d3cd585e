"""Two processes of two devices are one process of four.

A minute: every launch imports JAX and compiles, and processes are what is
tested.
"""

import json
import shutil
import signal

import numpy as np
import pytest
from support import layouts

from benchmarks.robustness import faults as script
from edjax import commands
from edjax.config import ConfigError
from edjax.runtime import multihost


@pytest.fixture(scope='module')
def runs(qm9_mini, tmp_path_factory):
  directory = tmp_path_factory.mktemp('processes')
  found = script.Runs(directory, **layouts.SMALLER)
  shutil.copytree(qm9_mini, found.data_dir('one'))
  return found


def two(runs, name):
  """Starts both; their processes."""
  return layouts.start(runs, name, 2, 2)


def test_begun_by_one_lost_by_two_and_ended_by_two(runs):
  runs.finish('one', **layouts.devices(4))
  begun = runs.start('r', **layouts.devices(4))
  first = layouts.until(runs, 'r', 20, begun)
  begun.send_signal(signal.SIGTERM)
  begun.communicate()
  assert begun.returncode == 75
  both = two(runs, 'r')
  second = layouts.until(runs, 'r', first + 20, both[0])
  both[0].kill()
  (status, _, _), (other, output, errors) = layouts.ends(both)
  assert status == -signal.SIGKILL
  # JAX ends the one that is left.
  assert other not in (0, 75)
  assert 'another task died' in errors, errors[-3000:]
  assert 'molecules' not in output
  found = layouts.ends(two(runs, 'r'))
  assert [f[0] for f in found] == [0, 0], found
  assert 'continuing after step' in found[0][1]
  # One voice: the other says nothing of its own.
  assert 'molecules' in found[0][1]
  assert 'molecules' not in found[1][1]
  assert 'step/s' not in found[1][2]
  assert second > first
  facts = json.loads((runs.path('r') / 'config.json').read_text())
  assert facts['process_count'] == 1
  assert [c['process_count'] for c in facts['continued']] == [2]
  assert facts['device_count'] == 4
  expected, values = layouts.metrics(runs, 'one'), layouts.metrics(runs, 'r')
  assert [(m['step'], m['name']) for m in values] == [
    (m['step'], m['name']) for m in expected
  ]
  # The same shares of each batch on four devices; sums over processes are
  # taken in another order.
  np.testing.assert_allclose(
    [m['value'] for m in values], [m['value'] for m in expected], rtol=0.02
  )
  early = [i for i, m in enumerate(expected) if m['step'] <= second]
  np.testing.assert_allclose(
    [values[i]['value'] for i in early],
    [expected[i]['value'] for i in early],
    rtol=1e-4,
  )


def test_sigterm_to_one_of_them(runs):
  both = two(runs, 's')
  layouts.until(runs, 's', 10, both[0])
  both[1].send_signal(signal.SIGTERM)
  found = layouts.ends(both)
  assert [f[0] for f in found] == [75, 75], found
  assert 'is saved' in found[0][2]


def test_wrong_flags(tmp_path, capsys):
  for together in (
    ('localhost:1', 0, 0),
    ('localhost:1', 2, 2),
    ('localhost:1', 2, -1),
  ):
    assert commands.run(None, str(tmp_path), 'train', together=together) == 2
    assert 'needs --processes, and --process' in capsys.readouterr().err
  together = ('localhost:1', 2, 0)
  assert commands.run(None, str(tmp_path), 'study', together=together) == 2
  assert 'spread with --shard' in capsys.readouterr().err


def test_alone_everything_is_the_first_ones():
  assert (multihost.count(), multihost.is_first()) == (1, True)
  assert multihost.broadcast_from_first({'a': 1}) == {'a': 1}
  assert multihost.broadcast_arrays_from_first([np.ones(2)])[0].sum() == 2
  assert multihost.any_of(True)
  assert not multihost.any_of(False)
  assert multihost.share(np.arange(8)).tolist() == list(range(8))
  with pytest.raises(ValueError, match='7 cannot be split over 4 devices'):
    multihost.share(np.arange(7))
  with pytest.raises(ConfigError, match='needs --processes'):
    multihost.start('localhost:1')
