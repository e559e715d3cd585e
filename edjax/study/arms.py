"""The representations that studies compare, as named overrides."""

import dataclasses
from collections.abc import Mapping

from edjax.config import ConfigError


@dataclasses.dataclass(frozen=True)
class Arm:
  """One representation.

  Attributes:
    words: for tables and legends.
    channels: `config.representation.channels`.
    fields: further overrides, without 'config.'.
  """

  words: str
  channels: tuple[str, ...]
  fields: Mapping[str, object] = dataclasses.field(default_factory=dict)


# Bondi's radius of carbon, J. Phys. Chem. 68, 441 (1964), Table I.
_CARBON = 1.7

# 'density' and 'gradient' are of the density that the base configuration
# names, so that they mean what its dataset has.
ARMS: Mapping[str, Arm] = {
  'atoms': Arm('atom types', ('atoms',)),
  'density': Arm('density', ('density',)),
  'gradient': Arm('density gradient', ('gradient',)),
  'shape': Arm('shape', ('shape',)),
  # As sharp as the orbitals' density and without core electrons, as it is:
  # what differs is what the calculation adds.
  'promolecule': Arm(
    'promolecule', ('density',), {'representation.density': 'free_atoms'}
  ),
  'deformation': Arm(
    'deformation density',
    ('density',),
    {'representation.density': 'deformation'},
  ),
  'valence': Arm('atoms by valence electrons', ('valence',)),
  'shape_one_radius': Arm(
    'shape, one radius', ('shape',), {'representation.shape_radius': _CARBON}
  ),
  'density_gradient': Arm('density + gradient', ('density', 'gradient')),
  'atoms_density': Arm('atom types + density', ('atoms', 'density')),
  # Noise has no parts to keep apart.
  'noise': Arm('noise', ('noise',), {'representation.groups': False}),
  'density_noise': Arm('density + noise', ('density', 'noise')),
}


def fields_of(name: str) -> dict[str, object]:
  """Overrides of a representation, without 'config.'.

  Raises:
    ConfigError: there is none of that name.
  """
  if name not in ARMS:
    raise ConfigError(
      f'no representation {name!r}; there are {", ".join(ARMS)}'
    )
  arm = ARMS[name]
  return {'representation.channels': arm.channels, **arm.fields}


def transform_fields(name: str, transform: str) -> dict[str, str]:
  """One transform for every channel of a representation."""
  return {
    f'representation.transforms.{channel}': transform
    for channel in ARMS[name].channels
  }
