"""What people hand to public functions: lists, symbols, their own frame."""

import dataclasses
import functools
import inspect
import warnings

import gemmi
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data_builders import xtb
from edjax import fields, geometry, molecule, view, voxelize
from edjax.fields import common
from edjax.grid import Grid
from edjax.molecule import DensityMap, Molecule

# Far from the origin, as in a file of a crystal, Å.
SYMBOLS = ['O', 'H', 'h']
NUMBERS = [8, 1, 1]
COORDS = [[31.0, -42.0, 57.12], [31, -41.24, 56.52], [31, -42.76, 56.52]]
GRID = Grid(8, 0.6)
TWICE = [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
ON_POINTS = [
  name
  for name in fields.__all__
  if callable(getattr(fields, name))
  and 'points_G3' in inspect.signature(getattr(fields, name)).parameters
]
OPTIONS = {
  'promolecule': {'b_iso': 12.0},
  'all_electron_density': {'b_iso': 12.0},
}


@functools.cache
def _result():
  return xtb.run(NUMBERS, COORDS)


def _mol(**options) -> Molecule:
  result = _result()
  density_map = DensityMap(
    np.arange(27.0).reshape(3, 3, 3).tolist(), [30.0, -43, 56], np.eye(3)
  )
  options = {'density_map': density_map} | options
  return Molecule.from_arrays(
    NUMBERS, COORDS, result.orbitals, homo=result.homo, lumo=result.lumo,
    **options,
  )  # fmt: skip


def _water(**options):
  return Molecule.from_arrays(NUMBERS, COORDS, **options)


def test_symbols_are_numbers():
  for other in (SYMBOLS, np.array(SYMBOLS), ['O', 1, 1], tuple(NUMBERS)):
    mol = Molecule.from_arrays(other, COORDS)
    np.testing.assert_array_equal(mol.numbers_A, NUMBERS)
  assert xtb.run(SYMBOLS, COORDS).energy == _result().energy
  np.testing.assert_array_equal(view.bonds(SYMBOLS, COORDS), [[1, 0], [2, 0]])
  assert view.slices({'0': np.zeros((8,) * 3)}, GRID, SYMBOLS, COORDS)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'numbers': ['O', 'H', 'Hx']}, r"^atom 2: unknown element symbol 'Hx'"),
    ({'numbers': 'OHH'}, r"^atom 0: unknown element symbol 'OHH'"),
    ({'numbers': np.array([8, 1, 99])}, r'^atom 2: .* number 99 \(known'),
    ({'numbers': [8, 1, np.nan]}, r'^atom 2: .* number nan'),
    ({'numbers': [8, 1, 1j]}, r'^numbers must be real numbers'),
    ({'coords': [[0, 0, 0], [1, 0], [0, 1, 0]]}, '^coords has rows of'),
    ({'coords': [['0', '0', '0']] * 3}, '^coords must be real numbers, not'),
    ({'coords': None}, '^coords must be real numbers, not None$'),
    ({'coords': np.full((3, 3), np.nan)}, r'finite: \[nan, nan, nan\]$'),
    ({'index': 1.5}, '^index must be a whole number, not 1.5'),
    ({'index': 'one'}, "^index must be a whole number, not 'one'"),
    ({'max_atoms': 3.5}, '^max_atoms must be a whole number, not 3.5'),
    ({'max_atoms': np.nan}, '^max_atoms must be a whole number, not nan'),
    ({'density_map': np.ones((2, 2, 2))}, 'a DensityMap, not a ndarray'),
    ({'homo': np.zeros((1, 3, 5))}, r'^homo must be \[O, L, 4\]'),
    ({'homo': np.zeros((2, 3, 4)), 'max_frontier': 1}, '^max_frontier=1 is'),
    ({'orbital_width': 5}, '^orbital_width must be 4 or 9, not 5'),
    (
      {'orbitals': np.zeros((1, 3, 9)), 'orbital_width': 4},
      '^orbital_width=4 is less than the 9 of orbitals',
    ),
  ],
)  # fmt: skip
def test_wrong_arguments_of_a_molecule_are_named(options, message):
  arguments = {'numbers': NUMBERS, 'coords': COORDS} | options
  with pytest.raises(ValueError, match=message) as caught:
    Molecule.from_arrays(**arguments)
  for of_numpy in ('np.', 'numpy.', 'array('):
    assert of_numpy not in str(caught.value)


def test_lists_may_be_groups_of_a_frame():
  lists = molecule.frame_origin([6, 8], [[0.0, 0, 0], [9, 9, 9]], [0, 1])
  np.testing.assert_array_equal(lists, 0)


def test_lists_are_points_matrices_and_shifts():
  mol = _water()
  quarter = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
  turned = geometry.translate(geometry.rotate(mol, quarter), [1, 2, 3])
  x, y, z = np.asarray(mol.coords_A3).T
  np.testing.assert_allclose(
    turned.coords_A3, np.stack([1 - y, 2 + x, 3 + z], 1), atol=1e-6
  )
  d = geometry.d_rotation(quarter)
  np.testing.assert_allclose(d @ d.T, np.eye(5), atol=1e-6)
  half = geometry.quaternion_to_rotation([0, 0, 0, 2])
  np.testing.assert_allclose(half, np.diag([-1, -1, 1]), atol=1e-6)
  place = turned.coords_A3[:1].tolist()
  assert float(fields.atoms(turned, place)[0, 3]) == pytest.approx(1)
  magnitude = fields.gradient_magnitude(fields.promolecule)
  assert magnitude(turned, place, b_iso=12.0).shape == (1,)


@pytest.mark.parametrize(
  ('call', 'message'),
  [
    (lambda m: geometry.rotate(m, 2 * np.eye(3)), 'no rotation: .* by 3$'),
    (lambda m: jax.jit(lambda: geometry.rotate(m, TWICE))(), 'no rotation'),
    (lambda m: geometry.rotate(m, [[1, 0], [0, 1]]), r'\[3, 3\], not \[2, 2\]'),
    (lambda m: geometry.rotate(m, -np.eye(3)), 'reflection'),
    (lambda m: geometry.rotate(m, np.full((3, 3), np.nan)), 'no rotation'),
    (lambda m: geometry.d_rotation(2 * np.eye(3)), 'no rotation'),
    (lambda m: geometry.quaternion_to_rotation([0, 0, 0, 0]), 'zero'),
    (lambda m: geometry.translate(m, 1.0), r'^shift_3 must be \[3\], not \[\]'),
    (lambda m: fields.shape(m, [0, 0, 0]), r'^points_G3 must be \[G, 3\]'),
    (lambda m: fields.shape(m, [['a', 0, 0]]), 'must be real numbers'),
    (lambda m: fields.shape(m, [[0, 0, 0]], frame='pdb'), 'molecule, file'),
    (lambda m: fields.shape(NUMBERS, [[0, 0, 0]]), 'Molecule, not a list'),
    (lambda m: fields.shape_grid(m, 24), 'a Grid, not a int'),
    (lambda m: fields.shape_grid(molecule.stack([m]), GRID), 'jax.vmap'),
    (lambda m: voxelize.make_voxelizer('atoms', GRID), r"\('atoms',\)$"),
    (lambda m: voxelize.make_voxelizer(('atoms',), 24), 'a Grid, not a int'),
    (
      lambda m: voxelize.make_voxelizer(('shape',), GRID, scales=np.zeros(1)),
      r'not \(0.0,\)$',
    ),
    (lambda m: geometry.rotate(m, Rotation.random()), 'not a Rotation$'),
    (lambda m: fields.atoms(m, [[0, 0, 0]], width=[1]), r'^width must be one'),
    (
      lambda m: fields.promolecule(m, [[0, 0, 0]], b_iso=None),
      '^b_iso must be',
    ),
    (lambda m: fields.shape_grid(m, GRID, 1.5), '^supersample must be a whole'),
    (lambda m: view.slices(np.zeros((8,) * 3), GRID), '^fields must be a dict'),
    (
      lambda m: voxelize.make_voxelizer(('shape',), GRID, transforms='log1p'),
      "^transforms must be a dict by channel, not 'log1p'$",
    ),
    (
      lambda m: voxelize.make_voxelizer(
        ('atoms',), GRID, widths={'atoms': 'a'}
      ),
      "^width of atoms must be real numbers, not 'a'$",
    ),
    (lambda m: Grid('24', 0.5), 'whole number'),
    (lambda m: Grid(24, [0.5]), '^spacing'),
    (lambda m: view.bonds(['Ox'], [[0, 0, 0]]), 'atom 0: unknown'),
    (lambda m: xtb.run(NUMBERS, COORDS, None), 'total_charge must be a whole'),
    (lambda m: xtb.run(NUMBERS, COORDS, 0, 'one'), 'unpaired must be a whole'),
  ],
)
def test_wrong_arguments_are_named(call, message):
  with pytest.raises(ValueError, match=message):
    call(_water())


def test_rotations_of_files_with_four_decimals_are_taken():
  for key in jax.random.split(jax.random.key(0), 50):
    geometry.rotate(_water(), np.round(geometry.random_rotation(key), 4))


def test_a_grid_of_whole_floats_is_that_of_ints():
  grid = Grid(np.float64(8.0), np.float32(0.5))
  assert (type(grid.size), type(grid.spacing)) == (int, float)
  assert fields.shape_grid(_water(), grid, 2.0).shape == (8, 8, 8)


def test_water_and_hydrogen_sulfide_stack():
  results = {n: xtb.run([n, 1, 1], COORDS) for n in (8, 16)}

  def make(n, **options):
    result = results[n]
    return Molecule.from_arrays(
      [n, 1, 1], COORDS, result.orbitals, homo=result.homo, lumo=result.lumo,
      **options,
    )  # fmt: skip

  with pytest.raises(ValueError, match=r'orbitals_OL9: \[4, 3, 4\] and '
                     r'\[4, 3, 9\]; .* orbital_width'):  # fmt: skip
    molecule.stack([make(8), make(16)])
  batch = molecule.stack([make(n, orbital_width=9) for n in (8, 16)])
  got = jax.vmap(lambda m: fields.orbital_density_grid(m, GRID))(batch)
  for values_XYZ, n in zip(got, results, strict=True):
    want = fields.orbital_density_grid(make(n), GRID)
    np.testing.assert_allclose(values_XYZ, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'max_atoms': 5}, r'numbers_A: \[3\] and \[5\]; .*max_atoms'),
    ({'orbitals': None}, r'orbitals_OL9: \[4, 3, 4\] and none'),
    ({'max_orbitals': 6}, 'max_orbitals'),
    ({'homo': None}, 'homo_OL9: .* none'),
    ({'max_frontier': 2}, 'max_frontier'),
    ({'density_map': None}, r'density_map: \[3, 3, 3\] and none'),
  ],
)  # fmt: skip
def test_stack_says_what_differs(change, message):
  result = _result()
  base = {'orbitals': result.orbitals, 'homo': result.homo} | {
    'density_map': _mol().density_map
  }
  with pytest.raises(ValueError, match=message):
    molecule.stack([_water(**base), _water(**base | change)])


def _random_points():
  return COORDS[0] + np.random.default_rng(0).normal(size=(40, 3))


def test_every_field_on_points_is_tried():
  assert len(ON_POINTS) == 16
  assert {'orbital_density', 'elf', 'map_density', 'noise'} < set(ON_POINTS)


@pytest.mark.parametrize('name', ON_POINTS)
def test_points_of_the_file_are_evaluated_where_they_are(name):
  field = functools.partial(getattr(fields, name), **OPTIONS.get(name, {}))
  points = _random_points()
  got = field(_mol(), points.tolist(), frame='file')
  want = field(_mol(center=False), points)
  # Coordinates of 57 Å are rounded to 4e-6 Å.
  atol = 1e-4 * np.abs(want).max()
  np.testing.assert_allclose(got, want, atol=atol)
  if name != 'noise':
    assert np.abs(field(_mol(), points) - want).max() > 100 * atol


def test_the_density_of_a_file_is_gemmis_at_its_points():
  points = _random_points()
  got = fields.promolecule(_mol(), points, b_iso=12.0, frame='file')
  want = [
    sum(
      gemmi.Element(z).it92.calculate_density_iso(r2, 12.0)
      for z, r2 in zip(NUMBERS, ((COORDS - p) ** 2).sum(1), strict=True)
    )
    for p in points
  ]
  # gemmi keeps the table in float32; it has one H.
  np.testing.assert_allclose(got, want, rtol=2e-4, atol=1e-5)


def test_a_map_has_its_values_at_its_own_points():
  points = [[30 + i, -43 + j, 56 + k] for i, j, k in np.ndindex(3, 3, 3)]
  got = fields.map_density(_mol(), points, frame='file')
  np.testing.assert_allclose(got, np.arange(27), atol=2e-4)


def test_the_origin_stays_where_molecules_move():
  mol, shift = _mol(), np.array([0.1, 0.2, -0.3])
  moved = geometry.translate(mol, shift)
  field = functools.partial(fields.orbital_density, frame='file')
  points = _random_points()
  np.testing.assert_allclose(
    field(moved, points + shift), field(mol, points), atol=1e-3
  )
  # It is a leaf of a batch, and so it goes through vmap and jit.
  batch = molecule.stack([mol, moved])
  got = jax.jit(jax.vmap(lambda m: field(m, jnp.asarray(points))))(batch)
  np.testing.assert_allclose(got[0], field(mol, points), rtol=1e-4, atol=1e-5)
  slope = fields.gradient_magnitude(fields.orbital_density)
  np.testing.assert_allclose(
    slope(mol, points, frame='file'),
    slope(_mol(center=False), points),
    rtol=1e-2, atol=1e-2,
  )  # fmt: skip


def test_a_molecule_without_an_origin_says_so():
  mol = dataclasses.replace(_water(), origin_3=None)
  with pytest.raises(ValueError, match='from_arrays'):
    fields.shape(mol, [[0, 0, 0]], frame='file')


def _warnings(call) -> list[str]:
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    call()
  return [str(w.message) for w in caught]


def test_atoms_outside_of_the_box_warn_once(monkeypatch):
  monkeypatch.setattr(common, '_warned', [])
  voxels = voxelize.make_voxelizer(('atoms',), GRID)
  mol = _water(groups=[0, 1, 1], center=True)
  assert not _warnings(lambda: voxels(mol))
  # Atoms of a pocket are cut by the box, on purpose.
  far = [COORDS[0], *(np.array(COORDS[1:]) + 5)]
  assert not _warnings(
    lambda: voxels(Molecule.from_arrays(NUMBERS, far, groups=[0, 1, 1]))
  )
  mol = Molecule.from_arrays(NUMBERS, far, max_atoms=5)
  assert not _warnings(lambda: jax.jit(voxels)(mol))
  (message,) = _warnings(lambda: voxels(mol))
  assert message.startswith('2 of 3 atoms lie outside of the box of 4.8 Å')
  assert not _warnings(lambda: fields.promolecule_grid(mol, GRID))
  common._warned.clear()
  assert len(_warnings(lambda: fields.promolecule_grid(mol, GRID))) == 1
  common._warned.clear()
  within = jax.jit(lambda: fields.promolecule_grid(mol, GRID))  # known to jit
  assert len(_warnings(within)) == 1
