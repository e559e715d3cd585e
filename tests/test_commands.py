"""The cache of compiled programs: on accelerators alone."""

import pathlib
import types

import jax
import pytest

from edjax import commands


@pytest.fixture
def cache(monkeypatch, tmp_path):
  """The setting, restored afterwards, with a cache directory of the test's."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  before = jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', None)
  # A look at the setting, not a use of it: nothing is compiled meanwhile.
  yield lambda: jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', before)


def launch(monkeypatch):
  """`commands.run` of a mode that does nothing."""
  monkeypatch.setitem(commands.MODES, 'train', lambda config, workdir: None)
  assert commands.run(types.SimpleNamespace(), 'nowhere', 'train') == 0


def test_off_on_a_cpu(cache, monkeypatch):
  assert jax.default_backend() == 'cpu'
  launch(monkeypatch)
  assert cache() is None


@pytest.mark.parametrize('backend', ['gpu', 'tpu'])
def test_on_accelerators(cache, monkeypatch, tmp_path, backend):
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  launch(monkeypatch)
  assert pathlib.Path(cache()) == tmp_path / 'edjax' / 'compiled'


def test_without_a_cache_home(cache, monkeypatch, tmp_path):
  monkeypatch.delenv('XDG_CACHE_HOME')
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  launch(monkeypatch)
  assert pathlib.Path(cache()) == tmp_path / '.cache' / 'edjax' / 'compiled'


@pytest.mark.parametrize('backend', ['cpu', 'gpu'])
def test_a_directory_of_the_users_stays(cache, monkeypatch, tmp_path, backend):
  """What JAX_COMPILATION_CACHE_DIR sets."""
  theirs = str(tmp_path / 'theirs')
  jax.config.update('jax_compilation_cache_dir', theirs)
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  launch(monkeypatch)
  assert cache() == theirs
