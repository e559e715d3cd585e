"""Geometries, xTB and descriptors of users' molecules."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Descriptors

from data_builders import xtb
from data_builders.own import conformers, records
from data_builders.own.types import Raw, RecordError
from edjax.data import packed_dataset

HYDROXIDE = np.array([[0.3, 0, 5.0], [0.3, 0, 5.97]])


def raw_of(smiles, **others):
  return Raw('a', 3, 'a.csv, line 4', smiles=smiles, **others)


@pytest.fixture(scope='module')
def ethanol():
  return records.calculate(raw_of('CCO'))


def test_a_geometry_made_of_smiles(ethanol):
  example = ethanol.example
  assert example['made_up'] == 1.0
  assert (example['example_id'], example['index']) == ('a', 3)
  numbers, coords = example['numbers'], example['positions']
  assert sorted(numbers) == [1] * 6 + [6, 6, 8]
  # Lengths of bonds in gas, CRC Handbook, 97th ed., section 9: C-C 1.512, C-O
  # 1.431, O-H 0.971 Å; MMFF94 is within 0.02 Å.
  bonds = [(0, 1, 1.512), (1, 2, 1.431), (2, 8, 0.971)]
  for i, j, length in bonds:
    apart = np.linalg.norm(coords[i] - coords[j])
    assert apart == pytest.approx(length, abs=0.02)
  assert example['xtb_energy'] == pytest.approx(
    xtb.run(numbers, coords).energy, abs=1e-9
  )


def test_the_same_smiles_has_the_same_geometry():
  one, same = conformers.make('CC(C)CO'), conformers.make('CC(C)CO')
  np.testing.assert_array_equal(one.coords, same.coords)
  assert conformers.make('OC[C@H](F)Cl').notes == ''
  assert conformers.make('OCC(F)Cl').notes.startswith('1 stereo element')


def test_stereo_is_that_of_the_smiles():
  signs = []
  for smiles in ('C[C@H](F)Cl', 'C[C@@H](F)Cl'):
    coords = conformers.make(smiles).coords
    a, b, c = coords[[0, 2, 3]] - coords[1]
    signs.append(np.sign(a @ np.cross(b, c)))
  assert sorted(signs) == [-1, 1]


def test_elements_without_mmff_take_uff():
  assert conformers.make('CB(O)O').notes == 'UFF'
  with pytest.raises(RecordError, match=r'no geometry|has parameters'):
    conformers.make('[U](F)(F)(F)(F)(F)(F)F')


def test_a_pack_can_be_written_of_the_examples(tmp_path, ethanol):
  xyz = raw_of(
    '', numbers=np.array([8, 1], np.int32), coords=HYDROXIDE, charge=-1
  )
  both = [ethanol.example, records.calculate(xyz).example]
  packed_dataset.write(tmp_path / 'pack', both, 'x')
  pack = packed_dataset.open_pack(tmp_path / 'pack')
  assert set(records.COLUMNS) <= set(pack.columns)
  np.testing.assert_array_equal(pack.columns['charge'], [0, -1])
  np.testing.assert_array_equal(pack.columns['made_up'], [1, 0])
  np.testing.assert_array_equal(pack.columns['descriptor_heavy_atoms'], [3, 1])
  molecule = Chem.MolFromSmiles('CCO')
  assert pack.columns['descriptor_tpsa'][0] == Descriptors.TPSA(molecule)
  assert np.isnan(pack.columns['descriptor_tpsa'][1])
  assert np.isnan(pack.columns['structure'][1])


def test_an_ions_dipole_is_about_the_centre_of_valence_charge():
  def dipole(shift):
    raw = raw_of(
      '',
      numbers=np.array([8, 1], np.int32),
      coords=HYDROXIDE + shift,
      charge=-1,
    )
    return records.calculate(raw).example['xtb_dipole']

  far = np.array([0, 3.0, 0])
  np.testing.assert_allclose(dipole(0), dipole(far), atol=1e-5)
  # About the centre of valence charge, 6/7 of the way to the oxygen: computed
  # there.
  centre = (6 * HYDROXIDE[0] + HYDROXIDE[1]) / 7
  there = xtb.run([8, 1], HYDROXIDE - centre, -1).dipole
  np.testing.assert_allclose(dipole(0), there, atol=1e-5)
  # The control: what tblite says depends on the origin of the file.
  moved = xtb.run([8, 1], HYDROXIDE + far, -1).dipole
  assert np.abs(moved - there).max() > 10


def test_charge_and_unpaired_electrons_reach_xtb_and_relaxation():
  water = np.array([[0, 0, 0.12], [0, 0.8, -0.47], [0, -0.8, -0.47]])
  cation = raw_of(
    '',
    numbers=np.array([8, 1, 1], np.int32),
    coords=water,
    charge=1,
    unpaired=1,
  )
  at_start = records.calculate(cation).example
  relaxed = records.calculate(cation, 'gfn2').example
  right = xtb.run([8, 1, 1], water, 1, 1)
  assert at_start['xtb_energy'] == pytest.approx(right.energy, abs=1e-9)
  assert relaxed['xtb_energy'] < at_start['xtb_energy'] - 1e-4
  assert right.n_electrons == pytest.approx(7)
  np.testing.assert_array_equal(at_start['orbitals'], right.orbitals.ravel())
  assert (at_start['unpaired'], at_start['charge']) == (1, 1)
  with pytest.raises(ValueError, match='odd number of electrons'):
    records.calculate(cation._replace(unpaired=0))


def test_a_problem_is_raised():
  with pytest.raises(RecordError, match='no geometry in the file'):
    records.calculate(raw_of('CC', problem='no geometry in the file'))


@pytest.mark.parametrize(
  ('one', 'other', 'same_structure', 'same_scaffold'),
  [
    ('C[C@H](F)Cl', 'C[C@@H](F)Cl', True, True),
    ('[2H]OC', 'CO', True, True),
    ('Cc1ccccc1', 'OCCc1ccccc1', False, True),
    ('Cc1ccccc1', 'CC1CCCCC1', False, False),
    ('CCO', 'CCN', False, False),  # without rings, each is its own scaffold
  ],
)
def test_structures_and_scaffolds(one, other, same_structure, same_scaffold):
  (structure, scaffold), (structure2, scaffold2) = (
    records.groups(smiles) for smiles in (one, other)
  )
  assert (structure == structure2) == same_structure
  assert (scaffold == scaffold2) == same_scaffold
  assert structure == int(structure) < 2**52
