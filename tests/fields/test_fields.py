import dataclasses
import functools

import gemmi
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_builders import xtb
from edjax import fields, geometry
from edjax import grid as grids
from edjax.chem import elements, form_factors, gfn2_occupations, units
from edjax.grid import Grid
from edjax.molecule import DensityMap, Molecule, origin_weights

# Formamide and methanethiol (which has d functions), Å, rounded geometries.
FORMAMIDE = (
  [6, 8, 7, 1, 1, 1],
  [
    [0.16, 0.39, 0.0],
    [1.20, -0.25, 0.0],
    [-1.08, -0.16, 0.0],
    [0.13, 1.49, 0.0],
    [-1.92, 0.40, 0.1],
    [-1.16, -1.17, 0.0],
  ],
)
METHANETHIOL = (
  [6, 16, 1, 1, 1, 1],
  [
    [-0.05, 1.15, 0.0],
    [-0.05, -0.66, 0.0],
    [1.28, -0.83, 0.1],
    [-1.09, 1.46, 0.0],
    [0.43, 1.54, 0.9],
    [0.43, 1.54, -0.9],
  ],
)
B_ISO = 12.0
OPTIONS = {
  'promolecule': {'b_iso': B_ISO},
  'all_electron': {'b_iso': B_ISO},
  'truncated_atoms': {'truncated': True},
  'truncated_valence': {'truncated': True},
}


# name: (on points, on a grid)
FIELDS = {
  'promolecule': (fields.promolecule, fields.promolecule_grid),
  'orbital_density': (fields.orbital_density, fields.orbital_density_grid),
  'deformation': (fields.deformation, fields.deformation_grid),
  'homo': (fields.homo, fields.homo_grid),
  'lumo': (fields.lumo, fields.lumo_grid),
  'charge': (fields.charge, fields.charge_grid),
  'all_electron': (
    fields.all_electron_density,
    fields.all_electron_density_grid,
  ),
  'tau': (fields.tau, fields.tau_grid),
  'free_atoms': (fields.free_atoms_density, fields.free_atoms_density_grid),
  'map_density': (fields.map_density, fields.map_density_grid),
  'atoms': (fields.atoms, fields.atoms_grid),
  'truncated_atoms': (fields.atoms, fields.atoms_grid),
  'binary_atoms': (fields.binary_atoms, fields.binary_atoms_grid),
  'shape': (fields.shape, fields.shape_grid),
  'valence': (fields.valence, fields.valence_grid),
  'truncated_valence': (fields.valence, fields.valence_grid),
  'noise': (fields.noise, fields.noise_grid),
}
TURNING = [n for n in FIELDS if n != 'noise']
# The derivatives of orbitals on a grid take long to compile, and the tests of
# `orbitals` are about them.
OF_ORBITALS = (
  'orbital_density', 'deformation', 'charge', 'all_electron', 'tau', 'homo',
  'lumo',
)  # fmt: skip
LIGHT = [n for n in FIELDS if n not in OF_ORBITALS]
SMOOTH = [n for n in LIGHT if n not in ('binary_atoms', 'noise')]


def _pair(name):
  options = OPTIONS.get(name, {})
  return tuple(functools.partial(f, **options) for f in FIELDS[name])


@functools.cache
def _compiled(name):
  """The pair, shared by tests that ask for equal shapes."""
  on_points, on_grid = _pair(name)
  return jax.jit(on_points), jax.jit(on_grid, static_argnums=(1, 2))


@functools.cache
def _orbitals(kind):
  return xtb.run(*{'formamide': FORMAMIDE, 'thiol': METHANETHIOL}[kind])


def _blob_map() -> DensityMap:
  x = np.arange(-3.5, 3.51, 0.35)
  xyz = np.stack(np.meshgrid(x, x, x, indexing='ij'), -1)
  values = np.exp(-((xyz - [0.5, -0.3, 0.2]) ** 2).sum(-1) / 2)
  values += 0.5 * np.exp(-((xyz - [-1.0, 0.6, 0.1]) ** 2).sum(-1))
  return DensityMap(
    jnp.asarray(values, jnp.float32), jnp.full(3, -3.5), 0.35 * jnp.eye(3)
  )


def _mol(kind='formamide', dtype=np.float32, **options) -> Molecule:
  numbers, coords = {'formamide': FORMAMIDE, 'thiol': METHANETHIOL}[kind]
  result = _orbitals(kind)
  mol = Molecule.from_arrays(
    numbers, coords, orbitals=result.orbitals, homo=result.homo,
    lumo=result.lumo, density_map=_blob_map(), index=7, **options,
  )  # fmt: skip
  return _cast(mol, dtype)


def _without_orbitals(mol) -> Molecule:
  """Both molecules then have equal shapes, and share compiled programs."""
  return dataclasses.replace(
    mol, orbitals_OL9=None, homo_OL9=None, lumo_OL9=None
  )


def _cast(mol, dtype):
  return jax.tree.map(
    lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x,
    mol,
  )


@pytest.mark.parametrize('kind', ['formamide', 'thiol'])
@pytest.mark.parametrize('name', TURNING)
def test_separable_equals_pointwise(name, kind):
  mol, grid = _mol(kind), Grid(9, 0.55)
  if name in LIGHT:
    mol = _without_orbitals(mol)
  on_points, on_grid = _compiled(name)
  want = on_points(mol, jnp.asarray(grids.centres(grid), jnp.float32))
  got = on_grid(mol, grid)
  assert got.shape[:3] == (9, 9, 9)
  assert got.dtype == jnp.float32
  # float32: each exponent is the sum of three rounded ones
  atol = 5e-6 * float(jnp.abs(want).max())
  np.testing.assert_allclose(got.reshape(want.shape), want, rtol=0, atol=atol)


@pytest.mark.parametrize('name', [n for n in TURNING if n != 'orbital_density'])
def test_supersampled_grid_is_the_mean_over_sub_points(name):
  mol, grid = _mol(), Grid(5, 0.8)
  on_points, on_grid = _compiled(name)
  fine = grid.refine(2)
  points = jnp.asarray(grids.centres(fine), jnp.float32)
  values = on_points(mol, points)
  want = grids.pool(values.reshape((10, 10, 10, *values.shape[1:])), 2)
  got = on_grid(mol, grid, 2)
  top = float(jnp.abs(want).max())
  np.testing.assert_allclose(got, want, rtol=0, atol=5e-6 * top)
  point = on_grid(mol, grid)
  assert float(jnp.abs(point - want).max()) > 1e-3 * top


@pytest.mark.parametrize(
  ('name', 'size'),
  [(n, 9) for n in TURNING] + [(n, 8) for n in TURNING if n not in OF_ORBITALS],
)
def test_rotation_by_90_degrees_is_a_rotated_grid(name, size):
  mol, grid = _mol('thiol'), Grid(size, 0.55)
  if name in LIGHT:
    mol = _without_orbitals(mol)
  on_grid = _compiled(name)[1]
  quarter = jnp.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
  before = on_grid(mol, grid)
  after = on_grid(geometry.rotate(mol, quarter), grid)
  # value at (x, y, z) was at (y, -x, z)
  turned = jnp.swapaxes(before[:, ::-1], 0, 1)
  atol = 1e-5 * float(jnp.abs(before).max())
  np.testing.assert_allclose(after, turned, rtol=0, atol=atol)
  # controls: unturned, and turned the other way, it must not fit
  back = jnp.swapaxes(before, 0, 1)[:, ::-1]
  for wrong in (before, back):
    assert float(jnp.abs(after - wrong).max()) > 1e3 * atol


@pytest.mark.parametrize('name', TURNING)
def test_field_of_a_turned_molecule_is_the_turned_field(name):
  mol = _mol('thiol')
  rotation = geometry.random_rotation(jax.random.key(0))
  points = jax.random.uniform(jax.random.key(1), (50, 3), minval=-2, maxval=2)
  on_points = _compiled(name)[0]
  want = on_points(mol, points)
  turned = jnp.einsum('gj,ij->gi', points, rotation)
  got = on_points(geometry.rotate(mol, rotation), turned)
  atol = 2e-5 * float(jnp.abs(want).max())
  np.testing.assert_allclose(got, want, rtol=0, atol=atol)
  fixed = on_points(geometry.rotate(mol, rotation), points)
  assert float(jnp.abs(fixed - want).max()) > 1e3 * atol


@pytest.mark.parametrize('name', LIGHT)
def test_padding_is_inert_in_value_and_gradient(name):
  mol = _mol()
  padded = _mol(max_atoms=11, max_orbitals=mol.orbitals_OL9.shape[0] + 3)
  on_grid = _pair(name)[1]

  @jax.jit
  def step(mol):
    def loss(coords):
      vox = on_grid(dataclasses.replace(mol, coords_A3=coords), Grid(8, 0.6))
      return jnp.sum(vox**2), vox

    return jax.value_and_grad(loss, has_aux=True)(mol.coords_A3)

  (_, vox), slope = step(mol)
  (_, padded_vox), padded_slope = step(padded)
  # another length of a sum may be rounded otherwise
  top = float(jnp.abs(vox).max())
  np.testing.assert_allclose(padded_vox, vox, rtol=0, atol=2e-6 * top)
  np.testing.assert_array_equal(padded_slope[6:], 0)
  scale = float(jnp.abs(slope).max())
  np.testing.assert_allclose(padded_slope[:6], slope, rtol=0, atol=2e-5 * scale)


@pytest.mark.parametrize('name', SMOOTH)
def test_coordinate_gradients_against_central_differences(name, x64):
  mol = _mol('thiol', np.float64)
  on_grid = _pair(name)[1]
  grid = Grid(6, 0.7)

  @jax.jit
  def loss(shift_3, coords):
    moved = dataclasses.replace(mol, coords_A3=coords)
    vox = on_grid(geometry.translate(moved, shift_3), grid)
    weights = jnp.cos(jnp.arange(vox.size, dtype=vox.dtype))
    return jnp.sum(vox * weights.reshape(vox.shape))

  zero, coords = jnp.zeros(3), mol.coords_A3
  by_shift, by_coords = jax.jit(jax.grad(loss, argnums=(0, 1)))(zero, coords)
  h = 1e-5
  for axis in range(3):
    step = h * jnp.eye(3)[axis]
    rise = (loss(zero + step, coords) - loss(zero - step, coords)) / (2 * h)
    scale = float(jnp.abs(by_shift).max())
    assert abs(float(rise - by_shift[axis])) < 1e-7 * scale
  if name != 'map_density':  # a map does not hang on the coordinates
    scale = float(jnp.abs(by_coords).max())
    for atom, axis in ((0, 0), (1, 1), (5, 2)):
      step = jnp.zeros_like(coords).at[atom, axis].set(h)
      rise = (loss(zero, coords + step) - loss(zero, coords - step)) / (2 * h)
      assert abs(float(rise - by_coords[atom, axis])) < 1e-7 * scale


@pytest.mark.parametrize('name', FIELDS)
def test_keeps_float32_under_strict_promotion(name, strict_promotion):
  mol = _mol()
  on_points, on_grid = _pair(name)
  points = jnp.zeros((2, 3))
  for field, args in ((on_points, (points,)), (on_grid, (Grid(4, 0.5), 2))):
    both = fields.value_and_gradient_magnitude(field)
    shapes = jax.eval_shape(lambda m, f=both, args=args: f(m, *args), mol)
    assert [shape.dtype for shape in shapes] == [jnp.float32] * 2


# --- the length of the gradient ---------------------------------------------


@pytest.mark.parametrize(
  ('name', 'where'),
  [(n, w) for n in SMOOTH for w in ('points', 'grid')]
  + [('deformation', 'points')],
)
def test_gradient_magnitude_against_central_differences(name, where, x64):
  mol = _mol('thiol', np.float64)
  grid = Grid(5, 0.75)
  on_points, on_grid = _pair(name)

  def field(m):
    if where == 'grid':
      return on_grid(m, grid, 2)  # the gradient of cell means
    return on_points(m, jnp.asarray(grids.centres(grid)))

  value, got = jax.jit(fields.value_and_gradient_magnitude(field))(mol)
  move = jax.jit(lambda shift: field(geometry.translate(mol, shift)))
  np.testing.assert_allclose(value, move(jnp.zeros(3)), rtol=1e-12)
  h = 1e-5
  rises = [
    (move(h * e) - move(-h * e)) / (2 * h) for e in jnp.eye(3, dtype=float)
  ]
  want = jnp.sqrt(sum(r**2 for r in rises))
  scale = float(want.max())
  assert scale > 0.05
  np.testing.assert_allclose(got, want, rtol=0, atol=1e-7 * scale)


@pytest.mark.parametrize('kind', ['formamide', 'thiol'])
def test_gradient_magnitude_of_orbitals_on_a_grid(kind):
  # The main 'gradient' input, three ways: separably on the grid, from the
  # plain sum over the same points, and from differences of the latter's
  # values, which know nothing of derivatives.
  mol, grid = _mol(kind), Grid(4, 0.9)
  points = jnp.asarray(grids.centres(grid), jnp.float32)
  on_grid = fields.gradient_magnitude(fields.orbital_density_grid)
  got = jax.jit(on_grid, static_argnums=1)(mol, grid).ravel()
  on_points = fields.gradient_magnitude(fields.orbital_density)
  want = jax.jit(on_points)(mol, points)
  scale = float(want.max())
  assert scale > 0.5
  # float32: each exponent is the sum of three rounded ones
  np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * scale)
  density = jax.jit(fields.orbital_density)
  # Fourth order: at this step rounding and truncation are a few 1e-6 of the
  # largest value (measured: 4e-6; 5e-5 at twice the step).
  h = 0.02
  rises = [
    (
      8 * (density(mol, points + h * e) - density(mol, points - h * e))
      - (density(mol, points + 2 * h * e) - density(mol, points - 2 * h * e))
    )
    / (12 * h)
    for e in jnp.eye(3)[:, None, :]
  ]
  rise = np.linalg.norm(np.stack(rises), axis=0)
  np.testing.assert_allclose(got, rise, rtol=0, atol=3e-5 * scale)


def test_gradient_magnitude_is_a_field_of_the_same_signature():
  mol, grid = _mol(), Grid(5, 0.75)
  f = functools.partial(fields.promolecule_grid, b_iso=B_ISO)
  both = fields.value_and_gradient_magnitude(f)(mol, grid, 2)
  alone = fields.gradient_magnitude(fields.promolecule_grid)(
    mol, grid, supersample=2, b_iso=B_ISO
  )
  np.testing.assert_array_equal(alone, both[1])


def test_gradient_magnitude_of_one_gaussian():
  sigma = 0.6
  mol = Molecule.from_arrays([6], [[0.0, 0.0, 0.0]])
  f = fields.gradient_magnitude(fields.atoms_grid)
  grid = Grid(9, 0.4)
  got = jax.jit(f, static_argnums=1, static_argnames='width')(
    mol, grid, width=sigma
  )[..., 1]
  r = np.linalg.norm(grids.centres(grid), axis=1).reshape(9, 9, 9)
  want = r / sigma**2 * np.exp(-(r**2) / (2 * sigma**2))
  np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * want.max())
  assert got[4, 4, 4] == 0


@pytest.mark.parametrize(
  'name', ['promolecule', 'atoms', 'truncated_atoms', 'shape']
)
def test_gradient_is_differentiable_where_it_is_zero(name):
  # At the centre of an atom, so far away that all is 0, and, for comparison,
  # where it is not zero.
  mol = Molecule.from_arrays([6], [[0.0, 0, 0]], max_atoms=3)
  points = jnp.array([[0.0, 0, 0], [60.0, 0, 0], [0.7, 0, 0]])
  magnitude = fields.gradient_magnitude(_pair(name)[0])

  def at(coords):
    moved = dataclasses.replace(mol, coords_A3=coords)
    return magnitude(moved, points).reshape(3, -1).sum(1)

  with jax.debug_nans(True), jax.debug_infs(True):
    values, slopes = jax.jit(lambda c: (at(c), jax.jacfwd(at)(c)))(
      mol.coords_A3
    )
    backward = jax.jit(jax.jacrev(at))(mol.coords_A3)
  np.testing.assert_array_equal(values[:2], 0)
  assert values[2] > 0
  np.testing.assert_array_equal(slopes[:2], 0)
  np.testing.assert_array_equal(slopes[:, 1:], 0)  # padding
  assert abs(float(slopes[2, 0, 0])) > 1e-3
  scale = float(jnp.abs(slopes).max())
  np.testing.assert_allclose(backward, slopes, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize(
  'name', ['promolecule', 'atoms', 'truncated_atoms', 'shape']
)
def test_gradient_vanishes_midway_between_equal_atoms(name, x64):
  mol = Molecule.from_arrays([6, 6], [[-0.7, 0, 0], [0.7, 0, 0]])
  points = jnp.array([[0.0, 0, 0], [0.3, 0, 0]])
  f = jax.jit(fields.gradient_magnitude(_pair(name)[0]))
  values = f(_cast(mol, np.float64), points).reshape(2, -1).sum(1)
  assert values[1] > 1e-4
  assert values[0] < 1e-10 * values[1]


# --- promolecule -------------------------------------------------------------


@pytest.mark.parametrize('kind', ['formamide', 'thiol'])
def test_first_moment_is_the_dipole_about_the_centre_of_valence_charge(kind):
  """The dipole of xTB; about another point it is off by electrons * offset."""
  mol, result = _mol(kind), _orbitals(kind)
  g = Grid(64, 0.25)
  rho_XYZ = fields.orbital_density_grid(mol, g, supersample=2)
  x_XYZ3 = np.stack(np.meshgrid(*(grids.axis(g),) * 3, indexing='ij'), axis=-1)

  def dipole(origin):
    weights = origin_weights(origin, np.asarray(mol.numbers_A), np.zeros(1))
    centre_3 = weights @ np.asarray(mol.coords_A3) / weights.sum()
    moment_3 = np.tensordot(rho_XYZ, x_XYZ3 - centre_3, 3) * g.voxel_volume
    return -moment_3 / units.BOHR_A * units.AU_DIPOLE_D

  np.testing.assert_allclose(dipole('valence'), result.dipole, atol=0.01)
  assert np.abs(dipole('mass') - result.dipole).max() > 3


def test_promolecule_equals_gemmis_on_the_same_grid():
  grid, b_iso = Grid(40, 0.45), form_factors.tied_b_iso(0.45)
  mol = _mol('thiol')
  model, chain, residue = gemmi.Model(1), gemmi.Chain('A'), gemmi.Residue()
  # voxel (0, 0, 0) is gemmi's origin
  corner = (grid.size - 1) / 2 * grid.spacing
  for z, xyz in zip(
    np.asarray(mol.numbers_A), np.asarray(mol.coords_A3, float), strict=True
  ):
    atom = gemmi.Atom()
    atom.element = gemmi.Element(int(z))
    atom.pos = gemmi.Position(*(xyz + corner))
    atom.b_iso = 0.0
    residue.add_atom(atom)
  chain.add_residue(residue)
  model.add_chain(chain)
  calculator = gemmi.DensityCalculatorX()
  calculator.blur, calculator.cutoff = b_iso, 1e-7
  calculator.grid.set_size(*(grid.size,) * 3)
  edge = grid.extent
  calculator.grid.set_unit_cell(gemmi.UnitCell(edge, edge, edge, 90, 90, 90))
  calculator.add_model_density_to_grid(model)
  want = np.array(calculator.grid, copy=True)
  got = fields.promolecule_grid(mol, grid)
  assert float(jnp.abs(got - want).max()) < 5e-5 * want.max()
  total = form_factors.A_EP[mol.numbers_A].sum()
  assert float(got.sum()) * grid.voxel_volume == pytest.approx(total, rel=1e-4)
  # control: the file's other B would be seen
  other = fields.promolecule_grid(mol, grid, b_iso=1.01 * b_iso)
  assert float(jnp.abs(other - want).max()) > 5e-4 * want.max()


def test_promolecule_equals_gemmis_atoms():
  mol = _mol()
  points = np.random.default_rng(0).normal(size=(20, 3))
  got = fields.promolecule(mol, jnp.asarray(points, jnp.float32), b_iso=B_ISO)
  want = np.zeros(20)
  for z, xyz in zip(mol.numbers_A, np.asarray(mol.coords_A3), strict=True):
    it92 = gemmi.Element(int(z)).it92
    r2 = np.sum((points - xyz) ** 2, axis=1)
    want += [it92.calculate_density_iso(x, B_ISO) for x in r2]
  np.testing.assert_allclose(got, want, rtol=1e-4)


def test_b_factors_are_opt_in_and_add_to_the_blur():
  plain = Molecule.from_arrays(*FORMAMIDE)
  numbers, coords = FORMAMIDE
  heated = Molecule.from_arrays(numbers, coords, b_factors=np.full(6, 5.0))
  f = functools.partial(fields.promolecule_grid, grid=Grid(6, 0.5))
  np.testing.assert_array_equal(f(heated, b_iso=10.0), f(plain, b_iso=10.0))
  np.testing.assert_allclose(
    f(heated, b_iso=10.0, use_b_factors=True), f(plain, b_iso=15.0), rtol=1e-5
  )


@pytest.mark.parametrize('b_iso', [0.0, -3.0, np.nan])
def test_promolecule_needs_a_b_iso(b_iso):
  mol = Molecule.from_arrays([6], [[0.0, 0, 0]])
  with pytest.raises(ValueError, match='b_iso'):
    fields.promolecule(mol, jnp.zeros((1, 3)), b_iso=b_iso)
  if b_iso != 0:  # 0 ties it to the spacing
    with pytest.raises(ValueError, match='b_iso'):
      fields.promolecule_grid(mol, Grid(3, 0.5), b_iso=b_iso)


# --- free atoms and deformation ---------------------------------------------


def test_reference_occupations_add_up():
  held = gfn2_occupations.occupations()
  numbers = np.arange(1, 87)
  valence = gfn2_occupations.valence_electrons(numbers)
  known = {1: 1, 6: 4, 7: 5, 8: 6, 9: 7, 15: 5, 16: 6, 17: 7, 26: 8, 35: 7,
           53: 7, 86: 8}  # fmt: skip
  for z, electrons in known.items():
    assert valence[z - 1] == electrons
  # valence and a core of whole shells (noble gas, d10, f14) make up Z
  assert set((numbers - valence).tolist()) <= {
    0, 2, 10, 18, 28, 36, 46, 54, *range(55, 69), 78,
  }  # fmt: skip
  # H, C, N, O, F
  np.testing.assert_array_equal(
    held[[1, 6, 7, 8, 9], :2],
    [[1, 0], [1, 3], [1.5, 3.5], [2, 4], [2, 5]],
  )


@pytest.mark.parametrize('numbers', [[6], [16, 1], [26, 8], [53]])
def test_free_atoms_are_spherical_shells_of_the_basis(numbers):
  # Second way: each basis function of the free atom as an orbital of its own,
  # filled with its share of the shell's electrons.
  coords = np.array([[0.2, -0.1, 0.3], [1.1, 0.8, -0.4]])[: len(numbers)]
  slots = np.repeat(np.arange(3), (1, 3, 5))
  occupations = gfn2_occupations.occupations()[numbers] / [1, 3, 5]
  rows = []
  for atom in range(len(numbers)):
    for slot, l in enumerate(slots):
      row = np.zeros((len(numbers), 9))
      row[atom, slot] = np.sqrt(occupations[atom, l])
      rows.append(row)
  mol = Molecule.from_arrays(
    numbers, coords, orbitals=np.array(rows), center=False
  )
  points = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
  want = jax.jit(fields.orbital_density)(mol, jnp.asarray(points))
  got = jax.jit(fields.free_atoms_density)(mol, points)
  np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)


def test_elements_that_gfn2_lacks_are_not_taken_for_others():
  mol = Molecule.from_arrays([92], np.zeros((1, 3)))
  assert jnp.isnan(fields.free_atoms_density(mol, mol.coords_A3)).all()
  assert jnp.isnan(fields.free_atoms_density_grid(mol, Grid(2, 0.5))).all()


@pytest.mark.parametrize('max_atoms', [2, 12])
@pytest.mark.parametrize('numbers', [[6, 7], [26, 1], [55, 86]])
def test_free_atoms_on_a_grid_equal_those_on_points(numbers, max_atoms):
  # with and without room for the rows of every atom (`free_atoms._tight`)
  coords = [[0.2, -0.1, 0.3], [1.1, 0.8, -0.4]]
  mol = Molecule.from_arrays(numbers, coords, max_atoms=max_atoms)
  grid = Grid(7, 0.6)
  points = jnp.asarray(grids.centres(grid), jnp.float32)
  want = jax.jit(fields.free_atoms_density)(mol, points)
  got = jax.jit(fields.free_atoms_density_grid, static_argnums=1)(mol, grid)
  atol = 5e-6 * float(want.max())
  np.testing.assert_allclose(got.ravel(), want, rtol=0, atol=atol)


@pytest.mark.parametrize('kind', ['formamide', 'thiol'])
def test_deformation_integrates_to_zero(kind):
  mol, grid = _mol(kind), Grid(36, 0.5)
  f = jax.jit(fields.deformation_grid, static_argnums=(1, 2))
  rho = jax.jit(fields.orbital_density_grid, static_argnums=(1, 2))
  delta, whole = f(mol, grid, 3), rho(mol, grid, 3)
  n = float(gfn2_occupations.valence_electrons(np.asarray(mol.numbers_A)).sum())
  # Sub-points 0.25 Å apart would leave an error of 2e-3, by where nuclei lie.
  assert float(whole.sum()) * grid.voxel_volume == pytest.approx(n, rel=2e-4)
  assert abs(float(delta.sum())) * grid.voxel_volume < 2e-4 * n
  # it is a rearrangement: some, but few, of the electrons move
  moved = float(jnp.abs(delta).sum()) * grid.voxel_volume / 2
  assert 0.02 * n < moved < 0.3 * n


def test_deformation_of_an_ion_integrates_to_its_charge():
  # control for the test above: with an electron less, -1 is what is left
  numbers, coords = [8, 1, 1, 1], [
    [0.0, 0, 0], [0.93, 0.2, 0.2], [-0.63, 0.72, 0.2], [-0.3, -0.9, 0.2],
  ]  # fmt: skip
  result = xtb.run(numbers, coords, total_charge=1)
  mol = Molecule.from_arrays(numbers, coords, orbitals=result.orbitals)
  grid = Grid(30, 0.5)
  delta = jax.jit(fields.deformation_grid, static_argnums=(1, 2))(mol, grid, 2)
  assert float(delta.sum()) * grid.voxel_volume == pytest.approx(-1, abs=0.02)


# --- atoms, shape, noise -----------------------------------------------------


@pytest.mark.parametrize(
  'pair',
  [
    (fields.atoms, fields.atoms_grid),
    (fields.binary_atoms, fields.binary_atoms_grid),
  ],
)
def test_no_atom_is_dropped(pair):
  # one atom of each element, far apart: exactly one channel is 1 at each
  numbers = [1, 6, 7, 8, 9, 16, 17, 92]
  coords = np.stack([np.arange(8) * 6.0, np.zeros(8), np.zeros(8)], 1)
  mol = Molecule.from_arrays(numbers, coords, max_atoms=12, center=False)
  names = fields.atom_channels()
  assert names[-1] == 'atoms_other'
  at_atoms = jax.jit(pair[0])(mol, mol.coords_A3[:8])
  want = np.zeros((8, 6))
  for i, channel in enumerate([0, 1, 2, 3, 4, 5, 5, 5]):
    want[i, channel] = 1
  np.testing.assert_allclose(at_atoms, want, atol=1e-6)
  vox = jax.jit(pair[1], static_argnums=1)(mol, Grid(41, 0.5))
  assert float(vox[20, 20, 20, 0]) == pytest.approx(1)  # H; others outside


def test_groups_keep_ligand_and_pocket_apart():
  mol = Molecule.from_arrays(
    [6, 8, 6, 30], [[0.0, 0, 0], [1.4, 0, 0], [0, 5.0, 0], [5.0, 0, 0]],
    groups=[0, 0, 1, 1], max_atoms=6, center=False,
  )  # fmt: skip
  names = fields.atom_channels(('C', 'O'), groups=True)
  assert names == ('ligand_C', 'ligand_O', 'ligand_other', 'pocket_C',
                   'pocket_O', 'pocket_other')  # fmt: skip

  @functools.partial(jax.jit, static_argnums=1)
  def on_grid(mol, groups):
    return fields.atoms_grid(
      mol, Grid(12, 1.0), elements=('C', 'O'), groups=groups
    )

  apart, joint = on_grid(mol, True), on_grid(mol, False)
  np.testing.assert_allclose(apart[..., :3] + apart[..., 3:], joint, atol=1e-6)
  at = fields.atoms(
    mol, mol.coords_A3[:4], elements=('C', 'O'), width=0.2, groups=True
  )
  np.testing.assert_array_equal(np.argmax(at, axis=1), [0, 1, 3, 5])


@pytest.mark.parametrize(
  ('on_points', 'on_grid'),
  [
    (functools.partial(fields.promolecule, b_iso=B_ISO),
     functools.partial(fields.promolecule_grid, b_iso=B_ISO)),
    (fields.shape, fields.shape_grid),
  ],
)  # fmt: skip
def test_groups_are_the_fields_of_each_group_alone(on_points, on_grid):
  numbers, coords = FORMAMIDE
  groups = np.array([0, 1, 1, 0, 1, 1])
  grid = Grid(7, 0.6)
  mol = Molecule.from_arrays(
    numbers, coords, groups=groups, max_atoms=8, center=False
  )
  on_points = jax.jit(on_points, static_argnames='groups')
  on_grid = jax.jit(on_grid, static_argnums=(1, 2), static_argnames='groups')
  apart = np.asarray(on_grid(mol, grid, 2, groups=True))
  for group in (0, 1):
    chosen = groups == group
    alone = Molecule.from_arrays(
      np.array(numbers)[chosen], np.array(coords)[chosen], center=False
    )
    want = on_grid(alone, grid, 2)
    np.testing.assert_allclose(apart[..., group], want, rtol=1e-4, atol=1e-6)
  points_G3 = jnp.asarray(grids.centres(grid))
  np.testing.assert_allclose(
    on_points(mol, points_G3, groups=True).reshape(*(7,) * 3, 2),
    on_grid(mol, grid, groups=True), rtol=1e-4, atol=1e-6,
  )  # fmt: skip
  assert np.abs(apart[..., 0] - apart[..., 1]).max() > 0.1


@pytest.mark.parametrize('supersample', [1, 2])
def test_promolecule_and_gradient_are_those_of_forward_mode(supersample):
  numbers, coords = METHANETHIOL
  mol = Molecule.from_arrays(
    numbers, coords, groups=[0, 1, 1, 0, 1, 0], max_atoms=8,
    b_factors=np.arange(6.0),
  )  # fmt: skip
  grid = Grid(9, 0.6)
  for options in ({}, {'groups': True, 'b_iso': 9.0, 'use_b_factors': True}):
    field = functools.partial(fields.promolecule_grid, **options)
    own = functools.partial(fields.promolecule_and_gradient_grid, **options)
    want, got = (
      jax.jit(f, static_argnums=(1, 2))(mol, grid, supersample)
      for f in (fields.value_and_gradient_magnitude(field), own)
    )
    for a, b in zip(got, want, strict=True):
      assert a.shape == b.shape
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * b.max())


def test_promolecule_gradient_is_differentiable_at_its_zero():
  """At the centre of a lone atom the gradient is zero."""

  @jax.jit
  def total(x):
    mol = Molecule.from_arrays([6], np.zeros((1, 3)), center=False)
    mol = geometry.translate(mol, jnp.stack([x, 0 * x, 0 * x]))
    return fields.promolecule_and_gradient_grid(mol, Grid(1, 0.5))[1].sum()

  assert float(total(jnp.zeros(()))) == 0
  assert float(jax.jit(jax.grad(total))(jnp.zeros(()))) == 0
  assert float(total(jnp.full((), 0.1))) > 0.1


def test_metals_share_a_channel_unless_listed():
  names = fields.atom_channels(('C', 'Zn', 'metals'))
  assert names == ('atoms_C', 'atoms_Zn', 'atoms_metals', 'atoms_other')
  numbers = [6, 30, 12, 26, 34, 1]  # C Zn Mg Fe Se H
  coords = 9.0 * np.arange(6)[:, None] * np.eye(3)[:1]
  mol = Molecule.from_arrays(numbers, coords, max_atoms=7, center=False)
  at = fields.atoms(mol, mol.coords_A3[:6], elements=('C', 'Zn', 'metals'))
  np.testing.assert_array_equal(np.argmax(at, axis=1), [0, 1, 2, 2, 3, 3])


def test_atom_channels_errors():
  with pytest.raises(ValueError, match='unknown element'):
    fields.atom_channels(('C', 'Qq'))
  with pytest.raises(ValueError, match='twice'):
    fields.atom_channels(('C', 'N', 'c'))


@pytest.mark.parametrize('bad', [0.0, -1.0, np.nan])
def test_widths_must_be_positive(bad):
  mol = Molecule.from_arrays([6], [[0.0, 0, 0]])
  for call in (
    lambda: fields.atoms_grid(mol, Grid(2, 1.0), width=bad),
    lambda: fields.shape_grid(mol, Grid(2, 1.0), width=bad),
    lambda: fields.binary_atoms_grid(mol, Grid(2, 1.0), radius=bad),
  ):
    with pytest.raises(ValueError, match='must be >'):
      call()


def test_truncated_atoms_end_at_three_widths():
  mol = Molecule.from_arrays([8], [[0.0, 0, 0]])
  d = np.array([0.0, 0.5, 1.0, 1.4, 1.5, 1.6])
  points = np.stack([0 * d, d, 0 * d], axis=1)
  got = fields.atoms(mol, points, elements=('O',), truncated=True)[:, 0]
  t = d / 0.5
  want = np.where(t <= 2, np.exp(-(t**2) / 2), np.exp(-2) * (3 - t) ** 2)
  np.testing.assert_allclose(got, want * (t < 3), rtol=0, atol=1e-6)
  whole = fields.atoms(mol, points, elements=('O',))[:, 0]
  np.testing.assert_allclose(whole[:3], got[:3], rtol=0, atol=1e-6)
  assert float((whole - got)[3:].min()) > 1e-3


def test_binary_atoms_equal_a_plain_loop():
  mol = _mol(max_atoms=9)
  grid = Grid(9, 0.5)
  got = fields.binary_atoms_grid(mol, grid, elements=('C', 'O'), radius=1.2)
  want = np.zeros((729, 3))
  for z, xyz in zip(*FORMAMIDE, strict=True):
    xyz = xyz + np.asarray(mol.coords_A3[0]) - FORMAMIDE[1][0]
    near = np.linalg.norm(grids.centres(grid) - xyz, axis=1) <= 1.2
    want[near, {6: 0, 8: 1}.get(z, 2)] = 1
  np.testing.assert_array_equal(got, want.reshape(9, 9, 9, 3))


@pytest.mark.parametrize('width', [0.1, 0.35, 0.5, 0.8])
@pytest.mark.parametrize('z', [1, 8, 53])
def test_shape_is_one_half_at_the_radius_of_an_isolated_atom(z, width):
  mol = Molecule.from_arrays([z], [[0.0, 0, 0]], max_atoms=3)
  radius = elements.VDW_RADII[z]
  r = jnp.array([0.0, 0.8, 1.0, 1.2, 3.0]) * radius
  points = jnp.stack([r, 0 * r, 0 * r], axis=1)
  values = fields.shape(mol, points, width=width)
  assert float(values[2]) == pytest.approx(0.5, rel=1e-5)
  assert (jnp.diff(values) <= 0).all()
  assert values[1] > 0.52 > 0.48 > values[3]
  assert 0.65 < float(values[0]) <= 1
  assert float(values[4]) < 0.01


def test_valence_is_the_atoms_weighted_by_their_electrons():
  """And holds all of them: the Gaussians' integral over a large grid."""
  mol, grid = _mol('thiol'), Grid(30, 0.4)
  weights = {'H': 1, 'C': 4, 'S': 6}
  vox = fields.atoms_grid(mol, grid, elements=tuple(weights), width=0.6)
  want = sum(n * vox[..., i] for i, n in enumerate(weights.values()))
  got = fields.valence_grid(mol, grid, width=0.6)
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
  # As many as tblite counts, and not the nuclear charges.
  electrons = _orbitals('thiol').n_electrons
  held = float(got.sum()) * 0.4**3 / (2 * np.pi * 0.6**2) ** 1.5
  assert held == pytest.approx(electrons, rel=1e-3)
  assert held < 0.6 * float(mol.numbers_A.sum())


def test_valence_of_elements_that_gfn2_lacks_is_not_a_number():
  mol = Molecule.from_arrays([6, 92], [[0.0, 0, 0], [1.5, 0, 0]], max_atoms=4)
  assert np.isnan(fields.valence(mol, jnp.zeros((1, 3)))).all()
  assert np.isnan(fields.valence_grid(mol, Grid(2, 0.5))).any()
  mol = Molecule.from_arrays([6, 86], [[0.0, 0, 0], [1.5, 0, 0]], max_atoms=4)
  assert np.isfinite(fields.valence_grid(mol, Grid(2, 0.5))).all()


def test_shape_with_one_radius_does_not_know_the_element():
  coords, grid = [[0.0, 0, 0], [1.4, 0.3, 0]], Grid(9, 0.5)
  carbons, others = (
    Molecule.from_arrays(numbers, coords, center=False)
    for numbers in ([6, 6], [1, 53])
  )
  # With carbon's radius it is the shape of carbons.
  radius = elements.VDW_RADII[6]
  shape_grid = jax.jit(
    fields.shape_grid, static_argnums=(1, 2), static_argnames='radius'
  )
  want = shape_grid(carbons, grid, 2)
  for mol in (carbons, others):
    got = shape_grid(mol, grid, 2, radius=radius)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    points = jnp.asarray(grids.centres(grid), jnp.float32)
    on_points = fields.shape(mol, points, radius=radius)
    on_grid = shape_grid(mol, grid, radius=radius)
    np.testing.assert_allclose(on_grid.ravel(), on_points, rtol=0, atol=1e-5)
  # Controls: it does with radii of their own, and the radius counts.
  assert float(jnp.abs(shape_grid(others, grid, 2) - want).max()) > 0.2
  wider = shape_grid(others, grid, 2, radius=2.0)
  assert float((wider - want).max()) > 0.1
  alone = Molecule.from_arrays([8], [[0.0, 0, 0]])
  half = fields.shape(alone, jnp.array([[1.3, 0.0, 0.0]]), radius=1.3)
  assert float(half[0]) == pytest.approx(0.5, rel=1e-5)
  with pytest.raises(ValueError, match='radius of shape'):
    fields.shape_grid(alone, grid, radius=-1.0)


def test_shape_refuses_widths_that_overflow():
  mol = Molecule.from_arrays([6], [[0.0, 0, 0]])
  for call in (
    lambda w: fields.shape(mol, jnp.zeros((1, 3)), width=w),
    lambda w: fields.shape_grid(mol, Grid(2, 1.0), width=w),
  ):
    with pytest.raises(ValueError, match='width of shape must be >='):
      call(0.07)


def test_shape_is_bounded_in_a_crowd():
  rng = np.random.default_rng(0)
  mol = Molecule.from_arrays(np.full(60, 53), rng.normal(size=(60, 3)))
  vox = fields.shape_grid(mol, Grid(12, 0.5), 2)
  assert float(vox.max()) <= 1
  assert float(vox.min()) >= 0


def test_noise_is_keyed_by_the_example_alone():
  grid = Grid(16, 0.5)
  f = fields.noise_grid
  a, b = _mol(), dataclasses.replace(_mol(), index=jnp.uint32(8))
  turned = geometry.rotate(a, geometry.random_rotation(jax.random.key(0)))
  np.testing.assert_array_equal(f(a, grid, 1), f(turned, grid, 1))
  np.testing.assert_array_equal(f(a, grid, 1), f(a, grid, 2))
  values_a, values_b = (np.asarray(f(m, grid, 1)).ravel() for m in (a, b))
  # 4096 values: standard errors 0.016 (mean), 0.011 (sd), 0.016 (r)
  assert abs(values_a.mean()) < 0.08
  assert values_a.std() == pytest.approx(1, abs=0.05)
  assert abs(np.corrcoef(values_a, values_b)[0, 1]) < 0.08
  batch = jax.tree.map(lambda x, y: jnp.stack([x, y]), a, b)
  both = jax.vmap(lambda m: fields.noise_grid(m, grid))(batch)
  np.testing.assert_array_equal(both[1].ravel(), values_b)


def test_missing_contents_raise():
  mol = Molecule.from_arrays([6], [[0.0, 0, 0]])
  for name in OF_ORBITALS:
    for field, arg in zip(
      FIELDS[name], (jnp.zeros((1, 3)), Grid(2, 1.0)), strict=True
    ):
      missing = 'no (orbitals|homo_OL9|lumo_OL9)'
      with pytest.raises(ValueError, match=missing):
        field(mol, arg, **OPTIONS.get(name, {}))
  with pytest.raises(ValueError, match='density map'):
    fields.map_density(mol, jnp.zeros((1, 3)))
  with pytest.raises(ValueError, match='density map'):
    fields.map_density_grid(mol, Grid(2, 1.0))
