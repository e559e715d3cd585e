"""Voxel 3D CNNs on electron density.

`edjax.train`, `edjax.fields`, ... are imported on first use, so that the
physics (jax and numpy) does not pay for the training stack.
"""

import importlib

__version__ = '0.1.0'

_MODULES = (
  'addresses',
  'arms',
  'baselines',
  'blur',
  'checkpoint',
  'config',
  'conv',
  'coverage',
  'elements',
  'evaluate',
  'fields',
  'finite',
  'form_factors',
  'free_atoms',
  'geometry',
  'grid',
  'gto_basis',
  'host_memory',
  'input_pipeline',
  'isotropic',
  'kernel_ridge',
  'losses',
  'main',
  'many_seeds',
  'maps',
  'metrics',
  'models',
  'moments_alone',
  'molecule',
  'numerics',
  'optim',
  'orbital_chunks',
  'orbital_grid',
  'orbital_screen',
  'orbital_tiles',
  'orbitals',
  'pack',
  'paired',
  'parallel',
  'preemption',
  'processes',
  'programs',
  'report',
  'rundir',
  'splat',
  'splat_local',
  'stored_data',
  'stores',
  'study',
  'study_config',
  'study_comparisons',
  'study_csv',
  'study_document',
  'study_extras',
  'study_html',
  'study_plan',
  'study_queue',
  'study_report',
  'study_table',
  'study_tuning',
  'study_worker',
  'task',
  'train',
  'train_step',
  'units',
  'verdicts',
  'view',
  'vitals',
  'voxelize',
)


def __getattr__(name: str):
  if name in _MODULES:
    return importlib.import_module(f'edjax.{name}')
  raise AttributeError(f'module edjax has no attribute {name!r}')


def __dir__():
  return sorted([*globals(), *_MODULES])
