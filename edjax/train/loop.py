"""Trains: the loop over steps, and a run around it."""

import collections
import contextlib
import dataclasses
import math
import time
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict
from tqdm import tqdm

from edjax import config as configuration
from edjax import optim
from edjax import task as tasks
from edjax.evaluate import evaluator, predicting, vitals
from edjax.predict import keep
from edjax.runtime import (
  checkpoint,
  compile_cache,
  multihost,
  parallel,
  preemption,
  run_directory,
  stores,
)
from edjax.train import batches, nonfinite, train_step

# ---- A run: data, training, evaluation -------------------------------------


def train_and_evaluate(
  config: ConfigDict,
  workdir,
  shared: compile_cache.CompileCache | None = None,
) -> dict:
  """Trains, resumes or extends a run, and evaluates on the test set.

  A run with fewer steps in the directory, finished or not, goes on to
  `config.train.steps`, on the schedule of the learning rate of these.

  Args:
    config: as made by a file of configs/.
    workdir: run directory, made where missing; also one in an object store
      (gs://, s3://, ...): see `stores`.
    shared: compiled programs of several runs in one process.

  Returns:
    The contents of results.json.

  Raises:
    ValueError: the configuration is wrong, or not that of the run directory, or
      another process uses the directory (run_directory.LockedError).
    FloatingPointError: the loss, the parameters or every validation error are
      not finite; checkpoints are kept.
    preemption.PreemptedError: SIGTERM or Ctrl-C; the state was saved.
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
    finished = multihost.broadcast_from_first(run.results(config, extend=True))
    if finished is not None:
      print(f'{run.place} is finished; its results:', flush=True)
      return finished
    with run.lock():
      # Another process may have finished the run before this one had the lock.
      finished = multihost.broadcast_from_first(
        run.results(config, extend=True)
      )
      return finished or _train_and_evaluate(config, run, shared)


def _train_and_evaluate(
  config: FrozenConfigDict,
  run: run_directory.RunDirectory,
  shared: compile_cache.CompileCache | None,
) -> dict:
  started, shared = time.time(), shared or compile_cache.CompileCache()
  # Prepare the data and the network.
  task = tasks.make_task(config, shared)
  run.start(config, task, extend=True)
  print(run_directory.describe(task), flush=True)
  fresh = train_step.fresh_state(config, task)
  predict = predicting.make_predict(config, task, shared)
  # Train.
  with (
    checkpoint.Checkpoints(run.path) as checkpoints,
    preemption.noticed() as asked_to_stop,
  ):
    trained = train(
      config,
      task,
      LoopState(fresh, started=started),
      checkpoints,
      run,
      evaluator.Evaluator(config, task, 'validation', predict),
      shared,
      asked_to_stop,
    )
    selected = checkpoints.selected(config.train.weights, fresh)
  if selected is None:
    raise FloatingPointError(
      'no validation error was finite, so that no weights could be selected; '
      'lower config.optim.learning_rate'
    )
  # Evaluate the selected weights.
  step, params = selected
  results = evaluator.final_evaluation(config, task, params, run, predict)
  keep(config, task, params, step, run)
  results |= vitals.Observer(config, task, shared).carried(params)
  state = trained.state
  results |= {
    'update_over_weight': optim.update_over_weight(config, state),
    'selected_step': step,
    'trained_steps': trained.step,
    'skipped_steps': nonfinite.skipped(state),
    'parameters': sum(x.size for x in jax.tree.leaves(state.params)),
    'seconds': round(time.time() - trained.started, 1),
  }
  if trained.step_seconds:
    results['cost']['train_seconds_per_step'] = trained.step_seconds
  run.finish(results)
  return results


# ---- The loop --------------------------------------------------------------


@dataclasses.dataclass
class LoopState:
  """The state of training that checkpoints save and a resumed run restores.

  Attributes:
    state: parameters, their average, the optimiser's state; on the host.
    best: lowest validation error so far.
    best_step: step of the weights saved as the best; None before there are any.
    stale: evaluations since the last improvement.
    loss_sum: sum of the training losses since the last evaluation.
    loss_count: number of these losses.
    step_seconds: median seconds of a step; None before there is one.
    started: `time.time()` at the start of the run, moved by the time between
      its launches.
  """

  state: train_step.TrainState
  best: float = math.inf
  best_step: int | None = None
  stale: int = 0
  loss_sum: float = 0.0
  loss_count: int = 0
  step_seconds: float | None = None
  started: float = dataclasses.field(default_factory=lambda: time.time())

  @property
  def step(self) -> int:
    """Number of steps done."""
    return int(self.state.step)

  def facts(self) -> dict:
    """Returns the values that a checkpoint holds as JSON, beside the arrays."""
    names = 'best', 'best_step', 'stale', 'loss_sum', 'loss_count'
    facts = {name: getattr(self, name) for name in (*names, 'step_seconds')}
    return facts | {'seconds': time.time() - self.started}

  def out_of_patience(self, config: FrozenConfigDict) -> bool:
    """Returns whether `config.train.patience` ends training here."""
    return 0 < config.train.patience <= self.stale


def train(
  config: FrozenConfigDict,
  task: tasks.Task,
  loop: LoopState,
  checkpoints: checkpoint.Checkpoints,
  run: run_directory.RunDirectory,
  validate: evaluator.Evaluator,
  shared: compile_cache.CompileCache,
  asked_to_stop: Callable[[], bool] = lambda: False,
) -> LoopState:
  """Trains from the latest checkpoint, if any, to the last step.

  Args:
    config: resolved.
    task: the task.
    loop: the initial state, for a run without checkpoints.
    checkpoints: of the run.
    run: its directory.
    validate: evaluates the validation part.
    shared: compiled programs.
    asked_to_stop: () -> whether to save and leave.

  Returns:
    The final state.

  Raises:
    FloatingPointError, OSError, preemption.PreemptedError: see
      `train_and_evaluate`.
  """
  loop = restore(config, loop, checkpoints)
  begin, steps = loop.step, config.train.steps
  per_call = config.train.steps_per_call
  run.cut_metrics(begin)  # later steps that a killed launch has logged
  if begin >= steps or loop.out_of_patience(config):
    if begin < steps:
      print(f'no improvement in {loop.stale} evaluations: training has ended')
    return loop
  call = make_call(config, task, shared)
  state = parallel.replicate(loop.state)
  observer = vitals.Observer(config, task, shared)
  losses = nonfinite.Losses(
    config, task, run, loop.state, loop.loss_sum, loop.loss_count
  )
  timer, pending = _StepTimer(per_call), None
  with tqdm(
    total=steps, initial=begin, unit='step', desc='train', mininterval=1,
    dynamic_ncols=True, disable=not multihost.is_first(),
  ) as bar:  # fmt: skip
    bar.set_postfix_str('compiling the first step')
    for first in range(begin, steps, per_call):
      # Start a call; fetch the losses of the one before while this one runs.
      state, call_losses = call(state, first)
      leaving = multihost.any_of(asked_to_stop())
      losses.add(pending)
      pending = first, call_losses
      timer.lap()
      done = first + per_call
      timer.show(bar, losses, config.train.batch_size)
      # Is it time to evaluate or to save?
      is_last = done == steps
      evaluating = is_last or done % config.train.eval_every == 0
      saving = leaving or is_last or done % config.train.checkpoint_every == 0
      if not (evaluating or saving):
        continue
      losses.add(pending)
      pending = None
      loop.step_seconds = timer.pause() or loop.step_seconds
      loop.state = parallel.unreplicate(state)
      nonfinite.check_parameters(loop.state)
      if evaluating:
        evaluate(config, loop, losses, validate, observer, checkpoints, run)
        # A resumed run needs the best weights and the state of the same step.
        saving |= loop.best_step == done or loop.out_of_patience(config)
      if saving:
        loop.loss_sum, loop.loss_count = losses.total, losses.count
        checkpoints.save('latest', done, loop.state, loop.facts())
        run.saved()
      # Is it time to end?
      if leaving:
        raise preemption.PreemptedError(
          f'stopped: step {done} of {steps} is saved in {run.place}; the same '
          'command goes on from there'
        )
      if loop.out_of_patience(config):
        tqdm.write(f'no improvement in {loop.stale} evaluations: training ends')
        break
  return loop


def restore(
  config: FrozenConfigDict,
  fresh: LoopState,
  checkpoints: checkpoint.Checkpoints,
) -> LoopState:
  """Returns the state of the newest undamaged checkpoint, else `fresh`."""
  restored = checkpoints.resume(fresh.state, config.train.weights)
  if not restored:
    return fresh
  step, state, facts = restored
  print(f'continuing after step {step}', flush=True)
  started = fresh.started - facts.pop('seconds')
  return LoopState(state, started=started, **facts)


def make_call(
  config: FrozenConfigDict,
  task: tasks.Task,
  shared: compile_cache.CompileCache,
) -> Callable:
  """Compiles the steps of a call and places their inputs on the devices.

  Returns:
    call(state, first step) -> (state, losses [D, S]), both on the devices.
  """
  on_device, feed = batches.make_feed(config, task)
  compiled = shared.of_run(train_step.compile_call, config, task, on_device)
  inputs = parallel.replicate(compile_cache.step_inputs(config, task.voxelizer))
  return lambda state, first: compiled(state, *feed(first), inputs)


def evaluate(
  config: FrozenConfigDict,
  loop: LoopState,
  losses: nonfinite.Losses,
  validate: evaluator.Evaluator,
  observer: vitals.Observer,
  checkpoints: checkpoint.Checkpoints,
  run: run_directory.RunDirectory,
) -> None:
  """Logs losses, errors and vitals; saves the weights if they are the best."""
  step, params = loop.step, loop.state.ema_params
  if losses.count:
    run.log(step, 'train', 'loss', losses.mean, '')
  losses.clear()
  value = validate.log(params, step, run)
  ratios = optim.update_over_weight(config, loop.state)
  vitals.log(observer.carried(params), ratios, step, run)
  kind = {'mae_standardised': 'standardised', 'log_loss': 'log loss'}
  tqdm.write(
    f'step {step}: validation error {value:.4f} ({kind[validate.selected_by]})'
  )
  loop.stale += 1
  if value < loop.best:
    loop.best, loop.stale = value, 0
    if config.train.weights == 'best':
      loop.best_step = step
      checkpoints.save('best', step, params, loop.facts())


class _StepTimer:
  """Measures the seconds of a step over consecutive calls.

  Args:
    per_call: steps of a call.
  """

  def __init__(self, per_call: int):
    self._per_call, self._last = per_call, None
    self._begun, self._steps = time.time(), 0
    self._seconds = collections.deque(maxlen=1000)

  def lap(self) -> None:
    """Notes the start of a call, which waits for the one before."""
    now = time.time()
    if self._last is not None:
      self._seconds.append((now - self._last) / self._per_call)
    self._last = now
    self._steps += self._per_call

  def pause(self) -> float | None:
    """Stops measuring until the next call.

    Returns:
      The median of the seconds of a step; None where there is none yet.
    """
    self._last = None
    return float(np.median(self._seconds)) if self._seconds else None

  def show(self, bar: tqdm, losses: nonfinite.Losses, batch_size: int) -> None:
    """Updates the progress bar."""
    bar.update(self._per_call)
    if losses.count:
      rate = self._steps * batch_size / (time.time() - self._begun)
      text = f'loss {losses.mean:.4f}, {rate:.0f} examples/s'
      bar.set_postfix_str(text, refresh=False)
