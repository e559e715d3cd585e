"""Fields and channels on a box in the frame of a molecule's file."""

import dataclasses
import functools
import itertools
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
# Fields know cubes alone. Those of this edge, in points, cover a box, and one
# program is compiled for all of them, and for all molecules.
_TILE = 32
# Not so fields that depend on the whole grid: the potential of a charge, and
# noise, which would repeat.
_OF_A_CUBE = ('potential', 'noise')
# The edges of their cubes are multiples of it, for the same reason.
_STEP = 16
# Largest memory of the values of a molecule's fields, MB of 10^6 bytes.
MAX_MB = 500


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
  _check_size(box, kinds, options)
  raw = _on_box(mol, kinds, options, box, origin_3)
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


def _check_size(box: Box, kinds, options: Options) -> None:
  """Raises ValueError where values would take too much memory."""
  numbers = 0
  for channel in kinds:
    edge = _edge(box, channel)
    points = np.prod(box.shape, dtype=float) if edge == _TILE else edge**3
    numbers += points * len(channel.channel_names(options))
  if 4e-6 * numbers > MAX_MB:
    raise ValueError(
      f'{" x ".join(map(str, box.shape))} points of {len(kinds)} kinds of '
      f'fields take {4e-6 * numbers:.0f} MB, more than {MAX_MB} MB: take a '
      'larger spacing, a smaller margin or fewer fields'
    )


def _edge(box: Box, channel: Channel) -> int:
  """Returns the edge, in points, of the cubes that a field is computed on.

  What a field is at a point depends on the cube where it is a sum over all of
  it, or may do so: then one cube holds the box.
  """
  is_local = channel.name in {**channels.CHANNELS, **channels.DENSITIES}
  if is_local and channel.name not in _OF_A_CUBE:
    return _TILE
  return -(-max(box.shape) // _STEP) * _STEP


def _on_box(
  mol: Molecule, kinds, options: Options, box: Box, origin_3
) -> dict[Channel, np.ndarray]:
  """Returns the values of each kind on a box, [X, Y, Z, n] float32."""
  values = {
    channel: np.empty(
      (*box.shape, len(channel.channel_names(options))), np.float32
    )
    for channel in kinds
  }
  for edge in {_edge(box, channel) for channel in kinds}:
    group = tuple(c for c in kinds if _edge(box, c) == edge)
    grid = Grid(edge, box.spacing)
    voxelizer = Voxelizer(
      channels=group,
      options=dataclasses.replace(options, grid=grid),
      transforms=('none',) * len(group),
      scales=(),
    )
    starts = itertools.product(*(range(0, n, edge) for n in box.shape))
    for start_3 in map(np.array, starts):
      centre_3 = box.origin_3 + (start_3 + (edge - 1) / 2) * box.spacing
      shift_3 = (origin_3 - centre_3).astype(np.float32)
      raw = jax.device_get(_raw(voxelizer, geometry.translate(mol, shift_3)))
      # Tiles may go beyond the end of the box.
      lengths = np.minimum(edge, box.shape - start_3)
      there = tuple(map(slice, start_3, start_3 + lengths))
      for channel, part in zip(group, raw, strict=True):
        values[channel][there] = part[tuple(map(slice, lengths))]
  return values


@functools.partial(jax.jit, static_argnums=0)
def _raw(voxelizer: Voxelizer, mol: Molecule):
  """Evaluates raw channels, without a warning of atoms outside of a tile."""
  return voxelizer.raw(mol)


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
