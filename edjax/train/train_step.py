"""The training step, and several steps as one program."""

import functools
from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import optax
import optax.microbatching
from flax import linen as nn
from ml_collections import ConfigDict

from edjax import geometry, optim
from edjax.evaluate import predicting
from edjax.kernels.numerics import batched
from edjax.runtime import compile_cache, parallel
from edjax.task import Task
from edjax.voxelize import Voxelizer, voxel_chunk

# Folded into a key first, so that no two uses share random numbers.
_INITIALISE, _AUGMENT, _DROPOUT = range(3)


@flax.struct.dataclass
class TrainState:
  """The arrays that a step changes."""

  step: jax.Array
  params: dict
  ema_params: dict
  opt_state: optax.OptState


@functools.partial(jax.jit, static_argnums=0)
def _draw(model, key, sample_BXYZC):
  """Draws parameters; compiled once for all seeds of a model."""
  return model.init(key, sample_BXYZC, train=False)


def init_state(
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  seed: int,
  sample_BXYZC: jax.Array,
) -> TrainState:
  """Returns an untrained state.

  Args:
    model: network.
    optimizer: from `optim.make_optimizer`.
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


def fresh_state(config: ConfigDict, task: Task) -> TrainState:
  """Returns the untrained state of a run, on the host."""
  optimizer = optim.make_optimizer(config.optim, config.train.steps)
  return jax.device_get(
    init_state(task.model, optimizer, config.train.seed, task.sample_BXYZC)
  )


def make_train_step(
  config: ConfigDict,
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  voxelizer: Voxelizer,
) -> Callable:
  """Returns one optimisation step on one device's share of a batch.

  Args:
    config: resolved, or `compile_cache.shared_part` of it.
    model: network.
    optimizer: from `optim.make_optimizer`.
    voxelizer: from `compile_cache.bare`.

  Returns:
    step(state, molecules, labels_BT, inputs) -> (state, loss), with
    `compile_cache.StepInputs`. It sums over the axis `parallel.AXIS`, which
    `pmap` or `vmap(axis_name=...)` binds.
  """
  loss_function = optim.LOSSES[config.optim.loss]
  motions = predicting.motions_of(config)

  def step(state, molecules, labels_BT, inputs):
    # Random numbers: addressed by seed, step and example (or device).
    root = jax.random.key(inputs.seed)
    key = jax.random.fold_in(jax.random.fold_in(root, _AUGMENT), state.step)
    dropout = jax.random.fold_in(root, _DROPOUT)
    dropout = jax.random.fold_in(dropout, state.step)
    dropout = jax.random.fold_in(dropout, parallel.device_index())

    # Augmentation, then voxels.
    moved = jax.vmap(lambda mol: geometry.random_motion(key, mol, motions))(
      molecules
    )
    voxelize = compile_cache.scaled(voxelizer, inputs)
    vox_BXYZC = batched(voxelize, voxel_chunk(voxelizer, moved))(moved)

    # Loss and gradient: sums over parts of a batch and over all devices,
    # divided once.
    def loss_sum(params, numbers_B, vox_BXYZC, labels_BT):
      key = jax.random.fold_in(dropout, numbers_B[0])
      prediction_BT = model.apply(
        {'params': params}, vox_BXYZC, train=True, rngs={'dropout': key}
      )
      return optim.loss_sum(loss_function, prediction_BT, labels_BT)

    sums = optax.microbatching.microbatch(
      jax.value_and_grad(loss_sum, has_aux=True),
      argnums=(1, 2, 3),
      microbatch_size=parallel.examples_at_a_time(len(labels_BT)),
    )(state.params, jnp.arange(len(labels_BT)), vox_BXYZC, labels_BT)
    (total, count), gradients = parallel.psum(sums)
    loss = total / count
    gradients = jax.tree.map(lambda g: g / count, gradients)

    # `nonfinite.Losses` reads the loss, `optax.apply_if_finite` the gradients:
    # they have to agree on the steps that are not finite.
    finite = functools.reduce(
      jnp.logical_and,
      [jnp.isfinite(g).all() for g in jax.tree.leaves(gradients)],
      jnp.isfinite(loss),
    )
    loss = jnp.where(finite, loss, jnp.nan)
    gradients = jax.tree.map(lambda g: jnp.where(finite, g, jnp.nan), gradients)

    # Update, and average of the weights.
    updates, opt_state = optimizer.update(
      gradients, state.opt_state, state.params
    )
    updates = jax.tree.map(lambda u: u * inputs.learning_rate, updates)
    params = optax.apply_updates(state.params, updates)
    ema_params = optim.ema_update(
      state.ema_params, params, config.optim.ema_decay, state.step
    )
    return TrainState(state.step + 1, params, ema_params, opt_state), loss

  return step


def make_train_call(step: Callable, on_device: bool) -> Callable:
  """Returns several steps as one program over all devices.

  Args:
    step: from `make_train_step`.
    on_device: whether the data lie on the devices and batches are indices into
      them; otherwise batches are sent.

  Returns:
    call(state, data, indices_SB, inputs) -> (state, losses_S) or
    call(state, (molecules, labels), inputs), leading axes [D, S, B/D].
  """

  def loop(body, state, xs):
    if len(jax.tree.leaves(xs)[0]) == 1:  # XLA's CPU loops are slow
      state, loss = body(state, jax.tree.map(lambda x: x[0], xs))
      return state, loss[None]
    return jax.lax.scan(body, state, xs)

  def from_device(state, data, indices_SB, inputs):
    def body(state, indices_B):
      batch = jax.tree.map(lambda x: x[indices_B], data)
      return step(state, *batch, inputs)

    return loop(body, state, indices_SB)

  def from_host(state, batches, inputs):
    return loop(lambda s, batch: step(s, *batch, inputs), state, batches)

  return parallel.pmap(from_device if on_device else from_host)


def compile_call(
  config: ConfigDict, model: nn.Module, voxelizer: Voxelizer, on_device: bool
) -> Callable:
  """Returns the call of a configuration; see `CompileCache.of_run`."""
  optimizer = optim.make_optimizer(config.optim, config.train.steps)
  step = make_train_step(config, model, optimizer, voxelizer)
  return make_train_call(step, on_device)
