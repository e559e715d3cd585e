"""Checkpoints: the latest states and the best on validation, by Orbax.

They hold host numpy arrays without a device axis, so that they restore on
any number of devices. Saves are synchronous: Orbax writes into a temporary
directory and renames it, so a killed save leaves no half checkpoint.

Every checkpoint has a digest of its arrays, because Orbax reads a flipped byte
of its data files as another number. A checkpoint that cannot be read is put
aside, and the one before is taken.
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

# Version of the contents: {'format', 'sha256', 'facts'} as JSON beside the
# arrays of the state; since 2 its parameters lie under trunk, head and whiten.
FORMAT = 2

# Checkpoints of each kind: the previous one survives the next save.
_KEEP = 2

# Errors of storage that cannot be reached for now. They are no damage: a run
# that began again because of them would lose what is there.
_PASSING = ('PERMISSION_DENIED', 'UNAVAILABLE', 'DEADLINE_EXCEEDED')


class DamagedError(Exception):
  """A checkpoint cannot be read, or is not what was written."""


class FormatError(ValueError):
  """A checkpoint was written by another version of edjax."""


def digest(arrays: dict, facts: dict) -> str:
  """Returns the SHA-256 of names, types, shapes and values, in hexadecimal.

  Args:
    arrays: tree of arrays.
    facts: JSON-compatible.
  """
  sha256 = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
  for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
    leaf = np.asarray(leaf)
    head = f'{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}\n'
    sha256.update(head.encode())
    sha256.update(np.ascontiguousarray(leaf).tobytes())
  return sha256.hexdigest()


class Checkpoints:
  """The checkpoints of one run directory.

  The first of several processes alone reads and writes them; the others call
  the same methods and get what it has read.

  Args:
    workdir: the run directory.

  Raises:
    OSError: the directories cannot be made or read.
  """

  def __init__(self, workdir: str | pathlib.Path):
    self._root = pathlib.Path(workdir).resolve() / 'checkpoints'
    options = ocp.CheckpointManagerOptions(
      max_to_keep=_KEEP, create=False, enable_async_checkpointing=False,
      # The other processes do not take part.
      multiprocessing_options=ocp.options.MultiprocessingOptions(
        primary_host=0, active_processes={0}, barrier_sync_key_prefix='first',
      ),
    )  # fmt: skip
    self._managers = {}
    if not multihost.is_first():
      return
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
    if not multihost.is_first():
      return
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
    """Returns the steps of the checkpoints of a kind, the newest first.

    Other processes than the first know of none.
    """
    manager = self._managers.get(kind)
    return sorted(manager.all_steps(), reverse=True) if manager else []

  def read(self, kind: str, step: int, target: Any) -> tuple[Any, dict]:
    """Reads one checkpoint.

    Args:
      kind: 'latest' or 'best'.
      step: its training steps.
      target: pytree of the same structure and shapes as was saved.

    Returns:
      (state, facts).

    Raises:
      DamagedError: it does not hold what was saved.
      FormatError: another version of edjax wrote it.
      OSError: the storage refuses to be read.
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
    except Exception as error:  # Orbax, TensorStore and JSON have their own
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
    """Reads the newest checkpoint of a kind.

    Args:
      kind: 'latest' or 'best'.
      target: see `read`.

    Returns:
      (step, state, facts), or None where there is none.

    Raises:
      DamagedError, FormatError, OSError: see `read`.
    """
    newest = None
    if steps := self.steps(kind):
      newest = (steps[0], *self.read(kind, steps[0], target))
    return _from_first(newest, target)

  def resume(self, fresh, weights: str) -> tuple[int, Any, dict] | None:
    """Returns where a run goes on: the newest state that is whole.

    With `weights='best'` a state counts as whole only with the best weights
    that it knows of (its fact 'best_step'): without these the run would end
    in other ones. Damaged checkpoints are put aside, and those newer than the
    returned one deleted: the run makes them again.

    Args:
      fresh: untrained `edjax.train.train_step.TrainState` of the run.
      weights: `config.train.weights`.

    Returns:
      (step, state, facts), or None where the run begins at step 0.

    Raises:
      FormatError, OSError: see `read`.
    """
    return _from_first(self._newest_whole(fresh, weights), fresh)

  def _newest_whole(self, fresh, weights: str):
    newest = None
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
      newest = step, state, facts
      break
    self._delete_after(newest[0] if newest else 0)
    return newest

  def _put_aside(self, kind: str, step: int, error: DamagedError) -> None:
    print(f'damaged: {error}; going back to the one before', flush=True)
    path = self._root / kind / str(step)
    if path.exists():
      aside = self._root / 'damaged'
      aside.mkdir(exist_ok=True)
      path.rename(aside / f'{kind}-{step}-{time.time_ns()}')
    self._managers[kind].reload()

  def _delete_after(self, step: int) -> None:
    """Deletes the checkpoints of later steps."""
    for kind, manager in self._managers.items():
      for newer in [s for s in self.steps(kind) if s > step]:
        manager.delete(newer)

  def selected(self, weights: str, fresh) -> tuple[int, Any] | None:
    """Returns the averaged weights that a run is evaluated with.

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
    newest = self.restore(kind, target)
    if newest is None:
      return None
    step, restored, _ = newest
    return step, restored if weights == 'best' else restored.ema_params

  def close(self) -> None:
    for manager in self._managers.values():
      manager.close()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()


def _from_first(restored: tuple | None, target: Any) -> tuple | None:
  """Returns (step, tree, facts) of the first process in all of them.

  Args:
    restored: in the first process, what it has read; None: nothing.
    target: pytree of the same structure and shapes.
  """
  about = multihost.broadcast_from_first(
    restored and (restored[0], restored[2])
  )
  if about is None:
    return None
  tree = restored[1] if restored else target
  return about[0], multihost.broadcast_arrays_from_first(tree), about[1]


def _manager(root: pathlib.Path, options) -> ocp.CheckpointManager:
  """Opens Orbax's manager of a directory, also where a description is damaged.

  Orbax reads a description of each step (when it was written, and the like) as
  soon as it opens the directory, and does without where there is none.
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
