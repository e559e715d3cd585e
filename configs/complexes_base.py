"""Fields that the four configurations of your own complexes share.

They are those of PDBbind's, and differ in the representation alone.
"""

from configs import pdbbind_base


def get_config(variant: str = ''):
  """Returns a variant of the task.

  Args:
    variant: '' (32^3 at 0.75 Å, for 2 cores) or 'full' (96^3 at 0.25 Å, for
      accelerators).

  Raises:
    ValueError: another variant.
  """
  if variant not in ('', 'full'):
    raise ValueError(f"no variant {variant!r}; there are '' and 'full'")
  config = pdbbind_base.get_config(variant)
  config.data.name = 'complexes'
  config.data.targets = ()
  return config
