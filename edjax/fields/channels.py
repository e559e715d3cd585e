"""The registry of channels and of sources of density.

A new channel is a field in a file of this folder, an entry here and a test;
voxelizer, configuration, checks and studies read its properties from here.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from edjax.chem import elements, form_factors, gfn2_basis
from edjax.fields import (
  all_electrons,
  atom_types,
  binary_atom_types,
  charges,
  deformations,
  density_map,
  free_atoms,
  frontier,
  gradients,
  kinetic_energy,
  orbitals,
  potentials,
  promolecules,
  shapes,
  valence_electrons,
  white_noise,
)
from edjax.grid import Grid
from edjax.kernels import gaussian_blur, gto_dense
from edjax.molecule import Molecule

# Data that a molecule has to hold.
ORBITALS, MAP, FRONTIER = 'orbitals', 'map', 'frontier'
# What of it GFN2-xTB calculates.
BY_XTB = (ORBITALS, FRONTIER)


@dataclasses.dataclass(frozen=True)
class Options:
  """The choices that fields depend on; `voxelize.make_voxelizer` explains them.

  Hashable, so that equal ones share compiled code.
  """

  grid: Grid
  supersample: int = 1
  density: str = 'xtb'
  b_iso: float = 0.0
  use_b_factors: bool = False
  atom_width: float = atom_types.ATOM_WIDTH
  elements: tuple[str, ...] = atom_types.ELEMENTS
  binary: bool = False
  truncated: bool = False
  shape_width: float = shapes.SHAPE_WIDTH
  shape_radius: float = 0.0
  groups: bool = False
  smooth: float = 0.0


# f(mol, grid, supersample) -> [X, Y, Z], or [X, Y, Z, n] for n channels.
Field = Callable[[Molecule, Grid, int], jax.Array]


@dataclasses.dataclass(frozen=True)
class Channel:
  """One kind of input, of one channel or several; also a source of density.

  Attributes:
    name: as the configuration has it.
    field: options -> `Field`.
    unit: of its values, '' for pure numbers; with `of_density`, what follows
      the unit of the density.
    signed: whether values may be below 0.
    passes_bins: whether bins of its logarithm may pass over what is below 0,
      beside a term that keeps it.
    needs: data that a molecule must hold: ORBITALS, MAP, FRONTIER or ''.
    of_density: whether it is made of the density that `options` name, and
      shares its needs.
    has_groups: whether ligand and pocket have channels of their own.
    names: options -> names of its channels, if these are others than `name`
      or, with groups, ligand_`name` and pocket_`name`.
    options: names of `Options` that it makes use of, unlike most others: they
      are refused where no channel lists them.
    cost: (options, mol) -> numbers that it keeps for each column of voxels
      while it is computed. On accelerators it decides how many molecules are
      voxelised at a time.
    max_number: atomic number of the heaviest element that it knows.
  """

  name: str
  field: Callable[[Options], Field]
  unit: str = ''
  signed: bool = False
  passes_bins: bool = False
  needs: str = ''
  of_density: bool = False
  has_groups: bool = True
  names: Callable[[Options], tuple[str, ...]] | None = None
  options: tuple[str, ...] = ()
  cost: Callable[[Options, Molecule], int] = lambda options, mol: _atoms_of(mol)
  max_number: int = elements.MAX_NUMBER

  def channel_names(self, options: Options) -> tuple[str, ...]:
    """Returns the names of its channels, in order."""
    if self.names is not None:
      return self.names(options)
    if options.groups and self.has_groups:
      return (f'ligand_{self.name}', f'pocket_{self.name}')
    return (self.name,)


def _atoms(options: Options) -> Field:
  types = {'elements': options.elements, 'groups': options.groups}
  if options.binary:
    field = functools.partial(
      binary_atom_types.binary_atoms_grid, radius=options.atom_width, **types
    )
    return gaussian_blur.blurred(field, options.smooth)
  return _gaussians(atom_types.atoms_grid, options, **types)


def _valence(options: Options) -> Field:
  return _gaussians(
    valence_electrons.valence_grid, options, groups=options.groups
  )


def _gaussians(field, options: Options, **keywords) -> Field:
  """Blurs Gaussians of atoms in closed form: they become wider and lower.

  Truncated ones have no closed form, and are blurred as other fields are.
  """
  if options.truncated:
    keywords |= {'width': options.atom_width, 'truncated': True}
    return gaussian_blur.blurred(
      functools.partial(field, **keywords), options.smooth
    )
  width = float(np.hypot(options.atom_width, options.smooth))
  peak = (options.atom_width / width) ** 3
  return lambda *args: peak * field(*args, width=width, **keywords)


def _atoms_of(mol: Molecule) -> int:
  return mol.numbers_A.shape[-1]


def _cost_of_gaussians(options: Options, mol: Molecule) -> int:
  # Of truncated ones the sub-points of one layer of voxels.
  return _atoms_of(mol) * (options.supersample**3 if options.truncated else 1)


def _cost_of_atoms(options: Options, mol: Molecule) -> int:
  if not options.binary:
    return _cost_of_gaussians(options, mol)
  # No product of factors: the distance of each point from each atom.
  return _atoms_of(mol) * padded_size(options) * options.supersample**3


def _shape(options: Options) -> Field:
  field = functools.partial(
    shapes.shape_grid,
    width=options.shape_width,
    radius=options.shape_radius,
    groups=options.groups,
  )
  return gaussian_blur.blurred(field, options.smooth)


def _cost_of_shape(options: Options, mol: Molecule) -> int:
  # A column of voxels has supersample^2 columns of sub-points; jax 0.10.1 keeps
  # all of them, 0.12.0.1 a few.
  return _atoms_of(mol) * max(1, options.supersample**2 // 2)


def _noise(options: Options) -> Field:
  return gaussian_blur.blurred(white_noise.noise_grid, options.smooth)


def _density(options: Options) -> Field:
  return DENSITIES[options.density].field(options)


def _gradient(options: Options) -> Field:
  both = density_and_gradient(options)
  return lambda *args: both(*args)[1]


def density_and_gradient(options: Options) -> Callable:
  """Returns f(mol, grid, supersample) -> (density, gradient magnitude)."""
  if options.density == 'promolecule':
    return functools.partial(
      promolecules.promolecule_and_gradient_grid, **_promolecule_b(options)
    )
  return gradients.value_and_gradient_magnitude(_density(options))


def _cost_of_density(options: Options, mol: Molecule) -> int:
  return DENSITIES[options.density].cost(options, mol)


def _promolecule_b(options: Options) -> dict:
  b = options.b_iso or form_factors.tied_b_iso(options.grid.spacing)
  return {
    # A term's variance is (b + B)/(8 pi^2).
    'b_iso': b + 8 * np.pi**2 * options.smooth**2,
    'use_b_factors': options.use_b_factors,
    'groups': options.groups,
  }


def _promolecule(options: Options) -> Field:
  return functools.partial(
    promolecules.promolecule_grid, **_promolecule_b(options)
  )


def _all_electron(options: Options) -> Field:
  field = functools.partial(
    all_electrons.all_electron_density_grid, b_iso=options.b_iso
  )
  return gaussian_blur.blurred(field, options.smooth)


def _xtb(options: Options) -> Field:
  density = gaussian_blur.blurred(orbitals.orbital_density_grid, options.smooth)
  if not options.groups:
    return density
  promolecule = _promolecule(options)

  def orbitals_beside_promolecule(*args):
    # In separate channels, valence and all electrons are never added. A ligand
    # for which GFN2-xTB failed has no orbitals.
    orbitals_XYZ = density(*args)
    atoms_XYZC = promolecule(*args)
    has_orbitals = jnp.any(args[0].orbitals_OL9 != 0)
    ligand_XYZ = jnp.where(has_orbitals, orbitals_XYZ, atoms_XYZC[..., 0])
    return jnp.stack([ligand_XYZ, atoms_XYZC[..., 1]], axis=-1)

  return orbitals_beside_promolecule


def _blurred(field: Field) -> Callable[[Options], Field]:
  return lambda options: gaussian_blur.blurred(field, options.smooth)


def _cost_of_orbitals(options: Options, mol: Molecule) -> int:
  # Basis functions and orbitals at the points of a slab; with groups the
  # promolecule beside them takes less.
  if mol.orbitals_OL9 is None:
    return 0
  occupied, atoms, width = mol.orbitals_OL9.shape[-3:]
  columns = padded_size(options) ** 2
  return (occupied + atoms * width) * max(1, gto_dense.POINTS // columns)


def _cost_of_level(options: Options, mol: Molecule) -> int:
  return _cost_of_orbitals(
    options, dataclasses.replace(mol, orbitals_OL9=mol.homo_OL9)
  )


def _cost_of_potential(options: Options, mol: Molecule) -> int:
  # On twice the edge: waves and kernel, complex, and a copy of the waves; of
  # sub-points, where a transform needs them.
  waves = 6 * 4 * padded_size(options) * options.supersample**3
  return max(waves, _cost_of_orbitals(options, mol))


def _cost_of_map(options: Options, mol: Molecule) -> int:
  del mol
  # Of each point indices and weights, about 20 numbers (jax 0.10.1), or the 64
  # values that are averaged as well (0.12.0.1).
  return 48 * padded_size(options) * options.supersample**3


def padded_size(options: Options) -> int:
  """Returns the edge of the grid that fields are computed on, in voxels."""
  if not options.smooth:
    return options.grid.size
  return gaussian_blur.wider(options.smooth, options.grid).size


# An atom has several Gaussians, as many as the form factors.
_density_source = functools.partial(
  Channel,
  unit='e/Å^3',
  has_groups=False,
  cost=lambda options, mol: _atoms_of(mol) * form_factors.A_EP.shape[1],
)
_BUILT_IN_DENSITIES = (
  _density_source(
    'xtb', _xtb, needs=ORBITALS, has_groups=True, cost=_cost_of_orbitals
  ),
  _density_source(
    'promolecule',
    _promolecule,
    has_groups=True,
    options=('b_iso', 'use_b_factors'),
  ),
  _density_source(
    'free_atoms',
    _blurred(free_atoms.free_atoms_density_grid),
    max_number=gfn2_basis.MAX_NUMBER,
  ),
  _density_source(
    'deformation',
    _blurred(deformations.deformation_grid),
    signed=True,
    needs=ORBITALS,
    cost=_cost_of_orbitals,
    max_number=gfn2_basis.MAX_NUMBER,
  ),
  _density_source(
    'all_electron',
    _all_electron,
    needs=ORBITALS,
    options=('b_iso',),
    cost=_cost_of_orbitals,
    max_number=gfn2_basis.MAX_NUMBER,
  ),
  _density_source(
    'charge',
    _blurred(charges.charge_grid),
    signed=True,
    needs=ORBITALS,
    cost=_cost_of_orbitals,
    max_number=gfn2_basis.MAX_NUMBER,
  ),
  # Experimental maps go below 0 as well, those of calculated densities hardly.
  _density_source(
    'map',
    _blurred(density_map.map_density_grid),
    unit='sigma',
    signed=True,
    passes_bins=True,
    needs=MAP,
    cost=_cost_of_map,
  ),
)
DENSITIES: Mapping[str, Channel] = {d.name: d for d in _BUILT_IN_DENSITIES}

_of_orbitals = functools.partial(
  Channel, needs=ORBITALS, has_groups=False, max_number=gfn2_basis.MAX_NUMBER
)
_BUILT_IN_CHANNELS = (
  Channel(
    'atoms',
    _atoms,
    names=lambda options: atom_types.atom_channels(
      options.elements, options.groups
    ),
    options=('binary', 'truncated'),
    cost=_cost_of_atoms,
  ),
  Channel('density', _density, of_density=True, cost=_cost_of_density),
  # The value and three derivatives.
  Channel(
    'gradient',
    _gradient,
    unit='/Å',
    of_density=True,
    cost=lambda options, mol: 4 * _cost_of_density(options, mol),
  ),
  Channel(
    'shape',
    _shape,
    options=('shape_radius',),
    cost=_cost_of_shape,
  ),
  Channel(
    'valence',
    _valence,
    unit='e',
    options=('truncated',),
    cost=_cost_of_gaussians,
    max_number=gfn2_basis.MAX_NUMBER,
  ),
  *(
    _of_orbitals(
      name,
      _blurred(field),
      unit='e/Å^3',
      needs=FRONTIER,
      cost=_cost_of_level,
    )
    for name, field in (
      ('homo', frontier.homo_grid),
      ('lumo', frontier.lumo_grid),
    )
  ),
  _of_orbitals(
    'potential',
    _blurred(potentials.potential_grid),
    unit='V',
    signed=True,
    cost=_cost_of_potential,
  ),
  # Orbitals and their three derivatives.
  _of_orbitals(
    'tau',
    _blurred(kinetic_energy.tau_grid),
    unit='Ha/Å^3',
    cost=lambda options, mol: 4 * _cost_of_orbitals(options, mol),
  ),
  _of_orbitals(
    'elf',
    _blurred(kinetic_energy.elf_grid),
    cost=lambda options, mol: 4 * _cost_of_orbitals(options, mol),
  ),
  Channel(
    'noise',
    _noise,
    signed=True,
    has_groups=False,
    cost=lambda options, mol: 0,
  ),
)
CHANNELS: Mapping[str, Channel] = {c.name: c for c in _BUILT_IN_CHANNELS}
# Channels that users add.
_added: dict[str, Channel] = {}


@dataclasses.dataclass(frozen=True)
class _UserField:
  """A user's `Field` as `Channel.field`; equal for equal functions."""

  field: Field

  def __call__(self, options: Options) -> Field:
    return gaussian_blur.blurred(self.field, options.smooth)


def channel(what: str | Channel | Field) -> Channel:
  """Returns the channel of a name, or of a pure function.

  Args:
    what: a name of `known()`; a `Channel`; or a function
      f(mol, grid, supersample) -> [X, Y, Z], which must depend on its arguments
      alone. The channel takes the function's name. Values may have either sign,
      and ligand and pocket are not separated. The molecule holds what
      `options.density` needs, such as orbitals for 'xtb'.

  Raises:
    ValueError: the name is unknown (the message lists the known ones), or a
      function's name is taken or is none.
  """
  if isinstance(what, Channel):
    return what
  if not callable(what):
    if what not in known():
      raise ValueError(
        f'unknown channel {what!r}; there are {", ".join(known())}, and '
        'functions f(mol, grid, supersample) of your own'
      )
    return known()[what]
  name = getattr(what, '__name__', '')
  if not name.isidentifier() or name in CHANNELS:
    raise ValueError(
      f'a channel of your own needs a name that is not {name!r}: define it as '
      "a function, or pass fields.channels.Channel('name', ...)"
    )
  return Channel(
    name, _UserField(what), signed=True, of_density=True, has_groups=False
  )


def add(what: Channel | Field) -> str:
  """Registers a channel by its name, and replaces one added before.

  Returns:
    The name.

  Raises:
    ValueError: the name is that of a channel of edjax; see `channel`.
  """
  added = channel(what)
  if added.name in CHANNELS:
    raise ValueError(f'{added.name!r} is a channel of edjax')
  _added[added.name] = added
  return added.name


def known() -> dict[str, Channel]:
  """Returns all channels by their names."""
  return {**CHANNELS, **_added}


def source(name: str) -> str:
  """Returns the source of a user's channel, by which it is told from others.

  Args:
    name: of a channel.

  Returns:
    The text; '' for a channel of edjax, and where Python keeps none.
  """
  if name not in _added:
    return ''
  field = _added[name].field
  field = field.field if isinstance(field, _UserField) else field
  try:
    return inspect.getsource(field)
  except (OSError, TypeError):  # typed in, or an object
    return ''


def parts_of(names: Sequence[str], density: str) -> tuple[Channel, ...]:
  """Returns the channels, and the source of density if any is made of it.

  Args:
    names: of channels.
    density: a name of DENSITIES.

  Raises:
    ValueError: a name is unknown.
  """
  chosen = tuple(channel(name) for name in names)
  if any(c.of_density for c in chosen):
    chosen += (DENSITIES[density],)
  return chosen
