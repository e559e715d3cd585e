"""What a representation needs: variant of a dataset, reach, voxelizer."""

import numpy as np

from edjax import datasets, voxelize
from edjax.fields import channels
from edjax.grid import Grid


def dataset_variant(config) -> str:
  """Which form of the dataset a configuration reads; '' where there is one."""
  data, representation = config.data, config.representation
  needs = {part.needs for part in parts_of(representation)}
  return datasets.DATASETS[data.name].variant(
    data.geometry, data.noise, needs, data.hydrogens
  )


def needs_orbitals(representation) -> bool:
  """Whether a representation is computed from stored orbitals."""
  return _needs(representation, channels.ORBITALS)


def needs_map(representation) -> bool:
  """Whether a representation is sampled from a density map."""
  return _needs(representation, channels.MAP)


def _needs(representation, what: str) -> bool:
  return any(part.needs == what for part in parts_of(representation))


def parts_of(representation) -> tuple[channels.Channel, ...]:
  """The channels, and the source of density where one is made of it."""
  return channels.parts_of(representation.channels, representation.density)


def density_source(representation) -> str:
  """The source of density that channels make use of; '' where none does."""
  made_of_it = any(part.of_density for part in parts_of(representation))
  return representation.density if made_of_it else ''


# How far Gaussians of atoms outside of a box reach into it, Å: the promolecule
# blurred for voxels of 0.75 Å has fallen to 1e-3 of its peak there.
_REACH = 3.0
# Standard deviations at which a Gaussian has fallen to that.
_FALLEN = 3.7


def seen_radius(config) -> float:
  """Å from the origin up to which a grid sees atoms in some orientation.

  Without `representation.smooth`, by which corners of the box see a little
  more: 3e-3 of the peak of an atom there, for 0.5 Å.

  Args:
    config: resolved or about to be.
  """
  representation = config.representation
  grid = Grid(representation.grid_size, representation.spacing)
  diagonal = (grid.extent / 2 + config.augment.translate) * np.sqrt(3)
  return float(diagonal + _REACH)


def selected_radius(config) -> float:
  """Å from the origin up to which atoms are kept: `seen_radius`, and more for a
  wide `representation.smooth`.

  Args:
    config: resolved or about to be.
  """
  # With its blur a Gaussian is wider, and so is what it reaches.
  reach = np.hypot(_REACH, _FALLEN * config.representation.smooth)
  return float(seen_radius(config) - _REACH + reach)


def make_voxelizer(representation, scales=()):
  """The voxelizer of `config.representation`.

  Args:
    representation: `config.representation`.
    scales: what each channel is divided by; () for none.
  """
  grid = Grid(representation.grid_size, representation.spacing)
  return voxelize.make_voxelizer(
    representation.channels,
    grid,
    density=representation.density,
    supersample=representation.supersample,
    b_iso=representation.b_iso,
    widths=dict(representation.widths),
    elements=representation.elements,
    binary=representation.binary,
    groups=representation.groups,
    use_b_factors=representation.use_b_factors,
    shape_radius=representation.shape_radius,
    smooth=representation.smooth,
    transforms={
      name: representation.transforms.get(name, 'arcsinh')
      for name in representation.channels
    },
    scales=scales,
  )
