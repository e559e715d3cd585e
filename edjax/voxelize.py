"""From a molecule to the voxel channels that a network reads."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from edjax import fields
from edjax.chem import form_factors
from edjax.grid import Grid
from edjax.kernels import gaussian_blur as blurs
from edjax.kernels import gaussians_windowed, numerics
from edjax.molecule import Molecule

CHANNELS = ('atoms', 'density', 'gradient', 'shape', 'valence', 'noise')
DENSITIES = ('xtb', 'promolecule', 'free_atoms', 'deformation', 'map')
TRANSFORMS = {
  'none': lambda x: x,
  'log1p': jnp.log1p,  # of values that are never below 0
  'arcsinh': jnp.arcsinh,  # keeps the sign
}
# Densities of either sign, which log1p cannot take (experimental maps go
# below 0 as well).
_SIGNED_DENSITIES = ('deformation', 'map')
# Bytes that voxelising may take beside its result on an accelerator: less than
# the activations of the networks that such a device is for.
_SCRATCH = 2**30
# Bytes of a grid of which a CPU's cache still holds several.
_CACHE = 4 * 2**20
_WIDTHS = {'atoms': fields.ATOM_WIDTH, 'shape': fields.SHAPE_WIDTH}


# Tracing a gradient of orbitals takes seconds: programs of a run share it.
@functools.partial(jax.jit, static_argnums=0, inline=True)
def _raw(voxelizer, mol: Molecule) -> jax.Array:
  """See `Voxelizer.raw`."""
  values = voxelizer._fields(mol)
  parts = [values[channel] for channel in voxelizer.channels]
  parts = [p if p.ndim == 4 else p[..., None] for p in parts]
  return jnp.concatenate(parts, axis=-1).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Voxelizer:
  """f(mol) -> vox_XYZC; hashable, so that equal ones share compiled code.

  Make it with `make_voxelizer`, where the fields are described.
  """

  channels: tuple[str, ...]
  grid: Grid
  density: str
  supersample: int
  blur: float
  widths: tuple[tuple[str, float], ...]
  elements: tuple[str, ...]
  transforms: tuple[tuple[str, str], ...]
  scales: tuple[float, ...]
  groups: bool
  binary: bool
  use_b_factors: bool
  shape_radius: float
  smooth: float

  @functools.cached_property
  def channel_names(self) -> tuple[str, ...]:
    """One name per channel, in order."""
    return tuple(name for c in self.channels for name in self._names(c))

  @property
  def channel_counts(self) -> tuple[int, ...]:
    """How many channels each kind has, in order."""
    return tuple(len(self._names(c)) for c in self.channels)

  @property
  def num_channels(self) -> int:
    """Length of the last axis."""
    return len(self.channel_names)

  def _names(self, channel: str) -> tuple[str, ...]:
    if channel == 'atoms':
      return fields.atom_channels(self.elements, self.groups)
    if self.groups and channel != 'noise':
      return (f'ligand_{channel}', f'pocket_{channel}')
    return (channel,)

  def __call__(self, mol: Molecule) -> jax.Array:
    """Evaluates, scales and transforms the channels.

    Args:
      mol: one molecule.

    Returns:
      vox_XYZC, float32.

    Raises:
      ValueError: a channel needs orbitals or a map that mol lacks.
    """
    return self.finish(self.raw(mol))

  @property
  def batches_on_cpu(self) -> bool:
    """Whether a CPU takes a whole batch in less time than one by one.

    Atom types near voxels alone (`gaussians_windowed`) are added in one loop;
    other fields, and grids as large as a cache, want one molecule at a time.
    """
    width = {**_WIDTHS, **dict(self.widths)}['atoms']
    return (
      self.channels == ('atoms',)
      and not self.binary
      and not self.smooth
      and 4 * self.grid.size**3 * self.num_channels <= _CACHE
      and gaussians_windowed.pays(width, self.grid, self.num_channels)
    )

  def scratch_bytes(self, mol: Molecule) -> int:
    """What evaluating one molecule needs beside its result, about.

    The factors of the largest sum of Gaussians: one number for each of its
    rows and each column of voxels, for each of value and gradient. For the
    choice of how many molecules are evaluated at a time.

    Args:
      mol: one padded molecule; only shapes count.
    """
    atoms, size = mol.numbers_A.shape[-1], self.grid.size
    if self.smooth:
      size = blurs.wider(self.smooth, self.grid).size
    rows = {'atoms': atoms, 'valence': atoms}
    rows['shape'] = atoms * self.supersample**2
    if self.binary:  # no product: the distance of each point from each atom
      rows['atoms'] = atoms * size * self.supersample**3
    if self.density == 'map':
      # Indices and weights of each point; XLA does not keep the 64 values.
      density = 24 * size * self.supersample**3
    else:
      density = atoms * form_factors.A_EP.shape[1]
    copies = 4 if 'gradient' in self.channels else 1
    rows |= {'density': copies * density, 'gradient': copies * density}
    most = max((rows.get(channel, 0) for channel in self.channels), default=0)
    return 4 * most * size**2

  def raw(self, mol: Molecule) -> jax.Array:
    """The channels in their own units, [X, Y, Z, C], float32."""
    return _raw(self, mol)

  def finish(self, raw_XYZC: jax.Array) -> jax.Array:
    """Divides raw channels by the scales, then transforms them.

    Args:
      raw_XYZC: as `raw` gives them; any leading axes.

    Returns:
      The same shape.
    """
    if self.scales:
      scale_C = np.array(self.scales, np.float32)
      raw_XYZC = raw_XYZC / scale_C.reshape((1,) * (raw_XYZC.ndim - 1) + (-1,))
    transforms = dict(self.transforms)
    parts, begin = [], 0
    for channel, count in zip(self.channels, self.channel_counts, strict=True):
      end = begin + count
      transform = TRANSFORMS[transforms.get(channel, 'none')]
      parts.append(transform(raw_XYZC[..., begin:end]))
      begin = end
    return jnp.concatenate(parts, axis=-1)

  def _fields(self, mol: Molecule) -> dict[str, jax.Array]:
    """The untransformed channels."""
    args = (mol, self.grid, self.supersample)
    widths = {**_WIDTHS, **dict(self.widths)}
    values = {}
    # Gaussians are blurred in closed form: by their width.
    width = float(np.hypot(widths['atoms'], self.smooth))
    peak = (widths['atoms'] / width) ** 3
    if 'atoms' in self.channels:
      options = {'elements': self.elements, 'groups': self.groups}
      binary = functools.partial(
        fields.binary_atoms_grid, radius=widths['atoms'], **options
      )
      values['atoms'] = (
        self._blurred(binary)(*args)
        if self.binary
        else peak * fields.atoms_grid(*args, width=width, **options)
      )
    density = self._density()
    if 'gradient' in self.channels:
      both = (
        functools.partial(
          fields.promolecule_and_gradient_grid, **self._promolecule()
        )
        if self.density == 'promolecule'
        else fields.value_and_gradient_magnitude(density)
      )
      values['density'], values['gradient'] = both(*args)
    elif 'density' in self.channels:
      values['density'] = density(*args)
    if 'shape' in self.channels:
      shape = functools.partial(
        fields.shape_grid,
        width=widths['shape'],
        radius=self.shape_radius,
        groups=self.groups,
      )
      values['shape'] = self._blurred(shape)(*args)
    if 'valence' in self.channels:
      values['valence'] = peak * fields.valence_grid(
        *args, width=width, groups=self.groups
      )
    if 'noise' in self.channels:
      values['noise'] = self._blurred(fields.noise_grid)(*args)
    return values

  def _blurred(self, field: Callable) -> Callable:
    return blurs.blurred(field, self.smooth)

  def _promolecule(self) -> dict:
    blur = self.blur or form_factors.tied_blur(self.grid.spacing)
    return {
      # A term's variance is (b + B)/(8 pi^2).
      'blur': blur + 8 * np.pi**2 * self.smooth**2,
      'use_b_factors': self.use_b_factors,
      'groups': self.groups,
    }

  def _density(self) -> Callable:
    promolecule = functools.partial(
      fields.promolecule_grid, **self._promolecule()
    )

    orbitals = self._blurred(fields.orbital_density_grid)

    def orbitals_beside_promolecule(*args):
      # Channels of their own: valence and all electrons are never added. A
      # ligand that GFN2-xTB could not do has no orbitals.
      orbitals_XYZ = orbitals(*args)
      atoms_XYZC = promolecule(*args)
      has_orbitals = jnp.any(args[0].orbitals_OL9 != 0)
      ligand_XYZ = jnp.where(has_orbitals, orbitals_XYZ, atoms_XYZC[..., 0])
      return jnp.stack([ligand_XYZ, atoms_XYZC[..., 1]], axis=-1)

    return {
      'xtb': orbitals_beside_promolecule if self.groups else orbitals,
      'promolecule': promolecule,
      'free_atoms': self._blurred(fields.free_atoms_density_grid),
      'deformation': self._blurred(fields.deformation_grid),
      'map': self._blurred(fields.map_density_grid),
    }[self.density]


def make_voxelizer(
  channels: tuple[str, ...],
  grid: Grid,
  *,
  density: str = 'xtb',
  supersample: int = 1,
  blur: float = 0.0,
  widths: Mapping[str, float] | tuple[tuple[str, float], ...] = (),
  elements: tuple[str, ...] = fields.ELEMENTS,
  transforms: Mapping[str, str] | tuple[tuple[str, str], ...] = (),
  scales: tuple[float, ...] = (),
  groups: bool = False,
  binary: bool = False,
  use_b_factors: bool = False,
  shape_radius: float = 0.0,
  smooth: float = 0.0,
) -> Voxelizer:
  """A function from a molecule to voxel channels; deterministic, no key.

  Values depend on the molecule alone (never on a sample's statistics), and
  on nothing random: 'noise' is keyed by the example id.

  Args:
    channels: any of 'atoms', 'density', 'gradient' (length of the gradient of
      the density), 'shape', 'valence', 'noise', in the order of the channels.
    grid: voxels.
    density: source of 'density' and 'gradient': 'xtb' (stored orbitals),
      'promolecule' (all electrons of IT92's atoms, blurred), 'free_atoms'
      (valence electrons of GFN2's, as sharp as 'xtb'), 'deformation' (xtb
      minus free_atoms) or 'map'. Without groups, 'xtb' and 'deformation'
      hold the atoms with orbitals alone.
    supersample: sub-points along each edge of a voxel, for every channel.
    blur: B of the promolecule in Å^2; 0 ties it to the spacing.
    widths: mapping or pairs: 'atoms', standard deviation in Å (the radius
      where binary), of 'valence' too; 'shape', standard deviation in radii.
    elements: symbols with an atom channel of their own; all others share
      'other'.
    transforms: mapping or pairs, channel to 'none', 'log1p' or 'arcsinh'.
    scales: one number per channel name, by which values are divided before
      they are transformed: constants, from `fit_scales` on training data.
    groups: ligand and pocket in channels of their own; the density of the
      ligand is then the one asked for, 'xtb' or 'promolecule', and that of
      the pocket the promolecule (an orbital density of a protein there is
      not). A ligand whose orbitals are all 0 (xTB failed) has the promolecule
      in the place of its orbital density.
    binary: atoms as 0 or 1 within a radius instead of Gaussians.
    use_b_factors: the promolecule adds the file's B factors.
    shape_radius: of every atom of 'shape', Å; 0 for van der Waals radii.
    smooth: standard deviation in Å of a Gaussian blur of every field, before
      scales and transforms; 0 for none. 'gradient' is that of the blurred
      density. Outside of a map there is nothing to blur into it.

  Returns:
    The voxelizer; `.channel_names` and `.num_channels` describe the output.

  Raises:
    ValueError: an unknown name (the message lists those there are), a
      repeated channel, log1p of values of either sign, a number that makes no
      sense, an option without the channel or density that it is for, or as
      many scales as there are not channels.
  """
  channels = tuple(channels)
  if not channels:
    raise ValueError(f'no channel; there are {CHANNELS}')
  for name in channels:
    _one_of('channel', name, CHANNELS)
  if len(set(channels)) != len(channels):
    raise ValueError(f'a channel is repeated: {channels}')
  _one_of('density', density, DENSITIES)
  grid.refine(supersample)  # checks
  if not (np.isfinite(blur) and blur >= 0):
    raise ValueError(f'blur must be 0 (tied) or a B > 0 Å^2, not {blur}')
  promolecule = density == 'promolecule' or (density == 'xtb' and groups)
  if (blur > 0 or use_b_factors) and not promolecule:
    raise ValueError(
      "blur and use_b_factors are for density='promolecule', not "
      f'density={density!r}'
    )
  if binary and 'atoms' not in channels:
    raise ValueError(f"binary is for the channel 'atoms', not for {channels}")
  if not (np.isfinite(shape_radius) and shape_radius >= 0):
    raise ValueError(f'shape_radius must be 0 or above it, not {shape_radius}')
  if shape_radius and 'shape' not in channels:
    raise ValueError(
      f"shape_radius is for the channel 'shape', not for {channels}"
    )
  if smooth:
    blurs.margin(smooth, grid)  # checks
  if groups:
    if set(channels) == {'noise'}:
      raise ValueError("groups have no effect on the channel 'noise'")
    from_density = {'density', 'gradient'} & set(channels)
    if from_density and density not in ('xtb', 'promolecule'):
      raise ValueError(
        f'groups: a density of {density!r} is one of ligand and pocket '
        "together; use 'xtb' or 'promolecule'"
      )
  widths = _pairs('widths', widths)
  for name, value in widths:
    _one_of('width', name, tuple(_WIDTHS))
    if not (np.isfinite(value) and value > 0):
      raise ValueError(f'width of {name} must be > 0, not {value}')
  transforms = _pairs('transforms', transforms)
  for name, transform in transforms:
    _one_of('channel of a transform', name, CHANNELS)
    _one_of('transform', transform, tuple(TRANSFORMS))
    if name not in channels:
      raise ValueError(
        f'a transform of {name}, but the channels are {channels}'
      )
    signed = name == 'noise' or (
      name == 'density' and density in _SIGNED_DENSITIES
    )
    if transform == 'log1p' and signed:
      raise ValueError(
        f'log1p cannot take {name} with density={density!r}, which has '
        "either sign: use 'arcsinh'"
      )
  voxelizer = Voxelizer(
    channels=channels,
    grid=grid,
    density=density,
    supersample=int(supersample),
    blur=float(blur),
    widths=tuple((name, float(value)) for name, value in widths),
    elements=tuple(elements),
    transforms=transforms,
    scales=tuple(float(s) for s in scales),
    groups=bool(groups),
    binary=bool(binary),
    use_b_factors=bool(use_b_factors),
    shape_radius=float(shape_radius),
    smooth=float(smooth),
  )
  names = voxelizer.channel_names  # checks the elements
  if scales:
    if len(scales) != len(names):
      raise ValueError(
        f'{len(scales)} scales for the {len(names)} channels {names}'
      )
    if not all(np.isfinite(s) and s > 0 for s in scales):
      raise ValueError(f'scales must be > 0, not {scales}')
  return voxelizer


def voxel_chunk(voxelizer, molecules: Molecule) -> int:
  """How many molecules to voxelise at a time, for `numerics.batched`.

  Args:
    voxelizer: a `Voxelizer`, or any function of a molecule.
    molecules: a batch; only shapes count.

  Returns:
    On a CPU 0 (one at a time, chosen when the program is lowered) or all,
    whichever is faster; elsewhere as many as fit into 1 GiB of scratch, and
    all for a function that does not say what it takes.
  """
  if jax.default_backend() == 'cpu':
    at_once = getattr(voxelizer, 'batches_on_cpu', False)
    return len(molecules.example_id) if at_once else 0
  if not hasattr(voxelizer, 'scratch_bytes'):
    return 0
  return max(1, _SCRATCH // max(1, voxelizer.scratch_bytes(molecules)))


def fit_scales(
  voxelizer: Voxelizer, molecules: Molecule, chunk: int = 0
) -> tuple[float, ...]:
  """What to divide each channel by: its root mean square over a sample.

  Of the fields themselves, before any transform.

  Args:
    voxelizer: which channels.
    molecules: a batch (leading axis B), from the training split.
    chunk: see `numerics.batched`.

  Returns:
    One number per channel name for `make_voxelizer(..., scales=...)`; see
    `channel_scales`.

  Raises:
    ValueError: a channel is not finite.
  """
  vox_BXYZC = jax.jit(numerics.batched(voxelizer.raw, chunk))(molecules)
  return channel_scales(voxelizer, np.asarray(vox_BXYZC))


def channel_scales(voxelizer: Voxelizer, raw_BXYZC: np.ndarray) -> tuple:
  """Root mean squares of a sample, as `fit_scales` has it.

  The channels of atom types share one scale, that of all atoms together: with
  scales of their own, an element that is rare in the sample would stand out by
  its rarity, and one that is absent from it would have none. So do ligand and
  pocket of one kind: an atom is worth the same on either side.

  Args:
    voxelizer: which channels.
    raw_BXYZC: its `raw` of a sample of training molecules, on the host.

  Returns:
    One number per channel name; 1 where the sample is 0 throughout.

  Raises:
    ValueError: a channel is not finite.
  """
  names = voxelizer.channel_names
  flat_NC = raw_BXYZC.reshape(-1, len(names))
  square_C = np.mean(np.square(flat_NC, dtype=np.float64), axis=0)
  if not np.isfinite(square_C).all():
    bad = names[int(np.argmin(np.isfinite(square_C)))]
    raise ValueError(f'channel {bad} is not finite on the sample')
  scales, begin = [], 0
  for count in voxelizer.channel_counts:
    rms = float(np.sqrt(square_C[begin : begin + count].sum()))
    scales += [rms if rms > 0 else 1.0] * count
    begin += count
  return tuple(scales)


def _pairs(name: str, pairs) -> tuple[tuple[str, object], ...]:
  """A mapping, or pairs of a name and a value, as sorted pairs."""
  pairs = tuple((key, value) for key, value in (
    pairs.items() if isinstance(pairs, Mapping) else pairs
  ))  # fmt: skip
  if len({key for key, _ in pairs}) != len(pairs):
    raise ValueError(f'{name} give a channel twice: {pairs}')
  return tuple(sorted(pairs))


def _one_of(what: str, name: str, known: tuple[str, ...]) -> None:
  if name not in known:
    raise ValueError(f'unknown {what} {name!r}; there are {", ".join(known)}')
