"""Training steps on ready voxels: the network alone."""

import flax.struct
import jax

from edjax.runtime import compile_cache, parallel
from edjax.train import train_step


@flax.struct.dataclass
class Voxels:
  """Stands in for molecules."""

  index: jax.Array
  vox_XYZC: jax.Array


class Ready:
  """Stands in for a voxelizer."""

  batches_on_cpu = True
  scales = ()
  raw_names = ('one',)

  def scratch_bytes(self, voxels: Voxels) -> int:
    return voxels.vox_XYZC.nbytes

  def raw(self, voxels: Voxels) -> jax.Array:
    return voxels.vox_XYZC

  def finish(self, vox_XYZC: jax.Array, scale_C: jax.Array) -> jax.Array:
    del scale_C
    return vox_XYZC


def on_voxels(config, model, optimizer):
  """Makes `edjax.train.train_step.make_train_call` of steps on voxels.

  Args:
    config: resolved; it must not rotate.
    model: Flax module.
    optimizer: its optimiser.

  Returns:
    call(state, (voxels, labels), indices_SB), leading axes as there.
  """
  if config.augment.rotate:
    raise ValueError('voxels cannot be rotated')
  step = train_step.make_train_step(config, model, optimizer, Ready())
  call = train_step.make_train_call(step, on_device=True)
  inputs = parallel.replicate(compile_cache.step_inputs(config, Ready()))
  return lambda *args: call(*args, inputs)
