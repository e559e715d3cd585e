"""Running a study: once each, in spite of failures, kills and company.

Runs are made up here (a few files instead of training), but for one worker
process of the real kind.
"""

import collections
import json
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from support import tiny_runs, waiting

from configs import study_qm9
from edjax import commands
from edjax import config as configuration
from edjax.config import ConfigError
from edjax.data import loading, splitting
from edjax.evaluate import evaluator
from edjax.runtime import preemption, run_directory, stores
from edjax.study import planning, runner, settings, tuning, work_queue, worker

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def smoke(qm9_mini, monkeypatch):
  """The smoke study with fields of config.study replaced."""
  monkeypatch.setattr(work_queue, 'POLL', 0.02)

  def make(**changes):
    config = study_qm9.get_config('smoke')
    config.data.data_dir = str(qm9_mini)
    config.study.update({'subset_seeds': 2} | changes)
    return config

  return make


class Runs:
  """Made-up runs, and a record of which of them took place.

  Args:
    seconds: that one takes.
    error: (config) -> an exception to raise, or None.
    value: (config) -> the validation error of a trial.
  """

  def __init__(self, seconds=0.0, error=None, value=None):
    self.seconds = seconds
    self.error = error or (lambda config: None)
    self.value = value or (lambda config: config.optim.learning_rate)
    self.done = []
    self.running = collections.Counter()
    self.most = 0

  def execute(self, config, directory):
    directory = pathlib.Path(directory)
    run = run_directory.RunDirectory(directory)
    if (directory / 'results.json').exists():
      return
    with run.lock():
      if (directory / 'results.json').exists():
        return
      self.running[directory.name] += 1
      self.most = max(self.most, *self.running.values())
      time.sleep(self.seconds)
      self.running[directory.name] -= 1
      self.done.append(directory.name)
      if error := self.error(config):
        raise error
      run.log(1, 'validation', 'mae_standardised', self.value(config), '')
      (directory / 'results.json').write_text('{}')

  def slots(self, count=2):
    return lambda: [Slot(self.execute) for _ in range(count)]


class Slot:
  def __init__(self, execute):
    self._execute = execute

  def run(self, config, directory):
    return worker.attempt(self._execute, config, directory)

  def close(self):
    pass


def finished(workdir, what='runs'):
  return {p.parent.name for p in (workdir / what).glob('*/results.json')}


def test_a_study_runs_each_once_and_grows(smoke, tmp_path, capsys):
  runs = Runs()
  assert runner.run(smoke(), tmp_path, make_slots=runs.slots()) == 0
  plan = planning.read(tmp_path)
  names = {e['name'] for e in plan['entries']}
  assert len(names) == 20
  assert finished(tmp_path) == names
  assert len(finished(tmp_path, 'trials')) == 10
  assert collections.Counter(runs.done).most_common(1)[0][1] == 1
  tuned = json.loads((tmp_path / 'tuned.json').read_text())
  # The made-up error is the learning rate.
  assert set(tuned['chosen']) == set(smoke().study.representations)
  assert {
    fields['optim.learning_rate'] for fields in tuned['chosen'].values()
  } == {1e-3}
  text = capsys.readouterr().out
  assert 'runs: 0 of 20 done, 0 failed, 20 left' in text
  assert '20 of 20 done, 0 failed, 0 left' in text
  assert '20 of 20 done' in (tmp_path / 'study.log').read_text()
  # Again: nothing to do. With one more seed: only that.
  again = Runs()
  assert runner.run(smoke(), tmp_path, make_slots=again.slots()) == 0
  assert again.done == []
  grown = smoke(subset_seeds=3)
  assert runner.run(grown, tmp_path, make_slots=again.slots()) == 0
  assert len(again.done) == 10
  assert all('-s2-' in name for name in again.done)


def test_a_stopped_study_goes_on(qm9_mini, tmp_path, monkeypatch):
  """Real runs as on an accelerator: one after another in this process."""
  config = tiny_runs.tiny_study(qm9_mini)
  config.train.update({'steps': 4, 'eval_every': 2, 'checkpoint_every': 4})
  slot = worker.LocalSlot()
  log = evaluator.Evaluator.log

  def stop_at_the_first_evaluation(*args):
    monkeypatch.undo()
    os.kill(os.getpid(), signal.SIGTERM)
    with preemption.noticed() as asked_to_stop:
      while not asked_to_stop():
        time.sleep(0.01)
    return log(*args)

  monkeypatch.setattr(evaluator.Evaluator, 'log', stop_at_the_first_evaluation)
  with pytest.raises(preemption.PreemptedError, match='goes on from there'):
    runner.run(config, tmp_path, make_slots=lambda: [slot])
  (begun,) = (tmp_path / 'runs').iterdir()
  assert 'stopped: step 3 of 4 is saved' in (begun / 'log.txt').read_text()
  assert not finished(tmp_path)
  assert runner.run(config, tmp_path, make_slots=lambda: [slot]) == 0
  assert 'continuing after step 3' in (begun / 'log.txt').read_text()
  names = {e['name'] for e in planning.read(tmp_path)['entries']}
  assert finished(tmp_path) == names
  assert len(names) == 2

  def error(name):
    text = (tmp_path / 'runs' / name / 'results.json').read_text()
    return json.loads(text)['targets']['gap']['mae']['value']

  errors = {name: error(name) for name in names}
  assert len(set(errors.values())) == 2  # each its own
  # One is lost, one is added. Undisturbed, it comes out the same.
  shutil.rmtree(begun)
  config.study.subset_seeds = 3
  assert runner.run(config, tmp_path, make_slots=lambda: [slot]) == 0
  assert len(finished(tmp_path)) == 3
  assert error(begun.name) == errors[begun.name]
  assert '3 of 3 done' in (tmp_path / 'study.log').read_text()


def test_the_tuned_fields_reach_the_runs(smoke, tmp_path):
  seen = {}

  def remember(config):
    if config.train.seed < 900:
      channels = config.representation.channels
      seen[channels, config.representation.density] = (
        config.optim.learning_rate,
        config.representation.transforms[channels[0]],
      )

  # Atoms prefer a high rate, the others a low one.
  def value(config):
    sign = -1 if config.representation.channels == ('atoms',) else 1
    same = config.representation.transforms[config.representation.channels[0]]
    return sign * config.optim.learning_rate + (same == 'none')

  runs = Runs(error=remember, value=value)
  config = smoke(trial_transforms=('none', 'arcsinh'), subset_seeds=1)
  assert runner.run(config, tmp_path, make_slots=runs.slots()) == 0
  assert seen.pop((('atoms',), 'xtb')) == (4e-3, 'arcsinh')
  assert set(seen.values()) == {(1e-3, 'arcsinh')}


def test_what_is_frozen_is_not_chosen_again(smoke, tmp_path):
  runs = Runs()
  runner.run(smoke(subset_seeds=1), tmp_path, make_slots=runs.slots())
  before = json.loads((tmp_path / 'tuned.json').read_text())
  for path in (tmp_path / 'trials').glob('*/metrics.jsonl'):
    text = path.read_text().replace('0.001', '77')
    path.write_text(text)
  grown = smoke(subset_seeds=1, representations=('density', 'deformation'))
  runner.run(grown, tmp_path, make_slots=runs.slots())
  after = json.loads((tmp_path / 'tuned.json').read_text())
  assert after['chosen'].pop('deformation') == {'optim.learning_rate': 1e-3}
  assert after['chosen'] == before['chosen']


def test_test_data_choose_nothing(smoke, tmp_path):
  """Scores come from validation lines alone."""

  class Tempted(Runs):
    def execute(self, config, directory):
      super().execute(config, directory)
      # The worse on validation, the better on test.
      value = -self.value(config)
      run_directory.RunDirectory(directory).log(
        1, 'test', 'mae_standardised', value, ''
      )
      (pathlib.Path(directory) / 'results.json').write_text(
        json.dumps({'targets': {'gap': {'mae': {'value': value}}}})
      )

  runs = Tempted()
  runner.run(smoke(subset_seeds=1), tmp_path, make_slots=runs.slots())
  chosen = tuning.frozen(tmp_path)
  assert {f['optim.learning_rate'] for f in chosen.values()} == {1e-3}


def test_failures_are_isolated_reported_and_retried(smoke, tmp_path, capsys):
  def error(config):
    if config.train.seed == 1 and config.representation.channels == ('shape',):
      return ValueError('made up')

  runs = Runs(error=error)
  assert runner.run(smoke(), tmp_path, make_slots=runs.slots()) == 1
  assert len(finished(tmp_path)) == 18
  broken = list((tmp_path / 'runs').glob('*/error.txt'))
  assert len(broken) == 2
  assert all('made up' in path.read_text() for path in broken)
  printed = capsys.readouterr()
  assert '2 failed, 0 left' in printed.out
  assert printed.err.count('ValueError: made up') == 2
  assert len(runs.done) == 30  # none was tried twice
  again = Runs()
  assert runner.run(smoke(), tmp_path, make_slots=again.slots()) == 0
  assert len(again.done) == 2
  assert not list((tmp_path / 'runs').glob('*/error.txt'))


def test_a_trial_that_diverges_counts_as_the_worst(smoke, tmp_path, capsys):
  def error(config):
    if config.train.seed == 999 and config.optim.learning_rate == 1e-3:
      return FloatingPointError('the loss is nan')

  runs = Runs(error=error)
  config = smoke(subset_seeds=1)
  assert runner.run(config, tmp_path, make_slots=runs.slots()) == 0
  chosen = tuning.frozen(tmp_path)
  assert {f['optim.learning_rate'] for f in chosen.values()} == {4e-3}
  tuned = json.loads((tmp_path / 'tuned.json').read_text())
  assert sum(t['score'] is None for t in tuned['trials']) == 5


def test_a_trial_that_breaks_keeps_its_runs_back(smoke, tmp_path, capsys):
  def error(config):
    if config.train.seed == 999 and config.representation.channels == (
      'atoms',
    ):
      return OSError('disk full')

  runs = Runs(error=error)
  config = smoke(subset_seeds=1)
  assert runner.run(config, tmp_path, make_slots=runs.slots()) == 1
  assert {n.split('-')[0] for n in finished(tmp_path)} == {
    'density', 'gradient', 'promolecule', 'shape',
  }  # fmt: skip
  assert 'waits for trials of atoms' in capsys.readouterr().err
  assert runner.run(config, tmp_path, make_slots=Runs().slots()) == 0
  assert len(finished(tmp_path)) == 10


def test_all_diverged_is_said_and_stops_no_other(smoke, tmp_path, capsys):
  runs = Runs(
    error=lambda config: (
      FloatingPointError('nan')
      if config.representation.channels == ('shape',)
      else None
    )
  )
  assert runner.run(smoke(), tmp_path, make_slots=runs.slots()) == 1
  assert 'all diverged' in capsys.readouterr().err
  assert 'shape' not in tuning.frozen(tmp_path)
  # The others are done.
  for entry in planning.read(tmp_path)['entries']:
    done = (tmp_path / 'runs' / entry['name'] / 'results.json').exists()
    assert done == (entry['representation'] != 'shape')


@pytest.mark.parametrize('shards', [('', ''), ('0/2', '1/2'), ('0/2', '')])
def test_two_at_once_do_each_run_exactly_once(smoke, tmp_path, shards):
  runs = Runs(seconds=0.02)
  statuses = {}

  def one(i):
    statuses[i] = runner.run(
      smoke(), tmp_path, shards[i], make_slots=runs.slots()
    )

  threads = [threading.Thread(target=one, args=(i,)) for i in range(2)]
  for thread in threads:
    thread.start()
  for thread in threads:
    waiting.join(thread)
  assert statuses == {0: 0, 1: 0}
  assert len(finished(tmp_path)) == 20
  counts = collections.Counter(runs.done)
  assert len(counts) == 30
  assert set(counts.values()) == {1}
  assert runs.most == 1


def test_a_shard_leaves_the_rest_to_the_others(smoke, tmp_path):
  runs = Runs()
  assert runner.run(smoke(), tmp_path, '1/3', make_slots=runs.slots()) == 0
  names = {e['name'] for e in planning.read(tmp_path)['entries']}
  mine = {n for n in names if planning.in_shard(n, (1, 3))}
  assert finished(tmp_path) == mine
  assert 0 < len(mine) < len(names)
  assert len(finished(tmp_path, 'trials')) == 10


@pytest.mark.parametrize('text', ['2/2', '1', 'a/b', '1/0', '-1/2'])
def test_wrong_shards(text):
  with pytest.raises(ConfigError, match='--shard='):
    runner.parse_shard(text)


def test_shard_without_a_study(smoke, tmp_path, capsys):
  assert commands.run(smoke(), str(tmp_path), 'train', '0/2') == 2
  assert '--shard goes with --mode study' in capsys.readouterr().err


def test_mistakes_end_before_the_first_run(smoke, tmp_path):
  runs = Runs()
  odd = smoke()
  odd.representation.grid_size = 11
  for config, named in (
    (smoke(sizes=(60, 5000)), 'asks for 5000'),
    (odd, 'grid_size must be a multiple of 4'),
    (smoke(representations=('deformation',),
           trial_transforms=('log1p', 'none')), 'log1p'),
  ):  # fmt: skip
    with pytest.raises(ConfigError, match=named):
      runner.run(config, tmp_path, make_slots=runs.slots())
  assert not (tmp_path / 'plan.json').exists()
  assert runs.done == []


def test_data_that_is_missing_is_the_builders_message(tmp_path, capsys):
  config = study_qm9.get_config()
  config.data.data_dir = str(tmp_path / 'data')
  config.data.manual_dir = str(tmp_path / 'nothing')
  config.data.download = False
  status = commands.run(config, str(tmp_path / 'study'), 'study')
  assert status == 2
  assert 'QM9 is not in the manual directory' in capsys.readouterr().err
  assert not (tmp_path / 'study' / 'plan.json').exists()


def test_subsets_are_nested_and_shared(smoke):
  """What the plan says, looked up in the split itself."""
  config = smoke(sizes=(60, 240), subset_seeds=2)
  parts, base = settings.split(config)
  pack = loading.load_pack(base.data)
  used, tests = collections.defaultdict(list), []
  for entry in planning.entries(parts, base):
    resolved = configuration.resolve(planning.with_fields(base, entry.fields))
    rows = splitting.make_split(pack, resolved.data)
    used[entry.size, entry.subset_seed].append(
      (set(rows.train.tolist()), set(rows.validation.tolist()))
    )
    tests.append(rows.test.tolist())
  assert all(test == tests[0] for test in tests)
  for (size, _), members in used.items():
    assert len(members) == 5
    assert all(member == members[0] for member in members)
    train, validation = members[0]
    assert len(train | validation) == size  # n labels in all
    assert not (train | validation) & set(tests[0])
  for seed in range(2):
    small, large = used[60, seed][0], used[240, seed][0]
    assert small[0] <= large[0]
    assert small[1] <= large[1]
  assert used[60, 0][0] != used[60, 1][0]


def test_time_left_goes_by_kind():
  jobs = [
    work_queue.Job(str(i), pathlib.Path('nowhere'), None, kinds)
    for i, kinds in enumerate(
      [('a1', 'a'), ('a1', 'a'), ('b1', 'b'), ('b1', 'b'), ('c1', 'c')]
    )
  ]
  lines = []
  progress = work_queue.Progress(jobs, 2, lines.append)
  assert progress.seconds_left() is None
  done = worker.Outcome(worker.DONE, 10.0)
  progress.watch('start', jobs[0], None)
  progress.watch(worker.DONE, jobs[0], done)
  assert math.isclose(progress.seconds_left(), 4 * 10 / 2)
  slow = worker.Outcome(worker.DONE, 40.0)
  progress.watch(worker.DONE, jobs[2], slow)
  # 10 for a, 40 for b, and for c, of which nothing is known, the mean.
  assert np.isclose(progress.seconds_left(), (10 + 40 + 25) / 2)
  progress.watch(worker.LOCKED, jobs[1], None)
  assert '1 running elsewhere' in progress.line()
  assert np.isclose(progress.seconds_left(), (40 + 25) / 2)


@pytest.mark.skipif(not hasattr(os, 'sched_getaffinity'), reason='Linux')
def test_worker_processes_are_replaced(smoke, tmp_path):
  """One core; a wrong run is answered, a death is told from it."""
  core = min(os.sched_getaffinity(0))
  slot = worker.ProcessSlot((core,))
  parts, base = settings.split(smoke())
  entry = planning.entries(parts, base)[0]
  wrong = planning.with_fields(base, {'model.kernels': 'tied'})
  outcome = slot.run(wrong, tmp_path / 'wrong')
  assert outcome.status == worker.FAILED
  assert 'wrong configuration' in outcome.message
  error = (tmp_path / 'wrong' / 'error.txt').read_text()
  assert 'config.model.kernels must be one of' in error
  pid = slot._process.pid
  assert os.sched_getaffinity(pid) == {core}
  with run_directory.RunDirectory(tmp_path / 'theirs').lock():
    good = planning.with_fields(base, entry.fields)
    outcome = slot.run(good, tmp_path / 'theirs')
    assert outcome.status == worker.LOCKED
  # Schedulers signal workers too: it only notices, as training does.
  os.kill(pid, signal.SIGTERM)
  outcome = slot.run(wrong, tmp_path / 'asked')
  assert 'wrong configuration' in outcome.message
  assert slot._process.pid == pid  # one process for all of these
  os.kill(pid, signal.SIGKILL)
  outcome = slot.run(wrong, tmp_path / 'killed')
  assert outcome.status == worker.FAILED
  assert 'SIGKILL' in (tmp_path / 'killed' / 'error.txt').read_text()
  slot.close()


@pytest.mark.skipif(not hasattr(os, 'sched_getaffinity'), reason='Linux')
def test_killing_the_parent_frees_its_runs(smoke, tmp_path):
  """SIGKILL to the study; what its worker held can be taken at once."""
  program = f"""
import pathlib
from configs import study_qm9
from edjax.study import worker
config = study_qm9.get_config('smoke')
config.data.data_dir = {smoke().data.data_dir!r}
del config['study']
worker.ProcessSlot().run(config, pathlib.Path({str(tmp_path)!r}) / 'r')
"""
  parent = subprocess.Popen(
    [sys.executable, '-c', program],
    cwd=REPOSITORY,
    env=os.environ | {'XLA_FLAGS': '', 'PYTHONPATH': str(REPOSITORY)},
  )
  config_json = tmp_path / 'r' / 'config.json'
  waiting.until(config_json.exists, lambda: parent.poll() is None)
  with (
    pytest.raises(run_directory.LockedError),
    run_directory.RunDirectory(tmp_path / 'r').lock(),
  ):
    pass
  parent.kill()
  parent.wait()

  def free():
    try:
      with run_directory.RunDirectory(tmp_path / 'r').lock():
        return True
    except run_directory.LockedError:
      return False

  waiting.until(free)
  assert not (tmp_path / 'r' / 'results.json').exists()


def test_shards_that_share_an_object_store(smoke, memory_store, capsys):
  """Each has a copy of its own, and sees what the other has done."""
  both = [Runs(), Runs()]
  for i, runs in enumerate(both):
    with stores.opened('memory://bucket/study', stores.light) as store:
      assert runner.run(smoke(), store, f'{i}/2', runs.slots()) == 0
  names = {e['name'] for e in _remote(memory_store, 'plan.json')['entries']}
  done = [name for runs in both for name in runs.done]
  # Trials are all done by the first, runs by either.
  assert collections.Counter(done).most_common(1)[0][1] == 1
  assert names < set(done)
  assert len(names) == 20
  assert 0 < len(set(both[1].done)) < 20
  found = {n.split('/study/')[1] for n in memory_store.find('/bucket/study')}
  assert {f'runs/{name}/results.json' for name in names} < found
  assert {'study-0-of-2.log', 'study-1-of-2.log', 'tuned.json'} < found
  # One that did not see the other would do its runs again.
  with stores.opened('memory://bucket/study', stores.light) as store:
    again = Runs()
    assert runner.run(smoke(), store, '', again.slots()) == 0
    assert again.done == []
    capsys.readouterr()
  assert commands.run(smoke(), 'memory://bucket/study', 'report') == 0
  assert 'report: memory://bucket/study/report.html' in capsys.readouterr().out


def _remote(store, name):
  return json.loads(store.cat_file(f'/bucket/study/{name}'))


def test_what_another_shard_does_meanwhile_is_seen(
  smoke, memory_store, tmp_path
):
  """A run that appears in the store before its turn is not done again."""
  with stores.opened('memory://bucket/study', stores.light) as store:

    def another(config):
      for entry in planning.read(store.local)['entries']:
        name = f'/bucket/study/runs/{entry["name"]}/results.json'
        memory_store.pipe_file(name, b'{}')

    runs = Runs(error=another)
    runner.run(smoke(), store, '', runs.slots(1))
    trials = finished(store.local, 'trials')
    assert len(runs.done) == len(trials) == 10
    assert len(finished(store.local)) == 20
