"""The padded molecule: the one data type of the physics.

Shape suffixes, everywhere in edjax (a digit is literal: `coords_A3`):

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

import jax
import jax.numpy as jnp
import numpy as np

from edjax.chem import elements, gfn2_occupations

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
    center: bool = True,
    origin: str | None = None,
  ) -> 'Molecule':
    """Checks, centres and pads one molecule.

    Args:
      numbers: [A] atomic numbers, 1 to 98.
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
      center: move the origin; False keeps the frame of coords.
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
    if not 0 <= int(index) < 2**32:
      raise ValueError(f'index must fit into uint32, not {index}')
    if density_map is not None:
      _check_map(density_map)
    if center:
      origin_3 = frame_origin(numbers_A, coords_A3, groups_A, origin)
      coords_A3 = coords_A3 - origin_3
      if density_map is not None:
        density_map = dataclasses.replace(
          density_map, origin_3=density_map.origin_3 - origin_3
        )
    size = n_atoms if max_atoms is None else int(max_atoms)
    if size < n_atoms:
      raise ValueError(f'max_atoms={size} is less than the {n_atoms} atoms')
    if orbitals is not None:
      orbitals = _pad_orbitals(orbitals, n_atoms, size, max_orbitals)
    elif max_orbitals is not None:
      raise ValueError('max_orbitals was given but orbitals were not')
    # An empty level, too, has an orbital: of zeros.
    homo, lumo = (
      level
      if level is None
      else _pad_orbitals(
        level, n_atoms, size, max_frontier or max(1, len(level))
      )
      for level in (homo, lumo)
    )
    pad = (0, size - n_atoms)
    if density_map is not None:
      density_map = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float32), density_map
      )
    return cls(
      numbers_A=jnp.asarray(np.pad(numbers_A, pad)),
      coords_A3=jnp.asarray(np.pad(coords_A3, (pad, (0, 0))), jnp.float32),
      b_factors_A=jnp.asarray(np.pad(b_factors_A, pad), jnp.float32),
      groups_A=jnp.asarray(np.pad(groups_A, pad), jnp.int32),
      index=jnp.asarray(int(index), jnp.uint32),
      orbitals_OL9=orbitals,
      density_map=density_map,
      homo_OL9=homo,
      lumo_OL9=lumo,
    )


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
  if kind == 'valence':
    valence_A = gfn2_occupations.valence_electrons(numbers_A)
    return np.where(np.isnan(valence_A), numbers_A - _RADON, valence_A)
  masses_A = elements.MASSES[numbers_A]
  if kind == 'mass':
    return masses_A
  if kind == 'ligand':
    return np.where((groups_A == LIGAND) & (numbers_A > 1), masses_A, 0)
  raise ValueError(f'no origin {kind!r}; there are {", ".join(ORIGINS)}')


def _check_map(density_map: DensityMap) -> None:
  values_XYZ = np.asarray(density_map.values_XYZ)
  if values_XYZ.ndim != 3 or not values_XYZ.size:
    raise ValueError(
      f'density_map.values_XYZ must be [X, Y, Z], not {list(values_XYZ.shape)}'
    )
  origin_3 = np.asarray(density_map.origin_3, np.float64)
  steps_33 = np.asarray(density_map.steps_33, np.float64)
  if origin_3.shape != (3,):
    raise ValueError(
      f'density_map.origin_3 must be [3], not {list(origin_3.shape)}'
    )
  if steps_33.shape != (3, 3):
    raise ValueError(
      f'density_map.steps_33 must be [3, 3], not {list(steps_33.shape)}'
    )
  for field in dataclasses.fields(density_map):
    if not np.isfinite(getattr(density_map, field.name)).all():
      raise ValueError(f'density_map.{field.name} is not finite')
  # Against the box of the same edges: flat steps of rounded numbers have a
  # determinant that is small, but not 0.
  box = np.prod(np.sqrt(np.sum(steps_33**2, axis=1)))
  if not abs(np.linalg.det(steps_33)) > 1e-6 * box:
    raise ValueError(
      f'density_map.steps_33 span no volume: {steps_33.tolist()}'
    )


def _pad_orbitals(orbitals, n_atoms, max_atoms, max_orbitals) -> jax.Array:
  """Checks [O, L, 4 or 9] and pads O, and L where every atom has orbitals."""
  orbitals = np.asarray(orbitals)
  if orbitals.ndim != 3 or orbitals.shape[2] not in (4, 9):
    raise ValueError(
      f'orbitals must be [O, L, 4] or [O, L, 9], not {list(orbitals.shape)}'
    )
  n_orbitals, n_with_orbitals, _ = orbitals.shape
  if n_with_orbitals > n_atoms:
    raise ValueError(
      f'orbitals for {n_with_orbitals} atoms, but {n_atoms} atoms'
    )
  if not np.isfinite(orbitals).all():
    raise ValueError('orbitals are not finite')
  count = n_orbitals if max_orbitals is None else int(max_orbitals)
  if count < n_orbitals:
    raise ValueError(
      f'max_orbitals={count} is less than the {n_orbitals} orbitals'
    )
  length = max_atoms if n_with_orbitals == n_atoms else n_with_orbitals
  padding = ((0, count - n_orbitals), (0, length - n_with_orbitals), (0, 0))
  return jnp.asarray(np.pad(orbitals, padding), jnp.float32)


def stack(molecules: list[Molecule]) -> Molecule:
  """Stacks molecules of equal padding into one batch (leading axis B).

  Raises:
    ValueError: no molecule, or different padding or contents.
  """
  if not molecules:
    raise ValueError('no molecule to stack')
  kinds = {
    (jax.tree.structure(m), tuple(x.shape for x in jax.tree.leaves(m)))
    for m in molecules
  }
  if len(kinds) > 1:
    raise ValueError(
      'molecules differ in padding or in what they carry; give from_arrays '
      'the same max_atoms and max_orbitals'
    )
  return jax.tree.map(lambda *xs: jnp.stack(xs), *molecules)
