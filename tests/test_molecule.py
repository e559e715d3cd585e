"""The padded molecule and every way in which its input can be wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edjax.chem import elements
from edjax.molecule import (
  AO_SLOTS,
  DensityMap,
  Molecule,
  frame_origin,
  origin_weights,
  stack,
)

WATER = ([8, 1, 1], [[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])


def _make(**changes):
  numbers, coords = WATER
  return Molecule.from_arrays(
    **{'numbers': numbers, 'coords': coords, **changes}
  )


def test_padding():
  orbitals = np.random.default_rng(0).normal(size=(4, 3, 4))
  mol = _make(
    orbitals=orbitals, b_factors=[1.0, 2, 3], max_atoms=5, max_orbitals=6,
    index=2**32 - 1,
  )  # fmt: skip
  np.testing.assert_array_equal(mol.numbers_A, [8, 1, 1, 0, 0])
  np.testing.assert_array_equal(mol.mask_A, [1, 1, 1, 0, 0])
  np.testing.assert_array_equal(mol.b_factors_A, [1, 2, 3, 0, 0])
  np.testing.assert_array_equal(mol.coords_A3[3:], 0)
  assert mol.orbitals_OL9.shape == (6, 5, 4)
  np.testing.assert_allclose(mol.orbitals_OL9[:4, :3], orbitals, rtol=1e-6)
  assert not np.any(mol.orbitals_OL9[4:])
  assert not np.any(mol.orbitals_OL9[:, 3:])
  assert int(mol.index) == 2**32 - 1
  for leaf in jax.tree.leaves(mol):
    assert leaf.dtype in (jnp.float32, jnp.int32, jnp.uint32)


def test_orbitals_on_some_atoms_keep_their_length():
  """A pocket has none: its atoms do not widen the orbitals."""
  mol = _make(orbitals=np.ones((4, 2, 9)), max_atoms=7, max_orbitals=5)
  assert mol.orbitals_OL9.shape == (5, 2, 9)
  assert len(AO_SLOTS) == 9


@pytest.mark.parametrize('origin', [None, 'valence', 'mass'])
def test_origin_is_a_weighted_centre(origin):
  """By default that of valence charge: 6 of oxygen, 1 of hydrogen."""
  mol = _make(max_atoms=5, origin=origin)
  numbers = np.asarray(mol.numbers_A)
  valence = np.where(numbers == 8, 6, numbers)
  masses = elements.MASSES[numbers]
  of_origin, other = valence, masses
  if origin == 'mass':
    of_origin, other = other, of_origin
  np.testing.assert_allclose(of_origin @ mol.coords_A3, 0, atol=1e-5)
  assert np.abs(other @ mol.coords_A3).max() > 0.05
  # Differences are what they were, and center=False changes nothing.
  expected = np.array(WATER[1])
  coords = np.asarray(mol.coords_A3[:3])
  np.testing.assert_allclose(coords - coords[0], expected, atol=1e-6)
  still = _make(center=False, origin=origin)
  np.testing.assert_allclose(still.coords_A3, expected)


def test_origin_with_a_pocket_is_that_of_the_ligands_heavy_atoms():
  mol = Molecule.from_arrays(
    [6, 8, 1, 7],
    [[0.0, 0, 0], [1.2, 0, 0], [5, 5, 5], [-9, 3, 1]],
    groups=[0, 0, 0, 1],
  )
  m = elements.MASSES
  assert float(mol.coords_A3[0, 0]) == pytest.approx(
    -1.2 * m[8] / (m[6] + m[8]), rel=1e-5
  )
  with pytest.raises(ValueError, match='heavy ligand'):
    frame_origin(np.array([1, 7]), np.eye(2, 3), np.array([0, 1]))
  with pytest.raises(ValueError, match="no origin 'charge'"):
    _make(origin='charge')


def test_weights_of_the_origin():
  numbers, groups = np.array([1, 7, 26, 92, 8]), np.array([0, 0, 0, 0, 1])
  # GFN2 has 8 valence electrons of iron; of uranium it has none.
  np.testing.assert_array_equal(
    origin_weights('valence', numbers, groups), [1, 5, 8, 6, 6]
  )
  masses = [1.008, 14.007, 55.845, 238.029, 15.999]
  np.testing.assert_allclose(
    origin_weights('mass', numbers, groups), masses, rtol=1e-4
  )
  np.testing.assert_allclose(
    origin_weights('ligand', numbers, groups), [0, *masses[1:4], 0], rtol=1e-4
  )
  with pytest.raises(ValueError, match='valence, mass, ligand'):
    origin_weights('charge', numbers, groups)


def test_the_map_is_centred_with_the_atoms():
  frame = DensityMap(jnp.ones((2, 2, 2)), jnp.array([1.0, 2, 3]), jnp.eye(3))
  centred, raw = (_make(density_map=frame, center=c) for c in (True, False))
  np.testing.assert_allclose(
    centred.density_map.origin_3 - centred.coords_A3[0],
    raw.density_map.origin_3 - raw.coords_A3[0],
    atol=1e-6,
  )
  np.testing.assert_array_equal(raw.density_map.origin_3, [1, 2, 3])


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('values_XYZ', np.ones((2, 2)), 'must be'),
    ('values_XYZ', np.ones((2, 0, 2)), 'must be'),
    ('values_XYZ', np.array([[[1.0, np.nan]]]), 'not finite'),
    ('origin_3', np.zeros(2), r'must be \[3\]'),
    ('origin_3', np.array([0, np.inf, 0]), 'not finite'),
    ('steps_33', np.ones(3), r'must be \[3, 3\]'),
    ('steps_33', np.full((3, 3), np.nan), 'not finite'),
    ('steps_33', np.zeros((3, 3)), 'no volume'),
    # flat, but for rounding: the determinant is 7e-18
    ('steps_33', np.arange(1.0, 10).reshape(3, 3) / 10, 'no volume'),
  ],
)
def test_a_wrong_map_is_named(field, value, message):
  parts = {
    'values_XYZ': np.ones((2, 2, 2)),
    'origin_3': np.zeros(3),
    # a small and skew cell is fine
    'steps_33': 1e-3 * np.array([[1, 0, 0], [0.5, 0.8, 0], [0.1, 0.2, -1]]),
  }
  _make(density_map=DensityMap(**parts))
  with pytest.raises(ValueError, match=rf'density_map\.{field}.* {message}'):
    _make(density_map=DensityMap(**parts | {field: value}))


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'numbers': []}, 'numbers'),
    ({'numbers': [[8, 1, 1]]}, 'numbers'),
    ({'numbers': [8, 1, 0]}, 'atom 2'),
    ({'numbers': [8, 99, 1]}, 'atom 1'),
    ({'numbers': [8, 1, 1.5]}, 'atom 2'),
    ({'coords': np.zeros((2, 3))}, 'coords'),
    ({'coords': np.zeros((3, 2))}, 'coords'),
    ({'coords': [[0, 0, 0], [1, np.nan, 0], [0, 1, 0]]}, 'coords of atom 1'),
    ({'coords': [[0, 0, 0], [1, 0, 0], [0, np.inf, 0]]}, 'coords of atom 2'),
    ({'b_factors': [1.0, 2]}, 'b_factors'),
    ({'b_factors': [1.0, 2, np.nan]}, 'b_factors of atom 2'),
    ({'groups': [0, 1]}, 'groups'),
    ({'groups': [0, 1, 2]}, 'groups'),
    ({'index': -1}, 'index'),
    ({'index': 2**32}, 'index'),
    ({'max_atoms': 2}, 'max_atoms=2'),
    ({'orbitals': np.zeros((4, 3))}, 'orbitals'),
    ({'orbitals': np.zeros((4, 3, 5))}, 'orbitals'),
    ({'orbitals': np.zeros((4, 4, 4))}, 'orbitals for 4 atoms'),
    ({'orbitals': np.full((4, 3, 4), np.nan)}, 'orbitals are not finite'),
    (
      {'orbitals': np.zeros((4, 3, 4)), 'max_orbitals': 3},
      'max_orbitals=3',
    ),
    ({'max_orbitals': 3}, 'orbitals were not'),
  ],
)
def test_errors_name_what_is_wrong(changes, message):
  with pytest.raises(ValueError, match=message):
    _make(**changes)


def test_stack():
  first, second = (_make(max_atoms=n, index=n) for n in (4, 4))
  batch = stack([first, second])
  assert batch.coords_A3.shape == (2, 4, 3)
  for i, mol in enumerate((first, second)):
    one = jax.tree.map(lambda x, i=i: x[i], batch)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(mol), strict=True):
      np.testing.assert_array_equal(a, b)


def test_stack_wants_a_molecule():
  with pytest.raises(ValueError, match='no molecule'):
    stack([])


def test_a_molecule_goes_through_jit_and_vmap():
  mol = _make(max_atoms=4)
  total = jax.jit(lambda m: jnp.sum(jnp.where(m.mask_A, m.numbers_A, 0)))(mol)
  assert int(total) == 10
  counts = jax.vmap(lambda m: jnp.sum(m.mask_A))(stack([mol, mol]))
  np.testing.assert_array_equal(counts, [3, 3])
