"""TFDS builder of the embedded molecules with GFN2-xTB orbitals."""

import gzip
import importlib.resources
import json

import numpy as np
import tensorflow_datasets as tfds

from data_builders.molecules import builder
from data_builders.molecules.types import Record
from edjax.chem.units import HARTREE_EV

_FILE = 'molecules.jsonl.gz'


class Builder(builder.Builder, skip_registration=True):
  """All molecules in one TFDS split, `molecules`; see README.md."""

  name = 'edjax_qm9_mini'
  VERSION = tfds.core.Version('1.2.0')
  description = 'Small molecules: B3LYP/6-31G(2df,p) labels, xTB orbitals'

  def changes(self, report: dict) -> list[str]:
    """Returns no difference: the molecules belong to VERSION."""
    del report
    return []

  def _generate_examples(self):
    records = read_records(embedded_lines())
    facts = {'dataset': self.name, 'in_archive': len(records)}
    return self._generated(records, facts)


def embedded_lines() -> list[str]:
  """Returns the lines of the file in the package."""
  path = importlib.resources.files('data_builders.qm9_mini') / _FILE
  return gzip.decompress(path.read_bytes()).decode('utf-8').splitlines()


def read_records(lines) -> list[Record]:
  """Parses records from JSON lines; the index is the number of the line.

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
      coords_A3 = np.array(row['coords'], np.float64)
    except (KeyError, TypeError, ValueError) as error:
      raise ValueError(
        f'{_FILE}, line {i}: {type(error).__name__} {error}'
      ) from error
    if coords_A3.shape != (len(numbers_A), 3):
      raise ValueError(f'{_FILE}, line {i}: numbers and coords do not fit')
    if not np.isfinite([*targets.values(), *coords_A3.ravel()]).all():
      raise ValueError(f'{_FILE}, line {i}: a number is not finite')
    records.append(
      Record(
        example_id=f'mini_{i:04d}',
        index=i,
        numbers=numbers_A,
        coords=coords_A3,
        smiles=row['smiles'],
        targets=targets,
      )
    )
  return records
