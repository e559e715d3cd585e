"""Builds the wheel of this checkout."""

import pathlib
import shutil
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def build(directory):
  """Builds the wheel below a directory, and returns its path."""
  pytest.importorskip('build')
  source = directory / 'source'  # a copy: building writes into the source
  for name in ('configs', 'data_builders', 'edjax'):
    ignore = shutil.ignore_patterns('__pycache__')
    shutil.copytree(REPOSITORY / name, source / name, ignore=ignore)
  for name in ('pyproject.toml', 'README.md', 'LICENSE'):
    shutil.copy(REPOSITORY / name, source)
  subprocess.run(
    [sys.executable, '-m', 'build', '--wheel', '--no-isolation',
     '--outdir', str(directory), str(source)],
    check=True, capture_output=True,
  )  # fmt: skip
  (wheel,) = directory.glob('*.whl')
  return wheel
