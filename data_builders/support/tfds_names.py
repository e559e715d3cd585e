"""Names of our datasets in TFDS: `tfds.builder('edjax_qm9')`.

TFDS asks its providers for the builder of a name; ours imports a builder when
it is asked for. Nothing of TFDS is imported here: the physics does without it,
and it takes 0.4 s.
"""

import importlib

import wrapt

from edjax.datasets import DATASETS

PREFIX = 'edjax_'


class Provider:
  """Knows the datasets of `edjax.datasets` by their names in TFDS."""

  def has_dataset(self, name: str) -> bool:
    """Returns whether a name is that of one of our datasets."""
    return name.startswith(PREFIX) and name.removeprefix(PREFIX) in DATASETS

  def get_builder_cls(self, name: str) -> type:
    """Returns the builder of a name that `has_dataset`."""
    module = DATASETS[name.removeprefix(PREFIX)].builder
    return importlib.import_module(module).Builder


@wrapt.when_imported('tensorflow_datasets.core.registered')
def add_provider(registered) -> None:
  """Adds the provider when TFDS is imported, or at once where it has been.

  First in the list: TFDS would import all of its own datasets before it asks
  another. A second provider, from a second import of this module, answers
  nothing that the first does not.
  """
  registered.add_dataset_builder_provider(Provider(), index=0)
