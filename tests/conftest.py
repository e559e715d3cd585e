"""Every test runs on 4 CPU devices, and rank promotion is an error."""

import os
import pathlib

# Before jax is imported.
_DEVICES = '--xla_force_host_platform_device_count=4'
os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {_DEVICES}'
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Two OpenMP threads a process make tblite wait for itself on busy cores.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import jax
import pytest

jax.config.update('jax_numpy_rank_promotion', 'raise')

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture
def x64():
  """Doubles inside one test."""
  with jax.enable_x64(True):
    yield


@pytest.fixture
def strict_promotion():
  """No silent mixing of dtypes (layers 0 and 1; optax raises under it)."""
  with jax.numpy_dtype_promotion('strict'):
    yield


@pytest.fixture(scope='session')
def shared_data() -> pathlib.Path:
  """Real molecules and reference data beside the checkout.

  They are not the project's to publish. EDJAX_SHARED_DATA may point to them.
  """
  default = REPOSITORY.parent / 'shared' / 'data'
  path = pathlib.Path(os.environ.get('EDJAX_SHARED_DATA', default))
  if not path.is_dir():
    pytest.skip(
      f'no reference data at {path} (not published; set EDJAX_SHARED_DATA)'
    )
  return path


@pytest.fixture
def memory_store():
  """An object store: memory://, without links, locks or appending."""
  import fsspec

  store = fsspec.filesystem('memory')

  def clear():
    store.store.clear()
    store.pseudo_dirs[:] = ['']

  clear()
  yield store
  clear()
