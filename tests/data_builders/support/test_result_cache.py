"""Results that outlive a build that is killed."""

import json
import os
import pathlib
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from data_builders import xtb
from data_builders.qm9_mini import qm9_mini_dataset_builder as mini
from data_builders.support import result_cache

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
WATER = [8, 1, 1], [[0.0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]]


def test_round_trip_and_removal(tmp_path):
  path = tmp_path / 'kept'
  name = result_cache.key('sum', [1, 2], 0.5)
  arrays = {'a': np.arange(6, dtype=np.float32).reshape(2, 3), 'b': 1.5}
  with result_cache.until_done(path) as found:
    assert found == 0
    assert result_cache.recall(name) is None
    result_cache.keep(name, arrays)
    back = result_cache.recall(name)
    np.testing.assert_array_equal(back['a'], arrays['a'])
    assert back['a'].dtype == np.float32
    assert float(back['b']) == 1.5
  assert list(tmp_path.iterdir()) == []
  # Outside there is nothing to keep it in.
  result_cache.keep(name, arrays)
  assert result_cache.recall(name) is None


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


def interrupted(path, results=3):
  """A build that has left some results."""

  def build():
    with result_cache.until_done(path):
      for i in range(results):
        result_cache.keep(result_cache.key('a', i), {'i': np.array(i)})
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    build()


def test_an_interrupted_build_leaves_them(tmp_path):
  interrupted(tmp_path / 'kept')
  with result_cache.until_done(tmp_path / 'kept') as found:
    assert found == 3
    assert int(result_cache.recall(result_cache.key('a', 2))['i']) == 2
  assert not (tmp_path / 'kept').exists()


def test_a_damaged_result_is_calculated_again(tmp_path):
  path = tmp_path / 'kept'
  interrupted(path)
  connection = sqlite3.connect(path)
  with connection:
    row = connection.execute('SELECT name, content FROM results').fetchone()
    content = row[1][:-30] + bytes(30)
    connection.execute(
      'UPDATE results SET content = ? WHERE name = ?', (content, row[0])
    )
  connection.close()
  with result_cache.until_done(path) as found:
    assert found == 3
    values = [result_cache.recall(result_cache.key('a', i)) for i in range(3)]
  assert sum(v is None for v in values) == 1


@pytest.mark.parametrize('what', ['text', 'cut'])
def test_a_damaged_file_is_begun_anew(tmp_path, what):
  path = tmp_path / 'kept'
  interrupted(path, 300)
  content = path.read_bytes()
  path.write_bytes(b'no database' * 99 if what == 'text' else content[:5000])
  with result_cache.until_done(path) as found:
    assert found < 300
    result_cache.keep(result_cache.key('b'), {'i': 1})
    assert int(result_cache.recall(result_cache.key('b'))['i']) == 1


def test_no_place_to_keep_them(tmp_path, capsys):
  with result_cache.until_done(tmp_path / 'nowhere' / 'kept') as found:
    assert found == 0
    result_cache.keep(result_cache.key('a'), {'i': 1})
    assert result_cache.recall(result_cache.key('a')) is None
  assert capsys.readouterr().err.count('results are not kept') == 1


def test_xtb_is_not_run_twice(tmp_path, monkeypatch):
  first = xtb.run(*WATER)
  with result_cache.until_done(tmp_path / 'kept'):
    assert xtb.run(*WATER).energy == first.energy
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
  assert not [p for p in (tmp_path / 'a').iterdir() if 'kept' in p.name]
