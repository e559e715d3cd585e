"""The builders as users of TFDS call them, where TensorFlow is missing."""

import importlib
import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds
from support import waiting
from support.made_up_qm9 import SHAPES, record_text, write_archive

import data_builders
from data_builders.pdbbind import pdbbind_ligands_dataset_builder
from data_builders.qm9 import qm9_dataset_builder
from data_builders.qm9_mini import qm9_mini_dataset_builder as mini
from data_builders.support import tfds_names
from edjax.datasets import DATASETS

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
MODULES = (
  data_builders, tfds_names, mini, qm9_dataset_builder,
  pdbbind_ligands_dataset_builder,
)  # fmt: skip
# `tfds build` of the command line imports TensorFlow for its other commands;
# its own is called as the command line calls it.
PROGRAM = """
import sys
import data_builders
assert 'tensorflow_datasets' not in sys.modules
from tensorflow_datasets.scripts.cli import build, cli_utils
parse = cli_utils.make_flags_parser(build.Args, description='')
parse(sys.argv).execute()
"""


@pytest.fixture
def without_tensorflow(tmp_path, monkeypatch):
  """A folder that comes first where modules are looked for."""
  folder = tmp_path / 'first'
  folder.mkdir()
  (folder / 'tensorflow.py').write_text(
    "raise ModuleNotFoundError('tensorflow is imported', name='tensorflow')"
  )
  monkeypatch.syspath_prepend(folder)
  return folder


@pytest.fixture
def three(monkeypatch, without_tensorflow):
  """Three of the embedded molecules."""
  lines = mini.embedded_lines()[:3]
  monkeypatch.setattr(mini, 'embedded_lines', lambda: lines)


def test_a_dataset_is_built_and_read_in_every_way(tmp_path, three):
  builder = mini.Builder(data_dir=tmp_path, workers=1)
  builder.download_and_prepare()
  named = tfds.builder('edjax_qm9_mini', data_dir=tmp_path)
  source = tfds.data_source(
    'edjax_qm9_mini', split='molecules', data_dir=tmp_path
  )
  for found in (
    builder.as_data_source(split='molecules'),
    named.as_data_source(split='molecules'),
    source,
  ):
    assert [row['example_id'] for row in found] == [
      b'mini_0001',
      b'mini_0002',
      b'mini_0003',
    ]
  # What edjax builds, and opens.
  again = data_builders.build('qm9_mini', tmp_path, workers=1)
  assert again.data_path == builder.data_path
  assert data_builders.report(again)['written'] == 3


def test_a_data_source_builds_what_is_missing(tmp_path, three):
  source = tfds.data_source(
    'edjax_qm9_mini/noise_0.1',
    split='molecules',
    data_dir=tmp_path,
    builder_kwargs={'workers': 1},
  )
  assert len(source) == 3
  assert (tmp_path / 'edjax_qm9_mini' / 'noise_0.1').is_dir()


@pytest.mark.parametrize('name', DATASETS)
def test_every_dataset_has_its_name(name):
  cls = tfds.builder_cls(f'edjax_{name}')
  assert cls is importlib.import_module(DATASETS[name].builder).Builder
  assert cls.name == f'edjax_{name}'


def test_other_names_are_left_to_tfds():
  assert tfds.builder_cls('mnist').name == 'mnist'
  for name in ('edjax_qm8', 'qm9_mini'):
    with pytest.raises(tfds.core.registered.DatasetNotFoundError):
      tfds.builder_cls(name)


def test_modules_that_are_imported_again_raise_nothing():
  for module in MODULES:
    importlib.reload(module)
  assert tfds.builder_cls('edjax_qm9').name == 'edjax_qm9'


def test_tfds_build_takes_a_manual_directory(tmp_path, without_tensorflow):
  """TFDS is imported after our package, as an alphabet has it."""
  manual = tmp_path / 'manual'
  manual.mkdir()
  archive = manual / qm9_dataset_builder.ARCHIVE
  texts = {i: record_text(i, s) for i, s in enumerate(SHAPES, start=1)}
  write_archive(archive, texts)
  arguments = (
    'edjax_qm9',
    '--imports=data_builders',
    f'--data_dir={tmp_path / "data"}',
    f'--manual_dir={manual}',
  )
  subprocess.run(
    (sys.executable, '-c', PROGRAM, *arguments),
    cwd=REPOSITORY,
    env={
      **os.environ,
      'PYTHONPATH': os.pathsep.join((str(without_tensorflow), str(REPOSITORY))),
    },
    check=True,
    timeout=waiting.HANG,
  )
  source = tfds.data_source(
    'edjax_qm9', split='molecules', data_dir=tmp_path / 'data', download=False
  )
  assert [row['index'] for row in source] == [1, 2, 3, 4, 5]
