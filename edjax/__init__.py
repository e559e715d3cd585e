"""Voxel 3D CNNs on electron density.

`edjax.train`, `edjax.fields`, ... are imported on first use, so that the
physics (jax and numpy) does not pay for the training stack; so is
`edjax.load`, which loads a trained model.
"""

import importlib

__version__ = '0.1.0'


def __getattr__(name: str):
  if name == 'load':
    return importlib.import_module('edjax.predict').load
  try:
    return importlib.import_module(f'edjax.{name}')
  except ModuleNotFoundError as error:
    if error.name != f'edjax.{name}':
      raise  # a library that the module needs
    raise AttributeError(f'module edjax has no attribute {name!r}') from None
