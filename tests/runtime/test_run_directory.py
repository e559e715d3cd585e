"""The run directory: refusals, cut metrics, atomic results."""

import json
import re
import types

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import default, pdbbind_density
from edjax import config as configuration
from edjax import fields
from edjax.fields import channels
from edjax.runtime import run_directory


@pytest.fixture
def config():
  return configuration.resolve(default.get_config())


@pytest.fixture
def task():
  return types.SimpleNamespace(
    pack=types.SimpleNamespace(fingerprint='f'),
    split_sha256='s',
    outside={'b': 'too long', 'a': 'too wide'},
    missing_ids={},
  )


def test_another_configuration_is_refused_by_field(tmp_path, config, task):
  run = run_directory.RunDirectory(tmp_path / 'r')
  assert run.results(config) is None
  run.start(config, task)
  run.start(config, task)  # the same again is fine
  other = ConfigDict(config).copy_and_resolve_references()
  other.optim.clip_norm = 2.0
  with pytest.raises(configuration.ConfigError, match=r'optim.clip_norm=1.0'):
    run.results(configuration.resolve(other))
  moved = ConfigDict(config).copy_and_resolve_references()
  moved.data.data_dir = '/elsewhere'  # says where, not what
  assert run.results(configuration.resolve(moved)) is None
  task.split_sha256 = 'other'
  with pytest.raises(configuration.ConfigError, match=r'data of .* changed'):
    run.start(config, task)
  rows = (tmp_path / 'r' / 'outside_box.csv').read_text().splitlines()
  assert rows == ['id,reason', 'a,too wide', 'b,too long']


@pytest.mark.parametrize(
  ('setting', 'message'),
  [
    (lambda: jax.enable_x64(True), 'JAX_ENABLE_X64'),
    (lambda: jax.default_prng_impl('rbg'), 'impl=threefry2x32, not rbg'),
    (lambda: jax.threefry_partitionable(False), 'threefry_partitionable'),
    (lambda: jax.default_matmul_precision('float32'), 'not float32'),
  ],
)
def test_settings_that_change_numbers_are_part_of_a_run(
  tmp_path, config, task, setting, message
):
  run = run_directory.RunDirectory(tmp_path)
  run.start(config, task)
  facts = json.loads((tmp_path / 'config.json').read_text())
  assert facts['numerics']['jax_enable_x64'] is False
  del facts['numerics']  # as in runs of before: those had the defaults
  for text in ((tmp_path / 'config.json').read_text(), json.dumps(facts)):
    (tmp_path / 'config.json').write_text(text)
    with setting():
      with pytest.raises(configuration.ConfigError, match=message):
        run.results(config)
      with pytest.raises(configuration.ConfigError, match=message):
        run.start(config, task)
    run.start(config, task)
  # And the other way round.
  other = run_directory.RunDirectory(tmp_path / 'other')
  with setting():
    other.start(config, task)
    other.start(config, task)
  with pytest.raises(configuration.ConfigError, match='changes numbers'):
    other.start(config, task)


def test_a_function_of_a_user_is_part_of_a_run(tmp_path, task, monkeypatch):
  monkeypatch.setattr(channels, '_added', {})
  stock = default.get_config()

  def with_channel(change):
    def own(mol, grid, supersample):
      return change(mol, grid, supersample)

    return own

  def resolved(function):
    config = default.get_config()
    config.representation.channels = (function,)
    return configuration.resolve(config)

  first = with_channel(lambda *args: fields.shape_grid(*args))
  run = run_directory.RunDirectory(tmp_path)
  run.start(resolved(first), task)
  run.start(resolved(first), task)
  with pytest.raises(configuration.ConfigError, match=r"\['own'\], not"):
    run.start(configuration.resolve(stock), task)

  def own(mol, grid, supersample):
    return 2 * fields.shape_grid(mol, grid, supersample)

  with pytest.raises(configuration.ConfigError, match='another function as'):
    run.start(resolved(own), task)


def test_a_run_is_extended(tmp_path, config, task, capsys, monkeypatch):
  def longer(steps):
    other = ConfigDict(config).copy_and_resolve_references()
    other.train.steps = steps
    return configuration.resolve(other)

  steps = config.train.steps
  run = run_directory.RunDirectory(tmp_path)
  run.start(config, task)
  run.finish({'a': 1})
  more = longer(2 * steps)
  # Where it is not trained, more steps are another run.
  for refused in (run.results, lambda c: run.start(c, task)):
    with pytest.raises(configuration.ConfigError, match=r'train\.steps'):
      refused(more)
  assert run.results(config) == {'a': 1}
  assert run.results(more, extend=True) is None
  capsys.readouterr()
  pushed = []

  def push():
    pushed.append({p.name: p.read_text() for p in tmp_path.glob('*.json')})

  monkeypatch.setattr(run, 'saved', push)
  run.start(more, task, extend=True)
  # A kill after the first push leaves a store without results of too few steps.
  assert 'results.json' not in pushed[0]
  assert json.loads(pushed[0]['config.json'])['config']['train.steps'] == steps
  # Halfway of half a cosine, but for the warm-up.
  said = re.search(
    r'extended from .* (\d+) % of its peak', capsys.readouterr().out
  )
  assert 50 <= int(said[1]) <= 60
  facts = json.loads((tmp_path / 'config.json').read_text())
  assert facts['config']['train.steps'] == 2 * steps
  assert facts['extended'] == [{'from': steps, 'to': 2 * steps}]
  kept = tmp_path / f'results_{steps}_steps.json'
  assert json.loads(kept.read_text()) == {'a': 1}
  assert run.results(more) is None  # not finished yet
  run.start(more, task, extend=True)
  assert 'extended' not in capsys.readouterr().out  # said once
  with pytest.raises(configuration.ConfigError, match=r'train\.steps'):
    run.start(config, task, extend=True)  # fewer


def test_where_complexes_come_from_is_free(tmp_path, task):
  config = pdbbind_density.get_config()
  run = run_directory.RunDirectory(tmp_path)
  run.start(configuration.resolve(config), task)
  config.data.download = True
  assert run.results(configuration.resolve(config)) is None
  config.data.shuffle_labels = True
  with pytest.raises(configuration.ConfigError, match='shuffle_labels=False'):
    run.results(configuration.resolve(config))


def test_metrics_are_cut_back(tmp_path):
  run = run_directory.RunDirectory(tmp_path)
  run.cut_metrics(5)  # nothing there yet
  for step in (5, 10, 15):
    run.log(step, 'train', 'loss', 1 / step, '')
  with (tmp_path / 'metrics.jsonl').open('a') as file:
    file.write('{"step": 20, "spl')  # killed while writing
  run.cut_metrics(10)
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  assert [json.loads(line)['step'] for line in lines] == [5, 10]


def test_predictions_keep_their_clusters(tmp_path):
  run = run_directory.RunDirectory(tmp_path)
  values = np.array([[1.0, 2.0], [3.0, 4.0]])
  run.write_predictions('test', 'ab', ['x', 'y'], values, -values, ['k', 'l'])
  rows = (tmp_path / 'predictions_test.csv').read_text().splitlines()
  assert rows[0] == 'id,name,target,prediction,cluster'
  assert rows[4] == 'b,y,4.0,-4.0,l'
  read = run.read_predictions('test')
  np.testing.assert_array_equal(read['y'], [[2, -2], [4, -4]])
  run.write_predictions('test', 'ab', ['x', 'y'], values, -values)
  rows = (tmp_path / 'predictions_test.csv').read_text().splitlines()
  assert rows[:2] == ['id,name,target,prediction', 'a,x,1.0,-1.0']


def test_results_end_a_run(tmp_path, config, task):
  run = run_directory.RunDirectory(tmp_path)
  run.start(config, task)
  run.finish({'a': 1})
  assert run.results(config) == {'a': 1}
  assert not list(tmp_path.glob('.results*'))


def test_what_is_not_a_number_is_null(tmp_path, config, task):
  run = run_directory.RunDirectory(tmp_path)
  run.start(config, task)
  run.finish({'a': [float('nan'), {'b': float('inf')}], 'c': 0.5})
  text = (tmp_path / 'results.json').read_text()
  assert json.loads(text, parse_constant=pytest.fail) == {
    'a': [None, {'b': None}],
    'c': 0.5,
  }


def test_one_process_at_a_time(tmp_path):
  run = run_directory.RunDirectory(tmp_path / 'r')
  second = run_directory.RunDirectory(tmp_path / 'r')
  refused = pytest.raises(configuration.ConfigError, match='another process')
  with run.lock(), refused, second.lock():
    pass
  with run.lock():  # and free again
    pass


def test_storage_without_locks_is_said_to_be(tmp_path, monkeypatch, capsys):
  import fcntl

  def refuse(*_):
    raise OSError(95, 'Operation not supported')

  run = run_directory.RunDirectory(tmp_path / 'r')
  with run.lock():
    pass
  assert capsys.readouterr().out == ''
  monkeypatch.setattr(fcntl, 'flock', refuse)
  with run.lock():
    pass
  assert 'cannot be locked ([Errno 95] Operation' in capsys.readouterr().out


def test_going_on_elsewhere_is_said_and_kept(
  tmp_path, config, task, capsys, monkeypatch
):
  run = run_directory.RunDirectory(tmp_path)
  run.start(config, task)
  run.start(config, task)
  assert capsys.readouterr().out == ''
  here = run_directory.machine_facts()
  there = here | {'device': 'abacus'}
  monkeypatch.setattr(run_directory, 'machine_facts', lambda: there)
  run.start(config, task)
  assert 'another device' in capsys.readouterr().out
  run.start(config, task)  # said once
  assert capsys.readouterr().out == ''
  facts = json.loads((tmp_path / 'config.json').read_text())
  assert facts['device'] == here['device']
  assert [f['device'] for f in facts['continued']] == ['abacus']


def test_other_processes_do_nothing(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  run = run_directory.Onlooker()
  with run.lock():
    run.log(1, 'train', 'loss', 0.5, '')
    run.finish({})
  assert run.results(None) is None
  assert (run.place, str(run.path)) == ('.', '.')
  assert list(tmp_path.iterdir()) == []
  with pytest.raises(AttributeError, match='finnish'):
    run.finnish({})
