import gemmi
import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem
from rdkit.Geometry import Point3D

from benchmarks.accuracy import density_side_by_side
from data_builders.density_maps import crystal_maps
from data_builders.pdbbind import maps
from edjax.grid import Grid, centres

CELL = (14.0, 13.0, 15.0, 90.0, 104.0, 90.0)
D_MIN = 1.6
# Two residues and N-methylformamide beside them, in P 21; Å and Å^2.
PROTEIN = [
  ('N', 'ALA', 1, 2.1, 3.0, 4.0, 9.0), ('CA', 'ALA', 1, 3.5, 3.2, 4.3, 8.0),
  ('C', 'ALA', 1, 4.2, 1.9, 4.7, 9.5), ('O', 'ALA', 1, 3.6, 0.9, 5.0, 12.0),
  ('CB', 'ALA', 1, 3.8, 4.3, 5.3, 14.0), ('N', 'GLY', 2, 5.5, 2.0, 4.7, 9.0),
  ('CA', 'GLY', 2, 6.3, 0.9, 5.1, 10.0), ('C', 'GLY', 2, 7.7, 1.3, 5.5, 9.0),
  ('O', 'GLY', 2, 8.3, 2.2, 4.9, 11.0),
]  # fmt: skip
LIGAND = [
  ('C1', 'LIG', 1, 5.6, 5.2, 7.6, 13.0), ('N2', 'LIG', 1, 4.6, 4.9, 8.6, 11.0),
  ('C3', 'LIG', 1, 3.6, 5.7, 9.0, 10.0), ('O4', 'LIG', 1, 3.4, 6.9, 8.6, 15.0),
]  # fmt: skip


def write_structure(path, resolution=True):
  lines = ['HEADER    TEST']
  if resolution:
    lines.append(f'REMARK   2 RESOLUTION.    {D_MIN:4.2f} ANGSTROMS.')
  a, b, c, alpha, beta, gamma = CELL
  lines.append(
    f'CRYST1{a:9.3f}{b:9.3f}{c:9.3f}{alpha:7.2f}{beta:7.2f}{gamma:7.2f} '
    'P 1 21 1      2'
  )
  rows = [('ATOM  ', 'A', *row) for row in PROTEIN]
  rows += [('HETATM', 'B', *row) for row in LIGAND]
  for i, (kind, chain, name, residue, number, x, y, z, b) in enumerate(rows):
    lines.append(
      f'{kind}{i + 1:5d}  {name:<3} {residue} {chain}{number:4d}    '
      f'{x:8.3f}{y:8.3f}{z:8.3f}{1:6.2f}{b:6.2f}          {name[0]:>2}'
    )
  path.write_text('\n'.join([*lines, 'END', '']))
  return path


def write_sdf(path, shift=0.0):
  molecule = Chem.MolFromSmiles('CNC=O')
  AllChem.EmbedMolecule(molecule, randomSeed=1)
  conformer = molecule.GetConformer()
  for i, row in enumerate(LIGAND):
    conformer.SetAtomPosition(i, Point3D(*(x + shift for x in row[3:6])))
  path.write_text(Chem.MolToMolBlock(molecule) + '$$$$\n')
  return path


def _direct_sums(structure):
  """Structure factors by summing over atoms, not by a Fourier transform."""
  hkl = gemmi.make_miller_array(
    structure.cell, structure.find_spacegroup(), D_MIN
  )
  calculator = gemmi.StructureFactorCalculatorX(structure.cell)
  factors = [
    calculator.calculate_sf_from_model(structure[0], h.tolist()) for h in hkl
  ]
  return hkl, np.array(factors)


def write_mtz(path, structure, shift=0.0):
  """The density of the model, or of the model in another place."""
  hkl, factors = _direct_sums(structure)
  factors = factors * np.exp(2j * np.pi * hkl @ np.full(3, shift))
  mtz = gemmi.Mtz(with_base=True)
  mtz.spacegroup = structure.find_spacegroup()
  mtz.set_cell_for_all(structure.cell)
  mtz.add_dataset('made')
  mtz.add_column('FWT', 'F')
  mtz.add_column('PHWT', 'P')
  phases = np.degrees(np.angle(factors))
  rows = np.column_stack([hkl, np.abs(factors), phases])
  mtz.set_data(rows.astype(np.float32))
  mtz.write_to_file(str(path))
  return path


@pytest.fixture
def entry(tmp_path):
  path = write_structure(tmp_path / '1abc.pdb')
  structure = gemmi.read_structure(str(path))
  return path, structure, write_mtz(tmp_path / '1abc.mtz', structure)


def test_calculated_map_against_direct_summation(entry):
  _, structure, _ = entry
  hkl, want = _direct_sums(structure)
  computed = density_side_by_side.calculated_map(structure, D_MIN)
  assert computed.d_min == D_MIN
  back = gemmi.transform_map_to_f_phi(computed.grid)
  got = np.array([back.get_value(*h) for h in hkl.tolist()]) * computed.sd
  # where gemmi cuts the atoms' tails off
  assert np.linalg.norm(got - want) < 1e-4 * np.linalg.norm(want)
  # the file's B factors count, unless one is given for all
  blurred = density_side_by_side.calculated_map(structure, D_MIN, 30.0)
  back = gemmi.transform_map_to_f_phi(blurred.grid)
  got = np.array([back.get_value(*h) for h in hkl.tolist()]) * blurred.sd
  for site in structure[0].all():
    site.atom.b_iso = 30
  want = _direct_sums(structure)[1]
  assert np.linalg.norm(got - want) < 1e-4 * np.linalg.norm(want)


def test_calculated_map_has_the_symmetry_and_nothing_finer(entry):
  _, structure, _ = entry
  computed = density_side_by_side.calculated_map(structure, D_MIN)
  cell = structure.cell
  xyz = np.array([row[3:6] for row in PROTEIN + LIGAND])
  fractional = xyz @ np.array(cell.frac.mat.tolist()).T
  mates = fractional * [-1, 1, -1] + [0, 0.5, 0]
  at = computed.grid.interpolate_position_array
  values = at(xyz, order=3)
  mates = at(mates @ np.array(cell.orth.mat.tolist()).T, order=3)
  np.testing.assert_allclose(mates, values, atol=1e-4)
  assert values.min() > 1.5
  transformed = gemmi.transform_map_to_f_phi(computed.grid)
  finer = gemmi.make_miller_array(cell, gemmi.SpaceGroup('P 1'), 1.2, D_MIN)
  inner = gemmi.make_miller_array(cell, gemmi.SpaceGroup('P 1'), D_MIN)
  power = [
    max(abs(transformed.get_value(*h)) for h in hkl.tolist())
    for hkl in (finer, inner)
  ]
  assert power[0] < 1e-4 * power[1]


def test_fields_of_one_complex_agree(entry, tmp_path):
  # The map is the model's own density, by another algorithm: what differs
  # between it and the low-passed promolecule is only interpolation.
  path, structure, map_path = entry
  grid = Grid(20, 0.5)
  comparison = density_side_by_side.compare(path, 'LIG', map_path, grid)
  assert list(comparison.values) == [
    'map', 'promolecule', 'low-passed', 'low-passed (file B)',
  ]  # fmt: skip
  assert all(v.shape == (20,) * 3 for v in comparison.values.values())
  names = list(comparison.values)
  r = density_side_by_side.correlations(comparison.values)
  r_near = density_side_by_side.correlations(comparison.values, comparison.near)
  last = names.index('low-passed (file B)')
  assert r[0, last] > 0.9999
  assert r[0, 2] > 0.9
  # without mates, and not low-passed, but in one frame with the map
  assert r_near[0, 1] > 0.6
  # control: the map of the same model in another place
  moved = write_mtz(tmp_path / 'moved.mtz', structure, shift=0.13)
  with pytest.raises(ValueError, match=r'moved\.mtz: .* less than config'):
    density_side_by_side.compare(path, 'LIG', moved, grid)
  wrong = density_side_by_side.compare(
    path, 'LIG', moved, grid, map_options=maps.Options(min_at_atoms=-10)
  )
  r_wrong = density_side_by_side.correlations(wrong.values, wrong.near)
  assert r_wrong[0, last] < 0.5
  assert r_wrong[0, 1] < 0.3


def test_ligand_lies_along_the_axes_and_near_it(entry):
  path, _, map_path = entry
  comparison = density_side_by_side.compare(
    path, 'LIG', map_path, Grid(16, 0.5)
  )
  xyz = np.array([row[3:6] for row in LIGAND])

  # rigid: distances stay, and so does the hand
  def signed_volume(p):
    return np.linalg.det(p[1:] - p[0])

  got = comparison.coords
  np.testing.assert_allclose(
    np.linalg.norm(got[:, None] - got, axis=-1),
    np.linalg.norm(xyz[:, None] - xyz, axis=-1), atol=1e-4,
  )  # fmt: skip
  assert signed_volume(got) == pytest.approx(signed_volume(xyz), abs=1e-4)
  spread = np.var(got, axis=0)
  assert spread[0] > spread[1] > spread[2]
  points = centres(comparison.grid)[:, None, :]
  distance = np.linalg.norm(points - got[None], axis=-1).min(axis=1)
  np.testing.assert_array_equal(comparison.near.ravel(), distance <= 2)


def test_correlations():
  rng = np.random.default_rng(0)
  a = rng.normal(size=(4, 4, 4))
  noise = rng.normal(size=a.shape)
  values = {'a': a, 'b': 2 * a + 3, 'c': -a, 'd': a + 3 * noise}
  r = density_side_by_side.correlations(values)
  np.testing.assert_allclose(r[0, :3], [1, 1, -1])
  mask = np.abs(noise) < 0.1
  centred = [x[mask] - x[mask].mean() for x in (a, values['d'])]
  want = centred[0] @ centred[1] / np.prod([np.linalg.norm(c) for c in centred])
  got = density_side_by_side.correlations(values, mask)
  assert got[0, 3] == pytest.approx(want)
  assert abs(r[0, 3] - want) > 0.1


def test_command_prints_a_table_and_draws_a_picture(entry, tmp_path, capsys):
  path, _, map_path = entry
  sdf = write_sdf(tmp_path / 'lig.sdf')
  arguments = [
    '--structure', str(path), '--ligand', 'LIG', '--map', str(map_path),
    '--out', str(tmp_path / 'out'), '--size', '12', '--spacing', '0.7',
  ]  # fmt: skip
  density_side_by_side.main([*arguments, '--ligand_sdf', str(sdf)])
  printed = capsys.readouterr().out
  picture = tmp_path / 'out' / '1abc_side_by_side.png'
  assert picture.read_bytes()[:4] == b'\x89PNG'
  assert str(picture) in printed
  rows = [x for x in printed.splitlines() if x.startswith('|')]
  assert len(rows) == 2 + 5 * 4 // 2
  assert {row.count('|') for row in rows} == {5}
  # N-methylformamide: 24 valence electrons
  assert 'xtb: 24 valence electrons of the ligand, charge +0' in printed
  near = {
    tuple(x.split('|')[i].strip() for i in (1, 2)): float(x.split('|')[4])
    for x in rows[2:]
  }
  assert near['promolecule', 'xtb'] > 0.5

  density_side_by_side.main([*arguments, '--d_min', '2.5'])
  printed = capsys.readouterr().out
  assert 'no xtb: it needs the ligand with its bonds' in printed
  assert 'resolution 2.50 Å' in printed


def test_command_reads_maps_as_it_is_told(entry, tmp_path, capsys):
  path, structure, map_path = entry
  mtz = gemmi.read_mtz_file(str(map_path))
  for label, name in (('FWT', 'MINE'), ('PHWT', 'PHMINE')):
    mtz.column_with_label(label).label = name
  mtz.write_to_file(str(tmp_path / 'own.mtz'))
  arguments = [
    '--structure', str(path), '--ligand', 'LIG', '--out', str(tmp_path),
    '--size', '8', '--spacing', '0.7', '--map', str(tmp_path / 'own.mtz'),
  ]  # fmt: skip
  with pytest.raises(ValueError, match='it has the phases PHMINE'):
    density_side_by_side.main(arguments)
  columns = ['--columns', 'MINE', 'PHMINE']
  density_side_by_side.main([*arguments, *columns])
  assert '| map | low-passed |' in capsys.readouterr().out
  with pytest.raises(ValueError, match='min_map_at_atoms=9'):
    density_side_by_side.main([*arguments, *columns, '--min_at_atoms', '9'])
  # A map of another crystal.
  structure.cell = gemmi.UnitCell(*(x + 2 for x in structure.cell.parameters))
  other = write_mtz(tmp_path / 'other.mtz', structure)
  with pytest.raises(ValueError, match=r'other\.mtz: it is of another crystal'):
    density_side_by_side.main([*arguments, '--map', str(other)])
  # Half of the cell, as a box: what of the cube it lacks is told.
  ccp4 = gemmi.Ccp4Map()
  ccp4.grid = mtz.transform_f_phi_to_map('MINE', 'PHMINE', sample_rate=4)
  ccp4.grid.spacegroup = gemmi.SpaceGroup('P 1')
  ccp4.update_ccp4_header()
  ccp4.write_ccp4_map(str(tmp_path / 'box.ccp4'))
  arguments += ['--map', str(tmp_path / 'box.ccp4'), '--d_min', '2']
  density_side_by_side.main([*arguments, '--periodic', 'yes'])
  assert 'have no map' not in capsys.readouterr().out


def test_what_cannot_be_compared_is_named(entry, tmp_path):
  path, structure, map_path = entry
  grid = Grid(8, 0.5)
  with pytest.raises(ValueError, match=r'1abc\.pdb: no ligand XYZ.*LIG'):
    density_side_by_side.compare(path, 'XYZ', map_path, grid)
  far = write_sdf(tmp_path / 'far.sdf', shift=3.0)
  with pytest.raises(ValueError, match=r'far\.sdf: 4 heavy atoms .* another'):
    density_side_by_side.compare(path, 'LIG', map_path, grid, ligand_sdf=far)
  # neither the map nor the structure says the resolution
  silent = write_structure(tmp_path / '2abc.pdb', resolution=False)
  ccp4 = gemmi.Ccp4Map()
  mtz = gemmi.read_mtz_file(str(map_path))
  ccp4.grid = mtz.transform_f_phi_to_map('FWT', 'PHWT', sample_rate=4)
  ccp4.update_ccp4_header()
  ccp4.write_ccp4_map(str(tmp_path / '2abc.ccp4'))
  with pytest.raises(ValueError, match='give d_min'):
    density_side_by_side.compare(silent, 'LIG', tmp_path / '2abc.ccp4', grid)
  structure.cell = gemmi.UnitCell()
  with pytest.raises(ValueError, match='no unit cell'):
    density_side_by_side.calculated_map(structure, D_MIN)


@pytest.mark.parametrize(
  ('mtz', 'model'),
  [
    ('rnasa-1.8-all_refmac1.mtz', 'tutorial-modern.pdb'),
    ('5wkd_phases.mtz.gz', '5wkd.pdb'),
  ],
)
def test_refined_coefficients_are_on_the_absolute_scale(
  shared_data, mtz, model
):
  folder = shared_data / 'maps' / 'xray'
  measured = crystal_maps.read_map(folder / mtz, unit='e/A^3')
  structure = gemmi.read_structure(str(folder / model))
  computed = density_side_by_side.calculated_map(structure, measured.d_min)
  xyz = np.array([s.atom.pos.tolist() for s in structure[0].all()])
  at_atoms = [
    m.grid.interpolate_position_array(xyz, order=3)
    for m in (measured, computed)
  ]
  # e/Å^3 against e/Å^3: the slope is 1, but for what the model lacks
  slope = np.polyfit(at_atoms[1] * computed.sd, at_atoms[0], 1)[0]
  assert 0.85 < slope < 1.1
  assert np.corrcoef(at_atoms)[0, 1] > 0.85


def test_promolecule_against_a_real_map(shared_data):
  folder = shared_data / 'maps' / 'xray'
  comparison = density_side_by_side.compare(
    folder / '3str.cif', '3LI', folder / '3str-2fofc.from_brix.ccp4.gz',
    Grid(24, 0.5),
  )  # fmt: skip
  r = density_side_by_side.correlations(comparison.values, comparison.near)
  names = list(comparison.values)
  promolecule, low, low_b = (names.index(n) for n in names[1:])
  # closer step by step
  assert r[0, low_b] > 0.93
  assert r[0, low_b] > r[0, low] > r[0, promolecule] > 0.5
  # control: moved by 2 Å along each axis
  measured, computed = comparison.values['map'], comparison.values[names[low_b]]
  for axis in range(3):
    one = np.moveaxis(measured, axis, 0)[4:]
    other = np.moveaxis(computed, axis, 0)[:-4]
    near = np.moveaxis(comparison.near, axis, 0)[4:]
    shifted = np.corrcoef(one[near], other[near])[0, 1]
    assert shifted < 0.4
