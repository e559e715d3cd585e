"""Training: the step, the loop over it, and the whole run."""

import collections
import functools
import math
import time

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from edjax import (
  checkpoint,
  evaluate,
  finite,
  geometry,
  input_pipeline,
  losses,
  optim,
  parallel,
  programs,
  rundir,
)
from edjax import config as configuration
from edjax import task as tasks
from edjax.numerics import batched

# What a key is folded with first, so that no two uses share random numbers.
_INITIALISE, _AUGMENT, _DROPOUT = range(3)


@flax.struct.dataclass
class TrainState:
  """Everything that a step changes."""

  step: jax.Array
  params: dict
  ema_params: dict
  opt_state: optax.OptState


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
  # Not compiled: that would take longer than running it once.
  params = model.init(key, sample_BXYZC, train=False)['params']
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
    With `programs.Constants`, of config the `programs.shared_part` is enough.
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
    chunk = tasks.voxel_chunk(voxelizer, moved)
    vox_BXYZC = batched(programs.scaled(voxelizer, constants), chunk)(moved)
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
    gradients = jax.tree.map(lambda g: g / count, gradients)
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
    return state, total / count

  return step


def make_train_call(step, on_device: bool, over_seeds: bool = False):
  """Several steps as one program over all devices.

  Args:
    step: from `make_train_step`.
    on_device: whether the data lie on the devices and batches are indices
      into them, or batches are sent.
    over_seeds: whether every argument has an axis of seeds after the devices'.

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

  call = from_device if on_device else from_host
  return parallel.pmap(jax.vmap(call) if over_seeds else call)


def make_feed(config, task):
  """How a call gets its batches.

  Returns:
    (on_device, feed): feed(step) -> arguments of a call after the state.
  """
  data = task.molecules['train'], task.labels.values_NT[task.rows['train']]
  n = len(task.rows['train'])
  size = sum(x.nbytes for x in jax.tree.leaves(data))
  on_device = size <= config.train.device_data_gib * 2**30
  placed = parallel.replicate(data) if on_device else None

  def feed(step: int):
    indices_SB = np.stack(
      [
        input_pipeline.batch_indices(
          config.train.seed, step + i, n, config.train.batch_size
        )
        for i in range(config.train.steps_per_call)
      ]
    )

    def split(x_SB):  # [S, B, ...] -> [D, S, B/D, ...]
      return np.swapaxes(parallel.shard(np.swapaxes(x_SB, 0, 1)), 1, 2)

    if on_device:
      return placed, split(indices_SB)
    return (jax.tree.map(lambda x: split(x[indices_SB]), data),)

  return on_device, feed


def _compile(config, model, voxelizer, on_device):
  optimizer = optim.make_optimizer(config.optim, config.train.steps)
  step = make_train_step(config, model, optimizer, voxelizer)
  return make_train_call(step, on_device)


def train_and_evaluate(config, workdir, shared=None) -> dict:
  """Trains, or continues where a run stopped, and evaluates on test.

  Args:
    config: a ConfigDict as made by a file of configs/.
    workdir: run directory; made where missing.
    shared: `programs.Programs` of several runs in one process.

  Returns:
    What results.json holds.

  Raises:
    ValueError: a wrong configuration, a run directory of another one, or one
      in which another process is at work (rundir.LockedError).
    FloatingPointError: the loss, the parameters or every validation error are
      not finite; checkpoints are kept.
  """
  config = configuration.resolve(config)
  run = rundir.RunDirectory(workdir)
  if (finished := run.results(config)) is not None:
    print(f'{run.path} is finished; its results:', flush=True)
    return finished
  with run.lock():
    # Another process may have finished it before this one had the lock.
    return run.results(config) or _train_and_evaluate(config, run, shared)


def _train_and_evaluate(config, run, shared) -> dict:
  started, shared = time.time(), shared or programs.Programs()
  task = tasks.make_task(config, shared)
  run.start(config, task)
  print(rundir.describe(task), flush=True)
  _, fresh = fresh_state(config, task)
  predict = evaluate.make_predict(config, task, shared)
  validate = evaluate.Evaluator(config, task, 'validation', predict)
  with checkpoint.Checkpoints(run.path) as checkpoints:
    state, spent = train(
      config, task, fresh, checkpoints, run, validate, shared
    )
    selected = checkpoints.selected(config.train.weights, fresh)
  if selected is None:
    raise FloatingPointError(
      'no validation error was finite, so that no weights could be selected; '
      'lower config.optim.learning_rate'
    )
  step, params = selected
  results = evaluate.final_evaluation(config, task, params, run, predict)
  results |= {
    'selected_step': step,
    'trained_steps': int(state.step),
    'parameters': sum(x.size for x in jax.tree.leaves(state.params)),
    'seconds': round(spent['seconds'] + time.time() - started, 1),
  }
  # Seeds that train as one program share its time.
  results['cost']['runs_at_once'] = shared.at_once
  if spent['step_seconds']:
    results['cost']['train_seconds_per_step'] = (
      spent['step_seconds'] / shared.at_once
    )
  run.finish(results)
  return results


def train(
  config, task, state, checkpoints, run, validate, shared
) -> tuple[TrainState, dict]:
  """The loop: from the latest checkpoint, if any, to the last step.

  Args:
    config: resolved.
    task: the task.
    state: fresh, on the host.
    checkpoints: of the run.
    run: its directory.
    validate: `evaluate.Evaluator` of the validation part.
    shared: `programs.Programs`.

  Returns:
    The last state, on the host, and 'seconds' that earlier launches trained
    and 'step_seconds', the median of a step (None where there are none).
  """
  host_state = state
  # Best validation error, evaluations since then, the training losses since
  # the last evaluation, the seconds spent, and those of a step.
  meta = {
    'best': math.inf, 'stale': 0, 'loss_sum': 0.0, 'loss_count': 0,
    'seconds': 0.0, 'step_seconds': None,
  }  # fmt: skip
  restored = checkpoints.restore('latest', host_state)
  if restored:
    begin, host_state, kept = restored
    meta |= kept
    print(f'continuing after step {begin}', flush=True)
  begin = int(host_state.step)
  spent = {name: meta[name] for name in ('seconds', 'step_seconds')}
  # What a killed launch left of the steps that come now.
  checkpoints.forget_after(begin)
  run.cut_metrics(begin)
  if begin >= config.train.steps or _out_of_patience(config, meta):
    return host_state, spent
  state = parallel.replicate(host_state)
  on_device, feed = make_feed(config, task)
  call = shared.of_run(_compile, config, task, on_device)
  constants = parallel.replicate(programs.constants_of(config, task))
  per_call = config.train.steps_per_call
  pending = None  # (first step, losses) of the call before
  window = [meta['loss_sum'], meta['loss_count']]
  bar = tqdm(
    total=config.train.steps, initial=begin, unit='step', desc='train',
    mininterval=1, dynamic_ncols=True,
  )  # fmt: skip
  clock, laps, lap = time.time(), collections.deque(maxlen=1000), None
  for first in range(begin, config.train.steps, per_call):
    state, loss = call(state, *feed(first), constants)
    # Fetch the losses of the call before while this one runs.
    finite.fetch(config, task, pending, window)
    pending = first, loss
    # From one call to the next, which waits for the step of the first.
    lap, last = time.time(), lap
    if last is not None:
      laps.append((lap - last) / per_call)
    done = first + per_call
    bar.update(per_call)
    is_last = done == config.train.steps
    evaluating = is_last or done % config.train.eval_every == 0
    saving = is_last or done % config.train.checkpoint_every == 0
    if window[1]:
      rate = (done - begin) * config.train.batch_size / (time.time() - clock)
      bar.set_postfix_str(
        f'loss {window[0] / window[1]:.4f}, {rate:.0f} examples/s',
        refresh=False,
      )
    if not (evaluating or saving):
      continue
    finite.fetch(config, task, pending, window)
    pending = lap = None
    if laps:
      spent['step_seconds'] = float(np.median(laps))
    host_state = parallel.unreplicate(state)
    finite.check_parameters(host_state)
    if evaluating:
      run.log(done, 'train', 'loss', window[0] / window[1], '')
      window = [0.0, 0]
      value = validate.log(host_state.ema_params, done, run)
      bar.write(f'step {done}: validation error {value:.4f} (standardised)')
      meta = meta | {'stale': meta['stale'] + 1}
      if value < meta['best']:
        meta = meta | {'best': value, 'stale': 0}
        if config.train.weights == 'best':
          checkpoints.save('best', done, host_state.ema_params, meta)
          # A resumed run must find the best weights of what it resumes from.
          saving = True
      saving |= _out_of_patience(config, meta)
    if saving:
      meta = meta | {
        'loss_sum': window[0],
        'loss_count': window[1],
        'step_seconds': spent['step_seconds'],
        'seconds': spent['seconds'] + time.time() - clock,
      }
      checkpoints.save('latest', done, host_state, meta)
    if _out_of_patience(config, meta):
      bar.write(f'no improvement in {meta["stale"]} evaluations: training ends')
      break
  bar.close()
  return host_state, spent


def _out_of_patience(config, meta) -> bool:
  return 0 < config.train.patience <= meta['stale']
