"""What a run refuses, and how much it looks at, before its first step."""

import math
import types

import numpy as np
import pytest

from configs import pdbbind_base, pdbbind_density
from edjax import config as configuration
from edjax import voxelize
from edjax.config.representation import make_voxelizer, seen_radius
from edjax.grid import Grid
from edjax.molecule import Molecule, stack
from edjax.task import data_checks, make


def test_ligands_without_orbitals_are_no_empty_space():
  config = pdbbind_density.get_config()
  config.representation.density = 'xtb'
  rows = {'train': np.array([0, 1]), 'test': np.array([2])}

  def check(*counts):
    pack = types.SimpleNamespace(
      orbital_counts=np.array(counts), ids=('1aaa', '1aab', '1aac', '1aad')
    )
    data_checks.check_orbitals(config, pack, rows)

  check(3, 0, 4, 5)  # the promolecule takes its place
  config.representation.channels = ('density', 'tau')
  with pytest.raises(configuration.ConfigError, match=r'tau, xtb: 1 .*\(1aab'):
    check(3, 0, 4, 5)  # but not that of tau
  config.representation.channels = ('density',)
  with pytest.raises(configuration.ConfigError, match='none of the ligands'):
    check(0, 0, 0, 5)
  config.representation.groups = False
  check(3, 2, 4, 0)  # the last one is in no part
  with pytest.raises(configuration.ConfigError, match=r'2 .*\(1aab, 1aac'):
    check(3, 0, 0, 5)


@pytest.mark.parametrize(
  ('variant', 'channels', 'examples'),
  [
    ('', ('density',), 512),
    ('', ('atoms',), 170),
    ('paper_like', ('density',), 64),  # at the sub-points, for arcsinh
    ('paper_like', ('atoms',), 64),
    ('full', ('atoms',), 25),
  ],
)
def test_large_grids_are_sampled_less(variant, channels, examples):
  """The sample lies on the device as a whole, twice."""
  representation = pdbbind_base.get_config(variant).representation
  representation.channels = channels
  voxelizer = make_voxelizer(representation)
  assert make._sample_size(voxelizer) == examples
  grid = representation.grid_size**3
  numbers = sum(map(math.prod, voxelizer.raw_shapes))
  assert 4 * max(grid * voxelizer.num_channels, numbers) * examples <= 2**31


def test_elements_without_valence_electrons_are_named():
  config = pdbbind_density.get_config()
  rows = {'train': np.array([0]), 'test': np.array([2])}
  source = types.SimpleNamespace(ids=('1aaa', '1aab', '1aac'))

  def check(heaviest):
    molecules = {
      part: types.SimpleNamespace(numbers_A=np.array([[6, z, 0]]))
      for part, z in (('train', 8), ('test', heaviest))
    }
    data_checks.check_elements(config.representation, source, rows, molecules)

  check(92)  # the promolecule of X-ray form factors has uranium
  config.representation.channels = ('valence',)
  check(86)
  with pytest.raises(configuration.ConfigError, match='1aac: U'):
    check(92)
  config.representation.channels = ('gradient',)
  config.representation.density = 'free_atoms'
  with pytest.raises(configuration.ConfigError, match='free_atoms knows'):
    check(92)


def test_a_blur_reaches_for_atoms_farther_away():
  config = pdbbind_density.get_config()
  plain = make.selection_of(config).radius
  assert plain == seen_radius(config)
  config.representation.smooth = 0.5
  assert seen_radius(config) == plain
  reach = make.selection_of(config).radius - plain + 3.0
  # A Gaussian that had fallen to 1e-3 at 3 Å has fallen to it there.
  width = np.hypot(3.0 / np.sqrt(2 * np.log(1e3)), 0.5)
  assert np.exp(-0.5 * (reach / width) ** 2) == pytest.approx(1e-3, rel=0.05)


def test_channels_that_training_never_saw_are_named():
  """A phosphorus atom is inside in the test complex alone."""

  def batch(*symbols_and_places):
    coords = np.zeros((2, 3))
    made = []
    for number, place in symbols_and_places:
      coords[1, 0] = place
      made.append(
        Molecule.from_arrays(
          [6, number], coords.copy(), groups=[0, 1], center=False
        )
      )
    return stack(made)

  molecules = {
    'train': batch((8, 1.0), (15, 3.2)),  # the box ends at 3 Å
    'validation': batch((8, 1.0)),
    'test': batch((15, 2.8), (16, 1.0)),
  }
  voxelizer = voxelize.make_voxelizer(
    ('atoms',), Grid(6, 1.0), elements=('C', 'O', 'P', 'S'), groups=True
  )
  assert data_checks.unseen(voxelizer, molecules) == {
    'pocket_P': 1,
    'pocket_S': 1,
  }
  seen = molecules | {'train': batch((15, 2.0), (16, 1.0))}
  # Nothing is said of channels that are empty everywhere, or in no other part.
  assert data_checks.unseen(voxelizer, seen) == {'pocket_O': 1}
  density = voxelize.make_voxelizer(('shape',), Grid(6, 1.0))
  assert data_checks.unseen(density, molecules) == {}
