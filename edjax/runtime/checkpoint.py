"""Checkpoints: the latest states and the best on validation, by Orbax.

They hold host numpy arrays without a device axis, so that they restore on
any number of devices. Saves are synchronous: Orbax writes into a temporary
directory and renames it, so a killed save leaves no half checkpoint.

Every checkpoint has a digest of its arrays: Orbax reads a flipped byte of its
data files as another number. What cannot be read is put aside, and the one
before is taken.
"""

import hashlib
import json
import pathlib
import time
from typing import Any

import flax.serialization
import jax
import numpy as np
import orbax.checkpoint as ocp

from edjax.runtime import multihost

# Of what a checkpoint holds: {'format', 'sha256', 'facts'} as JSON beside the
# arrays of the state; since 2 its parameters lie under trunk, head and whiten.
FORMAT = 2

# Two of each: the previous one survives until the next save has ended.
_KEEP = 2

# Storage that cannot be reached at the moment is no damage: a run that began
# again because of it would lose what is there.
_PASSING = ('PERMISSION_DENIED', 'UNAVAILABLE', 'DEADLINE_EXCEEDED')


class DamagedError(Exception):
  """A checkpoint cannot be read, or is not what was written."""


class FormatError(ValueError):
  """A checkpoint is of another version of edjax."""


def digest(arrays: dict, facts: dict) -> str:
  """SHA-256 of the names, types, shapes and values of a checkpoint.

  Args:
    arrays: tree of arrays.
    facts: JSON-compatible.
  """
  found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
  for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
    leaf = np.asarray(leaf)
    head = f'{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}\n'
    found.update(head.encode())
    found.update(np.ascontiguousarray(leaf).tobytes())
  return found.hexdigest()


def open_checkpoints(workdir: str | pathlib.Path):
  """Those of a run, of which the first of several processes has them.

  Args:
    workdir: the run directory.

  Raises:
    OSError: see `Checkpoints`.
  """
  if multihost.count() == 1:
    return Checkpoints(workdir)
  return _OfFirst(Checkpoints(workdir) if multihost.is_first() else None)


class Checkpoints:
  """The checkpoints of one run directory.

  Args:
    workdir: the run directory.

  Raises:
    OSError: they cannot be made or read there.
  """

  def __init__(self, workdir: str | pathlib.Path):
    self._root = pathlib.Path(workdir).resolve() / 'checkpoints'
    options = ocp.CheckpointManagerOptions(
      max_to_keep=_KEEP, create=False, enable_async_checkpointing=False,
      # The first of several processes is alone with them.
      multiprocessing_options=ocp.options.MultiprocessingOptions(
        primary_host=0, active_processes={0}, barrier_sync_key_prefix='first',
      ),
    )  # fmt: skip
    self._managers = {}
    for kind in ('latest', 'best'):
      (self._root / kind).mkdir(parents=True, exist_ok=True)
      self._managers[kind] = _manager(self._root / kind, options)

  def save(self, kind: str, step: int, state: Any, facts: dict) -> None:
    """Writes a checkpoint; one of the same step is replaced.

    Args:
      kind: 'latest' or 'best'.
      step: training steps done.
      state: pytree of host arrays.
      facts: JSON-compatible (the best validation loss so far).

    Raises:
      OSError: it cannot be written; those before are still there.
    """
    manager = self._managers[kind]
    if step in manager.all_steps():
      manager.delete(step)
    arrays = jax.tree.map(np.asarray, flax.serialization.to_state_dict(state))
    sha256 = digest(arrays, facts)
    meta = {'format': FORMAT, 'sha256': sha256, 'facts': facts}
    try:
      manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(arrays), meta=ocp.args.JsonSave(meta)
        ),
      )
    except (OSError, ValueError, RuntimeError) as error:
      first = str(error).splitlines()[0]
      raise OSError(
        f'the checkpoint of step {step} cannot be written to '
        f'{self._root / kind}: {first}. Those before are kept: make room, or '
        'see to permissions, and give the same command again'
      ) from error

  def steps(self, kind: str) -> list[int]:
    """Steps of the checkpoints that are there, the newest first."""
    return sorted(self._managers[kind].all_steps(), reverse=True)

  def read(self, kind: str, step: int, target: Any) -> tuple[Any, dict]:
    """One checkpoint.

    Args:
      kind: 'latest' or 'best'.
      step: of it.
      target: pytree of the same structure and shapes as was saved.

    Returns:
      (state, facts).

    Raises:
      DamagedError: it is not what was saved.
      FormatError: another version of edjax wrote it.
      OSError: storage that refuses to be read.
    """
    path = self._root / kind / str(step)
    arrays = jax.tree.map(np.asarray, flax.serialization.to_state_dict(target))
    try:
      restored = self._managers[kind].restore(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardRestore(arrays), meta=ocp.args.JsonRestore()
        ),
      )
    except Exception as error:  # of Orbax, TensorStore, JSON, ...
      passing = isinstance(error, OSError) and not isinstance(
        error, (FileNotFoundError, NotADirectoryError, IsADirectoryError)
      )
      if passing or any(word in str(error) for word in _PASSING):
        raise OSError(f'{path} cannot be read: {error}') from error
      first = (str(error).splitlines() or [''])[0][:200]
      raise DamagedError(f'{path}: {type(error).__name__}: {first}') from error
    meta, state = restored['meta'], restored['state']
    if not isinstance(meta, dict):
      raise DamagedError(f'{path}: its facts are not there')
    # Before there were formats, there was no digest either.
    older = meta.keys().isdisjoint({'format', 'sha256', 'facts'})
    if not older and not isinstance(meta.get('facts'), dict):
      raise DamagedError(f'{path}: its facts are not there')
    if older or meta.get('format') != FORMAT:
      raise FormatError(
        f'{path} has format {meta.get("format")}, this version of edjax reads '
        f'{FORMAT}; continue with the version that config.json names, or give '
        'another --workdir'
      )
    if digest(state, meta['facts']) != meta.get('sha256'):
      raise DamagedError(f'{path}: it does not hold what was saved')
    return flax.serialization.from_state_dict(target, state), meta['facts']

  def restore(self, kind: str, target: Any) -> tuple[int, Any, dict] | None:
    """The newest checkpoint of a kind.

    Args:
      kind: 'latest' or 'best'.
      target: see `read`.

    Returns:
      (step, state, facts), or None where there is none.

    Raises:
      DamagedError, FormatError, OSError: see `read`.
    """
    steps = self.steps(kind)
    return (steps[0], *self.read(kind, steps[0], target)) if steps else None

  def resume(self, fresh, weights: str) -> tuple[int, Any, dict] | None:
    """Where a run goes on: the newest state that is whole.

    With `weights='best'` a state counts as whole only with the best weights
    that it knows of (its fact 'best_step'): without these the run would end
    in other ones. What is damaged is put aside, newer checkpoints than the
    one that is taken are deleted; the run makes them again.

    Args:
      fresh: untrained `edjax.train.train_step.TrainState` of the run.
      weights: `config.train.weights`.

    Returns:
      (step, state, facts), or None: from the beginning.

    Raises:
      FormatError, OSError: see `read`.
    """
    found = None
    for step in self.steps('latest'):
      try:
        state, facts = self.read('latest', step, fresh)
      except DamagedError as error:
        self._put_aside('latest', step, error)
        continue
      best = facts.get('best_step')
      if weights == 'best' and best is not None:
        try:
          self.read('best', best, fresh.ema_params)
        except DamagedError as error:
          self._put_aside('best', best, error)
          continue
      found = step, state, facts
      break
    self._forget_after(found[0] if found else 0)
    return found

  def _put_aside(self, kind: str, step: int, error: DamagedError) -> None:
    print(f'damaged: {error}; going back to the one before', flush=True)
    path = self._root / kind / str(step)
    if path.exists():
      aside = self._root / 'damaged'
      aside.mkdir(exist_ok=True)
      path.rename(aside / f'{kind}-{step}-{time.time_ns()}')
    self._managers[kind].reload()

  def _forget_after(self, step: int) -> None:
    """Deletes what a run makes again."""
    for kind, manager in self._managers.items():
      for newer in [s for s in self.steps(kind) if s > step]:
        manager.delete(newer)

  def selected(self, weights: str, fresh) -> tuple[int, Any] | None:
    """The averaged weights that a run is evaluated with.

    Args:
      weights: `config.train.weights`.
      fresh: untrained `edjax.train.train_step.TrainState` of the run.

    Returns:
      (step, weights), or None where none are there yet.

    Raises:
      DamagedError, FormatError, OSError: see `read`.
    """
    target = fresh.ema_params if weights == 'best' else fresh
    kind = {'best': 'best', 'last': 'latest'}[weights]
    restored = self.restore(kind, target)
    if restored is None:
      return None
    step, found, _ = restored
    return step, found if weights == 'best' else found.ema_params

  def close(self) -> None:
    for manager in self._managers.values():
      manager.close()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()


def _manager(root: pathlib.Path, options) -> ocp.CheckpointManager:
  """Orbax's manager of a directory, also where a description is damaged.

  It reads what describes each step (when it was written, and the like) before
  anything is asked for, and does without where there is none.
  """
  try:
    return ocp.CheckpointManager(root, options=options)
  except OSError:
    raise
  except Exception as error:
    print(f'damaged: a description in {root} ({error}); it is not needed')
    for file in root.glob('*/_CHECKPOINT_METADATA'):
      file.unlink()
    return ocp.CheckpointManager(root, options=options)


class _OfFirst:
  """What the first process reads and writes, in all of them."""

  def __init__(self, own: Checkpoints | None):
    self._own = own

  def save(self, kind, step, state, facts) -> None:
    """See `Checkpoints.save`."""
    if self._own:
      self._own.save(kind, step, state, facts)

  def resume(self, fresh, weights: str):
    """See `Checkpoints.resume`."""
    found = self._own.resume(fresh, weights) if self._own else None
    about = multihost.broadcast_from_first(found and (found[0], found[2]))
    if about is None:
      return None
    state = multihost.broadcast_from_first(None, found[1] if found else fresh)
    return about[0], state, about[1]

  def selected(self, weights: str, fresh):
    """See `Checkpoints.selected`."""
    found = self._own.selected(weights, fresh) if self._own else None
    step = multihost.broadcast_from_first(found and found[0])
    if step is None:
      return None
    params = multihost.broadcast_from_first(
      None, found[1] if found else fresh.ema_params
    )
    return step, params

  def __enter__(self):
    return self

  def __exit__(self, *_):
    if self._own:
      self._own.close()
