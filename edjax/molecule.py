"""The padded molecule: the one data type of the physics.

Shape suffixes, everywhere in edjax (a digit is literal: `coords_A3`)::

  B batch            A atoms, padded      L atoms with orbitals
  G points           X Y Z voxel axes     C channels (always last)
  O occupied orbitals                     K basis functions (AOs)
  P primitives       D devices            T targets
  N examples of a data set                F features
  S shells of the basis (in train, steps; in metrics, ridge strengths)
  R rotations (in metrics, resamples; there U is distinct values)
  E, Z elements of a table (Z also an axis of voxels)
  W values along an axis that an interpolation reads

Voxel arrays are `vox_XYZC`: x slowest, channels last. Everything is written
for one molecule; `vmap` batches it. `numbers_A == 0` is padding.
"""

import dataclasses
import importlib
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from edjax import arguments
from edjax.chem import elements, gfn2_occupations, toolkits

# Slots of the atomic orbitals of one atom: s; p x, y, z; d xy, yz, z2, xz,
# x2-y2. Arrays of width 4 hold molecules without d shells.
AO_SLOTS = ('s', 'x', 'y', 'z', 'xy', 'yz', 'z2', 'xz', 'x2-y2')

LIGAND, POCKET = 0, 1
# Points that a frame may have as its origin, see `origin_weights`.
ORIGINS = ('valence', 'mass', 'ligand')
_RADON = 86


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DensityMap:
  """A sampled density and where its grid lies in the molecule's frame.

  Value (i, j, k) sits at `origin_3 + i*steps_33[0] + j*steps_33[1] +
  k*steps_33[2]`.

  Attributes:
    values_XYZ: density, e/Å^3 (or the unit of the map).
    origin_3: coordinates of value (0, 0, 0), Å.
    steps_33: rows are the steps along the three grid axes, Å.
  """

  values_XYZ: jax.Array
  origin_3: jax.Array
  steps_33: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Molecule:
  """One padded molecule. A pytree; make it with `Molecule.from_arrays`.

  Attributes:
    numbers_A: atomic numbers, int32; 0 is padding.
    coords_A3: coordinates in the molecule's frame, Å; 0 on padding.
    b_factors_A: isotropic displacement parameters B = 8 pi^2 <u^2>, Å^2, as
      read from a file; fields use them on request only.
    groups_A: 0 ligand, 1 pocket, int32.
    index: number of the example in its dataset, uint32: keys what is random.
    orbitals_OL9: sqrt(occupation) * coefficient of the occupied orbitals,
      bohr^-3/2, for the first L atoms, slots as in AO_SLOTS (width 4 where no
      atom has d functions); zero rows are padding. None where there are none.
    density_map: an experimental or computed map, or None.
    homo_OL9: as orbitals_OL9, the highest occupied orbital, or those of its
      energy, scaled so that together they hold one electron; or None.
    lumo_OL9: the same of the lowest unoccupied one.
    origin_3: where the frame's origin lies in the frame of the file or of the
      coordinates given, Å; moving the molecule within its frame leaves it. None
      where it is not kept, as in packed datasets.
  """

  numbers_A: jax.Array
  coords_A3: jax.Array
  b_factors_A: jax.Array
  groups_A: jax.Array
  index: jax.Array
  orbitals_OL9: jax.Array | None = None
  density_map: DensityMap | None = None
  homo_OL9: jax.Array | None = None
  lumo_OL9: jax.Array | None = None
  origin_3: jax.Array | None = None

  @property
  def mask_A(self) -> jax.Array:
    """True on real atoms."""
    return self.numbers_A > 0

  @classmethod
  def from_arrays(
    cls,
    numbers,
    coords,
    orbitals=None,
    *,
    b_factors=None,
    groups=None,
    density_map: DensityMap | None = None,
    homo=None,
    lumo=None,
    index: int = 0,
    max_atoms: int | None = None,
    max_orbitals: int | None = None,
    max_frontier: int | None = None,
    orbital_width: int | None = None,
    center: bool = True,
    origin: str | None = None,
  ) -> 'Molecule':
    """Checks, centres and pads one molecule.

    Args:
      numbers: [A] atomic numbers, 1 to 98, or symbols.
      coords: [A, 3], Å.
      orbitals: [O, L, 9] or [O, L, 4], see the class; L <= A.
      b_factors: [A] in Å^2 (default 0).
      groups: [A] of 0 (ligand) and 1 (pocket) (default 0).
      density_map: in the same frame as coords.
      homo, lumo: as orbitals, see the class.
      index: number of the example, 0 to 2^32 - 1.
      max_atoms: length to pad atoms to (default: no padding). The orbitals'
        atoms are padded to the same length when L == A.
      max_orbitals: number to pad orbitals to (default: no padding).
      max_frontier: number to pad homo and lumo to (default: no padding).
      orbital_width: slots for the orbitals of an atom, 4 or 9 (default: those
        of each of orbitals, homo and lumo): 9 adds empty d functions.
      center: move the origin; False keeps the frame of coords. `origin_3` says
        where it was moved to.
      origin: the point that becomes the origin, see `frame_origin`.

    Returns:
      The molecule, float32.

    Raises:
      ValueError: a shape does not fit, a number is not finite, an element is
        unknown, or the padding is too short; the message names it.
    """
    numbers_A = elements.check_numbers(numbers)
    n_atoms = len(numbers_A)
    coords_A3 = elements.check_rows('coords', coords, (n_atoms, 3))
    b_factors_A = elements.check_rows(
      'b_factors', np.zeros(n_atoms) if b_factors is None else b_factors,
      (n_atoms,),
    )  # fmt: skip
    groups_A = np.asarray(
      np.zeros(n_atoms, np.int32) if groups is None else groups
    )
    if groups_A.shape != (n_atoms,) or not np.isin(groups_A, (0, 1)).all():
      raise ValueError(
        f'groups must be [{n_atoms}] of 0 (ligand) and 1 (pocket)'
      )
    index = arguments.whole('index', index)
    if not 0 <= index < 2**32:
      raise ValueError(f'index must fit into uint32, not {index}')
    origin_3 = np.zeros(3)
    if center:
      origin_3 = frame_origin(numbers_A, coords_A3, groups_A, origin)
    if density_map is not None:
      density_map = _moved_map(density_map, -origin_3)
    size = _length('max_atoms', max_atoms, n_atoms, 'atoms')
    if orbitals is None and max_orbitals is not None:
      raise ValueError('max_orbitals was given but orbitals were not')
    if orbital_width not in (None, 4, 9):
      raise ValueError(f'orbital_width must be 4 or 9, not {orbital_width}')
    levels = {
      'orbitals': (orbitals, max_orbitals, 0),
      # An empty level, too, has an orbital: of zeros.
      'homo': (homo, max_frontier, 1),
      'lumo': (lumo, max_frontier, 1),
    }
    padded = {
      f'{name}_OL9': _pad_orbitals(name, *level, n_atoms, size, orbital_width)
      for name, level in levels.items()
    }
    pad = (0, size - n_atoms)
    return cls(
      numbers_A=jnp.asarray(np.pad(numbers_A, pad)),
      coords_A3=jnp.asarray(
        np.pad(coords_A3 - origin_3, (pad, (0, 0))), jnp.float32
      ),
      b_factors_A=jnp.asarray(np.pad(b_factors_A, pad), jnp.float32),
      groups_A=jnp.asarray(np.pad(groups_A, pad), jnp.int32),
      index=jnp.asarray(index, jnp.uint32),
      density_map=density_map,
      origin_3=jnp.asarray(origin_3, jnp.float32),
      **padded,
    )

  @classmethod
  def from_rdkit(cls, molecule, conformer: int = -1, **keywords) -> 'Molecule':
    """Takes the atoms of an RDKit molecule, in their order.

    Args:
      molecule: rdkit.Chem.Mol with all hydrogens as atoms.
      conformer: id of the conformer; -1 is the first.
      **keywords: of `from_arrays`.

    Raises:
      ValueError: see `toolkits.of_rdkit` and `from_arrays`.
    """
    return cls.from_arrays(*toolkits.of_rdkit(molecule, conformer), **keywords)

  @classmethod
  def from_ase(cls, atoms, **keywords) -> 'Molecule':
    """Takes the atoms of an ase.Atoms, in their order.

    Args:
      atoms: ase.Atoms without periodic boundaries.
      **keywords: of `from_arrays`.

    Raises:
      ValueError: see `toolkits.of_ase` and `from_arrays`.
    """
    return cls.from_arrays(*toolkits.of_ase(atoms), **keywords)


def __getattr__(name: str):
  # `read` makes molecules, and lies above: it is imported when asked for.
  if name == 'read':
    return importlib.import_module('edjax.formats').read
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def frame_origin(
  numbers_A, coords_A3, groups_A, kind: str | None = None
) -> np.ndarray:
  """Returns the origin of the molecule's frame.

  Args:
    numbers_A: atomic numbers, no padding.
    coords_A3: Å.
    groups_A: 0 ligand, 1 pocket.
    kind: see `origin_weights`. By default, as in configurations, the centre of
      valence charge; where there is a pocket, the centre of mass of the
      ligand's heavy atoms (its hydrogens are not always in the file).

  Returns:
    [3] the centre.

  Raises:
    ValueError: there is no origin of this kind, or there is a pocket and no
      heavy ligand atom.
  """
  groups_A = np.asarray(groups_A)
  if kind is None:
    kind = 'ligand' if np.any(groups_A == POCKET) else 'valence'
  weights_A = origin_weights(kind, numbers_A, groups_A)
  if not weights_A.any():
    raise ValueError('no heavy ligand atom to put the origin on')
  return weights_A @ np.asarray(coords_A3, np.float64) / weights_A.sum()


def origin_weights(kind: str, numbers_A, groups_A) -> np.ndarray:
  """Returns the weights of atoms whose centre is the origin of a frame.

  About the centre of valence charge the first moment of a valence density is
  the dipole moment. About any other point the number of electrons times an
  offset is added, which hides it.

  Args:
    kind: 'valence' (charge of nucleus and core as in GFN2-xTB; beyond Rn, where
      it ends, of the nucleus and radon's electrons), 'mass', or 'ligand' (mass
      of the ligand's heavy atoms).
    numbers_A: atomic numbers.
    groups_A: 0 ligand, 1 pocket.

  Returns:
    [A], float64.

  Raises:
    ValueError: another kind.
  """
  numbers_A, groups_A = np.asarray(numbers_A), np.asarray(groups_A)
  if kind == 'valence':
    valence_A = gfn2_occupations.valence_electrons(numbers_A)
    return np.where(np.isnan(valence_A), numbers_A - _RADON, valence_A)
  masses_A = elements.MASSES[numbers_A]
  if kind == 'mass':
    return masses_A
  if kind == 'ligand':
    return np.where((groups_A == LIGAND) & (numbers_A > 1), masses_A, 0)
  raise ValueError(f'no origin {kind!r}; there are {", ".join(ORIGINS)}')


def _length(name: str, given: int | None, least: int, what: str) -> int:
  """Returns the length to pad to; `least` where none is given."""
  if given is None:
    return least
  length = arguments.whole(name, given)
  if length < least:
    raise ValueError(f'{name}={length} is less than the {least} {what}')
  return length


def _moved_map(density_map: DensityMap, shift_3: np.ndarray) -> DensityMap:
  """Checks a map, and returns it as arrays in a shifted frame."""
  if not isinstance(density_map, DensityMap):
    kind = type(density_map).__name__
    raise ValueError(f'density_map must be a DensityMap, not a {kind}')
  parts = {
    field.name: arguments.real(
      f'density_map.{field.name}', getattr(density_map, field.name)
    )
    for field in dataclasses.fields(DensityMap)
  }
  shapes = {'values_XYZ': ('X', 'Y', 'Z'), 'origin_3': (3,), 'steps_33': (3, 3)}
  for name, shape in shapes.items():
    arguments.check_shape(f'density_map.{name}', parts[name], shape)
    if not np.isfinite(parts[name]).all():
      raise ValueError(f'density_map.{name} is not finite')
  if not parts['values_XYZ'].size:
    raise ValueError('density_map.values_XYZ must be values, not empty')
  steps_33 = parts['steps_33']
  # Against the box of the same edges: flat steps of rounded numbers have a
  # determinant that is small, but not 0.
  box = np.prod(np.sqrt(np.sum(steps_33**2, axis=1)))
  if not abs(np.linalg.det(steps_33)) > 1e-6 * box:
    raise ValueError(
      f'density_map.steps_33 span no volume: {steps_33.tolist()}'
    )
  parts['origin_3'] = parts['origin_3'] + shift_3
  return DensityMap(
    **{name: jnp.asarray(x, jnp.float32) for name, x in parts.items()}
  )


def _pad_orbitals(
  name, orbitals, count, at_least, n_atoms, max_atoms, width
) -> jax.Array | None:
  """Checks [O, L, 4 or 9] and pads O and slots, and L where it is all atoms."""
  if orbitals is None:
    return None
  orbitals = arguments.real(name, orbitals)
  if orbitals.ndim != 3 or orbitals.shape[2] not in (4, 9):
    raise ValueError(
      f'{name} must be [O, L, 4] or [O, L, 9], not {list(orbitals.shape)}'
    )
  n_orbitals, n_with_orbitals, slots = orbitals.shape
  if n_with_orbitals > n_atoms:
    raise ValueError(f'{name} for {n_with_orbitals} atoms, but {n_atoms} atoms')
  if not np.isfinite(orbitals).all():
    raise ValueError(f'{name} are not finite')
  if width is not None and width < slots:
    raise ValueError(
      f'orbital_width={width} is less than the {slots} of {name}'
    )
  limit = 'max_orbitals' if name == 'orbitals' else 'max_frontier'
  count = _length(limit, count, n_orbitals, name)
  length = max_atoms if n_with_orbitals == n_atoms else n_with_orbitals
  more = (
    max(count, at_least) - n_orbitals,
    length - n_with_orbitals,
    (width or slots) - slots,
  )
  return jnp.asarray(np.pad(orbitals, [(0, n) for n in more]), jnp.float32)


_FRONTIER = 'give from_arrays the same max_frontier and orbital_width'
# What makes the shapes of fields equal, where it is not max_atoms alone.
_ADVICE = {
  'orbitals_OL9': 'give from_arrays the same max_orbitals and orbital_width, '
  'and orbitals to all or none',
  'density_map': 'cut the maps to one size, and give them to all or none',
  'homo_OL9': _FRONTIER,
  'lumo_OL9': _FRONTIER,
  'origin_3': 'make all of them with from_arrays',
}


def _shape_of(value) -> str:
  """Describes a field of a molecule: the shape of its array, or 'none'."""
  if isinstance(value, DensityMap):
    value = value.values_XYZ
  return 'none' if value is None else str(list(value.shape))


def stack(molecules: Iterable[Molecule]) -> Molecule:
  """Stacks molecules of equal padding into one batch (leading axis B).

  Raises:
    ValueError: no molecule, or different padding or contents.
  """
  molecules = list(molecules)
  if not molecules:
    raise ValueError('no molecule to stack')
  for field in dataclasses.fields(Molecule):
    first, *others = (_shape_of(getattr(m, field.name)) for m in molecules)
    for i, other in enumerate(others, start=1):
      if other != first:
        raise ValueError(
          f'molecules 0 and {i} differ in {field.name}: {first} and {other}; '
          f'{_ADVICE.get(field.name, "give from_arrays the same max_atoms")}'
        )
  return jax.tree.map(lambda *xs: jnp.stack(xs), *molecules)
