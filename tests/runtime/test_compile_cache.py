"""Programs that runs share: the same numbers, compiled once."""

import dataclasses
import logging

import jax
import numpy as np
from support import tiny_runs

from edjax import config as configuration
from edjax import optim, voxelize
from edjax import task as tasks
from edjax.runtime import compile_cache, parallel
from edjax.train import batches, train_and_evaluate, train_step


def tiny(qm9_mini, **fields):
  config = tiny_runs.tiny(qm9_mini)
  for name, value in fields.items():
    section, field = name.split('__')
    config[section][field] = value
  return configuration.resolve(config)


def one_step(config, task, shared):
  """Two steps with shared programs; the state and both losses."""
  fresh = train_step.fresh_state(config, task)
  on_device, feed = batches.make_feed(config, task)
  call = shared.of_run(train_step.compile_call, config, task, on_device)
  inputs = parallel.replicate(compile_cache.step_inputs(config, task.voxelizer))
  state, losses = parallel.replicate(fresh), []
  for step in range(2):
    state, loss = call(state, *feed(step), inputs)
    losses.append(parallel.unreplicate(loss)[0])
  return parallel.unreplicate(state), losses


def plain_step(config, task):
  """The same with all inputs fixed in the program."""
  fresh = train_step.fresh_state(config, task)
  optimizer = optim.make_optimizer(config.optim, config.train.steps)
  step = train_step.make_train_step(
    config, task.model, optimizer, compile_cache.bare(task.voxelizer)
  )
  inputs = compile_cache.step_inputs(config, task.voxelizer)
  on_device, feed = batches.make_feed(config, task)
  call = train_step.make_train_call(
    lambda state, molecules, labels, _: step(state, molecules, labels, inputs),
    on_device,
  )
  state, losses = parallel.replicate(fresh), []
  for number in range(2):
    # Other numbers, which must not be looked at.
    ignored = parallel.replicate(inputs._replace(learning_rate=np.float32(9)))
    state, loss = call(state, *feed(number), ignored)
    losses.append(parallel.unreplicate(loss)[0])
  return parallel.unreplicate(state), losses


def test_inputs_are_those_of_the_run(qm9_mini):
  """Two runs through one program, each as if alone; and not as the other."""
  configs = [
    tiny(
      qm9_mini,
      train__seed=seed,
      data__subset_seed=seed,
      optim__learning_rate=rate,
    )
    for seed, rate in ((0, 1e-3), (5, 4e-3))
  ]
  works = [tasks.make_task(config) for config in configs]
  assert works[0].voxelizer.scales != works[1].voxelizer.scales
  shared = compile_cache.CompileCache()
  together = [
    one_step(*pair, shared) for pair in zip(configs, works, strict=True)
  ]
  # The one that the program was not made for.
  state, losses = plain_step(configs[1], works[1])
  # Scales divide as numbers here and as constants there: rounding, and
  # AdamW's first steps divide gradients by their own size.
  np.testing.assert_allclose(together[1][1], losses, rtol=1e-5)
  assert abs(together[0][1][0] - losses[0]) > 1e-3 * losses[0]
  one, other = (
    np.concatenate([x.ravel() for x in jax.tree.leaves(s.params)])
    for s in (together[1][0], state)
  )
  assert np.abs(one - other).max() < 1e-3 * np.abs(other).max()


def test_one_program_for_seeds_and_sizes(qm9_mini):
  """What a program depends on makes another one; the rest does not."""
  work = tasks.make_task(tiny(qm9_mini))
  shared, made = compile_cache.CompileCache(most=8), []

  def make(*key):
    made.append(key)
    return object()

  def get(config, work=work):
    return shared.of_run(make, config, work)

  same = [
    tiny(qm9_mini),
    tiny(qm9_mini, train__seed=3, data__subset_seed=3),
    tiny(qm9_mini, data__train_size=96.0),
    tiny(qm9_mini, train__eval_every=40),
    tiny(qm9_mini, optim__learning_rate=0.1),
  ]
  assert len({id(get(config)) for config in same}) == len(made) == 1
  for config in (
    tiny(qm9_mini, optim__weight_decay=0.1),
    tiny(qm9_mini, train__steps=80),
    tiny(qm9_mini, augment__rotate=False, eval__rotations=1),
  ):
    get(config)
  assert len(made) == 4
  options = dataclasses.replace(work.voxelizer.options, supersample=1)
  sharper = dataclasses.replace(work.voxelizer, options=options)
  get(same[0], dataclasses.replace(work, voxelizer=sharper))
  assert len(made) == 5
  get(same[0])
  assert len(made) == 5
  # The oldest are let go.
  for decay in range(1, 9):
    get(tiny(qm9_mini, optim__weight_decay=float(decay)))
  get(same[0])
  assert len(made) == 14


def test_runs_of_one_shape_compile_nothing_twice(qm9_mini, tmp_path):
  """A second run, of another seed, through `train_and_evaluate`."""
  compiled = []

  class Counting(logging.Handler):
    def emit(self, record):
      words = record.getMessage()
      if words.startswith('Finished XLA compilation'):
        compiled.append(words)

  handler = Counting()
  log = logging.getLogger('jax')
  shared, counts = compile_cache.CompileCache(), []
  log.addHandler(handler)
  try:
    with jax.log_compiles():
      for seed in (0, 1):
        config = tiny(
          qm9_mini, train__seed=seed, data__subset_seed=seed,
          train__device_data_gib=0.0, train__steps=1, train__eval_every=1,
          train__checkpoint_every=1, eval__rotations=1,
        )  # fmt: skip
        train_and_evaluate(config, tmp_path / str(seed), shared)
        counts.append(len(compiled))
        compiled.clear()
  finally:
    log.removeHandler(handler)
  assert counts[0] > 2
  assert counts[1] == 0, compiled


def test_scales_given_are_scales_fixed(qm9_mini):
  """To rounding, for a voxelizer of two kinds of channel."""
  config = tiny(qm9_mini, representation__channels=('atoms', 'shape'))
  work = tasks.make_task(config)
  mol = jax.tree.map(lambda x: x[0], work.molecules['train'])
  inputs = compile_cache.step_inputs(config, work.voxelizer)
  given = jax.jit(
    lambda mol, c: compile_cache.scaled(compile_cache.bare(work.voxelizer), c)(
      mol
    )
  )(mol, inputs)
  fixed = jax.jit(work.voxelizer)(mol)
  np.testing.assert_allclose(given, fixed, rtol=2e-6, atol=1e-7)
  unscaled = jax.jit(compile_cache.bare(work.voxelizer))(mol)
  assert not np.allclose(unscaled, fixed, rtol=1e-2)
  assert isinstance(work.voxelizer, voxelize.Voxelizer)
