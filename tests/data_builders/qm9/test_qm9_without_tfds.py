"""The archive to a pack where tensorflow_datasets is not installed."""

import dataclasses
import pathlib
import subprocess
import sys

import numpy as np
from support import waiting
from support.made_up_qm9 import SHAPES, record_text, write_archive

from configs import qm9_density
from edjax.data import loading, packed_dataset

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = """
import sys
sys.modules['tensorflow_datasets'] = None  # importing it raises
from benchmarks.gpu import main
main.main()
"""


def test_the_pack_is_that_of_tfds(tmp_path):
  """What benchmarks/gpu/gpu.sh trains on, against the way that users take."""
  manual = tmp_path / 'manual'
  manual.mkdir()
  archive = manual / 'dsgdb9nsd.xyz.tar.bz2'
  texts = {i: record_text(i, s) for i, s in enumerate(SHAPES, start=1)}
  write_archive(archive, texts)
  subprocess.run(
    (
      sys.executable,
      '-c',
      PROGRAM,
      'data',
      str(archive),
      '--tiny',
      f'--work={tmp_path}',
      f'--results={tmp_path}',
    ),
    cwd=REPOSITORY,
    check=True,
    timeout=waiting.HANG,
  )
  bare = packed_dataset.open_pack(tmp_path / 'pack')
  data = qm9_density.get_config('qm9_cpu').data
  data.data_dir, data.manual_dir = str(tmp_path / 'data'), str(manual)
  whole = loading.load_pack(data)
  assert bare.ids == whole.ids
  assert bare.columns.keys() == whole.columns.keys()
  for name, values in bare.columns.items():
    np.testing.assert_array_equal(values, whole.columns[name])
  for field in dataclasses.fields(packed_dataset.Pack):
    value = getattr(bare, field.name)
    if isinstance(value, np.ndarray):
      np.testing.assert_array_equal(value, getattr(whole, field.name))
  rows = (tmp_path / 'gpu.md').read_text().splitlines()
  assert sum('| 5 |' in row for row in rows) == 2
