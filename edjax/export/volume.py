"""Fields and channels on a box in the frame of a molecule's file."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from edjax import geometry
from edjax.chem import elements, form_factors
from edjax.export.box import Box, around
from edjax.fields import channels
from edjax.fields.channels import Channel, Options
from edjax.grid import Grid
from edjax.molecule import LIGAND, Molecule
from edjax.voxelize import Voxelizer

# Defaults of the command and of `volumes`, Å.
SPACING, MARGIN = 0.2, 3.0
# A molecule does not say in which unit its map is.
MAP_UNIT = 'unit of the map'
# Edges of cubes are multiples of it, so that molecules of similar sizes share
# compiled programs.
_STEP = 16
# Largest memory of the values of a molecule's fields, MB of 10^6 bytes.
MAX_MB = 1000


@dataclasses.dataclass(frozen=True)
class Volume:
  """A field on a box, with its molecule.

  Attributes:
    name: of the channel.
    unit: of the values, '' for pure numbers.
    about: what the values depend on, such as 'density=xtb'.
    values_XYZ: the field at each point, float32.
    box: where the points lie.
    numbers_A: atomic numbers.
    coords_A3: Å, in the frame of the box.
    groups_A: LIGAND or POCKET of `edjax.molecule`.
  """

  name: str
  unit: str
  about: str
  values_XYZ: np.ndarray
  box: Box
  numbers_A: np.ndarray
  coords_A3: np.ndarray
  groups_A: np.ndarray

  @property
  def title(self) -> str:
    """What the values are, in ASCII, as headers of files need it."""
    unit = f', {self.unit}' if self.unit else ''
    return f'{self.name}{unit}'.replace('Å', 'A')


def volumes(
  mol: Molecule,
  voxelizer: Voxelizer,
  names: Sequence[str] = (),
  *,
  spacing: float = SPACING,
  margin: float = MARGIN,
  map_unit: str = MAP_UNIT,
) -> list[Volume]:
  """Evaluates fields on a box around a molecule, in the frame of its file.

  Values are those of the field at each point, in its unit: no means over
  voxels, no scales and no transforms. What the field itself depends on (blur,
  widths, elements, B factors) is as the voxelizer has it; a B factor that is
  tied to a spacing is tied to that of the voxelizer, as in what the network
  sees.

  Args:
    mol: with `origin_3`, and what the fields need.
    voxelizer: whose options the fields have.
    names: of kinds of channels, of single channels ('atoms_O') or of sources of
      density ('promolecule'); (): the voxelizer's own.
    spacing: between points, Å.
    margin: around the atoms (of the ligand, where there is a pocket), Å.
    map_unit: of the molecule's density map.

  Returns:
    One volume for each channel.

  Raises:
    ValueError: an unknown name, a grid that is too large, or a molecule that
      lacks what a field needs or has an element that it does not know.
  """
  if np.ndim(mol.numbers_A) != 1:
    raise ValueError(f'mol is a batch of {len(mol.numbers_A)}; give one of it')
  if mol.origin_3 is None:
    raise ValueError(
      'the molecule has no origin_3, which says where its file had it: make it '
      'with Molecule.from_arrays'
    )
  options = _fixed(voxelizer)
  chosen = _chosen(names, voxelizer)
  number_A, is_atom_A = np.asarray(mol.numbers_A), np.asarray(mol.mask_A)
  group_A = np.asarray(mol.groups_A)
  origin_3 = np.asarray(mol.origin_3, np.float64)
  coords_A3 = np.asarray(mol.coords_A3, np.float64) + origin_3
  is_ligand_A = is_atom_A & (group_A == LIGAND)
  within_A = is_ligand_A if is_ligand_A.any() else is_atom_A
  box = around(coords_A3[within_A], spacing, margin)
  kinds = tuple(dict.fromkeys(channel for channel, _ in chosen))
  _check_elements(kinds, options, number_A.max())
  several = Voxelizer(
    channels=kinds,
    options=dataclasses.replace(options, grid=_cube(box, kinds, options)),
    transforms=('none',) * len(kinds),
    scales=(),
  )
  raw = dict(zip(kinds, _on_box(mol, several, box, origin_3), strict=True))
  found = []
  for channel, only in chosen:
    for i, name in enumerate(channel.channel_names(options)):
      if only and name != only:
        continue
      values_XYZ = np.ascontiguousarray(raw[channel][..., i])
      if not np.isfinite(values_XYZ).all():
        raise ValueError(f'{name} is not finite everywhere')
      found.append(
        Volume(
          name=name,
          unit=_unit(channel, options, map_unit),
          about=_about(channel, options),
          values_XYZ=values_XYZ,
          box=box,
          numbers_A=number_A[is_atom_A],
          coords_A3=coords_A3[is_atom_A],
          groups_A=group_A[is_atom_A],
        )
      )
  return found


def check_names(names: Sequence[str], voxelizer: Voxelizer) -> set[str]:
  """Returns the data that fields need of a molecule.

  Args:
    names: see `volumes`.
    voxelizer: see `volumes`.

  Raises:
    ValueError: a name is unknown or repeated.
  """
  return {
    part.needs
    for channel, _ in _chosen(names, voxelizer)
    for part in _parts(channel, voxelizer.options)
  }


def _fixed(voxelizer: Voxelizer) -> Options:
  """Returns options in which nothing depends on the grid."""
  options = voxelizer.options
  b_iso = options.b_iso or form_factors.tied_b_iso(voxelizer.grid.spacing)
  return dataclasses.replace(options, b_iso=b_iso, supersample=1)


def _chosen(
  names: Sequence[str], voxelizer: Voxelizer
) -> list[tuple[Channel, str]]:
  """Returns kinds, each with the name of a single channel or '' for all."""
  if len(set(names)) < len(names):
    raise ValueError(f'a field is repeated: {", ".join(names)}')
  own = {channel.name: channel for channel in voxelizer.channels}
  known = {**channels.known(), **channels.DENSITIES, **own}
  single = {
    name: channel
    for channel in known.values()
    for name in channel.channel_names(voxelizer.options)
  }
  chosen = []
  for name in names or voxelizer.kinds:
    if name not in known and name not in single:
      raise ValueError(
        f'unknown field {name!r}; there are {", ".join({**known, **single})}'
      )
    chosen.append((known[name], '') if name in known else (single[name], name))
  return chosen


def _parts(channel: Channel, options: Options) -> tuple[Channel, ...]:
  """Returns a channel, and the density that it is made of."""
  if not channel.of_density:
    return (channel,)
  return channel, channels.DENSITIES[options.density]


def _check_elements(kinds, options: Options, heaviest: int) -> None:
  for channel in kinds:
    last = min(part.max_number for part in _parts(channel, options))
    if heaviest > last:
      raise ValueError(
        f'{channel.name} knows elements up to {elements.SYMBOLS[last]}, and '
        f'this is {elements.SYMBOLS[heaviest]}'
      )


def _cube(box: Box, kinds, options: Options) -> Grid:
  """Returns the cube of which a box is a corner; fields know cubes alone."""
  size = -(-max(box.shape) // _STEP) * _STEP
  count = sum(len(channel.channel_names(options)) for channel in kinds)
  megabytes = 4e-6 * size**3 * count
  if megabytes > MAX_MB:
    shape = ' x '.join(map(str, box.shape))
    raise ValueError(
      f'{count} fields on {shape} points, computed on cubes of {size}^3, take '
      f'{megabytes:.0f} MB, more than {MAX_MB} MB: take a larger spacing, a '
      'smaller margin or fewer fields'
    )
  return Grid(size, box.spacing)


def _on_box(mol: Molecule, voxelizer: Voxelizer, box: Box, origin_3):
  """Returns the raw channels of each kind on a box, [X, Y, Z, n]."""
  grid = voxelizer.grid
  centre_3 = box.origin_3 + (grid.size - 1) / 2 * box.spacing
  moved = geometry.translate(mol, (origin_3 - centre_3).astype(np.float32))
  raw = jax.device_get(voxelizer.raw(moved))
  x, y, z = box.shape
  return [values[:x, :y, :z] for values in raw]


def _unit(channel: Channel, options: Options, map_unit: str) -> str:
  """Returns the unit of a field.

  A user's function may be of the density without having its unit.
  """
  if channel.name not in {**channels.CHANNELS, **channels.DENSITIES}:
    return channel.unit
  parts = _parts(channel, options)
  if any(part.needs == channels.MAP for part in parts):
    return f'{map_unit}{channel.unit * channel.of_density}'
  return ''.join(part.unit for part in reversed(parts))


def _about(channel: Channel, options: Options) -> str:
  """Returns what a field depends on, for headers."""
  parts = _parts(channel, options)
  read = {name for part in parts for name in part.options}
  said = [f'density={options.density}'] * channel.of_density
  said += [f'b_iso={options.b_iso:.4g} A^2'] * ('b_iso' in read)
  said += [f'smooth={options.smooth:g} A'] * bool(options.smooth)
  return ', '.join(said)
