"""Trains and evaluates edjax from the command line.

  python launch.py --config configs/qm9_density.py

All logic is in edjax.commands, where tests and notebooks can import it.
"""

from absl import app, flags
from ml_collections import config_flags

from edjax import commands
from edjax.runtime import malloc

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'File of configs/, with :variant if it has variants.'
)
_WORKDIR = flags.DEFINE_string(
  'workdir', '', 'Run directory (default: runs/<config>[-<variant>]).'
)
_MODE = flags.DEFINE_enum(
  'mode', 'train', sorted(commands.MODES), 'What to do with the configuration.'
)
_SHARD = flags.DEFINE_string(
  'shard', '', 'i/n: every n-th run of a study, i from 0 (default: all).'
)
_DASK = flags.DEFINE_string(
  'dask',
  '',
  'With --mode study: address of the scheduler of a Dask cluster, whose '
  'workers do the runs (default: processes of this machine).',
)
_COORDINATOR = flags.DEFINE_string(
  'coordinator',
  '',
  'For one run on several processes: address:port of the first '
  "one, or 'auto' on TPU pods and SLURM (default: this process alone).",
)
_PROCESSES = flags.DEFINE_integer(
  'processes', 0, 'With --coordinator: number of processes.'
)
_PROCESS = flags.DEFINE_integer(
  'process', -1, 'With --coordinator: number of this process, from 0.'
)
_BEAM = flags.DEFINE_string(
  'beam',
  '',
  'With --mode build: flags of Apache Beam, in quotation marks; Beam then '
  'builds the dataset (default: processes of this machine).',
)
flags.mark_flag_as_required('config')


def run(argv):
  if len(argv) > 1:
    raise app.UsageError(
      f'unknown arguments {argv[1:]}; a field is set by --config.FIELD=VALUE'
    )
  malloc.keep()
  path = config_flags.get_config_filename(flags.FLAGS['config'])
  workdir = _WORKDIR.value or commands.default_workdir(path)
  together = ()
  if _COORDINATOR.value:
    together = _COORDINATOR.value, _PROCESSES.value, _PROCESS.value
  shard, beam, dask = _SHARD.value, _BEAM.value, _DASK.value
  raise SystemExit(
    commands.run(
      _CONFIG.value, workdir, _MODE.value, shard, together, beam, dask
    )
  )


if __name__ == '__main__':
  app.run(run)
