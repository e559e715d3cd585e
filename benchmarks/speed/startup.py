"""What a user waits for before the first step: first and second launch.

  python -m benchmarks.speed.startup [CONFIG ...]

CONFIG is a file of configs/ and its variant; the default is the main job and
its smoke variant. Each is launched twice with a data directory of its own:
the first launch builds the dataset. A launch makes one step, one evaluation
on validation and one on test, so that everything a whole run compiles is
compiled. On accelerators the second launch finds compiled programs; the cache
is a fresh one.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from benchmarks import timing

_DEFAULT = ('qm9_density', 'qm9_density:smoke')
# What JAX reports of a compilation: its three stages. Tracing counts functions
# inside others twice, so that it is no part of the sum.
_STAGES = {
  '/jax/core/compile/jaxpr_trace_duration': 'tracing',
  '/jax/core/compile/jaxpr_to_mlir_module_duration': 'lowering',
  '/jax/core/compile/backend_compile_duration': 'XLA',
}


def launch(name: str, directory: pathlib.Path) -> None:
  """Runs in a process of its own; prints its times as JSON.

  Args:
    name: of the configuration.
    directory: of data and run.
  """
  begun = float(os.environ['BENCHMARK_BEGUN'])
  import importlib

  import jax

  from edjax import commands
  from edjax import task as tasks
  from edjax.train import train_and_evaluate, train_step

  found = collections.defaultdict(float)

  def listen(event, seconds, **_):
    if event in _STAGES:
      found[_STAGES[event]] += seconds
      found['programs'] += _STAGES[event] == 'XLA'

  jax.monitoring.register_event_duration_secs_listener(listen)
  found['imports'] = time.time() - begun
  module, _, variant = name.partition(':')
  config = importlib.import_module(f'configs.{module}').get_config(variant)
  config.data.data_dir = str(directory / 'data')
  config.data.max_eval = config.eval.batch_size
  per_call = config.train.steps_per_call or 1
  for field in ('steps', 'eval_every', 'checkpoint_every'):
    config.train[field] = per_call
  commands.cache_compiled()
  make_task, make_call = tasks.make_task, train_step.make_train_call

  def timed_task(*args):
    task = make_task(*args)
    found['data'] = time.time() - begun - found['imports']
    return task

  def timed_call(*args):
    call = make_call(*args)

    def run(*args):
      out = call(*args)
      jax.block_until_ready(out)
      found['first step'] = time.time() - begun
      found['processor'] = time.process_time()
      return out

    return run

  tasks.make_task, train_step.make_train_call = timed_task, timed_call
  train_and_evaluate(config, tempfile.mkdtemp(dir=directory))
  found['all'] = time.time() - begun
  print('\n' + json.dumps(found))


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('config', nargs='*', default=_DEFAULT)
  parser.add_argument('--launch', type=pathlib.Path, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.launch:
    launch(options.config[0], options.launch)
    return
  table = timing.Table(
    'startup',
    'From the command to the first step',
    [
      timing.machine(packages=('jax', 'flax', 'optax')),
      'Seconds. Compilation is that of a whole run: fields, the training '
      'step, the evaluation. The first launch builds the dataset. Processor '
      'time is that of the launch until then, without the workers of xTB.',
    ],
    ('configuration', 'launch', 'first step after', 'processor time',
     'imports', 'dataset, scales', 'compilation', 'tracing', 'lowering', 'XLA',
     'programs'),
  )  # fmt: skip
  for name in options.config:
    with tempfile.TemporaryDirectory() as directory:
      for number in ('first', 'second'):
        done = subprocess.run(
          (
            sys.executable,
            '-m',
            'benchmarks.speed.startup',
            name,
            '--launch',
            directory,
          ),
          env=os.environ
          | {'XDG_CACHE_HOME': directory, 'BENCHMARK_BEGUN': str(time.time())},
          stdout=subprocess.PIPE,
          text=True,
          check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        stages = [float(found[stage]) for stage in _STAGES.values()]
        table.row(
          name, number, found['first step'], found['processor'],
          found['imports'], found['data'], sum(stages[1:]), *stages,
          int(found['programs']),
        )  # fmt: skip


if __name__ == '__main__':
  main()
