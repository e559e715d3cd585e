"""A dataset made by Beam's job service, which shares no memory with the test.

The service is one process, its SDK worker another. Neither finds edjax in its
environment: the worker starts with the wheel that the pipeline stages, as the
start of a container does.
"""

import contextlib
import os
import subprocess
import sys

import pytest
from support import waiting, wheels
from support.made_up_qm9 import texts_some_odd, write_archive
from test_on_beam import assert_same

import data_builders

# Starts an SDK worker, after it has unpacked the wheel that was staged, if any.
START = """\
#!/bin/sh
for wheel in "$(dirname "$0")"/staged/*/*.whl; do
  test ! -f "$wheel" || {python} -m zipfile -e "$wheel" "$(dirname "$0")/site"
done
PYTHONPATH="$(dirname "$0")/site" \\
  exec {python} -m apache_beam.runners.worker.sdk_worker_main
"""


@contextlib.contextmanager
def job_service(directory):
  """Runs Beam's job service during the block; yields flags that lead to it."""
  directory.mkdir()
  start, port = directory / 'start', directory / 'port'
  start.write_text(START.format(python=sys.executable))
  start.chmod(0o755)
  kept = ('PATH', 'HOME', 'LD_LIBRARY_PATH')
  with (directory / 'log').open('w') as log:
    service = subprocess.Popen(
      [sys.executable, '-m',
       'apache_beam.runners.portability.local_job_service_main',
       '--port_file', str(port), '--staging_dir', str(directory / 'staged')],
      cwd=directory, stdout=log, stderr=log,
      env={name: os.environ[name] for name in kept if name in os.environ},
    )  # fmt: skip
  try:
    waiting.until(port.exists, lambda: service.poll() is None)
    yield (
      f'--runner=PortableRunner --job_endpoint=localhost:{port.read_text()} '
      '--environment_type=beam:env:harness_subprocess_python:v1 '
      f'--environment_config={start}'
    )
  finally:
    service.terminate()
    service.wait()


@pytest.fixture
def manual(tmp_path):
  """An archive of 30 molecules, one in three of which xTB refuses."""
  path = tmp_path / 'manual'
  path.mkdir()
  write_archive(path / 'dsgdb9nsd.xyz.tar.bz2', texts_some_odd(30))
  return path


def test_a_worker_with_the_staged_wheel(tmp_path, manual):
  """Over 10 s: it builds the wheel and starts two processes."""
  wheel = wheels.build(tmp_path)
  plain = data_builders.build('qm9', tmp_path / 'plain', manual, 1)
  with job_service(tmp_path / 'beam') as flags:
    piped = data_builders.build(
      'qm9', tmp_path / 'piped', manual, beam=f'{flags} --extra_package={wheel}'
    )
  assert_same(plain, piped)
  assert data_builders.report(piped)['written'] == 20
  assert (tmp_path / 'beam' / 'site' / 'data_builders').is_dir()


def test_a_worker_without_the_wheel(tmp_path, manual):
  """The negative control: the worker really is on its own."""
  with (
    job_service(tmp_path / 'beam') as flags,
    pytest.raises(ValueError, match=r'Apache Beam: .*data_builders'),
  ):
    data_builders.build('qm9', tmp_path / 'piped', manual, beam=flags)
