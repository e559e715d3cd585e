"""Entries of the wwPDB divided into ligand and pocket, and their downloads."""

import gzip
import hashlib
import http.server
import itertools
import json
import threading

import numpy as np
import pytest
from support import made_up_complexes

from data_builders.pdbbind.readers import (
  layout,
  ligand,
  pocket,
  structure,
  types,
  wwpdb,
)

COMPONENT = """loop_
_chem_comp_atom.comp_id
_chem_comp_atom.atom_id
_chem_comp_atom.type_symbol
"""


def atom(name, residue, number, xyz, label='.', occ=1.0, b=20.0, chain='A'):
  group = 'ATOM' if residue == 'ALA' else 'HETATM'
  place = ' '.join(f'{x:.3f}' for x in xyz)
  return (
    f'{group} 1 {name[0]} {name} {label} {residue} {chain} . {place} {occ} {b} '
    f'{number} {chain}'
  )


PROTEIN = [
  atom('N', 'ALA', 1, (0, 0, 0)),
  atom('CA', 'ALA', 1, (1.46, 0, 0)),
  atom('C', 'ALA', 1, (2.0, 1.42, 0)),
]


def copy(number, z, names=('C1', 'C2', 'C3'), b=20.0, **kwargs):
  return [
    atom(name, 'LIG', number, (1.5 * i, 0, z), b=b, **kwargs)
    for i, name in enumerate(names)
  ]


def split(folder, *groups, code='LIG', extra='', **kwargs):
  path = folder / '1abc.cif'
  rows = [row for group in groups for row in group]
  path.write_text(
    made_up_complexes.MMCIF_HEADER + '\n'.join(rows) + '\n#\n' + extra
  )
  return wwpdb.split_entry(path, code, 10.0, **kwargs)


def test_real_entry_gives_what_pdbbinds_files_give(shared_data):
  """3str: a ligand file that RCSB made, a protein file from the PDB format."""
  files = layout.find(shared_data / 'pdbbind').files['3str']
  entry = shared_data / 'maps' / 'xray' / '3str.cif'
  own, near = wwpdb.split_entry(entry, '3LI', 24.0)
  given = ligand.read_ligand(files)
  expected = pocket.read_pocket(
    files, ligand.centre(given.atoms), 24.0, given.atoms
  )
  np.testing.assert_array_equal(own.atoms.numbers, given.atoms.numbers)
  np.testing.assert_allclose(own.atoms.coords, given.atoms.coords, atol=1e-9)
  assert (own.molecule, own.formal_charge) == (None, None)
  assert own.source == '3str.cif: 3LI P 209'
  np.testing.assert_array_equal(near.atoms.numbers, expected.atoms.numbers)
  np.testing.assert_allclose(near.atoms.coords, expected.atoms.coords)
  np.testing.assert_allclose(near.atoms.b_factors, expected.atoms.b_factors)
  assert near.kept == expected.kept
  assert near.sequences == expected.sequences
  assert near.dropped['ligand'] == 44
  assert near.dropped['water'] == expected.dropped['water']
  assert ligand.for_xtb(own) == (None, 'file:no_bonds')


def test_real_entry_with_a_cofactor(shared_data):
  path = shared_data / 'maps' / 'xray' / '3nzd.cif'
  own, near = wwpdb.split_entry(path, 'd2q ', 24.0)
  assert (len(own.atoms.numbers), near.kept['cofactor']) == (32, 48)
  other, around = wwpdb.split_entry(path, 'NDP', 24.0)
  assert (len(other.atoms.numbers), around.kept['cofactor']) == (48, 32)
  # They come as near as 1.54 Å, but are not bound.
  with pytest.raises(types.ComplexError, match=r'ligands: D2Q, NDP$'):
    wwpdb.split_entry(path, 'D2Q-NDP', 24.0)


def test_real_pdb_file_and_its_mistakes(shared_data):
  path = shared_data / 'maps' / 'xray' / '5wkd.pdb'
  with pytest.raises(types.ComplexError, match=r'5wkd\.pdb: no ligand ABC'):
    wwpdb.split_entry(path, 'ABC', 24.0)
  path = shared_data / 'maps' / 'xray' / '3str.cif'
  with pytest.raises(
    types.ComplexError, match=r'no ligand HOH; .* ligands: 3LI, GOL, NI, SO4$'
  ):
    wwpdb.split_entry(path, 'HOH', 24.0)


def test_the_fullest_copy_is_taken_before_the_lowest_b(tmp_path):
  poor = copy(5, 4, names=('C1', 'C2'), b=5.0)
  own, near = split(tmp_path, PROTEIN, poor, copy(6, -4, b=30.0))
  assert own.source == '1abc.cif: LIG A 6'
  assert own.problems == (
    'LIG A 6 (0 missing, B 30.0) taken before A 5 (1 missing, B 5.0)',
  )
  assert own.atoms.coords[:, 2].tolist() == [-4, -4, -4]
  assert own.atoms.b_factors.tolist() == [30, 30, 30]
  assert near.kept == {'cofactor': 2, 'protein': 3}  # the other copy stays
  assert near.dropped == {'ligand': 3}


def test_the_lowest_b_decides_among_full_copies(tmp_path):
  own, _ = split(tmp_path, PROTEIN, copy(5, 4, b=30.0), copy(6, -4, b=20.0))
  assert own.source.endswith('A 6')
  own, _ = split(tmp_path, PROTEIN, copy(5, 4, b=20.0), copy(6, -4, b=20.0))
  assert own.source.endswith('A 5')  # the first among equals
  own, _ = split(tmp_path, PROTEIN, copy(5, 4))
  assert own.problems == ()


def test_unknown_elements_matter_in_the_copy_that_is_taken(tmp_path):
  whole, unknown = copy(6, -4), copy(5, 30)
  unknown[2] = unknown[2].replace(' C C3 ', ' X C3 ')
  own, _ = split(tmp_path, PROTEIN, unknown, whole)
  assert own.source.endswith('A 6')
  with pytest.raises(types.ComplexError, match=r"1abc\.cif: no element 'X'"):
    split(tmp_path, PROTEIN, unknown)


def test_missing_atoms_are_those_of_the_component(tmp_path):
  atoms = ['LIG C1 C', 'LIG C2 C', 'LIG C3 C', 'LIG O4 O', 'LIG H5 H']
  extra = COMPONENT + '\n'.join(atoms) + '\n'
  own, _ = split(tmp_path, PROTEIN, copy(5, 4), extra=extra)
  assert own.problems == ('LIG A 5 lacks 1 of 4 heavy atoms: O4',)


def test_alternative_location_by_occupancy(tmp_path):
  own, near = split(
    tmp_path, PROTEIN, [atom('C1', 'LIG', 5, (0, 0, 4))],
    [atom('C2', 'LIG', 5, (1.5, 0, 4), 'A', 0.4),
     atom('C2', 'LIG', 5, (1.5, 1, 4), 'B', 0.6),
     atom('C3', 'LIG', 5, (3, 0, 4), 'A', 0.4),
     atom('C3', 'LIG', 5, (3, 1, 4), 'B', 0.6)],
  )  # fmt: skip
  assert own.atoms.coords[:, 1].tolist() == [0, 1, 1]
  np.testing.assert_allclose(own.atoms.occupancies, [1, 0.6, 0.6], rtol=1e-6)
  assert own.problems == ('LIG A 5: alternative location B taken',)
  assert near.dropped == {'ligand': 5}  # the other location too
  assert near.kept == {'protein': 3}


@pytest.mark.parametrize(
  ('code', 'words'),
  [
    ('2-mer', 'no ligand 2-mer; .* ligands: LIG$'),
    ('LIG-ABC', 'no ligand LIG-ABC; .* ligands: LIG$'),
    ('', "'' names no residues"),
    ('FMN ox', "'FMN ox' names no residues"),
    ('ABC', 'no ligand ABC; .* ligands: LIG$'),
    ('ALA', 'no ligand ALA'),
  ],
)
def test_codes_that_name_no_residue_raise(tmp_path, code, words):
  with pytest.raises(types.ComplexError, match=words) as caught:
    split(tmp_path, PROTEIN, copy(5, 4), code=code)
  assert '1abc.cif' in str(caught.value)


def chain_of(names, chain, z, first=1, group='ATOM', x0=0.0):
  """Residues of N, CA, C along x, bound C to N as peptides are (1.33 Å)."""
  lines = []
  for i, name in enumerate(names):
    for atom_name, x in (('N', x0), ('CA', x0 + 1.46), ('C', x0 + 2.98)):
      xyz = f'{4.31 * i + x:8.3f}{0.0:8.3f}{z:8.3f}'
      lines.append(
        f'{group:<6}{1:>5}  {atom_name:<3} {name:>3} {chain}'
        f'{first + i:>4}    {xyz}  1.00 20.00          {atom_name[0]:>2}'
      )
  return [*lines, 'TER']


def split_pdb(folder, code, *chains):
  path = folder / '1abc.pdb'
  lines = [line for chain in chains for line in chain]
  path.write_text('\n'.join([*lines, 'END', '']))
  return wwpdb.split_entry(path, code, 30.0)


PDB_PROTEIN = chain_of(['ALA', 'GLU', 'GLY', 'SER', 'GLU', 'VAL'], 'A', 0)


def test_an_amino_acid_is_a_ligand_where_it_is_free(tmp_path):
  free = chain_of(['GLU'], 'L', 4, first=900, group='HETATM')
  own, near = split_pdb(tmp_path, 'GLU', PDB_PROTEIN, free)
  assert own.source == '1abc.pdb: GLU L 900'
  np.testing.assert_allclose(own.atoms.coords[:, 2], 4)
  assert near.kept == {'protein': 18}  # the protein's own GLU too
  assert near.sequences == {'A': 'AEGSEV'}
  # In one chain with the protein, as HETATM of the old format.
  own, _ = split_pdb(tmp_path, 'GLU', PDB_PROTEIN[:-1], free)
  assert own.source == '1abc.pdb: GLU L 900'
  for others in ((), (chain_of(['GLU'], 'B', 4),)):  # a fragment of a polymer
    with pytest.raises(types.ComplexError, match=r'no ligand GLU; .*: none'):
      split_pdb(tmp_path, 'GLU', PDB_PROTEIN, *others)


def test_an_amino_acid_that_clashes_is_found(tmp_path):
  """Which contact is too short is decided where contacts are known."""
  free = chain_of(['GLU'], 'L', 1.7, first=900, group='HETATM', x0=4.3)
  own, _ = split_pdb(tmp_path, 'GLU', PDB_PROTEIN, free)
  assert own.source == '1abc.pdb: GLU L 900'


def test_an_amino_acid_of_an_mmcif_file(tmp_path):
  free = [
    atom(name, 'GLU', 900, (1.5 * i, 0, 4), chain='L')
    for i, name in enumerate(('N', 'CA', 'C', 'O'))
  ]
  own, near = split(tmp_path, PROTEIN, free, code='GLU')
  assert own.atoms.numbers.tolist() == [7, 6, 6, 8]
  assert near.kept == {'protein': 3}


@pytest.mark.parametrize('code', ['3-mer', 'PRO-GLY-PRO', 'GLY&PRO&PRO'])
def test_a_peptide_is_a_ligand(tmp_path, code):
  peptide = chain_of(['PRO', 'GLY', 'PRO'], 'P', 4)
  own, near = split_pdb(tmp_path, code, PDB_PROTEIN, peptide)
  assert own.source == f'1abc.pdb: {code} P 1-3'
  assert len(own.atoms.numbers) == 9
  np.testing.assert_allclose(own.atoms.coords[:, 2], 4)
  assert near.sequences == {'A': 'AEGSEV'}
  assert near.dropped == {'ligand': 9}


def test_a_peptide_in_two_conformations(tmp_path):
  """Each bond is there twice, and the residues do not clash."""
  lines = []
  for label, z in (('A', 4.0), ('B', 4.3)):
    chain = chain_of(['PRO', 'GLY'], 'P', z)[:-1]
    lines += [f'{line[:16]}{label}{line[17:]}' for line in chain]
  lines = sorted(lines, key=lambda line: line[22:26])
  own, _ = split_pdb(tmp_path, '2-mer', PDB_PROTEIN, [*lines, 'TER'])
  assert own.source == '1abc.pdb: 2-mer P 1-2'
  np.testing.assert_allclose(own.atoms.coords[:, 2], 4)


def test_caps_of_a_peptide_may_count_or_not(tmp_path):
  peptide = chain_of(['PRO', 'GLY'], 'P', 4)[:-1]
  cap = chain_of(['NH2'], 'P', 4, first=3, x0=8.62)[:1]  # its N alone
  for code in ('2-mer', '3-mer'):
    own, _ = split_pdb(tmp_path, code, PDB_PROTEIN, [*peptide, *cap, 'TER'])
    assert own.source == f'1abc.pdb: {code} P 1-3'
    assert len(own.atoms.numbers) == 7


def test_copies_of_a_peptide_are_chosen_as_others_are(tmp_path):
  cut = chain_of(['PRO', 'GLY'], 'P', 4)[:-2]  # without its last atom
  whole = chain_of(['PRO', 'GLY'], 'Q', -4)
  own, _ = split_pdb(tmp_path, '2-mer', PDB_PROTEIN, [*cut, 'TER'], whole)
  assert own.source == '1abc.pdb: 2-mer Q 1-2'
  assert 'taken before P 1-2 (1 missing' in own.problems[0]


@pytest.mark.parametrize(
  ('code', 'chains', 'words'),
  [
    # Two peptides of one length.
    (
      '2-mer',
      [chain_of(['PRO', 'GLY'], 'P', 4), chain_of(['VAL', 'GLY'], 'Q', -4)],
      'may be PRO-GLY or VAL-GLY',
    ),
    # A protein's end beyond a gap (its residues are 43 Å off).
    (
      '2-mer',
      [chain_of(['GLY'] * 9, 'B', 4)[:6] + chain_of(['GLY'] * 9, 'B', 4)[-7:]],
      'no ligand 2-mer',
    ),
    # Sugars bound to the protein are no ligand.
    (
      'NAG-NAG',
      [chain_of(['NAG', 'NAG'], 'B', 0, group='HETATM', x0=-8.7)],
      'no ligand NAG-NAG',
    ),
    ('4-mer', [chain_of(['PRO', 'GLY'], 'P', 4)], 'ligands: PRO-GLY$'),
  ],
)
def test_residues_that_may_be_others_are_refused(tmp_path, code, chains, words):
  with pytest.raises(types.ComplexError, match=words):
    split_pdb(tmp_path, code, PDB_PROTEIN, *chains)


def test_sugars_that_are_free_are_a_ligand(tmp_path):
  sugars = chain_of(['NAG', 'NAG'], 'B', 4, group='HETATM')
  for code in ('NAG-NAG', '2-mer'):
    own, near = split_pdb(tmp_path, code, PDB_PROTEIN, sugars)
    assert len(own.atoms.numbers) == 6
    assert near.kept == {'protein': 18}


def test_other_mistakes_raise(tmp_path):
  with pytest.raises(types.ComplexError, match='no file of the wwPDB'):
    wwpdb.split_entry(None, 'LIG', 10.0)
  with pytest.raises(types.ComplexError, match='outside the frame'):
    split(tmp_path, PROTEIN, copy(5, 40))
  (tmp_path / '1abc.cif').write_text('')
  with pytest.raises(types.ComplexError, match=r'1abc\.cif is empty'):
    wwpdb.split_entry(tmp_path / '1abc.cif', 'LIG', 10.0)


def heavy_positions(read):
  return [
    atom.pos
    for chain in read[0]
    for residue in chain
    if residue.name != 'HOH'
    for atom in residue
    if atom.element.name != 'H'
  ]


# 5wkd: b is 4.8 Å, so that many cells are near.
@pytest.mark.parametrize(
  ('name', 'cells'), [('3str.cif', 2), ('3nzd.cif', 2), ('5wkd.pdb', 7)]
)
@pytest.mark.parametrize('radius', [12.0, 24.0])
def test_symmetry_mates_of_each_image_in_turn(shared_data, name, cells, radius):
  import gemmi

  read = structure.read(shared_data / 'maps' / 'xray' / name)
  positions = heavy_positions(read)
  centre, n_near = positions[20], 0
  to_space = np.array(read.cell.orth.mat.tolist())
  steps = np.array([*itertools.product(range(-cells, cells + 1), repeat=3)])
  for image in [gemmi.FTransform(), *read.cell.images]:
    there = [
      image.apply(read.cell.fractionalize(p)).tolist() for p in positions
    ]
    for one in np.array(there) @ to_space.T - centre.tolist():
      apart = np.linalg.norm(one + steps @ to_space.T, axis=1)
      n_near += (apart <= radius).sum()
  own = sum(position.dist(centre) <= radius for position in positions)
  found = wwpdb.count_symmetry_mates(read, centre.tolist(), radius)
  assert found == n_near - own
  assert found > (5 * own if name == '5wkd.pdb' else 0)  # the case is there


def test_what_is_no_crystal_has_no_mates(tmp_path):
  own, _ = split(tmp_path, PROTEIN, copy(5, 4))
  assert own.problems == ()
  cell = (
    '_cell.length_a 11\n_cell.length_b 50\n_cell.length_c 50\n'
    '_cell.angle_alpha 90\n_cell.angle_beta 90\n_cell.angle_gamma 90\n'
    "_symmetry.space_group_name_H-M 'P 1'\n"
  )
  own, _ = split(tmp_path, PROTEIN, copy(5, 4), extra=cell)
  # The ligand is at x = 0, 1.5 and 3, z = 4: its images' nearest atoms are
  # 9.5 Å from its centre on either side, all others more than 10 Å.
  assert own.problems == (
    '2 heavy atoms of symmetry mates within 10 Å are not included',
  )


@pytest.fixture
def server():
  """A server on this machine: path -> (status, body, announced length)."""
  pages = {}

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      status, body, length = pages.get(self.path, (404, b'', 0))
      self.send_response(status)
      self.send_header('Content-Length', str(length))
      self.end_headers()
      self.wfile.write(body)

    def log_message(self, *args):
      pass

  httpd = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
  thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
  thread.start()
  try:
    yield f'http://127.0.0.1:{httpd.server_port}', pages
  finally:
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def page(body):
  return 200, body, len(body)


ENTRY = gzip.compress(
  (made_up_complexes.MMCIF_HEADER + '\n'.join(PROTEIN) + '\n').encode()
)
MAP = b'\0' * 208 + b'MAP ' + b'\0' * 900


def test_downloads_are_recorded(server, tmp_path):
  top, pages = server
  pages['/1abc.cif.gz'] = page(ENTRY)
  pages['/1abc.ccp4'] = page(MAP)
  for fetch, name, body in [
    (wwpdb.fetch_entry, '1abc.cif.gz', ENTRY),
    (wwpdb.fetch_map, '1abc.ccp4', MAP),
  ]:
    url = f'{top}/{{id}}{name[4:]}'
    path = fetch('1ABC', tmp_path / 'new', url)
    assert path == tmp_path / 'new' / name
    assert path.read_bytes() == body
    record = json.loads((tmp_path / 'new' / f'{name}.json').read_text())
    assert record == {
      'url': f'{top}/{name}',
      'bytes': len(body),
      'sha256': hashlib.sha256(body).hexdigest(),
    }
    del pages[f'/{name}']
    assert fetch('1abc', tmp_path / 'new', url) == path  # not asked for again
  found = layout.find(tmp_path / 'new').files['1abc']
  assert found.structure.name == '1abc.cif.gz'
  assert found.density_map.name == '1abc.ccp4'


def test_a_file_that_changes_is_refused(server, tmp_path):
  top, pages = server
  url = f'{top}/{{id}}'
  pages['/1abc'] = page(ENTRY)
  path = wwpdb.fetch_entry('1abc', tmp_path, url)
  revised = gzip.compress(
    (made_up_complexes.MMCIF_HEADER + PROTEIN[0] + '\n').encode()
  )
  pages['/1abc'] = page(revised)
  path.unlink()
  with pytest.raises(ValueError, match='has changed since'):
    wwpdb.fetch_entry('1abc', tmp_path, url)
  assert [p.name for p in tmp_path.iterdir()] == ['1abc.cif.gz.json']
  path.write_bytes(revised)
  with pytest.raises(ValueError, match='is not what'):
    wwpdb.fetch_entry('1abc', tmp_path, url)
  (tmp_path / '1abc.cif.gz.json').unlink()
  assert wwpdb.fetch_entry('1abc', tmp_path, url) == path
  record = json.loads((tmp_path / '1abc.cif.gz.json').read_text())
  assert (record['url'], record['bytes']) == ('', len(revised))


@pytest.mark.parametrize(
  ('answer', 'words'),
  [
    ((200, ENTRY[:-20], len(ENTRY)), f'of {len(ENTRY)} bytes'),
    (page(ENTRY[:-20]), 'cut off or damaged'),
    (page(b'<html>sorry</html>'), 'no mmCIF file'),
    (page(b''), 'is empty'),
  ],
)
def test_what_is_no_entry_is_not_kept(server, tmp_path, answer, words):
  top, pages = server
  pages['/1abc'] = answer
  with pytest.raises(ValueError, match=words):
    wwpdb.fetch_entry('1abc', tmp_path, f'{top}/{{id}}')
  assert not list(tmp_path.iterdir())


def test_other_failures_of_downloads(server, tmp_path):
  top, pages = server
  with pytest.raises(OSError, match='404'):
    wwpdb.fetch_map('1abc', tmp_path, f'{top}/{{id}}')
  pages['/1abc'] = page(ENTRY)
  with pytest.raises(ValueError, match='no CCP4 map'):
    wwpdb.fetch_map('1abc', tmp_path, f'{top}/{{id}}')
  with pytest.raises(ValueError, match='is not a PDB id'):
    wwpdb.fetch_entry('../x', tmp_path, f'{top}/{{id}}')
  assert not list(tmp_path.iterdir())
