"""The commands of `launch.py`, as functions."""

import contextlib
import os
import pathlib
import sys

import jax
from absl import logging

from edjax import config as configuration
from edjax import task as tasks
from edjax.config.representation import dataset_variant
from edjax.data import loading
from edjax.evaluate import evaluator, predicting, results_table, vitals
from edjax.explain import explain_files
from edjax.export import export_files
from edjax.predict import keep
from edjax.predict.files import predict_files
from edjax.runtime import (
  checkpoint,
  multihost,
  paths,
  preemption,
  run_directory,
  stores,
)
from edjax.study import dask_cluster, runner
from edjax.study.report import write
from edjax.train import train_and_evaluate, train_step


def default_workdir(config_file: str) -> str:
  """Returns runs/<name of the config file>[-<variant>]."""
  name, _, variant = pathlib.Path(config_file).name.partition(':')
  stem = name.removesuffix('.py')
  return str(pathlib.Path('runs') / (f'{stem}-{variant}' if variant else stem))


def build(config, workdir, beam: str = '') -> None:
  """Builds the datasets of a configuration that are missing.

  Args:
    config: of a run or a study.
    workdir: not used.
    beam: see `loading.load_pack`.
  """
  del workdir
  if 'study' in config:
    runner.prepare(config, beam)
    return
  config = configuration.resolve(config)
  variant = dataset_variant(config)
  if paths.is_remote(config.data.data_dir):
    count = loading.build_in_store(config.data, variant, beam)
  else:
    count = len(loading.load_pack(config.data, variant, beam))
  print(f'{config.data.name}: {count} molecules')


def train(config, workdir) -> None:
  """Trains, evaluates, prints the table and draws the parity plot."""
  results = train_and_evaluate(config, workdir)
  if not multihost.is_first():
    return
  with stores.opened(workdir, stores.light) as store:
    _print(run_directory.RunDirectory(store), results)


def evaluate_again(config, workdir) -> None:
  """Evaluates the selected weights of a run once more."""
  config = configuration.resolve(config)
  with stores.opened(workdir) as store:
    run = run_directory.RunDirectory(store)
    if not (run.path / 'checkpoints').is_dir():
      raise FileNotFoundError(f'{workdir} has no checkpoints; train first')
    with run.lock():
      _print(run, _evaluate(config, run))


def _evaluate(config, run) -> dict:
  before = run.results(config) or {}
  task = tasks.make_task(config)
  run.start(config, task)
  fresh = train_step.fresh_state(config, task)
  with checkpoint.Checkpoints(run.path) as checkpoints:
    selected = checkpoints.selected(config.train.weights, fresh)
  if selected is None:
    raise FileNotFoundError(f'{run.place} has no selected weights yet')
  step, params = selected
  predict = predicting.make_predict(config, task)
  results = evaluator.final_evaluation(config, task, params, run, predict)
  keep(config, task, params, step, run)
  results |= vitals.Observer(config, task).carried(params)
  results['cost'] = before.get('cost', {}) | results['cost']
  results = before | results | {'selected_step': step}
  if before:
    run.finish(results)
  return results


def show(config, workdir) -> None:
  """Reports on a finished run, or on the finished runs of a study."""
  with stores.opened(workdir, stores.light) as store:
    if 'study' in config:
      print(write.write(store.local, store.address))
      return
    run = run_directory.RunDirectory(store)
    results = run.results(configuration.resolve(config))
    if results is None:
      raise FileNotFoundError(f'{workdir} holds no finished run')
    _print(run, results)


def _print(run, results) -> None:
  print(f'\n{results_table.table(results)}')
  name = results_table.parity_plot(run.path, results).name
  what = 'ROC curves' if results.get('classes') else 'parity plot'
  print(f'\n{what}: {paths.join(run.place, name)}')


def run_study(config, workdir, shard: str = '', dask: str = '') -> int:
  """Does the missing runs of a study, and reports on all finished ones.

  Args:
    config: of the study.
    workdir: of the study.
    shard: 'i/n': every n-th run; '' for all.
    dask: address of a Dask cluster that does the runs; '' for this machine.
  """
  with contextlib.ExitStack() as stack:
    store = stack.enter_context(stores.opened(workdir, stores.light))
    slots = None
    if dask:
      at_once = config.study.processes
      slots = stack.enter_context(
        dask_cluster.connected(dask, store.local, at_once)
      )
    status = runner.run(config, store, shard, slots)
    store.pull(stores.light)  # results of other shards
    print(f'\n{write.write(store.local, store.address)}')
  return status


def predict(config, workdirs, source: str, output: str) -> int:
  """Predicts the molecules of a file by one run, or several together.

  Args:
    config: None: runs have theirs.
    workdirs: of the runs.
    source: file or folder of molecules.
    output: CSV file of the predictions.

  Returns:
    1 where there is no prediction at all.
  """
  del config
  return int(not predict_files(workdirs, source, output))


def export(config, workdirs, source: str, output: str, settings) -> int:
  """Writes fields of the molecules of a file in formats of other programs.

  Args:
    config: whose representation is used; None for that of a run.
    workdirs: of the run, where there is no config.
    source: file or folder of molecules.
    output: folder.
    settings: see `export.Settings`.

  Returns:
    1 where not one molecule is exported.
  """
  return int(not export_files(config, workdirs, source, output, settings))


def explain(config, workdirs, source: str, output: str, settings) -> int:
  """Explains what a run predicts for the molecules of a file.

  Args:
    config: None: the run has one.
    workdirs: of the run.
    source: file or folder of molecules.
    output: folder.
    settings: see `explain.Settings`.

  Returns:
    1 where not one molecule is explained.
  """
  del config
  return int(not explain_files(workdirs, source, output, settings))


MODES = {
  'build': build,
  'train': train,
  'predict': predict,
  'export': export,
  'explain': explain,
  'evaluate': evaluate_again,
  'study': run_study,
  'report': show,
}


# Exit status after Ctrl-C, as of shells.
INTERRUPTED = 130
# Errors that a user can correct; their messages say how.
_MISTAKES = (
  configuration.ConfigError, checkpoint.DamagedError, checkpoint.FormatError,
  OSError,
)  # fmt: skip


def cache_compiled() -> None:
  """Keeps compiled programs for later launches, on accelerators.

  They lie in edjax/compiled of the user's cache directory, unless JAX has been
  given another one (JAX_COMPILATION_CACHE_DIR). On a CPU nothing is kept: XLA
  warns at length of differing processor features even on the machine that
  compiled the programs.
  """
  if jax.config.jax_compilation_cache_dir or jax.default_backend() == 'cpu':
    return
  home = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  directory = pathlib.Path(home).expanduser() / 'edjax' / 'compiled'
  jax.config.update('jax_compilation_cache_dir', str(directory))


def run(
  config,
  workdir: str,
  mode: str,
  shard: str = '',
  together=(),
  beam='',
  dask='',
  files=(),
) -> int:
  """Runs one mode; an error that the user can correct ends in a message.

  Args:
    config: as loaded from a file of configs/; None for --mode predict and
      explain, and for --mode export of a run.
    workdir: run directory; a list of them for --mode predict, export and
      explain.
    mode: a key of MODES.
    shard: 'i/n' of a study; '' for all of it.
    together: arguments of `multihost.start`, for one run on several processes;
      () for this process alone.
    beam: flags of Apache Beam, for --mode build.
    dask: address of a Dask cluster, for --mode study.
    files: what is read and what is written, for --mode predict; and the
      settings, for --mode export and explain.

  Returns:
    Exit status: 0 for success; 1 for failed runs of a study, numbers that were
    not finite, or no molecule that could be predicted, exported or explained;
    2 for a wrong configuration, missing files, and storage that fails or is
    full; 75 (`preemption.EXIT_STATUS`) after SIGTERM or Ctrl-C with the state
    saved; `INTERRUPTED` after Ctrl-C otherwise.
  """
  # Orbax reports every file it writes.
  logging.set_verbosity(logging.WARNING)
  options = {
    'study': (shard, dask),
    'build': (beam,),
    'predict': files,
    'export': files,
    'explain': files,
  }.get(mode, ())
  try:
    if together:
      if mode != 'train':
        raise configuration.ConfigError(
          'several processes train one run (--mode train); a study is spread '
          'with --shard'
        )
      multihost.start(*together)
    cache_compiled()
    if shard and mode != 'study':
      raise configuration.ConfigError('--shard goes with --mode study')
    if dask and (mode != 'study' or shard):
      raise configuration.ConfigError(
        '--dask goes with --mode study, without --shard'
      )
    if beam and mode != 'build':
      raise configuration.ConfigError('--beam goes with --mode build')
    return MODES[mode](config, workdir, *options) or 0
  except preemption.PreemptedError as error:
    print(error, file=sys.stderr)
    return preemption.EXIT_STATUS
  except KeyboardInterrupt:
    # Before and after training nothing has to be saved.
    sys.stderr.write('\nstopped: the same command goes on from there\n')
    return INTERRUPTED
  except (FloatingPointError, *_MISTAKES) as error:
    # A new line, since the one before may be unfinished (a progress bar, or a
    # traceback of Orbax); a single write.
    sys.stderr.write(f'\nerror: {error}\n')
    return 1 if isinstance(error, FloatingPointError) else 2
