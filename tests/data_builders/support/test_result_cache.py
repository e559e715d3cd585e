"""Results that outlive a build that is killed."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from data_builders import xtb
from data_builders.qm9_mini import qm9_mini_dataset_builder as mini
from data_builders.support import result_cache, worker_pool

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
WATER = [8, 1, 1], [[0.0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]]


@contextlib.contextmanager
def interrupted(path):
  """A build that ends with Ctrl-C."""
  with (
    contextlib.suppress(KeyboardInterrupt),
    result_cache.until_done(path) as earlier,
  ):
    yield earlier
    raise KeyboardInterrupt


def put_some(path, count=3):
  """A build that leaves some results."""
  with interrupted(path):
    for i in range(count):
      result_cache.put(result_cache.key('a', i), {'i': np.array(i)})


def get_some(count=3):
  """Which of these results are there."""
  results = [result_cache.get(result_cache.key('a', i)) for i in range(count)]
  assert all(r is None or int(r['i']) == i for i, r in enumerate(results))
  return [i for i, r in enumerate(results) if r is not None]


def test_round_trip_and_removal(tmp_path):
  path = tmp_path / 'cache'
  name = result_cache.key('sum', [1, 2], 0.5)
  arrays = {'a': np.arange(6, dtype=np.float32).reshape(2, 3), 'b': 1.5}
  with interrupted(path) as earlier:
    assert earlier == 0
    assert result_cache.get(name) is None
    result_cache.put(name, arrays)
  with result_cache.until_done(path) as earlier:
    assert earlier == 1
    back = result_cache.get(name)
    np.testing.assert_array_equal(back['a'], arrays['a'])
    assert back['a'].dtype == np.float32
    assert float(back['b']) == 1.5
  assert list(tmp_path.iterdir()) == []
  # Outside there is nothing to store it in.
  result_cache.put(name, arrays)
  assert result_cache.get(name) is None


def test_keys_differ_in_everything():
  keys = {
    result_cache.key('a', [1, 2], [3]),
    result_cache.key('b', [1, 2], [3]),
    result_cache.key('a', [1], [2, 3]),
    result_cache.key('a', [1.0, 2.0], [3]),
    result_cache.key('a', [1, 2, 3]),
    result_cache.key('a', [[1, 2]], [3]),
  }
  assert len(keys) == 6
  assert result_cache.key('a', [1, 2], [3]) in keys


def test_each_interrupted_build_adds_to_them(tmp_path):
  put_some(tmp_path / 'cache', 2)
  put_some(tmp_path / 'cache', 3)
  with result_cache.until_done(tmp_path / 'cache') as earlier:
    assert earlier == 3
    assert get_some() == [0, 1, 2]
  assert not (tmp_path / 'cache').exists()


def test_damaged_results_are_calculated_again(tmp_path):
  """Any byte of the file, any length of it, another file."""
  path = tmp_path / 'cache'
  put_some(path)
  (file,) = path.iterdir()
  whole = file.read_bytes()
  damages = [b'', b'no results' * 99]
  damages += [whole[:n] for n in range(1, len(whole), 17)]
  for n in range(0, len(whole), 7):
    changed = bytearray(whole)
    changed[n] ^= 1 << n % 8
    damages.append(bytes(changed))
  for damage in damages:
    file.write_bytes(damage)
    with interrupted(path) as earlier:
      assert earlier <= 3
      assert len(get_some()) <= 2
  # The middle one alone; then it is there again.
  size = len(whole) // 3
  file.write_bytes(whole[: 2 * size - 30] + bytes(30) + whole[2 * size :])
  with interrupted(path):
    assert get_some() == [0, 2]
    result_cache.put(result_cache.key('a', 1), {'i': np.array(1)})
  with interrupted(path):
    assert get_some() == [0, 1, 2]


def test_processes_write_at_once(tmp_path):
  call = (
    '[r.put(r.key("a", i), {"i": i}) for r in'
    ' [__import__("data_builders.support.result_cache").support.result_cache]'
    ' for i in range({0}, {0} + 50)]'
  )
  items = [(call.replace('{0}', str(50 * n)),) for n in range(6)]
  with interrupted(tmp_path / 'cache'):
    list(worker_pool.map_ordered('builtins:eval', items, 3, chunk=1))
  with interrupted(tmp_path / 'cache') as earlier:
    assert earlier == 300
    assert get_some(300) == list(range(300))


def test_no_place_to_store_them(tmp_path, capsys):
  with result_cache.until_done(tmp_path / 'nowhere' / 'cache') as earlier:
    assert earlier == 0
    for i in range(2):
      result_cache.put(result_cache.key('a', i), {'i': np.array(i)})
    assert get_some() == []
  assert capsys.readouterr().err.count('results are not stored') == 1


def test_xtb_is_not_run_twice(tmp_path, monkeypatch):
  first = xtb.run(*WATER)
  with interrupted(tmp_path / 'cache'):
    assert xtb.run(*WATER).energy == first.energy
  with result_cache.until_done(tmp_path / 'cache'):
    monkeypatch.setattr(xtb, '_run', lambda *args: pytest.fail('again'))
    again = xtb.run(*WATER)
    np.testing.assert_array_equal(again.orbitals, first.orbitals)
    np.testing.assert_array_equal(again.dipole, first.dipole)
    assert again.orbitals.dtype == first.orbitals.dtype
    assert again[1:3] == first[1:3]
    assert (again.gap, type(again.seconds)) == (first.gap, float)
    # Negative controls: another molecule, another charge.
    for other in ((WATER[0], np.array(WATER[1]) * 1.01), (*WATER, 2)):
      with pytest.raises(pytest.fail.Exception):
        xtb.run(*other)


def test_a_killed_build_goes_on_with_its_results(tmp_path):
  """What was calculated is used, and the dataset is the same."""
  lines = mini.embedded_lines()[:12]
  script = (
    'import json, os, pathlib, sys, data_builders\n'
    'from data_builders.molecules import records\n'
    'from data_builders.qm9_mini import qm9_mini_dataset_builder as mini\n'
    f'path = pathlib.Path({str(tmp_path / "lines")!r})\n'
    'lines = json.loads(path.read_text())\n'
    'mini.embedded_lines = lambda: lines\n'
    'whole = records.Tally.add\n'
    'def kill(tally, record, outcome):\n'
    '  whole(tally, record, outcome)\n'
    '  if tally.written == int(sys.argv[2]):\n'
    '    os.kill(os.getpid(), 9)\n'
    'records.Tally.add = kill\n'
    'builder = data_builders.build("qm9_mini", sys.argv[1], workers=1)\n'
    'print(json.dumps(data_builders.report(builder)))\n'
  )
  (tmp_path / 'lines').write_text(json.dumps(lines))

  def build(name, kill_at=99):
    return subprocess.run(
      [sys.executable, '-c', script, str(tmp_path / name), str(kill_at)],
      capture_output=True, text=True, check=False,
      env=os.environ | {'PYTHONPATH': str(REPOSITORY)},
    )  # fmt: skip

  killed = build('a', 5)
  assert killed.returncode == -9, killed.stderr
  again, undisturbed = build('a'), build('b')
  assert 'results of an earlier build are used' in again.stdout
  reports = [
    json.loads(done.stdout.splitlines()[-1]) for done in (again, undisturbed)
  ]
  assert reports[0]['sha256'] == reports[1]['sha256']
  assert reports[0]['written'] == 12
  assert not [p for p in (tmp_path / 'a').iterdir() if 'results' in p.name]
