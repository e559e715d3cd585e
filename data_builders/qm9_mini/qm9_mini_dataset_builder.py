"""TFDS builder of the embedded molecules with GFN2-xTB orbitals."""

import gzip
import importlib.resources
import json

import numpy as np
import tensorflow_datasets as tfds

from data_builders import geometries, shards
from data_builders import records as records_lib
from data_builders.targets import TARGETS
from edjax.units import HARTREE_EV

_FILE = 'molecules.jsonl.gz'


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """All molecules in one TFDS split, `molecules`; see README.md."""

  name = 'edjax_qm9_mini'
  VERSION = tfds.core.Version('1.1.0')
  # Nothing is downloaded. TFDS would look for a file of check sums with
  # importlib_resources, which it does not require.
  url_infos = None
  summary = staticmethod(records_lib.summary)
  _example_writer = shards.example_writer

  def __init__(
    self,
    *,
    manual_dir='',
    workers=None,
    config='',
    on_beam=False,
    **kwargs,
  ):
    """Opens the dataset.

    Args:
      manual_dir: not used: the molecules are part of the package.
      workers: xTB processes (default: as many as there are cores).
      config: variant of the geometry, see `data_builders.geometries`.
      on_beam: whether it will be prepared by Apache Beam.
      **kwargs: for TFDS: data_dir, ...
    """
    del manual_dir
    self._workers = workers
    self._variant = geometries.check(config)
    self._on_beam = on_beam
    if config:
      kwargs['config'] = tfds.core.BuilderConfig(
        name=config, description='see data_builders/geometries.py'
      )
    super().__init__(**kwargs)

  def changes(self, report: dict) -> list[str]:
    """Nothing: the molecules are the package's, and VERSION tells them."""
    del report
    return []

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description='Small molecules: B3LYP/6-31G(2df,p) labels, xTB orbitals',
      features=records_lib.features(TARGETS['qm9_mini']),
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {'molecules': self._generate_examples()}

  def _generate_examples(self):
    records = read_records(embedded_lines())
    facts = {'dataset': self.name, 'in_archive': len(records)}
    return records_lib.generate(
      records, self.data_dir, facts, self._workers, self._variant, self._on_beam
    )


def embedded_lines() -> list[str]:
  """The lines of the file in the package."""
  path = importlib.resources.files('data_builders.qm9_mini') / _FILE
  return gzip.decompress(path.read_bytes()).decode('utf-8').splitlines()


def read_records(lines) -> list[records_lib.Record]:
  """Records of JSON lines; the index is the number of the line.

  Raises:
    ValueError: a line cannot be read, lacks a field or has a number that is
      not finite; the message names the line.
  """
  records = []
  for i, line in enumerate(lines, start=1):
    try:
      row = json.loads(line)
      targets = {
        key: float(row[key])
        for key in ('mu', 'homo', 'lumo', 'gap', 'r2', 'energy')
      }
      targets['atomization'] = float(row['atomization_energy']) * HARTREE_EV
      numbers_A = np.array(row['numbers'], np.int32)
      positions_A3 = np.array(row['coords'], np.float64)
    except (KeyError, TypeError, ValueError) as error:
      raise ValueError(
        f'{_FILE}, line {i}: {type(error).__name__} {error}'
      ) from error
    if positions_A3.shape != (len(numbers_A), 3):
      raise ValueError(f'{_FILE}, line {i}: numbers and coords do not fit')
    if not np.isfinite([*targets.values(), *positions_A3.ravel()]).all():
      raise ValueError(f'{_FILE}, line {i}: a number is not finite')
    records.append(
      records_lib.Record(
        example_id=f'mini_{i:04d}',
        index=i,
        numbers=numbers_A,
        positions=positions_A3,
        smiles=row['smiles'],
        targets=targets,
      )
    )
  return records
