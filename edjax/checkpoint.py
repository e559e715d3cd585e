"""Checkpoints: the latest states and the best on validation, by Orbax.

They hold host numpy arrays without a device axis, so that they restore on
any number of devices. Saves are synchronous: Orbax writes into a temporary
directory and renames it, so a killed save leaves no half checkpoint.
"""

import pathlib
from typing import Any

import flax.serialization
import jax
import numpy as np
import orbax.checkpoint as ocp

# Two of each: the previous one survives until the next save has ended.
_KEEP = 2


class Checkpoints:
  """The checkpoints of one run directory."""

  def __init__(self, workdir: str | pathlib.Path):
    root = pathlib.Path(workdir).resolve() / 'checkpoints'
    options = ocp.CheckpointManagerOptions(
      max_to_keep=_KEEP, create=True, enable_async_checkpointing=False
    )
    self._managers = {
      kind: ocp.CheckpointManager(root / kind, options=options)
      for kind in ('latest', 'best')
    }

  def save(self, kind: str, step: int, state: Any, meta: dict) -> None:
    """Writes a checkpoint; one of the same step is replaced.

    Args:
      kind: 'latest' or 'best'.
      step: training steps done.
      state: pytree of host arrays.
      meta: JSON-compatible facts (the best validation loss so far).
    """
    manager = self._managers[kind]
    if step in manager.all_steps():
      manager.delete(step)
    arrays = jax.tree.map(np.asarray, flax.serialization.to_state_dict(state))
    manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(arrays), meta=ocp.args.JsonSave(meta)
      ),
    )

  def restore(self, kind: str, target: Any) -> tuple[int, Any, dict] | None:
    """Reads the newest checkpoint of a kind.

    Args:
      kind: 'latest' or 'best'.
      target: pytree of the same structure and shapes as was saved.

    Returns:
      (step, state, meta), or None where there is none.
    """
    manager = self._managers[kind]
    step = manager.latest_step()
    if step is None:
      return None
    arrays = jax.tree.map(np.asarray, flax.serialization.to_state_dict(target))
    restored = manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(arrays), meta=ocp.args.JsonRestore()
      ),
    )
    state = flax.serialization.from_state_dict(target, restored['state'])
    return step, state, restored['meta']

  def selected(self, weights: str, fresh) -> tuple[int, Any] | None:
    """The averaged weights that a run is evaluated with.

    Args:
      weights: `config.train.weights`.
      fresh: untrained `edjax.train.TrainState` of the run.

    Returns:
      (step, weights), or None where none are there yet.
    """
    target = fresh.ema_params if weights == 'best' else fresh
    kind = {'best': 'best', 'last': 'latest'}[weights]
    restored = self.restore(kind, target)
    if restored is None:
      return None
    step, found, _ = restored
    return step, found if weights == 'best' else found.ema_params

  def forget_after(self, step: int) -> None:
    """Deletes best checkpoints newer than the step a run resumes from.

    The resumed run makes them again.
    """
    manager = self._managers['best']
    for newer in [s for s in manager.all_steps() if s > step]:
      manager.delete(newer)

  def close(self) -> None:
    for manager in self._managers.values():
      manager.close()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()
