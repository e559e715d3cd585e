"""Which file of a folder is taken for what."""

import gzip
import pathlib

import pytest

from data_builders.pdbbind.readers import layout, types

COMPLEX = ('protein.pdb', 'pocket.pdb', 'ligand.sdf', 'ligand.mol2')


def touch(folder, *names):
  folder.mkdir(parents=True, exist_ok=True)
  for name in names:
    (folder / name).write_text(name)


def taken(files, top):
  return {
    role: value.relative_to(top).as_posix()
    for role, value in files._asdict().items()
    if isinstance(value, pathlib.Path)
  }


def test_refined_set_as_published(tmp_path):
  home = tmp_path / 'refined-set' / '10gs'
  touch(home, *(f'10gs_{name}' for name in COMPLEX))
  touch(tmp_path / 'refined-set' / 'index', 'INDEX_refined_data.2020')
  touch(tmp_path / 'refined-set' / 'readme', 'PDBbind.txt')
  found = layout.find(tmp_path)
  assert list(found.files) == ['10gs']
  assert taken(found.files['10gs'], tmp_path) == {
    'protein': 'refined-set/10gs/10gs_protein.pdb',
    'pocket': 'refined-set/10gs/10gs_pocket.pdb',
    'ligand_sdf': 'refined-set/10gs/10gs_ligand.sdf',
    'ligand_mol2': 'refined-set/10gs/10gs_ligand.mol2',
  }
  assert found.ignored == ()


def test_one_flat_folder_gzip_cif_and_capitals(tmp_path):
  touch(tmp_path, '1ABC_protein.cif.gz', '1abc_ligand.SDF.gz', '2abc.cif.gz')
  touch(tmp_path, 'pdb3abc.ent.gz', '2abc.ccp4', '3abc_phases.mtz.gz')
  found = layout.find(tmp_path).files
  assert list(found) == ['1abc', '2abc', '3abc']
  assert taken(found['1abc'], tmp_path) == {
    'protein': '1ABC_protein.cif.gz',
    'ligand_sdf': '1abc_ligand.SDF.gz',
  }
  assert taken(found['2abc'], tmp_path) == {
    'structure': '2abc.cif.gz',
    'density_map': '2abc.ccp4',
  }
  assert taken(found['3abc'], tmp_path) == {
    'structure': 'pdb3abc.ent.gz',
    'density_map': '3abc_phases.mtz.gz',
  }


@pytest.mark.parametrize(
  ('names', 'role', 'first'),
  [
    (['1abc_protein.pdb.gz', '1abc_protein.pdb'], 'protein', 1),
    (['1abc_protein.cif', '1abc_protein.pdb.gz'], 'protein', 1),
    (['1abc_env16.pdb', '1abc_protein_fixed.pdb.gz'], 'protein', 1),
    (['1abc_receptor.pdb', '1abc_env16.pdb.gz'], 'protein', 1),
    (['1abc_protein_fixed.pdb', '1abc_protein.pdb.gz'], 'protein', 1),
    (['1abc.pdb', '1abc.cif.gz'], 'structure', 1),
    (['1abc_diff.ccp4', '1abc-2fofc.x.ccp4.gz'], 'density_map', 1),
    (['1abc.mtz', '1abc.map.gz'], 'density_map', 1),
    (['1abc_fofc.ccp4', '1abc_final.mtz'], 'density_map', 1),
    (['1abc-sf.cif', '1abc_sigmaa.mtz'], 'density_map', 1),
    (
      ['1abc-sf.cif', '1abc_validation_2fo-fc_map_coef.cif.gz'],
      'density_map',
      1,
    ),
  ],
)
def test_the_preferred_name_is_taken_and_the_other_told(
  tmp_path, names, role, first
):
  touch(tmp_path, *names)
  found = layout.find(tmp_path)
  assert getattr(found.files['1abc'], role).name == names[first]
  assert [path.name for path, _ in found.ignored] == [names[1 - first]]


def test_one_folder_gives_all_of_a_complex(tmp_path):
  """Frames may differ: a ligand of one and a protein of another are no pair."""
  touch(tmp_path / 'a', '1abc_protein.pdb')
  touch(tmp_path / 'b', *(f'1abc_{name}' for name in COMPLEX))
  touch(tmp_path / 'c', *(f'1abc_{name}' for name in COMPLEX), '1abc.cif')
  found = layout.find(tmp_path)
  chosen = taken(found.files['1abc'], tmp_path)
  assert chosen.pop('structure') == 'c/1abc.cif'
  assert {path.split('/')[0] for path in chosen.values()} == {'b'}
  ignored = {path.relative_to(tmp_path).as_posix() for path, _ in found.ignored}
  assert ignored == {'a/1abc_protein.pdb', *(f'c/1abc_{n}' for n in COMPLEX)}
  assert all(str(tmp_path / 'b') in reason for _, reason in found.ignored)


def test_what_has_no_name_that_is_known_is_told(tmp_path):
  touch(tmp_path, 'model.pdb', 'notes.txt', '1abc_receptor.pdb')
  touch(tmp_path / '.hidden', '1abc_protein.pdb')
  found = layout.find(tmp_path)
  assert found.files == {}
  assert [p.name for p, _ in found.ignored] == [
    '1abc_receptor.pdb',
    'model.pdb',
  ]


def test_folders_of_years_and_of_casf(tmp_path):
  """P-L/<years>/<id> is release 2020R1's layout."""
  touch(tmp_path / 'P-L' / '2011-2019' / '4gfm', '4gfm_ligand.sdf')
  touch(tmp_path / 'P-L' / '2011-2019' / '4gfm', '4gfm_protein.pdb')
  casf = ('1abc_protein.pdb', '1abc_ligand.mol2', '1abc_ligand_opt.mol2')
  touch(tmp_path / 'CASF-2016' / 'coreset' / '1abc', *casf)
  found = layout.find(tmp_path)
  assert taken(found.files['4gfm'], tmp_path).keys() == {
    'protein',
    'ligand_sdf',
  }
  assert found.files['1abc'].ligand_mol2.name == '1abc_ligand.mol2'
  assert [path.name for path, _ in found.ignored] == ['1abc_ligand_opt.mol2']


def hiqbind(top, *places):
  """Folders as 4gfm/4gfm_0X5_A_1201, of places such as 0X5_A_1201."""
  for place in places:
    name = f'4gfm_{place}'
    endings = ('ligand_refined.sdf', 'protein_refined.pdb', 'protein.pdb')
    touch(top / '4gfm' / name, *(f'{name}_{ending}' for ending in endings))


def test_the_ligand_of_the_index_is_taken_from_hiqbind(tmp_path):
  hiqbind(tmp_path, '0X5_A_1201', '0X5_B_1202', 'GOL_A_9')
  found = layout.find(tmp_path, {'4gfm': '0X5'})
  home = '4gfm/4gfm_0X5_A_1201/4gfm_0X5_A_1201'
  assert taken(found.files['4gfm'], tmp_path) == {
    'protein': f'{home}_protein_refined.pdb',
    'ligand_sdf': f'{home}_ligand_refined.sdf',
  }
  reasons = {path.name: reason for path, reason in found.ignored}
  assert len(reasons) == 7
  assert reasons['4gfm_GOL_A_9_ligand_refined.sdf'] == (
    'the ligand of the index is 0X5, those of the files 0X5, GOL'
  )
  assert 'is taken from' in reasons['4gfm_0X5_B_1202_ligand_refined.sdf']
  gol = layout.find(tmp_path, {'4gfm': 'GOL'}).files['4gfm']
  assert gol.ligand_sdf.name == '4gfm_GOL_A_9_ligand_refined.sdf'


@pytest.mark.parametrize(
  ('places', 'name', 'reason'),
  [
    (['0X5_A_1', 'GOL_A_9'], '', 'several ligands (0X5, GOL)'),
    (['0X5_A_1', 'GOL_A_9'], '2-mer', 'several ligands (0X5, GOL)'),
    (['0X5_A_1'], 'GOL', 'the index is GOL, those of the files 0X5'),
    (['0X5_A_1', '0X5_B_2'], '', ''),
    (['GLC-GLC_B_1-2'], 'GLC-GLC', ''),
    (['0X5_A_1'], '_0x5', ''),
  ],
)
def test_a_ligand_that_is_not_known_is_not_guessed(
  tmp_path, places, name, reason
):
  hiqbind(tmp_path, *places)
  found = layout.find(tmp_path, {'4gfm': name})
  assert reason in found.unusable.get('4gfm', '')
  assert bool(reason) == ('4gfm' not in found.files)


def test_posebusters_as_published(tmp_path):
  endings = (
    'ligand.sdf', 'ligands.sdf', 'ligand_start_conf.sdf', 'protein.pdb',
  )  # fmt: skip
  touch(tmp_path / '4GFM_0X5', *(f'4GFM_0X5_{ending}' for ending in endings))
  found = layout.find(tmp_path, {'4gfm': '0X5'})
  assert taken(found.files['4gfm'], tmp_path) == {
    'protein': '4GFM_0X5/4GFM_0X5_protein.pdb',
    'ligand_sdf': '4GFM_0X5/4GFM_0X5_ligand.sdf',
  }
  assert [path.name for path, _ in found.ignored] == [
    '4GFM_0X5_ligand_start_conf.sdf',
    '4GFM_0X5_ligands.sdf',
  ]


def test_ids_of_ones_own_come_from_the_index(tmp_path):
  for name in ('cpd_001', 'CPD-2', 'other'):
    touch(tmp_path / name, f'{name}_ligand.sdf', f'{name}_protein.pdb')
  touch(tmp_path, 'cpd_001_LIG_ligand.mol2', 'cpd-2.ccp4')
  found = layout.find(tmp_path, {'cpd_001': '', 'cpd-2': '', 'cpd': ''})
  assert list(found.files) == ['cpd-2', 'cpd_001']
  assert found.files['cpd-2'].ligand_sdf.name == 'CPD-2_ligand.sdf'
  assert found.files['cpd-2'].density_map.name == 'cpd-2.ccp4'
  assert sorted(path.name for path, _ in found.ignored) == [
    'cpd_001_LIG_ligand.mol2',  # another folder
    'other_ligand.sdf',
    'other_protein.pdb',
  ]
  assert not layout.find(tmp_path).files


def test_hidden_files_are_none(tmp_path):
  touch(tmp_path, '._1abc_ligand.sdf', '1abc_ligand.sdf')
  touch(tmp_path / '__MACOSX' / '1abc', '._1abc_protein.pdb')
  found = layout.find(tmp_path)
  assert taken(found.files['1abc'], tmp_path) == {
    'ligand_sdf': '1abc_ligand.sdf'
  }
  assert found.ignored == ()


def test_folders_that_cannot_be_read_are_told(tmp_path, unreadable):
  touch(tmp_path / '1abc', '1abc_ligand.sdf')
  touch(tmp_path / '2abc', '2abc_ligand.sdf')
  unreadable(tmp_path / '2abc')
  found = layout.find(tmp_path)
  assert list(found.files) == ['1abc']
  assert found.unreadable == ((tmp_path / '2abc', 'Permission denied'),)
  assert found.unusable == {
    '2abc': f'{tmp_path / "2abc"} cannot be read: Permission denied'
  }


def test_links_in_a_circle_end(tmp_path):
  touch(tmp_path / 'a', '1abc_ligand.sdf')
  (tmp_path / 'a' / 'up').symlink_to(tmp_path)
  assert list(layout.find(tmp_path).files) == ['1abc']


def test_no_folder_raises(tmp_path):
  with pytest.raises(NotADirectoryError, match='is no folder'):
    layout.find(tmp_path / 'nothing')


def test_text_plain_and_gzipped(tmp_path):
  path = tmp_path / 'file'  # the name does not tell
  path.write_bytes(gzip.compress(b'ATOM'))
  assert layout.read_text(path) == 'ATOM'
  path.write_bytes(b'ATOM')
  assert layout.read_text(path) == 'ATOM'
  # A mark before the first atom is not one of its columns.
  for encoding in ('utf-8-sig', 'utf-16'):
    path.write_bytes('ATOM Å'.encode(encoding))
    assert layout.read_text(path) in ('ATOM ?', 'ATOM ??')


@pytest.mark.parametrize(
  ('data', 'words'),
  [
    (b'', 'file is empty'),
    (b' \n', 'file is empty'),
    (gzip.compress(b''), 'file is empty'),
    (gzip.compress(b'ATOM' * 999)[:-9], 'file: the gzipped file is cut off'),
    (b'AT\0OM', 'file is no text'),
  ],
  # Without names the bytes are the tests' names, and gzip writes the second
  # of the clock: workers that collect at two seconds disagree.
  ids=['empty', 'blank', 'empty, gzipped', 'cut off, gzipped', 'binary'],
)
def test_files_without_text_raise(tmp_path, data, words):
  path = tmp_path / 'file'
  path.write_bytes(data)
  with pytest.raises(types.ComplexError, match=words):
    layout.read_text(path)
  with pytest.raises(types.ComplexError, match='nothing: No such file'):
    layout.read_text(tmp_path / 'nothing')


def test_real_folder(shared_data):
  """386 complexes: their protein is full, cropped, or absent as documented."""
  found = layout.find(shared_data / 'pdbbind').files
  assert len(found) == 386
  assert all(f.ligand_sdf and f.pocket for f in found.values())
  names = [f.protein.name[4:] for f in found.values() if f.protein]
  assert names.count('_protein.pdb.gz') == 285
  assert names.count('_env16.pdb.gz') == 99
  assert sum(f.ligand_mol2 is not None for f in found.values()) == 276
  xray = layout.find(shared_data / 'maps' / 'xray').files
  assert xray['3nzd'].density_map.name == '3nzd.ccp4.gz'
  assert xray['3str'].density_map.name == '3str-2fofc.from_brix.ccp4.gz'
  assert xray['3str'].structure.name == '3str.cif'


def test_structure_factors_are_no_structures(tmp_path):
  touch(tmp_path, '1abc.cif', '1abc-sf.cif.gz', '2abc_sf.cif')
  found = layout.find(tmp_path).files
  assert found['1abc'].structure.name == '1abc.cif'
  assert found['1abc'].density_map.name == '1abc-sf.cif.gz'
  assert found['2abc'].structure is None


def test_maps_of_the_emdb_belong_to_the_id_of_their_folder(tmp_path):
  for folder in ('1abc', 'others'):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / 'emd_1234.map.gz').touch()
  (tmp_path / '1abc' / '1abc.cif').touch()
  found = layout.find(tmp_path)
  assert found.files['1abc'].density_map == tmp_path / '1abc/emd_1234.map.gz'
  assert [path.parent.name for path, _ in found.ignored] == ['others']
  # A map with the id in its name comes first.
  (tmp_path / '1abc' / '1abc.map').touch()
  assert layout.find(tmp_path).files['1abc'].density_map.name == '1abc.map'
