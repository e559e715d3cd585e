"""Training: the loop over steps, and the whole run."""

import collections
import contextlib
import math
import time

import jax
import numpy as np
from tqdm import tqdm

from edjax import config as configuration
from edjax import task as tasks
from edjax.data import batching
from edjax.evaluate import evaluator, predicting, vitals
from edjax.runtime import (
  checkpoint,
  compile_cache,
  multihost,
  parallel,
  preemption,
  run_directory,
  stores,
)
from edjax.train import nonfinite, optim, train_step


def make_feed(config, task):
  """How a call gets its batches.

  Returns:
    (on_device, feed): feed(step) -> arguments of a call after the state.
  """
  molecules = task.molecules['train']
  labels_NT = task.labels.values_NT[task.rows['train']]
  n = len(task.rows['train'])
  streamed = isinstance(molecules, batching.Stream)
  on_device = False
  if not streamed:
    size = sum(x.nbytes for x in jax.tree.leaves((molecules, labels_NT)))
    on_device = size <= config.train.device_data_gib * 2**30
  placed = parallel.replicate((molecules, labels_NT)) if on_device else None

  def indices_of(step: int):  # [D, S, B/D]
    indices_SB = np.stack(
      [
        batching.batch_indices(
          config.train.seed, step + i, n, config.train.batch_size
        )
        for i in range(config.train.steps_per_call)
      ]
    )
    return np.swapaxes(parallel.shard(np.swapaxes(indices_SB, 0, 1)), 1, 2)

  def batch(step: int):
    indices = indices_of(step)
    return batching.take(molecules, indices), labels_NT[indices]

  if on_device:
    return True, lambda step: (placed, indices_of(step))
  if streamed:
    batch = batching.Prefetcher(
      batch, config.train.steps, config.train.steps_per_call
    )
  return False, lambda step: (batch(step),)


def train_and_evaluate(config, workdir, shared=None, change_task=None) -> dict:
  """Trains, or continues where a run stopped, and evaluates on test.

  Args:
    config: a ConfigDict as made by a file of configs/.
    workdir: run directory; made where missing. It may be the address of one
      in an object store (gs://, s3://, ...): see `stores`.
    shared: `compile_cache.Programs` of several runs in one process.
    change_task: `task.Task` -> another, such as one with a voxelizer of one's
      own. The configuration does not know of it: give each a workdir.

  Returns:
    What results.json holds.

  Raises:
    ValueError: a wrong configuration, a run directory of another one, or one
      in which another process is at work (run_directory.LockedError).
    FloatingPointError: the loss, the parameters or every validation error are
      not finite; checkpoints are kept.
    preemption.PreemptedError: SIGTERM came; the state was saved.
    OSError: something cannot be written; earlier checkpoints are kept.
  """
  config = configuration.resolve(config)
  with contextlib.ExitStack() as stack:
    run = run_directory.Onlooker()
    if multihost.is_first():
      run = run_directory.RunDirectory(
        stack.enter_context(stores.opened(workdir))
      )
    stack.enter_context(multihost.one_voice())
    finished = multihost.broadcast_from_first(run.results(config))
    if finished is not None:
      print(f'{run.place} is finished; its results:', flush=True)
      return finished
    with run.lock():
      # Another command may have finished it before this one had the lock.
      finished = multihost.broadcast_from_first(run.results(config))
      return finished or _train_and_evaluate(config, run, shared, change_task)


def _train_and_evaluate(config, run, shared, change_task) -> dict:
  started, shared = time.time(), shared or compile_cache.Programs()
  task = tasks.make_task(config, shared)
  if change_task:
    task = change_task(task)
  run.start(config, task)
  print(run_directory.describe(task), flush=True)
  _, fresh = train_step.fresh_state(config, task)
  predict = predicting.make_predict(config, task, shared)
  validate = evaluator.Evaluator(config, task, 'validation', predict)
  with (
    checkpoint.Checkpoints(run.path) as checkpoints,
    preemption.noticed() as asked_to_stop,
  ):
    state, spent = train(
      config, task, fresh, checkpoints, run, validate, shared, asked_to_stop
    )
    selected = checkpoints.selected(config.train.weights, fresh)
  if selected is None:
    raise FloatingPointError(
      'no validation error was finite, so that no weights could be selected; '
      'lower config.optim.learning_rate'
    )
  step, params = selected
  results = evaluator.final_evaluation(config, task, params, run, predict)
  results |= vitals.Observer(config, task, shared).carried(params)
  results |= {
    'update_over_weight': optim.update_over_weight(config, state),
    'selected_step': step,
    'trained_steps': int(state.step),
    'skipped_steps': nonfinite.skipped(state),
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
  config,
  task,
  state,
  checkpoints,
  run,
  validate,
  shared,
  asked_to_stop=lambda: False,
) -> tuple[train_step.TrainState, dict]:
  """The loop: from the latest checkpoint, if any, to the last step.

  Args:
    config: resolved.
    task: the task.
    state: fresh, on the host.
    checkpoints: of the run.
    run: its directory.
    validate: `evaluator.Evaluator` of the validation part.
    shared: `compile_cache.Programs`.
    asked_to_stop: () -> whether to save and leave.

  Raises:
    FloatingPointError, OSError, preemption.PreemptedError: see
      `train_and_evaluate`.

  Returns:
    The last state, on the host, and 'seconds' that earlier launches trained
    and 'step_seconds', the median of a step (None where there are none).
  """
  host_state = state
  # Best validation error and its step, evaluations since then, the training
  # losses since the last evaluation, the seconds spent, and those of a step.
  meta = {
    'best': math.inf, 'best_step': None, 'stale': 0,
    'loss_sum': 0.0, 'loss_count': 0, 'seconds': 0.0, 'step_seconds': None,
  }  # fmt: skip
  restored = checkpoints.resume(host_state, config.train.weights)
  if restored:
    begin, host_state, kept = restored
    meta |= kept
    print(f'continuing after step {begin}', flush=True)
  begin = int(host_state.step)
  spent = {name: meta[name] for name in ('seconds', 'step_seconds')}
  # What a killed launch left of the steps that come now.
  run.cut_metrics(begin)
  if begin >= config.train.steps or _out_of_patience(config, meta):
    return host_state, spent
  state = parallel.replicate(host_state)
  on_device, feed = make_feed(config, task)
  call = shared.of_run(train_step.compile_call, config, task, on_device)
  constants = parallel.replicate(compile_cache.constants_of(config, task))
  observer = vitals.Observer(config, task, shared)
  per_call = config.train.steps_per_call
  pending = None  # (first step, losses) of the call before
  losses = nonfinite.Losses(
    config, task, run, host_state, meta['loss_sum'], meta['loss_count']
  )
  bar = tqdm(
    total=config.train.steps, initial=begin, unit='step', desc='train',
    mininterval=1, dynamic_ncols=True, disable=not multihost.is_first(),
  )  # fmt: skip
  clock, laps, lap = time.time(), collections.deque(maxlen=1000), None
  for first in range(begin, config.train.steps, per_call):
    state, loss = call(state, *feed(first), constants)
    leaving = multihost.any_of(asked_to_stop())
    # Fetch the losses of the call before while this one runs.
    losses.add(pending)
    pending = first, loss
    # From one call to the next, which waits for the step of the first.
    lap, last = time.time(), lap
    if last is not None:
      laps.append((lap - last) / per_call)
    done = first + per_call
    bar.update(per_call)
    is_last = done == config.train.steps
    evaluating = is_last or done % config.train.eval_every == 0
    saving = leaving or is_last or done % config.train.checkpoint_every == 0
    if losses.count:
      rate = (done - begin) * config.train.batch_size / (time.time() - clock)
      bar.set_postfix_str(
        f'loss {losses.mean:.4f}, {rate:.0f} examples/s',
        refresh=False,
      )
    if not (evaluating or saving):
      continue
    losses.add(pending)
    pending = lap = None
    if laps:
      spent['step_seconds'] = float(np.median(laps))
    host_state = parallel.unreplicate(state)
    nonfinite.check_parameters(host_state)
    if evaluating:
      if losses.count:
        run.log(done, 'train', 'loss', losses.mean, '')
      losses.clear()
      value = validate.log(host_state.ema_params, done, run)
      vitals.log(
        observer.carried(host_state.ema_params),
        optim.update_over_weight(config, host_state),
        done,
        run,
      )
      bar.write(f'step {done}: validation error {value:.4f} (standardised)')
      meta = meta | {'stale': meta['stale'] + 1}
      if value < meta['best']:
        meta = meta | {'best': value, 'stale': 0}
        if config.train.weights == 'best':
          meta = meta | {'best_step': done}
          checkpoints.save('best', done, host_state.ema_params, meta)
          # A resumed run must find the best weights of what it resumes from.
          saving = True
      saving |= _out_of_patience(config, meta)
    if saving:
      meta = meta | {
        'loss_sum': losses.total,
        'loss_count': losses.count,
        'step_seconds': spent['step_seconds'],
        'seconds': spent['seconds'] + time.time() - clock,
      }
      checkpoints.save('latest', done, host_state, meta)
      run.saved()
    if leaving:
      raise preemption.PreemptedError(
        f'SIGTERM: step {done} of {config.train.steps} is saved in '
        f'{run.place}; the same command goes on from there'
      )
    if _out_of_patience(config, meta):
      bar.write(f'no improvement in {meta["stale"]} evaluations: training ends')
      break
  bar.close()
  return host_state, spent


def _out_of_patience(config, meta) -> bool:
  return 0 < config.train.patience <= meta['stale']
