"""Fields of a molecule: densities and their kin, on points and on grids.

Each field has two forms that agree: `f(mol, points_G3)` on any points, the
reference, and `f_grid(mol, grid, supersample=1)`, evaluated separably; there
values are means over supersample^3 sub-points of each voxel. One molecule,
padded; `vmap` or `numerics.batched` make batches. Densities are in e/Å^3.
`gradient_magnitude` turns any of them into the length of its gradient.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from edjax import free_atoms, geometry, orbitals
from edjax import grid as grids
from edjax.chem import form_factors, gfn2_basis, gfn2_occupations
from edjax.chem.elements import MAX_NUMBER, METALS, VDW_RADII, atomic_number
from edjax.grid import Grid
from edjax.kernels import gaussians, gaussians_windowed, interpolation
from edjax.kernels.numerics import HIGHEST, safe_norm
from edjax.molecule import LIGAND, POCKET, Molecule

ELEMENTS = ('H', 'C', 'N', 'O', 'F')
_METALS_CHANNEL = 0  # no atomic number
# Standard deviation of atom Gaussians, Å.
ATOM_WIDTH = 0.5
# Standard deviation of the Gaussians of `shape`, in radii.
SHAPE_WIDTH = 0.5
# Below it the peak of `shape`, exp(1/(2 width^2)), nears the end of float32
# (at 0.075); the surface is then 0.02 radii thick, less than any voxel.
_MIN_SHAPE_WIDTH = 0.1


def promolecule(
  mol: Molecule,
  points_G3: jax.Array,
  *,
  blur: float,
  use_b_factors: bool = False,
  groups: bool = False,
) -> jax.Array:
  """Superposed densities of free atoms: IT92 form factors blurred by B.

  All electrons, neutral atoms; see `form_factors`.

  Args:
    mol: one molecule.
    points_G3: Å.
    blur: B in Å^2, the same for every atom, above 0.
    use_b_factors: add each atom's B from the file (a negative one counts as
      0).
    groups: ligand and pocket apart.

  Returns:
    rho_G, e/Å^3; with groups rho_GC, first the ligand's, then the pocket's.

  Raises:
    ValueError: blur is not above 0, or points are not [G, 3].
  """
  terms = _promolecule_terms(mol, blur, use_b_factors, groups)
  return _apart(gaussians.splat_points(points_G3, *terms), groups)


def promolecule_grid(
  mol: Molecule,
  grid: Grid,
  supersample: int = 1,
  *,
  blur: float = 0.0,
  use_b_factors: bool = False,
  groups: bool = False,
) -> jax.Array:
  """`promolecule` on a grid.

  Args:
    mol: one molecule.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.
    blur: B in Å^2; 0 ties it to the spacing, 8 pi^2/1.1 * spacing^2.
    use_b_factors: add each atom's B from the file.
    groups: ligand and pocket apart.

  Returns:
    rho_XYZ, e/Å^3; with groups rho_XYZC, first the ligand's, then the
    pocket's.

  Raises:
    ValueError: blur is negative or not finite.
  """
  blur = form_factors.tied_blur(grid.spacing) if blur == 0 else blur
  terms = _promolecule_terms(mol, blur, use_b_factors, groups)
  rho = _splat_grid(terms, grid, supersample, _typical_sigma(blur))
  return _apart(rho, groups)


def promolecule_and_gradient_grid(
  mol: Molecule,
  grid: Grid,
  supersample: int = 1,
  *,
  blur: float = 0.0,
  use_b_factors: bool = False,
  groups: bool = False,
) -> tuple[jax.Array, jax.Array]:
  """`value_and_gradient_magnitude(promolecule_grid)`, in half of its time.

  Args:
    mol: one molecule.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.
    blur: B in Å^2; 0 ties it to the spacing.
    use_b_factors: add each atom's B from the file.
    groups: ligand and pocket apart.

  Returns:
    rho_XYZ in e/Å^3 and the length of its gradient in e/Å^4; with groups
    [X, Y, Z, 2] both.

  Raises:
    ValueError: blur is negative or not finite.
  """
  blur = form_factors.tied_blur(grid.spacing) if blur == 0 else blur
  terms = _promolecule_terms(mol, blur, use_b_factors, groups)

  rho_XYZC, slopes = _near_or_whole(
    terms,
    grid,
    _typical_sigma(blur),
    near=lambda *t: gaussians_windowed.splat_grid_and_gradient(
      *t, grid, supersample
    ),
    whole=lambda *t: gaussians.splat_grid_and_gradient(*t, grid, supersample),
  )
  return _apart(rho_XYZC, groups), _apart(safe_norm(slopes, axis=0), groups)


def orbital_density(
  mol: Molecule, points_G3: jax.Array, *, core_blur: float = 0.0
) -> jax.Array:
  """Valence density of the stored GFN2-xTB orbitals; see `orbitals`.

  Args:
    mol: one molecule with orbitals.
    points_G3: Å.
    core_blur: above 0, adds the core electrons as Gaussians blurred by this B
      in Å^2 (`orbitals.core_density`); 0 leaves them out.

  Returns:
    rho_G, e/Å^3.

  Raises:
    ValueError: the molecule has no orbitals, or core_blur is negative.
  """
  rho_G = orbitals.density(mol, points_G3)
  if core_blur == 0:
    return rho_G
  return rho_G + orbitals.core_density(mol, points_G3, core_blur)


def orbital_density_grid(
  mol: Molecule, grid: Grid, supersample: int = 1, *, core_blur: float = 0.0
) -> jax.Array:
  """`orbital_density` on a grid.

  Args:
    mol: one molecule with orbitals.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.
    core_blur: above 0, adds the core electrons as Gaussians blurred by this B
      in Å^2; `form_factors.tied_blur(grid.spacing)` suits a grid.

  Returns:
    rho_XYZ, e/Å^3.

  Raises:
    ValueError: the molecule has no orbitals, or core_blur is negative.
  """
  rho_XYZ = orbitals.density_grid(mol, grid, supersample)
  if core_blur == 0:
    return rho_XYZ
  return rho_XYZ + orbitals.core_density_grid(mol, grid, supersample, core_blur)


def free_atoms_density(mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """Superposed valence densities of free atoms at the level of GFN2-xTB.

  What `deformation` subtracts: the promolecule to compare an orbital density
  with, as sharp and without core electrons as it is.

  Args:
    mol: one molecule; orbitals are not needed.
    points_G3: Å.

  Returns:
    rho_G, e/Å^3; NaN for elements beyond Rn.
  """
  args = mol.numbers_A, mol.coords_A3, points_G3
  return free_atoms.density(*args, _may_have_d(mol))


def free_atoms_density_grid(
  mol: Molecule, grid: Grid, supersample: int = 1
) -> jax.Array:
  """`free_atoms_density` on a grid.

  Args:
    mol: one molecule.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.

  Returns:
    rho_XYZ, e/Å^3.
  """
  args = mol.numbers_A, mol.coords_A3, grid, supersample
  return free_atoms.density_grid(*args, _may_have_d(mol))


def _may_have_d(mol: Molecule) -> bool:
  """Orbitals without d functions are of atoms without them."""
  return mol.orbitals_OL9 is None or mol.orbitals_OL9.shape[-1] == 9


def deformation(mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """Orbital density minus the valence densities of the free atoms.

  Both at the level of GFN2-xTB (`free_atoms`) and neither blurred, so that
  what is left is the rearrangement of electrons, not a difference of models:
  for a neutral molecule it integrates to 0, and the atoms' inner parts and
  tails cancel. IT92 atoms would not do: they hold core electrons, and their
  blur would have to be given to the orbitals too.

  Args:
    mol: one molecule with orbitals; only atoms that carry orbitals count.
    points_G3: Å.

  Returns:
    rho_G, e/Å^3, of either sign.

  Raises:
    ValueError: the molecule has no orbitals.
  """
  rho_G = orbital_density(mol, points_G3)
  numbers_L, coords_L3, orbitals_OL9 = orbitals.carriers(mol)
  has_d = orbitals_OL9.shape[2] == 9
  return rho_G - free_atoms.density(numbers_L, coords_L3, points_G3, has_d)


def deformation_grid(
  mol: Molecule, grid: Grid, supersample: int = 1
) -> jax.Array:
  """`deformation` on a grid.

  Args:
    mol: one molecule with orbitals.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.

  Returns:
    rho_XYZ, e/Å^3, of either sign.

  Raises:
    ValueError: the molecule has no orbitals.
  """
  rho_XYZ = orbital_density_grid(mol, grid, supersample)
  numbers_L, coords_L3, orbitals_OL9 = orbitals.carriers(mol)
  has_d = orbitals_OL9.shape[2] == 9
  return rho_XYZ - free_atoms.density_grid(
    numbers_L, coords_L3, grid, supersample, has_d
  )


def map_density(
  mol: Molecule, points_G3: jax.Array, *, order: str = 'cubic'
) -> jax.Array:
  """The molecule's density map at points; see `interpolation.sample`.

  Args:
    mol: one molecule with a map.
    points_G3: Å.
    order: of the interpolation, 'cubic' or 'linear'; gradients ask for
      'cubic'.

  Returns:
    values_G, the map's unit; 0 outside of the map.

  Raises:
    ValueError: the molecule has no map, or an unknown order.
  """
  return interpolation.sample(_need_map(mol), points_G3, order)


def map_density_grid(
  mol: Molecule, grid: Grid, supersample: int = 1, *, order: str = 'cubic'
) -> jax.Array:
  """The molecule's density map on a grid; see `interpolation.sample_grid`.

  Args:
    mol: one molecule with a map.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.
    order: of the interpolation, 'cubic' or 'linear'.

  Returns:
    values_XYZ, the map's unit; 0 outside of the map.

  Raises:
    ValueError: the molecule has no map, or an unknown order.
  """
  return interpolation.sample_grid(_need_map(mol), grid, supersample, order)


def atom_channels(
  elements: tuple[str, ...] = ELEMENTS, groups: bool = False
) -> tuple[str, ...]:
  """Names of the channels of `atoms`.

  Args:
    elements: symbols of the listed elements; 'metals' stands for every metal
      that is not listed itself.
    groups: ligand and pocket apart.

  Returns:
    One name per channel: the elements in order, then 'other'; with groups,
    those of the ligand, then those of the pocket.

  Raises:
    ValueError: an unknown or repeated symbol.
  """
  numbers = [_METALS_CHANNEL if symbol == 'metals' else atomic_number(symbol)
             for symbol in elements]  # fmt: skip
  if len(set(numbers)) != len(numbers):
    raise ValueError(f'an element is listed twice: {elements}')
  names = (*elements, 'other')
  if not groups:
    return tuple(f'atoms_{name}' for name in names)
  return tuple(f'{g}_{name}' for g in ('ligand', 'pocket') for name in names)


def atoms(
  mol: Molecule,
  points_G3: jax.Array,
  *,
  elements: tuple[str, ...] = ELEMENTS,
  width: float = ATOM_WIDTH,
  groups: bool = False,
) -> jax.Array:
  """Atom types: one channel per element, atoms as Gaussians of peak 1.

  The peak, not the integral, is 1: a network's input then keeps its scale
  when the width changes. Atoms of elements that are not listed go to 'other',
  so that none is dropped.

  Args:
    mol: one molecule.
    points_G3: Å.
    elements: symbols of the listed elements.
    width: standard deviation, Å.
    groups: ligand and pocket in channels of their own.

  Returns:
    values_GC; C as in `atom_channels`.

  Raises:
    ValueError: an unknown element, or a width that is not above 0.
  """
  terms = _atom_terms(mol, elements, width, groups)
  return gaussians.splat_points(points_G3, *terms)


def atoms_grid(
  mol: Molecule,
  grid: Grid,
  supersample: int = 1,
  *,
  elements: tuple[str, ...] = ELEMENTS,
  width: float = ATOM_WIDTH,
  groups: bool = False,
) -> jax.Array:
  """`atoms` on a grid.

  Args:
    mol: one molecule.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.
    elements: symbols of the listed elements.
    width: standard deviation, Å.
    groups: ligand and pocket in channels of their own.

  Returns:
    vox_XYZC.

  Raises:
    ValueError: an unknown element, or a width that is not above 0.
  """
  terms = _atom_terms(mol, elements, width, groups)
  return _splat_grid(terms, grid, supersample, width, same=True)


def atom_counts(
  mol: Molecule,
  radius: float,
  *,
  elements: tuple[str, ...] = ELEMENTS,
  groups: bool = False,
) -> jax.Array:
  """How many atoms each channel of `atoms` has near the origin.

  Args:
    mol: one molecule.
    radius: Å; atoms farther from the origin do not count.
    elements: symbols of the listed elements.
    groups: ligand and pocket in channels of their own.

  Returns:
    [C]; C as in `atom_channels`.

  Raises:
    ValueError: an unknown element.
  """
  near_A = jnp.sum(mol.coords_A3**2, axis=1) <= radius**2
  types_AC = _types(mol, elements, groups)
  return jnp.sum(types_AC & near_A[:, None], axis=0)


def binary_atoms(
  mol: Molecule,
  points_G3: jax.Array,
  *,
  elements: tuple[str, ...] = ELEMENTS,
  radius: float = 1.0,
  groups: bool = False,
) -> jax.Array:
  """Atom types as older recipes have them: 1 within a radius of an atom.

  Args:
    mol: one molecule.
    points_G3: Å.
    elements: symbols of the listed elements.
    radius: Å.
    groups: ligand and pocket in channels of their own.

  Returns:
    values_GC, 0 or 1; its derivative is 0 everywhere.

  Raises:
    ValueError: an unknown element, or a radius that is not above 0.
  """
  _check_width('radius', radius)
  types_AC = _types(mol, elements, groups)
  points_G3 = jnp.asarray(points_G3, mol.coords_A3.dtype)

  def at(point_3):
    d2_A = jnp.sum((point_3[None, :] - mol.coords_A3) ** 2, axis=1)
    return jnp.any((d2_A <= radius**2)[:, None] & types_AC, axis=0)

  return jax.vmap(at)(points_G3).astype(mol.coords_A3.dtype)


def binary_atoms_grid(
  mol: Molecule,
  grid: Grid,
  supersample: int = 1,
  *,
  elements: tuple[str, ...] = ELEMENTS,
  radius: float = 1.0,
  groups: bool = False,
) -> jax.Array:
  """`binary_atoms` on a grid; with sub-points the fraction that is inside.

  Args:
    mol: one molecule.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.
    elements: symbols of the listed elements.
    radius: Å.
    groups: ligand and pocket in channels of their own.

  Returns:
    vox_XYZC, 0 to 1.

  Raises:
    ValueError: an unknown element, or a radius that is not above 0.
  """
  _check_width('radius', radius)
  dtype = mol.coords_A3.dtype
  types_AC = _types(mol, elements, groups).astype(dtype)
  x2, y2, z2 = gaussians.offsets(mol.coords_A3, grid, supersample) ** 2
  d2 = x2[:, None, None] + y2[None, :, None] + z2[None, None, :]
  inside = (d2 <= radius**2).astype(dtype)
  counts = jnp.einsum('xyza,ac->xyzc', inside, types_AC, precision=HIGHEST)
  return grids.pool((counts > 0.5).astype(dtype), supersample)


def valence(
  mol: Molecule,
  points_G3: jax.Array,
  *,
  width: float = ATOM_WIDTH,
  groups: bool = False,
) -> jax.Array:
  """Atoms without types: Gaussians whose peaks are the valence electrons.

  What a density has in one channel without any chemistry beyond the element:
  as many electrons as GFN2-xTB counts in the neutral atom
  (`gfn2_occupations.valence_electrons`), in Gaussians of one width.

  Args:
    mol: one molecule; an element that GFN2-xTB lacks (beyond Rn) gives NaN.
    points_G3: Å.
    width: standard deviation, Å, the same for every atom.
    groups: ligand and pocket apart.

  Returns:
    values_G; with groups values_GC, first the ligand's, then the pocket's.

  Raises:
    ValueError: a width that is not above 0.
  """
  terms = _valence_terms(mol, width, groups)
  return _apart(gaussians.splat_points(points_G3, *terms), groups)


def valence_grid(
  mol: Molecule,
  grid: Grid,
  supersample: int = 1,
  *,
  width: float = ATOM_WIDTH,
  groups: bool = False,
) -> jax.Array:
  """`valence` on a grid.

  Args:
    mol: one molecule; an element that GFN2-xTB lacks (beyond Rn) gives NaN.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.
    width: standard deviation, Å, the same for every atom.
    groups: ligand and pocket apart.

  Returns:
    values_XYZ; with groups vox_XYZC, first the ligand's, then the pocket's.

  Raises:
    ValueError: a width that is not above 0.
  """
  terms = _valence_terms(mol, width, groups)
  return _apart(_splat_grid(terms, grid, supersample, width, same=True), groups)


def shape(
  mol: Molecule,
  points_G3: jax.Array,
  *,
  width: float = SHAPE_WIDTH,
  radius: float = 0.0,
  groups: bool = False,
) -> jax.Array:
  """Occupancy, 1 - exp(-sum of Gaussians): 0 outside, towards 1 inside.

  An atom's Gaussian has the standard deviation `width` times its van der
  Waals radius, and the peak ln(2) exp(1/(2 width^2)): an isolated atom then
  has the value 1/2 at its van der Waals radius, whatever the width, which
  sets the softness of the surface alone.

  Args:
    mol: one molecule.
    points_G3: Å.
    width: standard deviation in radii, at least 0.1.
    radius: of every atom, Å, in the place of its van der Waals radius; 0 for
      those.
    groups: ligand and pocket apart.

  Returns:
    values_G, 0 to 1; deep inside it is rounded to 1. With groups values_GC,
    first the ligand's, then the pocket's.

  Raises:
    ValueError: a width below 0.1, or a negative radius.
  """
  terms = _shape_terms(mol, width, radius, groups)
  return _apart(-jnp.expm1(-gaussians.splat_points(points_G3, *terms)), groups)


def shape_grid(
  mol: Molecule,
  grid: Grid,
  supersample: int = 1,
  *,
  width: float = SHAPE_WIDTH,
  radius: float = 0.0,
  groups: bool = False,
) -> jax.Array:
  """`shape` on a grid.

  Args:
    mol: one molecule.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.
    width: standard deviation in radii, at least 0.1.
    radius: of every atom, Å; 0 for van der Waals radii.
    groups: ligand and pocket apart.

  Returns:
    values_XYZ, 0 to 1; with groups vox_XYZC, first the ligand's, then the
    pocket's.

  Raises:
    ValueError: a width below 0.1, or a negative radius.
  """
  terms = _shape_terms(mol, width, radius, groups)
  # Else of carbon.
  sigma = (radius or VDW_RADII[6]) * width
  sums = _splat_grid(terms, grid.refine(supersample), 1, sigma)
  return _apart(grids.pool(-jnp.expm1(-sums), supersample), groups)


def noise(mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """A control without information: unit normals keyed by the example id.

  The values belong to the points' indices, not to positions: they do not
  turn with the molecule.

  Args:
    mol: one molecule.
    points_G3: only their number counts.

  Returns:
    values_G.
  """
  return _noise(mol, points_G3.shape[:1])


def noise_grid(mol: Molecule, grid: Grid, supersample: int = 1) -> jax.Array:
  """`noise` on a grid; always of unit variance.

  Args:
    mol: one molecule.
    grid: voxels.
    supersample: without effect; means of noise would only be weaker noise.

  Returns:
    values_XYZ.
  """
  del supersample
  return _noise(mol, (grid.size,) * 3)


def value_and_gradient_magnitude(field: Callable) -> Callable:
  """A field together with the length of its gradient, from one evaluation.

  The gradient is exact, by forward mode through a translation of the whole
  molecule; the three directions share the field's own value. On a grid with
  sub-points it is the gradient of the cell means. Where it is zero, so is its
  derivative (`numerics.safe_norm`).

  Args:
    field: f(mol, ...) -> array.

  Returns:
    f(mol, ...) -> (value, magnitude), both of the field's shape; the
    magnitude in the field's unit per Å.
  """

  def both(mol, *args, **kwargs):
    def moved(shift_3):
      return field(geometry.translate(mol, shift_3), *args, **kwargs)

    dtype = mol.coords_A3.dtype
    value, tangents = jax.vmap(
      lambda unit_3: jax.jvp(moved, (jnp.zeros(3, dtype),), (unit_3,)),
      out_axes=(None, 0),
    )(jnp.eye(3, dtype=dtype))
    return value, safe_norm(tangents, axis=0)

  return both


def gradient_magnitude(field: Callable) -> Callable:
  """The length of a field's gradient, as a field of the same signature.

  Args:
    field: f(mol, ...) -> array, on points or on a grid.

  Returns:
    f(mol, ...) -> array of the same shape, the field's unit per Å; see
    `value_and_gradient_magnitude`.
  """
  both = value_and_gradient_magnitude(field)

  def magnitude(mol, *args, **kwargs):
    return both(mol, *args, **kwargs)[1]

  return magnitude


def _splat_grid(
  terms, grid: Grid, supersample: int, sigma: float, same: bool = False
) -> jax.Array:
  """`gaussians.splat_grid`, on CPUs of near voxels alone where that pays.

  Args:
    terms: coords_A3, weights_AC and sigma_A.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.
    sigma: a typical standard deviation, Å.
    same: it is that of all.

  Returns:
    vox_XYZC.
  """

  known = float(sigma) if same else None
  return _near_or_whole(
    terms,
    grid,
    sigma,
    near=lambda *t: gaussians_windowed.splat_grid(*t, grid, supersample, known),
    whole=lambda *t: gaussians.splat_grid(*t, grid, supersample),
  )


def _near_or_whole(terms, grid: Grid, sigma: float, near, whole):
  """`gaussians_windowed` on CPUs where that pays, else the product."""
  if not gaussians_windowed.pays(sigma, grid, terms[1].shape[1]):
    return whole(*terms)
  return jax.lax.platform_dependent(*terms, cpu=near, default=whole)


def _typical_sigma(blur: float) -> float:
  """Width of a typical Gaussian of the promolecule: of B = 30 Å^2 in IT92."""
  return float(form_factors.sigma(30 + blur))


def _promolecule_terms(
  mol: Molecule, blur: float, use_b_factors: bool, groups: bool
):
  """Centres, electrons and widths of one row per atom and Gaussian."""
  blur = form_factors.check_blur(blur)
  dtype = mol.coords_A3.dtype
  weights_AP = jnp.asarray(form_factors.A_EP, dtype)[mol.numbers_A]
  b_AP = jnp.asarray(form_factors.B_EP + blur, dtype)[mol.numbers_A]
  if use_b_factors:
    b_AP = b_AP + jnp.maximum(mol.b_factors_A, 0)[:, None]
  terms = weights_AP.shape[1]
  coords_A3 = jnp.repeat(mol.coords_A3, terms, axis=0)
  sigma_A = form_factors.sigma(b_AP).reshape(-1)
  groups_AC = jnp.repeat(_groups(mol, groups), terms, axis=0)
  weights_AC = weights_AP.reshape(-1, 1) * groups_AC
  return coords_A3, weights_AC, sigma_A


def _groups(mol: Molecule, groups: bool) -> jax.Array:
  """What each atom adds to each group: [A, 2], or [A, 1] of all together."""
  dtype = mol.coords_A3.dtype
  if not groups:
    return jnp.ones((len(mol.numbers_A), 1), dtype)
  both_2 = jnp.array([LIGAND, POCKET])
  return (mol.groups_A[:, None] == both_2[None, :]).astype(dtype)


def _apart(values: jax.Array, groups: bool) -> jax.Array:
  """A field of one channel loses its axis of channels."""
  return values if groups else values[..., 0]


def _need_map(mol: Molecule):
  if mol.density_map is None:
    raise ValueError(
      'this field needs a density map, and the molecule has none: give '
      'density_map to Molecule.from_arrays'
    )
  return mol.density_map


def _types(mol: Molecule, elements, groups: bool) -> jax.Array:
  """Which channel each atom belongs to: bool [A, C], false on padding."""
  atom_channels(elements, groups)  # checks
  listed_AC = _channel_table(elements)[mol.numbers_A]
  other_A = mol.mask_A & ~jnp.any(listed_AC, axis=1)
  types_AC = jnp.concatenate([listed_AC, other_A[:, None]], axis=1)
  if not groups:
    return types_AC
  return jnp.concatenate(
    [types_AC & (mol.groups_A == g)[:, None] for g in (LIGAND, POCKET)],
    axis=1,
  )


def _channel_table(elements) -> jax.Array:
  """Which atomic number belongs to which listed channel: bool [Z, C]."""
  table_ZC = np.zeros((MAX_NUMBER + 1, len(elements)), bool)
  single = [atomic_number(e) for e in elements if e != 'metals']
  for channel, element in enumerate(elements):
    if element == 'metals':
      table_ZC[np.setdiff1d(METALS, single), channel] = True
    else:
      table_ZC[atomic_number(element), channel] = True
  return jnp.asarray(table_ZC)


def _check_width(name: str, value: float) -> None:
  if not (np.isfinite(value) and value > 0):
    raise ValueError(f'{name} must be > 0, not {value}')


def _atom_terms(mol: Molecule, elements, width: float, groups: bool):
  _check_width('width', width)
  dtype = mol.coords_A3.dtype
  sigma_A = jnp.full(mol.numbers_A.shape, width, dtype)
  types_AC = _types(mol, elements, groups).astype(dtype)
  weights_AC = types_AC * gaussians.peak_to_integral(sigma_A)[:, None]
  return mol.coords_A3, weights_AC, sigma_A


@functools.cache
def _valence_table() -> np.ndarray:
  """[Z], with NaN for the elements that GFN2-xTB lacks."""
  known = gfn2_occupations.valence_electrons(
    np.arange(gfn2_basis.MAX_NUMBER + 1)
  )
  beyond = MAX_NUMBER - gfn2_basis.MAX_NUMBER
  return np.pad(known, (0, beyond), constant_values=np.nan)


def _valence_terms(mol: Molecule, width: float, groups: bool):
  _check_width('width', width)
  dtype = mol.coords_A3.dtype
  sigma_A = jnp.full(mol.numbers_A.shape, width, dtype)
  weights_A = jnp.asarray(_valence_table(), dtype)[mol.numbers_A]
  weights_A = weights_A * gaussians.peak_to_integral(sigma_A)
  return mol.coords_A3, weights_A[:, None] * _groups(mol, groups), sigma_A


def _shape_terms(mol: Molecule, width: float, radius: float, groups: bool):
  if not (np.isfinite(width) and width >= _MIN_SHAPE_WIDTH):
    raise ValueError(
      f'width of shape must be >= {_MIN_SHAPE_WIDTH}, not {width}'
    )
  if not (np.isfinite(radius) and radius >= 0):
    raise ValueError(f'radius of shape must be 0 or above it, not {radius}')
  dtype = mol.coords_A3.dtype
  radii = np.where(VDW_RADII > 0, VDW_RADII, 1.0)  # padding: harmless
  radii = np.full_like(radii, radius) if radius else radii
  sigma_A = jnp.asarray(radii * width, dtype)[mol.numbers_A]
  peak = np.log(2) * np.exp(0.5 / width**2)
  weights_A = jnp.where(mol.mask_A, jnp.asarray(peak, dtype), 0)
  weights_A = weights_A * gaussians.peak_to_integral(sigma_A)
  weights_AC = weights_A[:, None] * _groups(mol, groups)
  return mol.coords_A3, weights_AC, sigma_A


def _noise(mol: Molecule, dims: tuple[int, ...]) -> jax.Array:
  key = jax.random.fold_in(jax.random.key(0), mol.example_id)
  return jax.random.normal(key, dims, mol.coords_A3.dtype)
