"""Shards of array_record, also in object stores."""

import pathlib
import tempfile

from etils import epath
from tensorflow_datasets.core import writer

from edjax.runtime import paths


class Writer(writer.ExampleWriter):
  """Writes shards; those for an object store on this machine first.

  The released packages of array_record write to file systems alone.
  """

  def write(self, path, examples):
    """Writes a shard; see TFDS."""
    if not paths.is_remote(path):
      return super().write(path, examples)
    with tempfile.TemporaryDirectory() as scratch:
      local = pathlib.Path(scratch) / 'shard'
      positions = super().write(local, examples)
      epath.Path(local).copy(path)
    return positions


def example_writer(builder) -> Writer:
  """Returns the writer of a builder's shards (`_example_writer` of TFDS)."""
  return Writer(file_format=builder.info.file_format)
