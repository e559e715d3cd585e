"""Turns molecules into the voxel channels that a network reads."""

import dataclasses
import functools
import math
import types
from collections.abc import Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from edjax import arguments, fields, transforms
from edjax import grid as grids
from edjax.fields import channels as channel_registry
from edjax.fields.channels import CHANNELS, DENSITIES, Channel, Options
from edjax.fields.common import check_box
from edjax.grid import Grid
from edjax.kernels import gaussian_blur, gaussians_windowed, numerics
from edjax.molecule import Molecule, stack

# Bytes of intermediate arrays of voxelising on an accelerator: less than the
# activations of networks of that size.
_SCRATCH = 2**30
# Largest grid, in bytes, of which a CPU's cache holds several.
_CACHE = 4 * 2**20


# Tracing a gradient of orbitals takes seconds: programs of a run share it.
@functools.partial(jax.jit, static_argnums=0, inline=True)
def _raw(voxelizer, mol: Molecule) -> tuple[jax.Array, ...]:
  """Computes `Voxelizer.raw`."""
  options, supersample = voxelizer.options, voxelizer.options.supersample
  fine = options.grid.refine(supersample)

  def evaluate(field, at_sub_points: bool):
    where = (fine, 1) if at_sub_points else (options.grid, supersample)
    return field(mol, *where)

  sub_points = dict(zip(voxelizer.kinds, voxelizer.at_sub_points, strict=True))
  values = {}
  pair = 'density', 'gradient'
  if set(pair) <= set(voxelizer.kinds):
    # One evaluation gives both, at the sub-points if either is needed there.
    either = any(sub_points[kind] for kind in pair)
    both = evaluate(channel_registry.density_and_gradient(options), either)
    for kind, value in zip(pair, both, strict=True):
      coarser = either and not sub_points[kind]
      values[kind] = grids.pool(value, supersample) if coarser else value
  for channel in voxelizer.channels:
    if channel.name not in values:
      values[channel.name] = evaluate(
        channel.field(options), sub_points[channel.name]
      )
  parts = [values[kind] for kind in voxelizer.kinds]
  parts = [p if p.ndim == 4 else p[..., None] for p in parts]
  return tuple(p.astype(jnp.float32) for p in parts)


@dataclasses.dataclass(frozen=True)
class Voxelizer:
  """f(mol) -> vox_XYZC; hashable, so that equal ones share compiled code.

  Make it with `make_voxelizer`, where the fields are described.

  Attributes:
    channels: one `Channel` per kind of input, in order.
    options: choices that their fields depend on.
    transforms: one per kind, see `edjax.transforms`.
    scales: one number per channel of `raw_names`, or none.
  """

  channels: tuple[Channel, ...]
  options: Options
  transforms: tuple[str, ...]
  scales: tuple[float, ...]

  @property
  def kinds(self) -> tuple[str, ...]:
    """Names of the kinds of input, in order."""
    return tuple(channel.name for channel in self.channels)

  @property
  def grid(self) -> Grid:
    """The voxels."""
    return self.options.grid

  @functools.cached_property
  def channel_names(self) -> tuple[str, ...]:
    """One name per channel, in order; see `raw_names`.

    Where a transform makes several channels of one, its terms follow the name.
    """
    names = []
    for channel, terms in zip(self.channels, self._terms, strict=True):
      ends = [f'_{name}' for term in terms for name in term.names]
      for name in channel.channel_names(self.options):
        names += [f'{name}{end}' for end in ends] if len(ends) > 1 else [name]
    return tuple(names)

  @functools.cached_property
  def raw_names(self) -> tuple[str, ...]:
    """One name per channel of `raw`, in order."""
    return tuple(
      name for c in self.channels for name in c.channel_names(self.options)
    )

  @property
  def raw_counts(self) -> tuple[int, ...]:
    """Numbers of raw channels of the kinds, in order."""
    return tuple(len(c.channel_names(self.options)) for c in self.channels)

  @property
  def _terms(self) -> tuple[tuple[transforms.Term, ...], ...]:
    return tuple(transforms.parse(t) for t in self.transforms)

  @property
  def at_sub_points(self) -> tuple[bool, ...]:
    """Whether each kind has to be known at the sub-points of a voxel.

    The mean of a transform is not the transform of the mean, and changes less
    where a molecule is turned or shifted.
    """
    several = self.options.supersample > 1
    return tuple(
      several and not all(term.linear for term in terms)
      for terms in self._terms
    )

  @property
  def raw_shapes(self) -> tuple[tuple[int, ...], ...]:
    """Shape of each array that `raw` returns."""
    size, supersample = self.grid.size, self.options.supersample
    return tuple(
      (size * (supersample if fine else 1),) * 3 + (count,)
      for count, fine in zip(self.raw_counts, self.at_sub_points, strict=True)
    )

  @property
  def units(self) -> tuple[str, ...]:
    """Unit of each kind before scaling, in order; '' for pure numbers."""
    density = DENSITIES[self.options.density].unit
    return tuple(density * c.of_density + c.unit for c in self.channels)

  @property
  def num_channels(self) -> int:
    """Length of the last axis."""
    return len(self.channel_names)

  def __call__(self, mol: Molecule) -> jax.Array:
    """Evaluates, scales and transforms the channels.

    Args:
      mol: one molecule.

    Returns:
      vox_XYZC, float32: means over the sub-points of each voxel.

    Raises:
      ValueError: a channel needs orbitals or a map that mol lacks.
    """
    return self.finish(self.raw(mol))

  @property
  def batches_on_cpu(self) -> bool:
    """Whether a CPU is faster with a whole batch than molecule by molecule.

    It is for atom types within windows (`gaussians_windowed`), which one loop
    adds, unless the grid is as large as a cache; it is not for other fields.
    """
    options = self.options
    return (
      self.kinds == ('atoms',)
      and not options.binary
      and not options.smooth
      and not any(self.at_sub_points)
      and 4 * self.grid.size**3 * len(self.raw_names) <= _CACHE
      and gaussians_windowed.pays(
        options.atom_width, self.grid, len(self.raw_names), options.truncated
      )
    )

  def scratch_bytes(self, mol: Molecule) -> int:
    """Estimates the intermediate arrays of voxelising one molecule.

    They are the factors of the largest sum of Gaussians, a number for each of
    its rows and each column of voxels, and what is known at sub-points. See
    `voxel_chunk`.

    Args:
      mol: one padded molecule; only shapes count.
    """
    most = max(channel.cost(self.options, mol) for channel in self.channels)
    factors = most * channel_registry.padded_size(self.options) ** 2
    fine = zip(self.raw_shapes, self.at_sub_points, strict=True)
    values = sum(math.prod(shape) for shape, at_points in fine if at_points)
    return 4 * (factors + values)

  def raw(self, mol: Molecule) -> tuple[jax.Array, ...]:
    """Returns the channels of each kind in their units, float32.

    Returns:
      One array per kind: means over the sub-points of each voxel,
      [X, Y, Z, n], or values at the sub-points, [sX, sY, sZ, n], where its
      transform needs them (`at_sub_points`).
    """
    check_box(mol, self.grid)
    return _raw(self, mol)

  def finish(
    self, raw: Sequence[jax.Array], scale_C: jax.Array | None = None
  ) -> jax.Array:
    """Divides raw channels by scales, transforms them, and takes means.

    Args:
      raw: as `raw` gives it, or a batch of it (leading axis B).
      scale_C: one number per name of `raw_names`; None: `scales`.

    Returns:
      vox_XYZC or vox_BXYZC.
    """
    return self.means(self.transformed(raw, scale_C))

  def transformed(
    self, raw: Sequence[jax.Array], scale_C: jax.Array | None = None
  ) -> tuple[tuple[jax.Array, ...], ...]:
    """Divides raw channels by scales and transforms them, where they are known.

    Args:
      raw, scale_C: see `finish`.

    Returns:
      For each kind of input an array per term of its transform, with the axes
      of its raw array and one of the term's channels.
    """
    if scale_C is None:
      scale_C = np.array(self.scales or (1.0,) * len(self.raw_names))
    scales = jnp.split(scale_C, np.cumsum(self.raw_counts)[:-1])
    found = []
    for x, scale_n, terms in zip(raw, scales, self._terms, strict=True):
      shape = (1,) * (x.ndim - 1) + (-1,)
      x = x / scale_n.astype(x.dtype).reshape(shape)
      found.append(tuple(term.function(x) for term in terms))
    return tuple(found)

  def means(self, values: Sequence[Sequence[jax.Array]]) -> jax.Array:
    """Joins what `transformed` returns to voxels: means over their sub-points.

    Returns:
      vox_XYZC or vox_BXYZC.
    """
    parts = []
    for terms, at_points in zip(values, self.at_sub_points, strict=True):
      if at_points:
        axis = terms[0].ndim - 5
        # One term after another: all of them at once leave the cache.
        terms = [grids.pool(v, self.options.supersample, axis) for v in terms]
      together = jnp.concatenate(terms, axis=-1)
      parts.append(together.reshape(*together.shape[:-2], -1))
    return jnp.concatenate(parts, -1)


def make_voxelizer(
  channels: Sequence[str | Channel | channel_registry.Field],
  grid: Grid,
  *,
  density: str = 'xtb',
  supersample: int = 1,
  b_iso: float = 0.0,
  widths: Mapping[str, float] = types.MappingProxyType({}),
  elements: tuple[str, ...] = fields.ELEMENTS,
  transforms: Mapping[str, str] = types.MappingProxyType({}),
  scales: tuple[float, ...] = (),
  groups: bool = False,
  binary: bool = False,
  truncated: bool = False,
  use_b_factors: bool = False,
  shape_radius: float = 0.0,
  smooth: float = 0.0,
) -> Voxelizer:
  """Returns a deterministic function from a molecule to voxel channels.

  Values depend on the molecule alone (never on a sample's statistics), and
  on nothing random: 'noise' is keyed by the molecule's index.

  Args:
    channels: in the order of the output, any of 'atoms', 'density',
      'gradient' (length of the gradient of the density), 'shape', 'valence',
      'homo', 'lumo', 'potential', 'tau', 'elf' (see `fields`) and 'noise'; or
      pure functions f(mol, grid, supersample) -> [X, Y, Z] of your own; see
      `fields.channels.channel`.
    grid: voxels.
    density: source of 'density' and 'gradient': 'xtb' (stored orbitals),
      'promolecule' (all electrons of IT92's atoms, blurred), 'free_atoms'
      (valence electrons of GFN2's, as sharp as 'xtb'), 'deformation' (xtb
      minus free_atoms), 'charge' (smeared nuclei minus xtb), 'all_electron'
      (xtb and blurred cores) or 'map'. Without groups, those of orbitals hold
      the atoms with orbitals alone.
    supersample: sub-points along each edge of a voxel, for every channel.
    b_iso: B factor of the promolecule's atoms, and of cores, in Å^2; 0 ties
      it to the spacing.
    widths: 'atoms': standard deviation of 'atoms' and 'valence' in Å (the
      radius where binary); 'shape': standard deviation in radii.
    elements: symbols with an atom channel of their own; all others share
      'other'.
    transforms: kind of channel -> 'none' (the default), 'log1p', 'arcsinh',
      'power:p' or 'bins:n', or several joined by '+'; see `edjax.transforms`.
      A voxel holds the mean of them over its sub-points.
    scales: one number per name of `raw_names`, by which values are divided
      before they are transformed: constants, from `fit_scales` on training
      data.
    groups: ligand and pocket in separate channels. The ligand then has the
      density asked for, 'xtb' or 'promolecule', and the pocket always the
      promolecule, since proteins have no orbitals. A ligand whose orbitals are
      all 0 (xTB failed) has the promolecule as well.
    binary: atoms as 0 or 1 within a radius instead of Gaussians.
    truncated: Gaussians of 'atoms' and 'valence' end at 3 standard deviations,
      by a parabola from 2 on; see `kernels.truncated_gaussians`.
    use_b_factors: the promolecule adds the file's B factors.
    shape_radius: of every atom of 'shape', Å; 0 for van der Waals radii.
    smooth: standard deviation in Å of a Gaussian blur of every field, before
      scales and transforms; 0 for none. 'gradient' is that of the blurred
      density. Outside of a map there is nothing to blur into it.

  Returns:
    The voxelizer; `.channel_names` and `.num_channels` describe the output.

  Raises:
    ValueError: an unknown name (the message lists the known ones), a repeated
      channel, log1p of values of either sign, a number out of range, an option
      without its channel or density, or a wrong number of scales.
  """
  if isinstance(channels, str):
    raise ValueError(f"channels must be a tuple, as ('{channels}',)")
  for name, value in (('widths', widths), ('transforms', transforms)):
    if not isinstance(value, Mapping):
      raise ValueError(f'{name} must be a dict by channel, not {value!r}')
  if not isinstance(grid, Grid):
    raise ValueError(f'grid must be a Grid, not a {type(grid).__name__}')
  if not channels:
    raise ValueError(f'no channel; there are {", ".join(CHANNELS)}')
  chosen = tuple(channel_registry.channel(channel) for channel in channels)
  kinds = tuple(channel.name for channel in chosen)
  if len(set(kinds)) != len(kinds):
    raise ValueError(f'a channel is repeated: {kinds}')
  _one_of('density', density, DENSITIES)
  for name, value in widths.items():
    _one_of('width', name, ('atoms', 'shape'))
    value = arguments.scalar(f'width of {name}', value)
    if not (np.isfinite(value) and value > 0):
      raise ValueError(f'width of {name} must be > 0, not {value}')
  options = Options(
    grid=grid,
    supersample=arguments.whole('supersample', supersample),
    density=density,
    b_iso=arguments.scalar('b_iso', b_iso),
    use_b_factors=bool(use_b_factors),
    atom_width=float(widths.get('atoms', fields.ATOM_WIDTH)),
    elements=tuple(elements),
    binary=bool(binary),
    truncated=bool(truncated),
    shape_width=float(widths.get('shape', fields.SHAPE_WIDTH)),
    shape_radius=arguments.scalar('shape_radius', shape_radius),
    groups=bool(groups),
    smooth=arguments.scalar('smooth', smooth),
  )
  _check_options(chosen, options)
  for name in transforms:
    if name not in kinds:
      raise ValueError(f'a transform of {name}, but the channels are {kinds}')
  for channel in chosen:
    _check_transform(channel, transforms.get(channel.name, 'none'), density)
  voxelizer = Voxelizer(
    channels=chosen,
    options=options,
    transforms=tuple(transforms.get(kind, 'none') for kind in kinds),
    scales=tuple(arguments.real('scales', list(scales)).tolist()),
  )
  names = voxelizer.raw_names  # checks the elements
  if voxelizer.scales:
    if len(voxelizer.scales) != len(names):
      raise ValueError(
        f'{len(voxelizer.scales)} scales for the {len(names)} channels {names}'
      )
    if not all(np.isfinite(s) and s > 0 for s in voxelizer.scales):
      raise ValueError(f'scales must be > 0, not {voxelizer.scales}')
  return voxelizer


def _check_options(chosen: tuple[Channel, ...], options: Options) -> None:
  """Refuses numbers out of range, and options that no channel reads."""
  options.grid.refine(options.supersample)  # checks
  for name in ('b_iso', 'shape_radius'):
    value = getattr(options, name)
    if not (np.isfinite(value) and value >= 0):
      raise ValueError(f'{name} must be 0 or above it, not {value}')
  if options.smooth:
    gaussian_blur.margin(options.smooth, options.grid)  # checks
  if options.binary and options.truncated:
    raise ValueError('binary and truncated exclude each other')
  kinds = tuple(channel.name for channel in chosen)
  read = {name for channel in chosen for name in channel.options}
  for owner in CHANNELS.values():
    for name in owner.options:
      if getattr(options, name) and name not in read:
        owners = [c.name for c in CHANNELS.values() if name in c.options]
        raise ValueError(
          f'{name} is for the channel {" or ".join(map(repr, owners))}, not '
          f'for {kinds}'
        )
  # With groups the pocket has the promolecule beside the ligand's orbitals.
  read = set(DENSITIES[options.density].options)
  if options.density == 'xtb' and options.groups:
    read |= set(DENSITIES['promolecule'].options)
  for owner in DENSITIES.values():
    for name in owner.options:
      if getattr(options, name) and name not in read:
        raise ValueError(
          f'{name} is for density={owner.name!r}, not '
          f'density={options.density!r}'
        )
  if not options.groups:
    return
  if not any(channel.has_groups for channel in chosen):
    raise ValueError(f'groups have no effect on the channels {kinds}')
  density = DENSITIES[options.density]
  if any(channel.of_density for channel in chosen) and not density.has_groups:
    others = [d.name for d in DENSITIES.values() if d.has_groups]
    raise ValueError(
      f'groups: the density {density.name!r} is one of ligand and pocket '
      f'together; use {" or ".join(map(repr, others))}'
    )


def _check_transform(channel: Channel, transform: str, density: str) -> None:
  """Refuses unknown transforms, and logarithms of values of either sign."""
  # The length of a gradient is not signed.
  source = DENSITIES[density] if channel.name == 'density' else channel
  signed = channel.signed or source.signed
  terms = transforms.parse(transform)
  is_kept = source.passes_bins and any(term.of_either_sign for term in terms)
  for term in terms:
    can_take = term.of_either_sign or (is_kept and term.defined_below_0)
    if signed and not can_take:
      raise ValueError(
        f'{term.name} cannot take {channel.name} with density={density!r}, '
        "which has either sign: use 'arcsinh' or a power"
      )


def voxel_chunk(voxelizer, molecules: Molecule) -> int:
  """Returns how many molecules to voxelise at a time, for `numerics.batched`.

  Args:
    voxelizer: a `Voxelizer`, or any function of a molecule.
    molecules: a batch; only shapes count.

  Returns:
    On a CPU 0 (one at a time, chosen when the program is lowered) or all,
    whichever is faster; elsewhere as many as fit into 1 GiB of intermediate
    arrays, and all for a function without `scratch_bytes`.
  """
  if jax.default_backend() == 'cpu':
    at_once = getattr(voxelizer, 'batches_on_cpu', False)
    return len(molecules.index) if at_once else 0
  if not hasattr(voxelizer, 'scratch_bytes'):
    return 0
  return max(1, _SCRATCH // max(1, voxelizer.scratch_bytes(molecules)))


def fit_scales(
  voxelizer: Voxelizer, molecules: Molecule, chunk: int = 0
) -> tuple[float, ...]:
  """Returns the root mean square of each raw channel, before transforms.

  Args:
    voxelizer: of these channels.
    molecules: a list of equally padded ones, or a batch (leading axis B), from
      the training split.
    chunk: see `numerics.batched`.

  Returns:
    `scales` for `make_voxelizer`; see `channel_scales`.

  Raises:
    ValueError: a channel is not finite.
  """
  if not isinstance(molecules, Molecule):
    molecules = stack(molecules)
  raw = jax.jit(numerics.batched(voxelizer.raw, chunk))(molecules)
  return channel_scales(voxelizer, jax.device_get(raw))


def channel_scales(voxelizer: Voxelizer, raw: Sequence[np.ndarray]) -> tuple:
  """Returns the root mean square of each kind of channel over a sample.

  All atom types share the scale of all atoms together: with scales of their
  own, an element that is rare in the sample would stand out by its rarity, and
  an absent one would have none. Ligand and pocket of one kind share a scale as
  well: an atom is worth the same on either side.

  Args:
    voxelizer: of these channels.
    raw: its `raw` of a sample of training molecules (leading axis B), on the
      host.

  Returns:
    One number per name of `raw_names`; 1 where the sample is 0 throughout.

  Raises:
    ValueError: a channel is not finite.
  """
  scales = []
  for values_BXYZC in raw:
    flat_NC = values_BXYZC.reshape(-1, values_BXYZC.shape[-1])
    square_C = np.mean(np.square(flat_NC, dtype=np.float64), axis=0)
    if not np.isfinite(square_C).all():
      bad = len(scales) + int(np.argmin(np.isfinite(square_C)))
      raise ValueError(
        f'channel {voxelizer.raw_names[bad]} is not finite on the sample'
      )
    rms = float(np.sqrt(square_C.sum()))
    scales += [rms if rms > 0 else 1.0] * len(square_C)
  return tuple(scales)


def _one_of(kind: str, name: str, known: Iterable[str]) -> None:
  if name not in known:
    raise ValueError(f'unknown {kind} {name!r}; there are {", ".join(known)}')
