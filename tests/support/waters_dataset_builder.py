"""A dataset as CONTRIBUTING's recipe makes one: water, stretched."""

import numpy as np
import tensorflow_datasets as tfds

from data_builders.molecules import builder
from data_builders.molecules.types import Record


class Builder(builder.Builder, skip_registration=True):
  """Water with other lengths of its bonds, which are to be learned."""

  name = 'edjax_waters'
  VERSION = tfds.core.Version('1.0.0')
  description = 'Stretched water'

  def changes(self, report: dict) -> list[str]:
    """Returns no difference: there are no files."""
    del report
    return []

  def _generate_examples(self):
    records = [
      Record(
        example_id=f'water_{i:02d}',
        index=i,
        numbers=np.array([8, 1, 1], np.int32),
        coords=length * np.array([[0, 0, 0], [1, 0, 0], [-0.25, 0.97, 0]]),
        smiles='O',
        targets={'length': length},
      )
      for i, length in enumerate(np.linspace(0.9, 1.1, 40).tolist())
    ]
    return self._generated(records, {'dataset': self.name})
