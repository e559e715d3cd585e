import types

import gemmi
import jax
import numpy as np
import pytest

from data_builders import xtb
from edjax import fields
from edjax import grid as grids
from edjax.chem import form_factors, gfn2_occupations
from edjax.data import box_coverage
from edjax.grid import Grid
from edjax.molecule import LIGAND, Molecule
from edjax.task import data_checks

# Diacetylene, linear, Å.
NUMBERS = np.array([1, 6, 6, 6, 6, 1])
COORDS = np.array(
  [[-2.96, 0, 0], [-1.89, 0, 0], [-0.69, 0, 0], [0.69, 0, 0], [1.89, 0, 0],
   [2.96, 0, 0]]
)  # fmt: skip
BATCH = NUMBERS[None], COORDS[None]
VALENCE = 4 * 4 + 2


def _dense(coords):
  """The same Gaussians on a fine grid: values and points."""
  grid = Grid(120, 0.125)
  mol = Molecule.from_arrays(NUMBERS, coords)
  f = jax.jit(
    fields.promolecule_grid, static_argnums=(1, 2), static_argnames='b_iso'
  )
  rho = np.asarray(
    f(mol, grid, 4, b_iso=box_coverage._B_ISO), np.float64
  ).ravel()
  return rho * grid.voxel_volume, grids.centres(grid)


@pytest.mark.parametrize('half', [2.5, 3.5, 4.0])
def test_sphere_against_a_dense_grid(half):
  # in a direction in which no plane of voxels runs along the sphere
  coords = np.outer(COORDS[:, 0], [0.8, 0.48, 0.36])
  rho, points = _dense(coords)
  want = rho[np.linalg.norm(points, axis=1) > half].sum() / VALENCE
  got = box_coverage.electrons_outside_sphere(NUMBERS[None], coords[None], half)
  assert got[0] == pytest.approx(want, rel=0.005)


@pytest.mark.parametrize('half', [2.5, 3.5, 4.0])
def test_box_against_a_dense_grid(half, monkeypatch):
  rho, points = _dense(COORDS)
  monkeypatch.setattr(box_coverage, '_ORIENTATIONS_R33', np.eye(3)[None])
  want = rho[np.abs(points).max(axis=1) > half].sum() / VALENCE
  got = box_coverage.electrons_outside_box(NUMBERS, COORDS, half)
  assert got == pytest.approx(want, rel=0.005)


def test_everything_is_outside_of_nothing():
  got = box_coverage.electrons_outside_sphere(*BATCH, 1e-3)[0]
  want = form_factors.A_EP[NUMBERS].sum() / VALENCE
  assert got == pytest.approx(want, rel=1e-4)
  assert box_coverage.electrons_outside_sphere(*BATCH, 50.0)[0] < 1e-12


def test_an_atom_at_the_origin():
  # closed form of the central chi distribution: Maxwell's
  r = np.linspace(2.0, 14, 20001)
  it92 = gemmi.Element(8).it92
  rho = [it92.calculate_density_iso(x * x, box_coverage._B_ISO) for x in r]
  want = np.trapezoid(4 * np.pi * r**2 * np.array(rho), r) / 6
  got = box_coverage.electrons_outside_sphere(
    [[8, 0]], np.zeros((1, 2, 3)), 2.0
  )
  assert got[0] == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize('half', [3.0, 3.5, 4.0])
def test_box_lies_between_one_orientation_and_the_sphere(half, monkeypatch):
  bound = box_coverage.electrons_outside_sphere(*BATCH, half)[0]
  worst = box_coverage.electrons_outside_box(NUMBERS, COORDS, half)
  diagonal = np.ones(3) / np.sqrt(3)
  best = box_coverage.electrons_outside_box(
    NUMBERS, np.outer(COORDS[:, 0], diagonal), half
  )
  # turning the molecule beforehand hardly matters: the orientations are dense
  assert best == pytest.approx(worst, rel=0.15)
  monkeypatch.setattr(box_coverage, '_ORIENTATIONS_R33', np.eye(3)[None])
  along = box_coverage.electrons_outside_box(NUMBERS, COORDS, half)
  across = box_coverage.electrons_outside_box(
    NUMBERS, np.outer(COORDS[:, 0], diagonal), half
  )
  assert across < 0.5 * along
  assert along == pytest.approx(worst, rel=0.15)
  assert worst < bound * 1.0001
  assert along < bound


def test_agrees_with_the_xtb_density():
  # What it stands for: the valence density of the orbitals itself.
  result = xtb.run(NUMBERS, COORDS)
  mol = Molecule.from_arrays(NUMBERS, COORDS, orbitals=result.orbitals)
  grid = Grid(64, 0.25)
  f = jax.jit(fields.orbital_density_grid, static_argnums=1)
  rho = np.asarray(f(mol, grid), np.float64).ravel() * grid.voxel_volume
  assert rho.sum() == pytest.approx(VALENCE, rel=0.01)
  x = np.abs(grids.centres(grid)).max(axis=1)
  for half in (3.0, 3.5):
    want = rho[x > half].sum() / VALENCE
    got = box_coverage.electrons_outside_box(NUMBERS, COORDS, half)
    # on the safe side: IT92's atoms have longer tails than xTB's basis
    assert want < got < 2.5 * want


def test_farthest_atom_and_reasons():
  numbers = np.zeros((2, 8), int)
  coords = np.full((2, 8, 3), 77.0)  # padding counts nowhere
  numbers[:, :6], coords[:, :6] = NUMBERS, COORDS
  coords[1, :6] /= 4
  np.testing.assert_allclose(
    box_coverage.farthest_atom(numbers, coords), [2.96, 0.74]
  )
  long, short = box_coverage.outside(numbers, coords, Grid(10, 0.5))
  assert 'an atom 2.96 Å' in long
  assert '% of the electrons' in long
  assert short == ''
  # between: atoms are inside, their electrons are not
  tail, _ = box_coverage.outside(numbers, coords, Grid(12, 0.55))
  assert 'atom' not in tail
  assert '% of the electrons' in tail
  assert box_coverage.outside(numbers, coords, Grid(20, 0.5)) == ['', '']
  # a looser limit lets it pass
  assert box_coverage.outside(numbers, coords, Grid(12, 0.55), 0.2) == ['', '']


def test_translation_pushes_molecules_out():
  roomy = Grid(20, 0.5)
  assert box_coverage.outside(*BATCH, roomy) == ['']
  # half an edge of 5 Å: the atom at 2.96 Å stays within up to 2.04 Å
  (reason,) = box_coverage.outside(*BATCH, roomy, limit=9.0, translate=2.03)
  assert reason == ''
  (reason,) = box_coverage.outside(*BATCH, roomy, limit=9.0, translate=2.05)
  assert reason.startswith('an atom 2.96 Å')
  assert 'moved by 2.05 Å' in reason
  # electrons leave earlier than atoms
  (reason,) = box_coverage.outside(*BATCH, roomy, translate=1.8)
  assert 'atom' not in reason
  assert '% of the electrons outside when moved by 1.80 Å' in reason
  assert box_coverage.outside(*BATCH, roomy, translate=0.2) == ['']
  # farther than the box is wide: nothing is left inside
  assert (
    'of the electrons' in box_coverage.outside(*BATCH, roomy, translate=50)[0]
  )
  for bad in (-0.1, np.nan, np.inf):
    with pytest.raises(ValueError, match='translate'):
      box_coverage.outside(*BATCH, roomy, translate=bad)


def test_translated_electrons_against_a_dense_grid(monkeypatch):
  rho, points = _dense(COORDS)
  monkeypatch.setattr(box_coverage, '_ORIENTATIONS_R33', np.eye(3)[None])
  want = rho[np.abs(points + 0.75).max(axis=1) > 3.5].sum() / VALENCE
  got = box_coverage.electrons_outside_box(NUMBERS, COORDS, 3.5, 0.75)
  assert got == pytest.approx(want, rel=0.005)
  # the bound by a smaller sphere holds
  bound = box_coverage.electrons_outside_sphere(*BATCH, 3.5 - 0.75)[0]
  still = box_coverage.electrons_outside_box(NUMBERS, COORDS, 3.5)
  assert 1.2 * still < got < bound


def test_a_task_moves_molecules_of_every_part():
  parts = {'train': 0, 'validation': 1, 'test': 2}
  molecule = types.SimpleNamespace(
    numbers_A=BATCH[0],
    coords_A3=BATCH[1],
    groups_A=np.full_like(BATCH[0], LIGAND),
  )

  def found(translate, *parts_of_complex):
    config = types.SimpleNamespace(
      data=types.SimpleNamespace(parts=parts_of_complex or ('ligand',)),
      representation=types.SimpleNamespace(grid_size=20, spacing=0.5),
      augment=types.SimpleNamespace(translate=translate),
    )
    return data_checks.outside(
      config,
      types.SimpleNamespace(ids=['a', 'b', 'c']),
      {part: np.array([row]) for part, row in parts.items()},
      dict.fromkeys(parts, molecule),
    )

  assert list(found(2.5)) == ['a', 'b', 'c']
  assert found(0.0) == {}
  assert found(2.5, 'pocket') == {}  # a pocket has no end


def test_elements_beyond_the_basis_count_all_their_electrons():
  assert box_coverage._valence(np.array([0, 6, 92])).tolist() == [0, 4, 92]
  assert gfn2_occupations.valence_electrons([0, 6]).tolist() == [0, 4]


def test_wrong_shapes_raise():
  with pytest.raises(ValueError, match='numbers must be'):
    box_coverage.outside(NUMBERS, COORDS, Grid(4, 1.0))
