"""Dataset variant, visible radius and voxelizer of a representation."""

import numpy as np

from edjax import datasets, voxelize
from edjax.fields import channels
from edjax.grid import Grid


def dataset_variant(config) -> str:
  """Returns the dataset variant of a configuration; '' for the default."""
  data, representation = config.data, config.representation
  dataset = datasets.DATASETS[data.name]
  needs = {part.needs for part in parts_of(representation)}
  if representation.density == 'map' and not dataset.is_complexes:
    # Whatever the channels: inputs that are compared have the same molecules.
    needs.add(channels.MAP)
  return dataset.variant(data.geometry, data.noise, needs, data.hydrogens)


def needs_orbitals(representation) -> bool:
  """Returns whether a representation is computed from stored orbitals."""
  return _needs(representation, channels.ORBITALS)


def needs_frontier(representation) -> bool:
  """Returns whether a representation is computed from HOMO or LUMO."""
  return _needs(representation, channels.FRONTIER)


def needs_map(representation) -> bool:
  """Returns whether a representation is sampled from a density map."""
  return _needs(representation, channels.MAP)


def _needs(representation, need: str) -> bool:
  return any(part.needs == need for part in parts_of(representation))


def parts_of(representation) -> tuple[channels.Channel, ...]:
  """Returns the channels, and the source of density if any is made of it."""
  return channels.parts_of(representation.channels, representation.density)


def density_source(representation) -> str:
  """Returns the source of density that channels use; '' where none does."""
  of_density = any(part.of_density for part in parts_of(representation))
  return representation.density if of_density else ''


# Å that Gaussians of atoms outside of a box reach into it: there the
# promolecule blurred for voxels of 0.75 Å has fallen to 1e-3 of its peak.
_REACH = 3.0
# Standard deviations after which a Gaussian has fallen to 1e-3 of its peak.
_FALLEN = 3.7


def seen_radius(config) -> float:
  """Returns the distance from the origin, Å, beyond which a grid sees no atoms.

  It holds in every orientation, without the blur `representation.smooth`: with
  0.5 Å of it, corners of the box see 3e-3 of the peak of an atom there.

  Args:
    config: resolved or about to be.
  """
  representation = config.representation
  grid = Grid(representation.grid_size, representation.spacing)
  diagonal = (grid.extent / 2 + config.augment.translate) * np.sqrt(3)
  return float(diagonal + _REACH)


def selected_radius(config) -> float:
  """Returns the distance from the origin, Å, up to which atoms are loaded.

  It is `seen_radius`, and more for a wide `representation.smooth`.

  Args:
    config: resolved or about to be.
  """
  # The blur widens every Gaussian, and thus its reach.
  reach = np.hypot(_REACH, _FALLEN * config.representation.smooth)
  return float(seen_radius(config) - _REACH + reach)


def make_voxelizer(representation) -> voxelize.Voxelizer:
  """Returns the voxelizer of `config.representation`, without scales."""
  return voxelize.make_voxelizer(
    representation.channels,
    Grid(representation.grid_size, representation.spacing),
    density=representation.density,
    supersample=representation.supersample,
    b_iso=representation.b_iso,
    widths=dict(representation.widths),
    elements=representation.elements,
    binary=representation.binary,
    truncated=representation.truncated,
    groups=representation.groups,
    use_b_factors=representation.use_b_factors,
    shape_radius=representation.shape_radius,
    smooth=representation.smooth,
    transforms={
      name: representation.transforms.get(name, 'arcsinh')
      for name in representation.channels
    },
  )
