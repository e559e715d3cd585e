"""Explanations of networks whose answer is known, and of trained ones."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict, FrozenConfigDict
from support import small_run

from edjax import fields
from edjax import grid as grids
from edjax.explain import EMPTY, FREE_ATOMS, Explainer, references
from edjax.grid import Grid
from edjax.predict import Model
from edjax.voxelize import make_voxelizer


@pytest.fixture(scope='module')
def pack(tmp_path_factory):
  return small_run.pack_in(tmp_path_factory.mktemp('packs') / 'mini')


@pytest.fixture(scope='module')
def molecule(pack):
  """A molecule with several heavy elements, one of them oxygen."""
  rows = range(len(pack))
  row = max(rows, key=lambda row: len({*_numbers(pack, row)}))
  assert 8 in _numbers(pack, row)
  return small_run.molecule_of(pack, row, max_atoms=20)


def _numbers(pack, row):
  begin, end = pack.atom_offsets[row : row + 2]
  return pack.numbers[begin:end].tolist()


# Voxels that tell atoms apart.
FINE = {'grid_size': 16, 'spacing': 0.75}
POINTS_G3 = grids.centres(Grid(24, 0.5))


def model_of(pack, channels, representation=FINE):
  return Model(small_run.untrained(pack, 0, channels, representation))


@pytest.fixture(scope='module')
def density(pack, molecule):
  """A network with random weights on the density, and what explains it."""
  model = model_of(pack, ('density',))
  return model, Explainer(model, FREE_ATOMS)(molecule)


def test_contributions_add_up_to_the_difference_of_predictions(
  density, molecule
):
  model, found = density
  np.testing.assert_allclose(
    found.output_T, model.apply(molecule), rtol=1e-4, atol=1e-5
  )
  difference_T = found.output_T - found.reference_T
  assert np.all(np.abs(difference_T) > 1e-3 * np.abs(found.output_T))
  assert np.all(np.abs(found.missed_T) < 0.01 * np.abs(difference_T))
  # What is counted as missing would be seen: without the largest atom's part.
  largest_T = np.abs(found.contribution_AT).max(0)
  assert np.all(largest_T > 0.05 * np.abs(difference_T))
  # The map has them all, as far as its points resolve it.
  total_T = found.density(POINTS_G3).sum(0) * 0.5**3
  parts_T = np.abs(found.contribution_AT).sum(0)
  np.testing.assert_allclose(
    total_T / parts_T, difference_T / parts_T, atol=0.1
  )
  n_atoms = int(molecule.mask_A.sum())
  assert (found.contribution_AT[n_atoms:] == 0).all()
  assert (found.sd_AT[:n_atoms] > 0).all()


def test_the_place_in_the_file_does_not_matter(density, molecule):
  model, found = density
  moved_A3 = jnp.where(molecule.mask_A[:, None], molecule.coords_A3 + 2, 0)
  again = Explainer(model, FREE_ATOMS)(
    dataclasses.replace(molecule, coords_A3=moved_A3)
  )
  np.testing.assert_allclose(
    again.contribution_AT, found.contribution_AT, rtol=1e-2, atol=1e-4
  )


class Planted:
  """A network that counts the density where there is oxygen, in voxels."""

  def __init__(self, voxelizer):
    self.oxygen = voxelizer.channel_names.index('atoms_O')
    self.density = voxelizer.channel_names.index('density')

  def apply(self, variables, vox_BXYZC, train):
    is_oxygen = vox_BXYZC[..., self.oxygen] > 0.3
    inside = jnp.where(is_oxygen, vox_BXYZC[..., self.density], 0)
    electrons_B = inside.sum((1, 2, 3))
    return jnp.stack([electrons_B, -electrons_B], -1)


def test_a_planted_signal_is_found_where_it_was_planted(pack, molecule):
  model = model_of(pack, ('atoms', 'density'))
  model.model = Planted(model.voxelizer)
  found = Explainer(model, FREE_ATOMS)(molecule)
  # In the atoms: of the density's change, most is the oxygen's.
  is_oxygen_A = np.asarray(molecule.numbers_A) == 8
  size_A = np.abs(found.contribution_AT[:, 0])
  assert size_A[is_oxygen_A].sum() > 0.6 * size_A.sum()
  np.testing.assert_allclose(
    found.contribution_AT[:, 1] * model.kept.scale_T[0],
    -found.contribution_AT[:, 0] * model.kept.scale_T[1],
    rtol=1e-3,
    atol=1e-4,
  )
  # In the map, which is in the frame of the molecule.
  centres_A3 = np.asarray(molecule.coords_A3)[np.asarray(molecule.mask_A)]
  oxygen = int(np.flatnonzero(is_oxygen_A)[0])

  def apart(points_G3):
    weight_G = np.abs(found.density(POINTS_G3)[:, 0])
    centre_3 = weight_G @ points_G3 / weight_G.sum()
    return np.linalg.norm(centres_A3 - centre_3, axis=1)

  apart_A = apart(POINTS_G3)
  assert apart_A.argmin() == oxygen
  assert apart_A[oxygen] < 0.4
  assert apart(POINTS_G3[:, [1, 2, 0]])[oxygen] > 0.8


def test_a_planted_sum_has_its_closed_form(pack, molecule):
  kept = model_of(pack, ('atoms', 'density')).kept
  model = Model(dataclasses.replace(kept, config=_still(kept.config)))
  model.model = Planted(model.voxelizer)
  found = Explainer(model, FREE_ATOMS)(molecule)
  mol = model.in_frame(molecule)
  vox = model.voxelizer(mol)
  free_XYZ = fields.free_atoms_density_grid(mol, model.voxelizer.grid, 2)
  change_XYZ = vox[..., model.model.density] - free_XYZ
  inside_XYZ = vox[..., model.model.oxygen] > 0.3
  expected = model.kept.scale_T[0] * float(change_XYZ[inside_XYZ].sum())
  np.testing.assert_allclose(
    found.contribution_AT[:, 0].sum(), expected, rtol=1e-3
  )
  assert np.isnan(found.sd_AT).all()


def _still(config):
  """Returns a configuration with one evaluation, as the molecule lies."""
  config = ConfigDict(config.to_dict())
  config.augment.rotate = False
  config.eval.rotations = 1
  return FrozenConfigDict(config)


def test_other_weights_give_another_map(pack, molecule, density):
  """The check of J. Adebayo et al., NeurIPS 2018 (arXiv 1810.03292)."""
  model, found = density
  rng = np.random.default_rng(1)
  shuffled = jax.tree.map(
    lambda x: rng.permutation(x.ravel()).reshape(x.shape), model.kept.params
  )
  other = Model(dataclasses.replace(model.kept, params=shuffled))
  of_other = Explainer(other, FREE_ATOMS)(molecule)
  maps_2G = np.stack([e.density(POINTS_G3)[:, 0] for e in (found, of_other)])
  assert abs(np.corrcoef(maps_2G)[0, 1]) < 0.7


def test_atom_types_are_explained_from_empty_space(pack, molecule):
  model = model_of(pack, ('atoms',), representation={})
  found = Explainer(model, EMPTY)(molecule)
  difference_T = found.output_T - found.reference_T
  size_T = np.abs(found.contribution_AT).sum(0)
  assert np.all(np.abs(found.missed_T) < 0.02 * size_T)
  # In one target parts cancel; the other tells that there is a difference.
  assert (np.abs(difference_T) / size_T).max() > 0.1


def test_references_that_an_input_lacks_are_refused(pack):
  model = model_of(pack, ('atoms',))
  with pytest.raises(ValueError, match=r'no reference .free_atoms. of atoms'):
    Explainer(model, FREE_ATOMS)
  assert references.of(model.voxelizer) == (EMPTY,)


def test_the_free_atoms_of_a_ligand_leave_its_pocket(pack, molecule):
  """Raw channels: GFN2's free atoms of the ligand, the same promolecule."""
  groups_A = np.zeros(20, np.int32)
  groups_A[1] = 1
  complexed = dataclasses.replace(molecule, groups_A=jnp.asarray(groups_A))
  voxelizer = make_voxelizer(('density',), Grid(8, 1.5), groups=True)
  end = voxelizer.raw(complexed)
  (start,) = references.raw(voxelizer, FREE_ATOMS)(complexed, end)
  np.testing.assert_array_equal(start[..., 1], end[0][..., 1])
  without = dataclasses.replace(
    molecule, numbers_A=jnp.where(groups_A > 0, 0, molecule.numbers_A)
  )
  np.testing.assert_allclose(
    start[..., 0],
    fields.free_atoms_density_grid(without, voxelizer.grid),
    rtol=1e-5,
    atol=1e-6,
  )
