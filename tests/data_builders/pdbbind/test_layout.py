"""Which file of a folder is taken for what."""

import gzip

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
    if value is not None and role != 'pdb_id'
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
