"""The representations that studies compare."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Representation:
  """An input of a network, as overrides of a configuration.

  Attributes:
    label: for tables and legends.
    channels: `config.representation.channels`.
    overrides: of further fields, without 'config.'.
  """

  label: str
  channels: tuple[str, ...]
  overrides: Mapping[str, object] = dataclasses.field(default_factory=dict)

  @property
  def fields(self) -> dict[str, object]:
    """All overrides, without 'config.'."""
    return {'representation.channels': self.channels, **self.overrides}

  def transforms(self, name: str) -> dict[str, str]:
    """Returns the overrides that give every channel the transform `name`."""
    return {
      f'representation.transforms.{channel}': name for channel in self.channels
    }


# Values and their logarithm in soft bins, at the sub-points of a voxel.
_BINS = 'none+bins:8'
# What may be below 0 has no logarithm.
_SIGNED = {'representation.transforms.density': 'none'}
# Bondi's radius of carbon, J. Phys. Chem. 68, 441 (1964), Table I.
_CARBON = 1.7

# 'density' and 'gradient' use the density that the base configuration names,
# which its dataset has.
REPRESENTATIONS: Mapping[str, Representation] = {
  'atoms': Representation('atom types', ('atoms',)),
  'density': Representation('density', ('density',)),
  'gradient': Representation('density gradient', ('gradient',)),
  'shape': Representation('shape', ('shape',)),
  # Like the orbitals' density it has no core electrons and is as sharp: they
  # differ by the result of the calculation alone.
  'promolecule': Representation(
    'promolecule', ('density',), {'representation.density': 'free_atoms'}
  ),
  'deformation': Representation(
    'deformation density',
    ('density',),
    _SIGNED | {'representation.density': 'deformation'},
  ),
  'charge': Representation(
    'charge density',
    ('density',),
    _SIGNED | {'representation.density': 'charge'},
  ),
  'potential': Representation('electrostatic potential', ('potential',)),
  'valence': Representation('atoms by valence electrons', ('valence',)),
  'shape_one_radius': Representation(
    'shape, one radius', ('shape',), {'representation.shape_radius': _CARBON}
  ),
  'density_gradient': Representation(
    'density + gradient', ('density', 'gradient')
  ),
  'atoms_bins': Representation(
    'atom types, binned', ('atoms',), {'representation.transforms.atoms': _BINS}
  ),
  'density_bins': Representation(
    'density, binned',
    ('density',),
    {'representation.transforms.density': _BINS},
  ),
  'promolecule_bins': Representation(
    'promolecule, binned',
    ('density',),
    {
      'representation.density': 'free_atoms',
      'representation.transforms.density': _BINS,
    },
  ),
  'atoms_density_bins': Representation(
    'atom types + density, binned',
    ('atoms', 'density'),
    {'representation.transforms.density': _BINS},
  ),
  'atoms_density': Representation('atom types + density', ('atoms', 'density')),
  'homo_lumo': Representation('HOMO + LUMO', ('homo', 'lumo')),
  'density_homo_lumo': Representation(
    'density + HOMO + LUMO', ('density', 'homo', 'lumo')
  ),
  # Noise has no channels of ligand and pocket.
  'noise': Representation(
    'noise', ('noise',), {'representation.groups': False}
  ),
  'density_noise': Representation('density + noise', ('density', 'noise')),
}
