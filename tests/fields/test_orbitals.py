"""The orbital density against tblite, PySCF's numbers, closed forms, itself."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from support import sto_3g
from tblite.interface import Calculator

from data_builders import xtb
from edjax import fields, geometry
from edjax import grid as grids
from edjax.chem import elements, gfn2_basis, gfn2_occupations
from edjax.chem.units import BOHR_A
from edjax.grid import Grid
from edjax.kernels import gto_dense, gto_functions
from edjax.molecule import Molecule, stack

FORMAMIDE = (
  [8, 1, 6, 1, 7, 1],  # heavy atoms and hydrogens mixed on purpose
  [
    [1.20, -0.25, 0.0],
    [0.13, 1.49, 0.0],
    [0.16, 0.39, 0.0],
    [-1.92, 0.40, 0.1],
    [-1.08, -0.16, 0.0],
    [-1.16, -1.17, 0.0],
  ],
)
# Sulfur and phosphorus carry d functions.
SULFUR_DIOXIDE = ([8, 16, 8], [[1.24, 0.7, 0.1], [0, 0, 0], [-1.2, 0.7, -0.1]])
PHOSPHINE = (
  [1, 15, 1, 1],
  [[1.2, 0.6, 0.3], [0, 0, -0.1], [-1.1, 0.7, 0.4], [0.1, -1.2, 0.5]],
)
# Caesium has six primitives in a shell.
CAESIUM_FLUORIDE = ([55, 9], [[0.9, 0.2, -0.4], [-1.0, -0.3, 0.9]])
MOLECULES = {
  'formamide': FORMAMIDE,
  'sulfur dioxide': SULFUR_DIOXIDE,
  'phosphine': PHOSPHINE,
  'caesium fluoride': CAESIUM_FLUORIDE,
}


@functools.cache
def _orbitals(name):
  numbers, coords = MOLECULES[name]
  return xtb.run(numbers, coords).orbitals


def _molecule(name, dtype=np.float32, **padding):
  """A molecule; float64 (under x64) where rounding must not hide errors."""
  numbers, coords = MOLECULES[name]
  mol = Molecule.from_arrays(numbers, coords, _orbitals(name), **padding)
  return dataclasses.replace(
    mol,
    coords_A3=jnp.asarray(mol.coords_A3, dtype),
    orbitals_OL9=jnp.asarray(mol.orbitals_OL9, dtype),
  )


def _centres(grid, dtype=np.float32):
  return jnp.asarray(grids.centres(grid), dtype)


def _at_centres(mol, grid):
  """The point-wise twin of density_grid."""
  points = _centres(grid, mol.coords_A3.dtype)
  return fields.orbital_density(mol, points).reshape((grid.size,) * 3)


def _assert_close(values, expected, of_peak):
  peak = np.max(np.abs(expected))
  np.testing.assert_allclose(values, expected, rtol=0, atol=of_peak * peak)


# --- the basis ---------------------------------------------------------------


def _tblite_overlap(numbers, coords):
  """A high temperature lets the odd shapes below converge."""
  calculator = Calculator(
    'GFN2-xTB', np.array(numbers), np.array(coords) / BOHR_A
  )
  calculator.set('verbosity', 0)
  calculator.set('max-iter', 500)
  calculator.set('temperature', 5000.0)
  calculator.set('save-integrals', 1)
  return calculator.singlepoint().get('overlap-matrix')


@pytest.mark.parametrize(
  'symbols',
  [
    'H B C N O F Si P',
    'Cl S Se Br I H',
    'Sc H',
    'Ti Cl',  # lists 3d before 4s
    'Fe O',
    'Cu Cl',
    'Zn S',
    'Pd H H',
    'Pt Ni',
    'Au Cl',
  ],
)
def test_overlaps_equal_tblite(symbols):
  numbers = [elements.atomic_number(s) for s in symbols.split()]
  rng = np.random.default_rng(len(numbers))
  coords = np.arange(len(numbers))[:, None] * [1.3, 0.6, -0.4]
  coords += rng.uniform(-0.3, 0.3, coords.shape)
  expected = _tblite_overlap(numbers, coords)
  # The table has ten digits.
  np.testing.assert_allclose(
    gfn2_basis.overlap(numbers, coords), expected, rtol=0, atol=1e-9
  )
  # The comparison sees one wrong centre.
  wrong = gfn2_basis.overlap(numbers, coords + np.eye(len(numbers), 3) * 1e-3)
  assert np.abs(wrong - expected).max() > 1e-5


@pytest.mark.parametrize('z', [1, 6, 16, 21, 26, 28, 53, 57, 71, 79, 86])
def test_one_atom_overlap_is_the_identity(z):
  overlap = gfn2_basis.overlap([z], np.zeros((1, 3)))
  np.testing.assert_allclose(overlap, np.eye(len(overlap)), atol=1e-12)


def test_every_shell_is_normalised():
  """By radial quadrature of what the densities use, for all 86 elements."""
  r = np.geomspace(1e-4, 60, 4000)
  numbers = np.arange(1, gfn2_basis.MAX_NUMBER + 1)
  count = 0
  # Means over the sphere of 1, x^2 and (xy)^2: 1, r^2/3, r^4/15.
  for l, mean in enumerate((1, 1 / 3, 1 / 15)):
    a, c = gto_functions.tables(l)
    radial = np.sum(c[..., None] * np.exp(-a[..., None] * r**2), axis=1)
    norm = np.trapezoid(4 * np.pi * mean * radial**2 * r ** (2 * l + 2), r)
    for z in numbers:
      has = any(shell.l == l for shell in gfn2_basis.shells(int(z)))
      assert norm[z] == pytest.approx(float(has), rel=2e-4), (z, l)
      count += has
  assert count == sum(len(gfn2_basis.shells(int(z))) for z in numbers)


@pytest.mark.parametrize(
  ('z', 'slot', 'spacing'),
  [(1, 0, 0.1), (6, 0, 0.1), (7, 2, 0.1), (16, 4, 0.2), (35, 6, 0.2),
   (53, 8, 0.2), (26, 7, 0.15), (79, 0, 0.25)],
)  # fmt: skip
def test_one_orbital_holds_one_electron(x64, z, slot, spacing):
  """On grids so fine that the sum over voxels is the integral."""
  coefficients = np.zeros((1, 1, 9))
  coefficients[0, 0, slot] = 1
  mol = Molecule.from_arrays([z], np.zeros((1, 3)), coefficients)
  grid = Grid(round(10 / spacing), spacing)
  electrons = fields_sum(fields.orbital_density_grid(mol, grid), grid)
  assert electrons == pytest.approx(1, abs=3e-4)


def fields_sum(rho_XYZ, grid):
  return float(jnp.sum(rho_XYZ)) * grid.voxel_volume


def test_1s_closed_form():
  """Hydrogen's shell: the published STO-3G, written out, and its Slater."""
  mol = Molecule.from_arrays([1], np.zeros((1, 3)), np.eye(1, 4)[None])
  r_A = np.linspace(0.05, 2.5, 40)
  rho = fields.orbital_density(mol, jnp.asarray(np.outer(r_A, [0.6, 0, 0.8])))
  r = r_A / BOHR_A
  psi = sto_3g.gaussians(r) @ sto_3g.COEFFICIENTS
  np.testing.assert_allclose(rho, psi**2 / BOHR_A**3, rtol=3e-5)
  slater = 1.23**3 / np.pi * np.exp(-2 * 1.23 * r) / BOHR_A**3
  middle = (r > 0.4) & (r < 3)
  np.testing.assert_allclose(rho[middle], slater[middle], rtol=0.1)


def test_slots_hold_each_function_of_tblite_once():
  numbers = [16, 1, 21, 6]  # scandium lists 3d first
  n = sum(2 * s.l + 1 for z in numbers for s in gfn2_basis.shells(z))
  c_KO = np.random.default_rng(0).normal(size=(n, 5))
  slots = gfn2_basis.to_slots(numbers, c_KO)
  assert slots.shape == (5, 4, 9)
  ones_KL9 = gfn2_basis.to_slots(numbers, np.eye(n))
  np.testing.assert_array_equal(np.einsum('kls,ols->ko', ones_KL9, slots), c_KO)
  np.testing.assert_allclose(np.sum(slots**2), np.sum(c_KO**2))
  # tblite's first function of sulfur's p shell is y, of scandium d_xy.
  np.testing.assert_array_equal(slots[:, 0, 2], c_KO[1])
  np.testing.assert_array_equal(slots[:, 2, 4], c_KO[10])
  assert gfn2_basis.to_slots([6, 1], c_KO[:5]).shape == (5, 2, 4)


# --- the density -------------------------------------------------------------


def _golden(shared_data):
  """Molecules of the reference file, padded alike, and their numbers."""
  file = np.load(shared_data / 'xtb' / 'golden_gfn2.npz')
  for i, smiles in enumerate(file['smiles']):
    part = {
      key: file[f'{i:02d}/{key}']
      for key in ('charges', 'coords', 'points', 'rho', 'grad',
                  'density_matrix', 'n_valence')
    }  # fmt: skip
    numbers, coords = part['charges'], part['coords']
    root = scipy.linalg.sqrtm(gfn2_basis.overlap(numbers, coords)).real
    occupation, vectors = np.linalg.eigh(root @ part['density_matrix'] @ root)
    assert occupation.sum() == pytest.approx(part['n_valence'], abs=1e-6)
    kept = occupation > 1e-8
    c_KO = np.linalg.solve(root, vectors[:, kept]) * np.sqrt(occupation[kept])
    slots = gfn2_basis.to_slots(numbers, c_KO)
    slots = np.pad(slots, ((0, 0), (0, 0), (0, 9 - slots.shape[2])))
    mol = Molecule.from_arrays(
      numbers, coords, slots, max_atoms=24, max_orbitals=30, center=False
    )
    yield str(smiles), mol, part


@jax.jit
def _value_and_gradient(mol, points_G3):
  def at(point_3):
    return fields.orbital_density(mol, point_3[None])[0]

  return jax.vmap(lambda p: (at(p), jax.jacfwd(at)(p)))(points_G3)


def test_density_and_gradient_equal_tblite_and_pyscf(shared_data):
  """19 molecules, S, P, Cl and Br among them, at 300 points each.

  Asked for are 1e-4 of the largest value and 1e-3 relative; float32 and a
  table of ten digits give ten times better.
  """
  seen = set()
  for smiles, mol, golden in _golden(shared_data):
    points = jnp.asarray(golden['points'], jnp.float32)
    rho, grad = _value_and_gradient(mol, points)
    _assert_close(rho, golden['rho'], 1e-5)
    _assert_close(grad, golden['grad'], 1e-5)
    dense = golden['rho'] > 1e-3
    assert dense.sum() > 100, smiles
    np.testing.assert_allclose(rho[dense], golden['rho'][dense], rtol=1e-4)
    length = np.linalg.norm(golden['grad'], axis=1)
    error = np.linalg.norm(grad - golden['grad'], axis=1)
    assert (error / length)[dense].max() < 1e-4, smiles
    seen |= set(golden['charges'].tolist())
  assert {1, 6, 7, 8, 9, 15, 16, 17, 35} <= seen
  # With y and z of the p functions exchanged the same check fails.
  order = [0, 1, 3, 2, 4, 5, 6, 7, 8]
  wrong = dataclasses.replace(mol, orbitals_OL9=mol.orbitals_OL9[..., order])
  rho, _ = _value_and_gradient(wrong, points)
  assert np.abs(rho - golden['rho']).max() > 1e-2 * golden['rho'].max()


@pytest.mark.parametrize(
  ('name', 'max_atoms'),
  [
    # A CPU chooses from these rooms: the tightest, the middle one, ...
    ('formamide', 12),
    ('formamide', 6),
    ('phosphine', 16),
    # ... and the complete one, for p functions everywhere and for caesium.
    ('sulfur dioxide', 3),
    ('caesium fluoride', 4),
  ],
)
def test_separable_equals_pointwise(name, max_atoms):
  mol = _molecule(name, max_atoms=max_atoms)
  grid = Grid(13, 0.4)
  expected = jax.jit(lambda mol: _at_centres(mol, grid))(mol)
  tight = jax.jit(lambda mol: fields.orbital_density_grid(mol, grid))(mol)
  _assert_close(tight, expected, 1e-6)
  assert float(jnp.min(tight)) >= 0
  parts = mol.numbers_A, mol.coords_A3, mol.orbitals_OL9
  complete = functools.partial(gto_dense.density, grid)
  _assert_close(jax.jit(complete)(*parts), expected, 1e-6)


@pytest.mark.parametrize(
  ('name', 'size'), [('formamide', 30), ('sulfur dioxide', 12)]
)
def test_separable_equals_pointwise_in_doubles(x64, name, size):
  mol = _molecule(name, np.float64, max_atoms=9)
  grid = Grid(size, 0.3)  # 30: slabs of 15 lines
  separable = fields.orbital_density_grid(mol, grid)
  assert separable.dtype == jnp.float64
  _assert_close(separable, _at_centres(mol, grid), 1e-12)


def test_supersample_is_the_mean_over_sub_points():
  mol = _molecule('phosphine')
  grid = Grid(5, 0.8)
  fine = _at_centres(mol, grid.refine(3)).reshape(5, 3, 5, 3, 5, 3)
  _assert_close(
    fields.orbital_density_grid(mol, grid, 3), fine.mean((1, 3, 5)), 1e-6
  )


def _electrons(mol, grid, rotations_B33):
  @jax.jit
  def run(mol, rotations_B33):
    def one(rotation_33):
      rho = fields.orbital_density_grid(
        geometry.rotate(mol, rotation_33), grid, 2
      )
      return jnp.sum(rho) * grid.voxel_volume

    return jax.lax.map(one, rotations_B33)

  return np.asarray(run(mol, rotations_B33))


@pytest.mark.parametrize(
  ('grid', 'tolerance'), [(Grid(48, 0.25), 2e-4), (Grid(26, 0.5), 3e-3)]
)
@pytest.mark.parametrize('name', ['formamide', 'sulfur dioxide'])
def test_supersampled_density_keeps_the_electrons(name, grid, tolerance):
  """In 20 poses; the values at the voxel centres would not at 0.5 Å."""
  mol = _molecule(name)
  valence = gfn2_occupations.valence_electrons(MOLECULES[name][0]).sum()
  keys = jax.random.split(jax.random.key(0), 20)
  rotations = jax.vmap(geometry.random_rotation)(keys)
  electrons = _electrons(mol, grid, rotations)
  assert np.abs(electrons / valence - 1).max() < tolerance
  if grid.spacing == 0.5:
    plain = jax.vmap(
      lambda r: jnp.sum(
        fields.orbital_density_grid(geometry.rotate(mol, r), grid)
      )
    )(rotations[:3])
    assert np.abs(plain * grid.voxel_volume / valence - 1).max() > tolerance


# --- symmetry ----------------------------------------------------------------


def _without_turning_orbitals(mol, rotation_33):
  turned = geometry.rotate(mol, rotation_33)
  return dataclasses.replace(turned, orbitals_OL9=mol.orbitals_OL9)


@pytest.mark.parametrize('name', ['sulfur dioxide', 'phosphine'])
def test_a_quarter_turn_turns_the_grid(name):
  mol = _molecule(name)
  grid = Grid(14, 0.5)
  turn = jnp.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # x to y
  field = jax.jit(lambda mol: fields.orbital_density_grid(mol, grid))
  expected = jnp.rot90(field(mol), axes=(0, 1))
  _assert_close(field(geometry.rotate(mol, turn)), expected, 1e-6)
  wrong = field(_without_turning_orbitals(mol, turn))
  assert float(jnp.max(jnp.abs(wrong - expected))) > 0.05


@pytest.mark.parametrize('name', ['sulfur dioxide', 'formamide'])
def test_the_density_moves_with_the_molecule(x64, name):
  mol = _molecule(name, np.float64)
  points = jax.random.normal(jax.random.key(1), (200, 3))
  rho = fields.orbital_density(mol, points)
  for seed in range(3):
    rotation = geometry.random_rotation(jax.random.key(seed))
    shift = jnp.array([0.3, -1.2, 0.7])
    moved = geometry.translate(geometry.rotate(mol, rotation), shift)
    there = points @ rotation.T + shift[None, :]
    _assert_close(fields.orbital_density(moved, there), rho, 1e-12)
    wrong = _without_turning_orbitals(mol, rotation)
    error = fields.orbital_density(wrong, points @ rotation.T) - rho
    assert float(jnp.max(jnp.abs(error))) > 0.01 * float(jnp.max(rho))


# --- padding -----------------------------------------------------------------


def test_padding_is_inert():
  plain = _molecule('phosphine')
  padded = _molecule('phosphine', max_atoms=11, max_orbitals=9)
  # Orbitals are of the first atoms: more may follow them, without.
  padded = dataclasses.replace(
    padded,
    numbers_A=jnp.pad(padded.numbers_A, (0, 1), constant_values=6),
    coords_A3=jnp.pad(padded.coords_A3, ((0, 1), (0, 0))),
  )
  grid = Grid(6, 0.8)
  weights = jax.random.normal(jax.random.key(0), (6, 6, 6))

  def loss(coords_A3, orbitals_OL9, mol):
    mol = dataclasses.replace(
      mol, coords_A3=coords_A3, orbitals_OL9=orbitals_OL9
    )
    rho = fields.orbital_density_grid(mol, grid)
    return jnp.sum(weights * rho), rho

  @jax.jit
  def run(mol):
    grad = jax.grad(loss, argnums=(0, 1), has_aux=True)
    return grad(mol.coords_A3, mol.orbitals_OL9, mol)

  (force, mixing), rho = run(plain)
  (padded_force, padded_mixing), padded_rho = run(padded)
  assert float(jnp.max(jnp.abs(force))) > 0.1
  _assert_close(padded_rho, rho, 1e-6)
  _assert_close(padded_force[:4], force, 1e-5)
  assert not np.any(padded_force[4:])
  _assert_close(padded_mixing[:4, :4], mixing, 1e-5)
  assert not np.any(padded_mixing[4:])
  # Coefficients on a padding atom have no function to multiply.
  assert not np.any(padded_mixing[:, 4:])


def test_batches_equal_single_molecules():
  padding = {'max_atoms': 6, 'max_orbitals': 9}
  names = ('formamide', 'formamide')
  mols = [_molecule(name, **padding) for name in names]
  rotation = geometry.random_rotation(jax.random.key(3))
  mols[1] = geometry.rotate(mols[1], rotation)
  field = jax.jit(
    functools.partial(fields.orbital_density_grid, grid=Grid(8, 0.6))
  )
  batch = jax.vmap(field)(stack(mols))
  for one, mol in zip(batch, mols, strict=True):
    _assert_close(one, field(mol), 1e-6)


# --- derivatives -------------------------------------------------------------


@pytest.fixture(params=['formamide', 'sulfur dioxide'])
def smooth(request, x64):
  """Two forms of one function of (coords, orbitals), and a place."""
  mol = _molecule(request.param, np.float64, max_atoms=7, max_orbitals=10)
  grid = Grid(6, 0.5)

  def form(field):
    def rho(coords_A3, orbitals_OL9):
      return field(
        dataclasses.replace(mol, coords_A3=coords_A3, orbitals_OL9=orbitals_OL9)
      )

    return rho

  separable = form(lambda mol: fields.orbital_density_grid(mol, grid))
  plain = form(lambda mol: _at_centres(mol, grid))
  place = mol.coords_A3, mol.orbitals_OL9
  keys = jax.random.split(jax.random.key(0), 2)
  direction = tuple(
    jax.random.normal(k, x.shape) for k, x in zip(keys, place, strict=True)
  )
  return separable, plain, place, direction


def test_forward_derivative_equals_autodiff_of_the_plain_form(smooth):
  separable, plain, place, direction = smooth
  slopes = [
    jax.jit(lambda d, f=f: jax.jvp(f, place, d)) for f in (separable, plain)
  ]
  for scales in ((1, 0), (0, 1), (1, 1)):
    along = tuple(s * d for s, d in zip(scales, direction, strict=True))
    (value, slope), (expected_value, expected) = (f(along) for f in slopes)
    _assert_close(value, expected_value, 1e-12)
    _assert_close(slope, expected, 1e-12)
    assert float(jnp.max(jnp.abs(expected))) > 1e-2


def test_derivative_along_one_argument_alone(smooth):
  """Constant arguments (coordinates or orbitals) contribute nothing."""
  separable, plain, (coords, orbs), (direction, mixing) = smooth
  for f, x, dx in (
    (lambda g: lambda c: g(c, orbs), coords, direction),
    (lambda g: lambda o: g(coords, o), orbs, mixing),
  ):
    _, slope = jax.jvp(f(separable), (x,), (dx,))
    _, expected = jax.jvp(f(plain), (x,), (dx,))
    _assert_close(slope, expected, 1e-12)


def test_derivative_equals_central_differences(smooth):
  separable, _, (coords, orbs), (direction, _) = smooth
  _, slope = jax.jvp(lambda c: separable(c, orbs), (coords,), (direction,))
  h = 1e-5
  up, down = (separable(coords + s * h * direction, orbs) for s in (1, -1))
  # Truncation goes with h^2, rounding with 1e-16/h.
  _assert_close((up - down) / (2 * h), slope, 1e-7)


def test_backward_and_second_derivatives(smooth):
  separable, plain, place, direction = smooth
  weights = jax.random.normal(jax.random.key(5), (6, 6, 6))

  def pulled(f):
    return jax.grad(lambda p: jnp.sum(weights * f(*p)))

  for grad, expected in zip(
    pulled(separable)(place), pulled(plain)(place), strict=True
  ):
    _assert_close(grad, expected, 1e-11)

  def curvature(f):
    slope = lambda p: jax.jvp(f, p, direction)[1]  # noqa: E731
    return jax.jvp(slope, (place,), (direction,))[1]

  _assert_close(curvature(separable), curvature(plain), 1e-11)


def _products(jaxpr):
  """Shapes of the results of all matrix products of a program."""
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'dot_general':
      yield equation.outvars[0].aval.shape
    for value in jax.tree.leaves(
      list(equation.params.values()), is_leaf=lambda x: hasattr(x, 'eqns')
    ):
      inner = getattr(value, 'jaxpr', value)
      if hasattr(inner, 'eqns'):
        yield from _products(inner)


def test_all_directions_share_the_large_product():
  """Orbitals are made once, and never once per direction (here: 3)."""
  mol = _molecule('formamide')
  orbitals_of, points = (len(mol.orbitals_OL9), 4**3)

  def density(mol):
    parts = mol.numbers_A, mol.coords_A3, mol.orbitals_OL9
    return gto_dense.density(Grid(4, 0.5), *parts)

  def large(f):
    shapes = _products(jax.make_jaxpr(f)(mol).jaxpr)
    return [s for s in shapes if s[-1] == points and orbitals_of in s]

  assert large(density) == [(orbitals_of, points)]
  magnitude = fields.gradient_magnitude(density)
  assert large(magnitude) == [(orbitals_of, points)]
  plain = fields.gradient_magnitude(
    lambda mol: fields.orbital_density(mol, _centres(Grid(4, 0.5)))
  )
  assert (3, orbitals_of, points) in [tuple(sorted(s)) for s in large(plain)]


# --- valence and core --------------------------------------------------------


def test_electrons_that_have_no_orbitals():
  known = {0: 0, 1: 0, 2: 0, 3: 2, 6: 2, 9: 2, 11: 10, 15: 10, 17: 10, 21: 18,
           29: 18, 30: 28, 35: 28, 47: 36, 53: 46, 58: 55, 72: 68, 79: 68,
           86: 78}  # fmt: skip
  numbers = np.array(list(known))
  np.testing.assert_array_equal(
    numbers - gfn2_occupations.valence_electrons(numbers), list(known.values())
  )
  assert np.isnan(gfn2_occupations.valence_electrons([87, 98])).all()


def test_valence_electrons_are_tblites():
  """tblite says how many electrons it counts when one cannot be unpaired."""
  for z in range(1, gfn2_basis.MAX_NUMBER + 1):
    valence = int(gfn2_occupations.valence_electrons(z))
    # A hydrogen atom makes odd numbers even.
    odd = valence % 2
    calculator = Calculator(
      'GFN2-xTB',
      np.array([z, 1])[: 1 + odd],
      np.array([[0, 0, 0], [0, 0, 3.0]])[: 1 + odd],
      uhf=1,
    )
    calculator.set('verbosity', 0)
    with pytest.raises(RuntimeError, match=rf'\({valence + odd}\)'):
      calculator.singlepoint()


# --- errors ------------------------------------------------------------------


def test_a_molecule_without_orbitals_is_refused_at_trace_time():
  mol = Molecule.from_arrays(*FORMAMIDE)
  for field in (
    lambda mol: fields.orbital_density(mol, jnp.zeros((1, 3))),
    lambda mol: fields.orbital_density_grid(mol, Grid(4, 0.5)),
  ):
    with pytest.raises(ValueError, match=r'orbitals_OL9.*xtb\.run'):
      jax.eval_shape(field, mol)


def test_bad_arguments_are_refused():
  mol = _molecule('phosphine')
  with pytest.raises(ValueError, match='points_G3'):
    fields.orbital_density(mol, jnp.zeros(3))
  with pytest.raises(ValueError, match='supersample'):
    fields.orbital_density_grid(mol, Grid(4, 0.5), 0)
  with pytest.raises(ValueError, match=r'87.*H to Rn'):
    gfn2_basis.to_slots([6, 87], np.zeros((8, 1)))
  with pytest.raises(ValueError, match=r'88.*H to Rn'):
    gfn2_basis.overlap([88], np.zeros((1, 3)))
  with pytest.raises(ValueError, match=r'\[5, O\]'):
    gfn2_basis.to_slots([6, 1], np.zeros((4, 2)))
  with pytest.raises(ValueError, match=r'\[2, 3\]'):
    gfn2_basis.overlap([6, 1], np.zeros((2, 2)))


def test_orbitals_beyond_radon_give_no_number():
  mol = Molecule.from_arrays([92, 1], np.eye(2, 3), np.ones((1, 2, 4)))
  assert np.isnan(fields.orbital_density(mol, jnp.zeros((1, 3)))).all()
  assert np.isnan(fields.orbital_density_grid(mol, Grid(3, 0.5))).all()
  magnitude = jax.jit(
    fields.gradient_magnitude(fields.orbital_density_grid), static_argnums=1
  )
  assert np.isnan(magnitude(mol, Grid(3, 0.5))).all()
