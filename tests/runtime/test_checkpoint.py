"""Checkpoints: what goes in comes out, on any number of devices."""

import json
import shutil

import flax.struct
import jax
import numpy as np
import optax
import pytest

from edjax.runtime import checkpoint, parallel


@flax.struct.dataclass
class State:
  step: jax.Array
  params: dict
  opt_state: optax.OptState


@pytest.fixture
def state():
  rng = np.random.default_rng(0)
  params = {
    'dense': {
      'kernel': rng.normal(size=(3, 4)).astype(np.float32),
      'bias': np.zeros(4, np.float32),
    }
  }
  return jax.device_get(
    State(np.int32(7), params, optax.adamw(1e-3).init(params))
  )


def assert_equal(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_array_equal(x, y)
    assert np.asarray(x).dtype == np.asarray(y).dtype


def test_round_trip_is_exact(tmp_path, state):
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.restore('latest', state) is None
    placed = parallel.replicate(state)
    host = parallel.unreplicate(placed)
    checkpoints.save('latest', 7, host, {'best': 0.25})
  empty = jax.tree.map(np.zeros_like, state)
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    step, restored, meta = checkpoints.restore('latest', empty)
  assert (step, meta) == (7, {'best': 0.25})
  assert_equal(restored, state)


def test_keeps_two_and_replaces_one(tmp_path, state):
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    for step in (1, 2, 3):
      checkpoints.save('latest', step, state.replace(step=np.int32(step)), {})
    checkpoints.save('latest', 3, state.replace(step=np.int32(33)), {})
    step, restored, _ = checkpoints.restore('latest', state)
  assert (step, int(restored.step)) == (3, 33)
  kept = {p.name for p in (tmp_path / 'checkpoints' / 'latest').iterdir()}
  assert kept == {'2', '3'}


def run_state(state):
  """With averaged weights, as `train_step.TrainState` has them."""
  return RunState(state.step, state.params, state.params, state.opt_state)


@flax.struct.dataclass
class RunState:
  step: jax.Array
  params: dict
  ema_params: dict
  opt_state: optax.OptState


def save_run(path, state, bests=()):
  """Latest checkpoints of steps 10 and 20, and best ones of some steps."""
  with checkpoint.Checkpoints(path) as checkpoints:
    for step in (10, 20):
      best = max([b for b in bests if b <= step], default=None)
      if step in bests:
        checkpoints.save('best', step, state.ema_params, {})
      checkpoints.save(
        'latest', step, state.replace(step=np.int32(step)), {'best_step': best}
      )


def resumed(path, state, weights='last'):
  """Step that a run goes on from, and what is left afterwards."""
  with checkpoint.Checkpoints(path) as checkpoints:
    found = checkpoints.resume(state, weights)
    left = checkpoints.steps('latest'), checkpoints.steps('best')
  return found and found[0], *left


def test_a_run_goes_on_from_the_newest(tmp_path, state):
  state = run_state(state)
  save_run(tmp_path, state, bests=(10, 20))
  assert resumed(tmp_path, state, 'best') == (20, [20, 10], [20, 10])
  assert resumed(tmp_path / 'nothing', state) == (None, [], [])


def damage(path, how):
  content = path.read_bytes()
  if how == 'deleted':
    path.unlink()
  elif how == 'cut':
    path.write_bytes(content[: len(content) // 2])
  else:  # one byte is another
    middle = len(content) // 2
    other = bytes([content[middle] ^ 0xFF]) if content else b'?'
    path.write_bytes(content[:middle] + other + content[middle + 1 :])


def numbers(path):
  """The file that holds most of the values of a checkpoint."""
  files = (path / 'state' / 'ocdbt.process_0' / 'd').iterdir()
  return max(files, key=lambda p: p.stat().st_size)


# Orbax closes its event loop while TensorStore still has an error to tell it.
late_errors = pytest.mark.filterwarnings(
  'ignore::pytest.PytestUnraisableExceptionWarning'
)


@late_errors
@pytest.mark.parametrize('how', ['deleted', 'cut', 'flipped'])
def test_each_file_of_a_checkpoint_damaged(tmp_path, state, how, capsys):
  """What is read is what was saved, whichever file is broken: never wrong."""
  state = run_state(state)
  save_run(tmp_path / 'whole', state)
  newest = tmp_path / 'whole' / 'checkpoints' / 'latest' / '20'
  files = [p.relative_to(newest) for p in newest.rglob('*') if p.is_file()]
  assert len(files) > 5
  back = 0
  for i, file in enumerate(files):
    copy = tmp_path / str(i)
    shutil.copytree(tmp_path / 'whole', copy)
    damage(copy / 'checkpoints' / 'latest' / '20' / file, how)
    with checkpoint.Checkpoints(copy) as checkpoints:
      step, found, _ = checkpoints.resume(state, 'last')
      assert checkpoints.steps('latest')[0] == step, file
    assert_equal(found, state.replace(step=np.int32(step)))
    aside = list((copy / 'checkpoints').glob('damaged/latest-20-*'))
    assert len(aside) == (step == 10)
    back += step == 10
  # Some files Orbax does not need; some it does.
  assert 2 <= back < len(files)
  assert capsys.readouterr().out.count('damaged: ') == back


@late_errors
@pytest.mark.parametrize(
  ('old', 'new', 'step'),
  [
    ('"facts"', '"fncts"', 10),
    ('"best_step": 20', '"best_step": 10', 10),  # it would be believed
    ('"sha256"', '"sha255"', 10),
    ('{"format"', '["format"', 10),
  ],
)
def test_facts_that_are_not_what_was_written(tmp_path, state, old, new, step):
  state = run_state(state)
  save_run(tmp_path, state, bests=(10, 20))
  path = tmp_path / 'checkpoints' / 'latest' / '20' / 'meta' / 'metadata'
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new))
  assert resumed(tmp_path, state, 'best')[0] == step


def test_a_description_that_orbax_cannot_read(tmp_path, state, capsys):
  state = run_state(state)
  save_run(tmp_path, state)
  path = tmp_path / 'checkpoints' / 'latest' / '20' / '_CHECKPOINT_METADATA'
  content = json.loads(path.read_text())
  path.write_text(json.dumps(content | {'custom_metadata': {'a': 1}, 'x': 1}))
  assert resumed(tmp_path, state)[0] == 20
  assert 'damaged: a description in' in capsys.readouterr().out


@late_errors
def test_a_flipped_byte_is_read_by_orbax_alone(tmp_path, state):
  """Negative control: without the digest it would be another number."""
  # Too large to lie beside the description of the arrays.
  kernel = np.random.default_rng(1).normal(size=(200, 50)).astype(np.float32)
  state = run_state(state.replace(params={'kernel': kernel}))
  save_run(tmp_path, state)
  newest = tmp_path / 'checkpoints' / 'latest' / '20'
  damage(numbers(newest), 'flipped')
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    with pytest.raises(checkpoint.DamagedError, match='not hold what'):
      checkpoints.read('latest', 20, state)
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(checkpoint, 'digest', lambda *_: 'the same')
      checkpoints.save('latest', 30, state, {})
      damage(numbers(newest.with_name('30')), 'flipped')
      wrong, _ = checkpoints.read('latest', 30, state)
  with pytest.raises(AssertionError):
    assert_equal(wrong, state)


@late_errors
def test_all_damaged_begins_again(tmp_path, state):
  state = run_state(state)
  save_run(tmp_path, state, bests=(10,))
  for step in (10, 20):
    shutil.rmtree(tmp_path / 'checkpoints' / 'latest' / str(step) / 'state')
  assert resumed(tmp_path, state, 'best') == (None, [], [])


@late_errors
def test_lost_best_weights_are_made_again(tmp_path, state):
  """Going on without them would end in other weights."""
  state = run_state(state)
  save_run(tmp_path, state, bests=(10, 20))
  copy = tmp_path / 'copy'
  shutil.copytree(tmp_path / 'checkpoints', copy / 'checkpoints')
  shutil.rmtree(tmp_path / 'checkpoints' / 'best' / '20' / 'state')
  assert resumed(tmp_path, state, 'best') == (10, [10], [10])
  # Who takes the last weights does not need them.
  shutil.rmtree(copy / 'checkpoints' / 'best' / '20' / 'state')
  assert resumed(copy, state, 'last')[0] == 20


def test_another_format_is_not_taken_for_damage(tmp_path, state, monkeypatch):
  state = run_state(state)
  monkeypatch.setattr(checkpoint, 'FORMAT', 99)
  save_run(tmp_path, state)
  monkeypatch.undo()
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    with pytest.raises(checkpoint.FormatError, match='has format 99'):
      checkpoints.resume(state, 'last')
    assert checkpoints.steps('latest') == [20, 10]


def test_checkpoints_of_before_are_not_taken_for_damage(tmp_path, state):
  """Nobody's training begins again because of a new version."""
  state = run_state(state)
  save_run(tmp_path, state)
  for step in ('10', '20'):
    path = tmp_path / 'checkpoints' / 'latest' / step / 'meta' / 'metadata'
    path.write_text('{"best": 0.5}')
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    with pytest.raises(checkpoint.FormatError, match='has format None'):
      checkpoints.resume(state, 'last')
    assert checkpoints.steps('latest') == [20, 10]


def test_storage_that_refuses_is_not_taken_for_damage(tmp_path, state):
  state = run_state(state)
  save_run(tmp_path, state)
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    manager = checkpoints._managers['latest']
    for error in (PermissionError('no'), ValueError('PERMISSION_DENIED: no')):
      with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manager, 'restore', raising(error))
        with pytest.raises(OSError, match=r'cannot be read: .*no'):
          checkpoints.resume(state, 'last')
    assert checkpoints.steps('latest') == [20, 10]
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(manager, 'save', raising(OSError(28, 'No space left')))
      with pytest.raises(OSError, match=r'step 30 cannot be .*No space left'):
        checkpoints.save('latest', 30, state, {})
    assert checkpoints.resume(state, 'last')[0] == 20


def raising(error):
  def call(*args, **kwargs):
    raise error

  return call


def test_newer_ones_than_the_resumed_step_are_forgotten(tmp_path, state):
  """A launch killed before its first latest checkpoint may leave them."""
  state = run_state(state)
  save_run(tmp_path, state)
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    for step in (15, 1000):
      checkpoints.save('best', step, state.ema_params, {})
  assert resumed(tmp_path, state, 'best') == (20, [20, 10], [15])
