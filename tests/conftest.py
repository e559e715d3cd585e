"""Every test runs on 4 CPU devices, and rank promotion is an error."""

import atexit
import ctypes
import errno
import gc
import os
import pathlib
import platform
import shutil
import signal
import tempfile

from support import xla_flags

# Before jax is imported. What users launch is compiled as for them.
os.environ['XLA_FLAGS'] = (
  f'{os.environ.get("XLA_FLAGS", "")} {xla_flags.on_devices(4)}'
)
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Two OpenMP threads a process make tblite wait for itself on busy cores.
os.environ.setdefault('OMP_NUM_THREADS', '1')
# The session's tests and what they start share compiled programs: half of the
# suite's time would be compilation. The first process makes the directory, its
# workers inherit it.
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
  _compiled = tempfile.mkdtemp(prefix='edjax_compiled_')
  os.environ['JAX_COMPILATION_CACHE_DIR'] = _compiled
  os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.2'
  # The loader names features of the processor that do not differ.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  atexit.register(shutil.rmtree, _compiled, ignore_errors=True)

import jax
import pytest

jax.config.update('jax_numpy_rank_promotion', 'raise')

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
# Resident bytes of a process that gives its compiled programs back.
_LARGE = 2 * 2**30

# Files of minutes. With `--dist loadfile` they are begun first: at the end one
# process would wait for the other.
_LONG = (
  'test_end_to_end', 'test_notebooks', 'test_faults', 'test_multihost',
  'test_convolutions_learn', 'test_fields', 'test_pdbbind_builder',
  'test_models', 'test_voxelize',
)  # fmt: skip


def pytest_configure(config):
  """Notices Ctrl-C, and keeps xdist from sorting files by their length."""
  # Shells start work in the background with Ctrl-C ignored, and processes of
  # tests that send it would inherit this.
  if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
  if hasattr(config.option, 'loadscopereorder'):
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
  """Long files first, longest first; the rest as it was."""
  ranks = {name: i for i, name in enumerate(_LONG)}
  items.sort(key=lambda item: ranks.get(item.path.stem, len(_LONG)))


def pytest_collection_finish():
  """Searches for garbage less often, and not in what all tests share.

  Tracing makes so many objects that the search takes a sixth of the time.
  """
  gc.freeze()
  gc.set_threshold(50_000, 20, 50)


@pytest.fixture(autouse=True)
def _returned_memory():
  """Gives a large process's compiled programs back after a test.

  JAX keeps the programs of hundreds of tests, which add up to gigabytes, and
  the C library what is freed. Most programs lie in the directory above, for the
  tests that come.
  """
  yield
  if _resident_bytes() > _LARGE:
    jax.clear_caches()
    gc.collect()
    if platform.libc_ver()[0] == 'glibc':
      ctypes.CDLL(None).malloc_trim(0)


def _resident_bytes() -> int:
  statm = pathlib.Path('/proc/self/statm')  # Linux; see `man proc_pid_statm`
  if not statm.exists():
    return 0
  return int(statm.read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


@pytest.fixture
def x64():
  """Doubles inside one test."""
  with jax.enable_x64(True):
    yield


@pytest.fixture
def strict_promotion():
  """No silent mixing of dtypes (of the physics; optax raises under it)."""
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


@pytest.fixture(scope='session')
def qm9_mini(tmp_path_factory) -> pathlib.Path:
  """A data_dir with the embedded dataset and its pack, to be read.

  Built once, also where several processes of xdist ask for it.
  """
  from configs import default
  from edjax.data import loading

  folder = tmp_path_factory.getbasetemp()
  if 'PYTEST_XDIST_WORKER' in os.environ:
    folder = folder.parent  # their folders lie beside each other
  data = default.get_config().data
  data.data_dir = str(folder / 'qm9_mini')
  data.workers = 2
  loading.load_pack(data)
  return folder / 'qm9_mini'


@pytest.fixture
def unreadable(monkeypatch):
  """A function that makes a folder one without the right to list it.

  Modes of folders do not stop the administrator, who may run the tests.
  """
  closed, scandir = set(), os.scandir

  def refusing(path='.'):
    if pathlib.Path(path) in closed:
      raise PermissionError(errno.EACCES, 'Permission denied', str(path))
    return scandir(path)

  monkeypatch.setattr(os, 'scandir', refusing)
  return closed.add


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
