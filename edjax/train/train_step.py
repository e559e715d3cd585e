"""The training step, and several of them as one program."""

import functools

import flax.struct
import jax
import jax.numpy as jnp
import optax

from edjax import geometry
from edjax.kernels.numerics import batched
from edjax.runtime import compile_cache, parallel
from edjax.train import losses, optim
from edjax.voxelize import voxel_chunk

# What a key is folded with first, so that no two uses share random numbers.
_INITIALISE, _AUGMENT, _DROPOUT = range(3)


@flax.struct.dataclass
class TrainState:
  """Everything that a step changes."""

  step: jax.Array
  params: dict
  ema_params: dict
  opt_state: optax.OptState


@functools.partial(jax.jit, static_argnums=0)
def _draw(model, key, sample_BXYZC):
  """Parameters; compiled once for a model, whatever the seed."""
  return model.init(key, sample_BXYZC, train=False)


def init_state(model, optimizer, seed: int, sample_BXYZC) -> TrainState:
  """Fresh parameters on the host.

  Args:
    model: Flax module.
    optimizer: its optimiser.
    seed: of the initialisation.
    sample_BXYZC: voxels of training molecules, from which layers that
      standardise their input take their first shift and scale.
  """
  key = jax.random.fold_in(jax.random.key(seed), _INITIALISE)
  params = _draw(model, key, sample_BXYZC)['params']
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    ema_params=params,
    opt_state=optimizer.init(params),
  )


def fresh_state(config, task):
  """The optimiser and the untrained state of a run.

  Args:
    config: resolved.
    task: the task.

  Returns:
    (optimizer, state), the state on the host.
  """
  optimizer = optim.make_optimizer(config.optim, config.train.steps)
  state = init_state(
    task.model, optimizer, config.train.seed, task.sample_BXYZC
  )
  return optimizer, jax.device_get(state)


def augment(key, mol, rotate: bool, translate: float):
  """A random rigid motion that depends on the key and the example alone.

  Args:
    key: of the step.
    mol: one molecule.
    rotate: whether to rotate, uniformly.
    translate: largest shift along each axis, Å.
  """
  rotation_key, shift_key = jax.random.split(
    jax.random.fold_in(key, mol.example_id)
  )
  if rotate:
    mol = geometry.rotate(mol, geometry.random_rotation(rotation_key))
  if translate:
    shift_3 = geometry.random_translation(shift_key, translate)
    mol = geometry.translate(mol, shift_3)
  return mol


def make_train_step(config, model, optimizer, voxelizer):
  """One optimisation step on one device's share of a batch.

  Args:
    config: resolved.
    model: Flax module.
    optimizer: its optimiser.
    voxelizer: Molecule -> vox_XYZC.

  Returns:
    step(state, molecules, labels_BT, constants=None) -> (state, loss); it sums
    over the axis `parallel.AXIS`, which `pmap` or `vmap(axis_name=...)` binds.
    With `compile_cache.Constants`, of config the `compile_cache.shared_part` is
    enough.
  """
  loss_function = losses.LOSSES[config.optim.loss]

  def step(state, molecules, labels_BT, constants=None):
    root = jax.random.key(constants.seed if constants else config.train.seed)
    key = jax.random.fold_in(jax.random.fold_in(root, _AUGMENT), state.step)
    moved = jax.vmap(
      functools.partial(
        augment,
        key,
        rotate=config.augment.rotate,
        translate=config.augment.translate,
      )
    )(molecules)
    chunk = voxel_chunk(voxelizer, moved)
    vox_BXYZC = batched(compile_cache.scaled(voxelizer, constants), chunk)(
      moved
    )
    dropout = jax.random.fold_in(root, _DROPOUT)
    dropout = jax.random.fold_in(dropout, state.step)
    dropout = jax.random.fold_in(dropout, parallel.device_index())

    def loss_sum(params):
      prediction_BT = model.apply(
        {'params': params}, vox_BXYZC, train=True, rngs={'dropout': dropout}
      )
      mask_B = jnp.ones(len(labels_BT), bool)
      return losses.masked_sum(loss_function(prediction_BT, labels_BT), mask_B)

    (total, count), gradients = jax.value_and_grad(loss_sum, has_aux=True)(
      state.params
    )
    total, count, gradients = parallel.psum((total, count, gradients))
    loss = total / count
    gradients = jax.tree.map(lambda g: g / count, gradients)
    # A step is finite as a whole or not: what reads the losses sees it.
    whole = functools.reduce(
      jnp.logical_and,
      [jnp.isfinite(g).all() for g in jax.tree.leaves(gradients)],
      jnp.isfinite(loss),
    )
    loss = jnp.where(whole, loss, jnp.nan)
    # So that `optax.apply_if_finite` also sees a loss that is not.
    gradients = jax.tree.map(lambda g: jnp.where(whole, g, jnp.nan), gradients)
    updates, opt_state = optimizer.update(
      gradients, state.opt_state, state.params
    )
    if constants:
      updates = jax.tree.map(lambda u: u * constants.learning_rate, updates)
    params = optax.apply_updates(state.params, updates)
    ema_params = optim.ema_update(
      state.ema_params, params, config.optim.ema_decay, state.step
    )
    state = TrainState(state.step + 1, params, ema_params, opt_state)
    return state, loss

  return step


def make_train_call(step, on_device: bool):
  """Several steps as one program over all devices.

  Args:
    step: from `make_train_step`.
    on_device: whether the data lie on the devices and batches are indices
      into them, or batches are sent.

  Returns:
    call(state, data, indices_SB, *constants) -> (state, losses_S) or
    call(state, (molecules, labels), *constants), leading axes [D, S, B/D].
  """

  def loop(body, state, xs):
    if len(jax.tree.leaves(xs)[0]) == 1:  # XLA's CPU loops are slow
      state, loss = body(state, jax.tree.map(lambda x: x[0], xs))
      return state, loss[None]
    return jax.lax.scan(body, state, xs)

  def from_device(state, data, indices_SB, *own):
    def body(state, indices_B):
      return step(state, *jax.tree.map(lambda x: x[indices_B], data), *own)

    return loop(body, state, indices_SB)

  def from_host(state, batches, *own):
    return loop(lambda s, batch: step(s, *batch, *own), state, batches)

  return parallel.pmap(from_device if on_device else from_host)


def compile_call(config, model, voxelizer, on_device: bool):
  """For `compile_cache.Programs.of_run`; on_device as of `make_train_call`."""
  optimizer = optim.make_optimizer(config.optim, config.train.steps)
  step = make_train_step(config, model, optimizer, voxelizer)
  return make_train_call(step, on_device)
