"""Pockets: every rule on a real file that has the case, or on a written one."""

import csv
import gzip

import numpy as np
import pytest
from support import made_up_complexes
from support.made_up_pockets import (
  ALANINE,
  LIGAND,
  atoms_at,
  line,
  read,
  residue,
)

from data_builders.pdbbind.readers import (
  layout,
  ligand,
  pocket,
  structure,
  types,
)
from edjax.chem import elements


@pytest.fixture(scope='module')
def real(shared_data):
  found = layout.find(shared_data / 'pdbbind').files

  def get(pdb_id, radius=24.0, part='protein', **kwargs):
    files = found[pdb_id]
    if part == 'pocket':
      files = files._replace(protein=None)
    read_ligand = ligand.read_ligand(files)
    centre = ligand.centre(read_ligand.atoms)
    return read_ligand, pocket.read_pocket(
      files, centre, radius, read_ligand.atoms, **kwargs
    )

  get.files = found
  return get


def columns(path, centre, radius):
  """A second reader: (residue, name, element, occupancy, B, xyz) by columns."""
  opened = gzip.open if path.name.endswith('.gz') else open
  found = []
  with opened(path, 'rt') as file:
    for text in file:
      if text.startswith(('ATOM', 'HETATM')):
        xyz = [float(text[i : i + 8]) for i in (30, 38, 46)]
        if np.linalg.norm(np.subtract(xyz, centre)) <= radius:
          found.append((
            text[17:20].strip(), text[12:16].strip(),
            text[76:78].strip().capitalize(), float(text[54:60]),
            float(text[60:66]), xyz,
          ))  # fmt: skip
  return found


# 1a28: water; 1avn: Zn, Hg and water of occupancy 0; 2v7a: phosphotyrosine;
# 1ajp: a residue of occupancy 0.5; 1adl: side chains of occupancy 0; 3str: Ni,
# sulfate and glycerol; 4w9c: calcium ions named CAS, the code of a cysteine.
@pytest.mark.parametrize(
  'pdb_id', ['1a28', '1avn', '2v7a', '1ajp', '1adl', '3str', '4w9c']
)
@pytest.mark.parametrize('hydrogens', [False, True])
def test_real_files_against_their_columns(real, pdb_id, hydrogens):
  found, near = real(pdb_id, hydrogens=hydrogens)
  path = real.files[pdb_id].protein
  rows = columns(path, ligand.centre(found.atoms), 24.0)
  n_water = sum(row[0] == 'HOH' for row in rows)
  n_hydrogen = sum(row[2] == 'H' and row[0] != 'HOH' for row in rows)
  dropped = {'water': n_water,
             'hydrogen': 0 if hydrogens else n_hydrogen}  # fmt: skip
  assert near.dropped == {name: n for name, n in dropped.items() if n}
  rows = [row for row in rows if row[0] != 'HOH']
  rows = [row for row in rows if hydrogens or row[2] != 'H']
  assert sum(near.kept.values()) == len(near.atoms.numbers) == len(rows)
  # Chains are not always in one piece in the file, which the order follows.
  order_A = np.lexsort(near.atoms.coords.T)
  rows.sort(key=lambda row: row[5][::-1])
  symbols = [elements.SYMBOLS[z] for z in near.atoms.numbers[order_A]]
  assert symbols == [row[2] for row in rows]
  np.testing.assert_allclose(
    near.atoms.coords[order_A], [row[5] for row in rows], atol=1e-6
  )
  np.testing.assert_allclose(
    near.atoms.occupancies[order_A], [row[3] for row in rows], atol=1e-6
  )
  np.testing.assert_allclose(
    near.atoms.b_factors[order_A], [row[4] for row in rows], atol=1e-5
  )


def test_real_metals_are_counted(real):
  _, near = real('1avn')
  assert near.kept['metal'] == 2
  assert {30, 80} < set(near.atoms.numbers.tolist())
  _, near = real('4w9c', radius=200.0)
  assert near.kept['metal'] == 3
  assert (near.atoms.numbers == 20).sum() == 3


def test_real_modified_residues_are_kept_and_have_a_letter(real):
  _, near = real('2v7a', radius=200.0)
  # Phosphotyrosine has 16 heavy atoms without OXT, and a phosphorus atom.
  assert near.kept['modified residue'] == 16
  assert (near.atoms.numbers == 15).sum() == 1
  path = real.files['2v7a'].protein
  with gzip.open(path, 'rt') as file:
    seen = {
      (text[21], text[22:27]): text[17:20]
      for text in file
      if text.startswith(('ATOM', 'HETATM')) and text[12:16] == ' CA '
    }
  chain = next(iter(near.sequences))
  names = [name for (c, _), name in seen.items() if c == chain]
  place = names.index('PTR')
  assert len(near.sequences[chain]) == len(names)
  assert near.sequences[chain][place] == 'Y'
  assert set(near.sequences[chain]) <= set('ACDEFGHIKLMNPQRSTVWY')


def test_real_partial_and_zero_occupancies_are_kept(real):
  _, near = real('1ajp')
  assert 0.5 in near.atoms.occupancies
  _, near = real('1adl')
  zero_A = near.atoms.occupancies == 0
  assert zero_A.any()
  assert sum(near.kept.values()) == len(zero_A)


def test_real_file_without_elements(real):
  """1a4k: lines end with the B factor. The pocket holds what the names say."""
  found, near = real('1a4k')
  path = real.files['1a4k'].protein
  rows = columns(path, ligand.centre(found.atoms), 24.0)
  assert not any(row[2] for row in rows if row[0] != 'HOH')
  letters = [row[1].strip('0123456789')[0] for row in rows if row[0] != 'HOH']
  expected = sorted(letter for letter in letters if letter != 'H')
  symbols = sorted(elements.SYMBOLS[z] for z in near.atoms.numbers)
  assert symbols == expected
  assert near.dropped['hydrogen'] == letters.count('H')


def test_real_pocket_without_chains(real):
  """1a30: both chains of a protease, with the same numbers and no names."""
  _, near = real('1a30', part='pocket', radius=50.0)
  assert list(near.sequences) == ['_1', '_2']
  _, full = real('1a30', radius=50.0)
  assert list(full.sequences) == ['A', 'B']
  for piece, whole in zip(
    near.sequences.values(), full.sequences.values(), strict=True
  ):
    letters = iter(whole)
    assert all(letter in letters for letter in piece)  # a subsequence
  n_names = len(columns(real.files['1a30'].pocket, (0, 0, 0), 1e9))
  n_atoms = len(near.atoms.numbers) + sum(near.dropped.values())
  assert n_atoms == n_names


def test_real_pockets_hold_what_the_protein_file_has_near(real):
  """The files agree within 8 Å of the ligand."""
  found, full = real('1a28')
  _, near = real('1a28', part='pocket')
  apart = np.linalg.norm(
    full.atoms.coords[:, None] - ligand.heavy(found.atoms).coords, axis=-1
  ).min(axis=1)
  of_pocket = {tuple(np.round(xyz, 3)) for xyz in near.atoms.coords}
  of_protein = {
    tuple(np.round(xyz, 3)) for xyz in full.atoms.coords[apart < 7.9]
  }
  assert of_protein
  assert of_protein <= of_pocket


def test_real_shortest_contacts(shared_data, monkeypatch, real):
  """Against a table that another program made, from pockets with water."""
  monkeypatch.setattr(structure, 'is_water', lambda name: False)
  with open(shared_data / 'pdbbind' / 'manifest.csv', newline='') as file:
    rows = {row['id']: row for row in csv.DictReader(file)}
  for pdb_id in sorted(real.files)[::20]:
    found, near = real(pdb_id, radius=40.0, part='pocket')
    shortest = pocket.shortest_contact(found, near)
    assert shortest == pytest.approx(
      float(rows[pdb_id]['min_dist']), abs=0.0051
    )


def test_real_cofactor_and_alternatives(shared_data):
  """3nzd: NADPH (48 atoms) beside the inhibitor, residues in two places."""
  import gemmi

  path = shared_data / 'maps' / 'xray' / '3nzd.cif'
  table = gemmi.cif.read(str(path))[0].find('_atom_site.', [
    'label_comp_id', 'label_alt_id', 'auth_seq_id', 'Cartn_x', 'Cartn_y',
    'Cartn_z',
  ])  # fmt: skip
  rows = [list(row) for row in table]
  of_ligand = [[float(x) for x in r[3:]] for r in rows if r[0] == 'D2Q']
  read_structure = structure.read(path)
  near = pocket.select(
    read_structure, path.name, np.mean(of_ligand, 0), 200.0,
    atoms_at(*of_ligand),
  )  # fmt: skip
  assert near.kept['cofactor'] == 48
  assert near.dropped['ligand'] == len(of_ligand) == 32
  assert near.dropped['water'] == sum(r[0] == 'HOH' for r in rows)
  # Both places of each have occupancy 0.5: the first label is taken.
  assert near.dropped['alternative location'] == sum(r[1] == 'B' for r in rows)
  kept = {tuple(np.round(xyz, 3)) for xyz in near.atoms.coords}
  for row in rows:
    if row[1] in 'AB':
      place = tuple(np.round([float(x) for x in row[3:]], 3))
      assert (place in kept) == (row[1] == 'A')
  assert len(kept) + sum(near.dropped.values()) == len(rows)
  n_residues = len({r[2] for r in rows if r[0] not in ('HOH', 'NDP', 'D2Q')})
  assert [len(s) for s in near.sequences.values()] == [n_residues]


def test_real_alternative_with_the_higher_occupancy(shared_data):
  """Cys B72 of the tutorial: SG at 0.7 (A) and 0.3 (B)."""
  path = shared_data / 'maps' / 'xray' / 'tutorial-modern.pdb'
  beside = atoms_at((23.9, 6.2, 12.2))
  near = pocket.select(structure.read(path), path.name, (22, 7, 9), 3.0, beside)
  sulfur_A = near.atoms.numbers == 16
  np.testing.assert_allclose(near.atoms.occupancies[sulfur_A], [0.7], rtol=1e-6)
  assert near.dropped['alternative location'] == 1


def test_alternatives_by_the_sum_of_occupancies(tmp_path):
  lines = [
    *residue(number=1, at=(0, 0, 0)),
    line('N', 'SER', (5, 0, 0), number=2),
    line('CA', 'SER', (6, 0, 0), number=2, label='B', occ=0.4),
    line('CA', 'SER', (6, 0.5, 0), number=2, label='A', occ=0.6),
    line('CB', 'SER', (7, 0, 0), number=2, label='B', occ=0.8),
    line('CB', 'SER', (7, 0.5, 0), number=2, label='A', occ=0.2),
    line('CA', 'GLY', (9, 0, 0), number=3, label='B', occ=0.5),
    line('CA', 'GLY', (9, 0.5, 0), number=3, label='A', occ=0.5),
  ]
  near = read(tmp_path, lines)
  kept = {tuple(xyz) for xyz in near.atoms.coords.round(3).tolist()}
  assert {(5, 0, 0), (6, 0, 0), (7, 0, 0), (9, 0.5, 0)} <= kept  # B sums to 1.2
  assert near.dropped == {'alternative location': 3}
  assert near.sequences == {'A': 'ASG'}


def test_two_residues_in_one_place_are_alternatives(tmp_path):
  lines = [
    *residue('ALA', at=(0, 0, 0), number=1),
    *residue('SER', at=(5, 0, 0), number=2, label='A', occ=0.4),
    *residue('THR', at=(5, 0, 0.1), number=2, label='B', occ=0.6),
  ]
  near = read(tmp_path, lines)
  assert near.dropped == {'alternative location': 5}
  assert near.atoms.coords[5:, 2].round(3).tolist()[:3] == [0.1, 0.1, 0.1]


def test_several_models(tmp_path):
  """No file of the reference data has a second model."""
  lines = ['MODEL        1', *residue(), 'ENDMDL', 'MODEL        2',
           *residue(at=(0.2, 0, 0)), 'ENDMDL']  # fmt: skip
  near = read(tmp_path, lines)
  assert near.atoms.coords[0].tolist() == [0, 0, 0]
  assert near.kept == {'protein': 5}
  assert near.dropped == {'other model': 5}


def test_the_ligand_itself_is_left_out(tmp_path):
  """In both of its places; a residue bound to it stays."""
  pose = [('C1', 'C', (0, 0, 4)), ('C2', 'C', (1.5, 0, 4))]
  other = [('C1', 'C', (0, 0, 7)), ('C2', 'C', (1.5, 0, 7))]
  lines = [
    *residue(number=1),
    *residue('LIG', atoms=pose, number=5, hetero=True, label='A', occ=0.5),
    *residue('LIG', atoms=other, number=5, hetero=True, label='B', occ=0.5),
    line('SG', 'CYS', (3.2, 0.3, 4), number=2),
    line('CA', 'CYS', (5.7, 0.3, 4), number=2),
  ]
  near = read(tmp_path, lines)
  assert near.dropped == {'ligand': 4}
  assert near.kept == {'protein': 7}
  # A third of the residue's atoms is not most of them: another molecule's
  # pose, which cannot be there either.
  third = [*pose[:1], ('C2', 'C', (0, 1.5, 5)), ('C3', 'C', (0, 2.5, 6))]
  lines = [*residue(number=1),
           *residue('LIG', atoms=third, number=5, hetero=True)]  # fmt: skip
  assert read(tmp_path, lines).dropped == {'overlaps the ligand': 3}
  # A water molecule in its place too.
  lines = [*residue(number=1), line('O', 'HOH', (0, 0.7, 4), hetero=True)]
  assert read(tmp_path, lines).dropped == {'overlaps the ligand': 1}
  # Of a residue of the chain, only the atoms that cannot be there.
  lines = [*residue(number=1), line('SG', 'CYS', (2.0, 0.3, 4), number=2),
           line('CA', 'CYS', (4.7, 0.3, 4), number=2)]  # fmt: skip
  near = read(tmp_path, lines)
  assert near.dropped == {'clashes with the ligand': 1}
  assert near.nearest_clash == pytest.approx(np.hypot(0.5, 0.3))
  # An alternative of it that the ligand replaces does not clash.
  lines[-2] = line('SG', 'CYS', (2.0, 0.3, 4), number=2, label='B', occ=0.4)
  near = read(tmp_path, lines)
  assert near.dropped == {'overlaps the ligand': 1}
  assert near.nearest_clash == np.inf


def test_a_peptide_ligand_is_no_chain_of_the_protein(tmp_path):
  own = residue('GLY', at=(0, 0, 4), chain='B')
  near = read(
    tmp_path, [*residue(), *own], atoms_at(*(np.add(x, (0, 0, 4))
                                             for *_, x in ALANINE))
  )  # fmt: skip
  assert near.dropped == {'ligand': 5}
  assert near.sequences == {'A': 'A'}


@pytest.mark.parametrize(
  ('name', 'res', 'number'),
  [
    (' CA ', 'ALA', 6),
    ('CA  ', 'ALA', 6),  # in the columns of calcium, but an amino acid
    ('CA  ', ' CA', 20),
    (' HG ', 'SER', 1),
    ('HG  ', 'CYS', 1),
    ('HG  ', ' HG', 80),
    ('1HB ', 'ALA', 1),
    ('HD11', 'LEU', 1),
    (' SD ', 'MET', 16),
    ('SE  ', 'MSE', 34),
    (' NE2', 'HIE', 7),
    ('NE2 ', 'HIS', 7),
    ('ZN  ', ' ZN', 30),
    ('CL1 ', 'LIG', 17),
    (' C1 ', 'LIG', 6),
  ],
)
def test_elements_follow_from_names_where_their_columns_are_blank(
  tmp_path, name, res, number
):
  path = tmp_path / 'x.pdb'
  text = line('X', res, (1, 2, 3))
  path.write_text(f'{text[:12]}{name}{text[16:66]}\n')
  (atom,) = (a for chain in structure.read(path)[0] for r in chain for a in r)
  assert atom.element.atomic_number == number


def test_force_fields_names_of_residues(tmp_path):
  lines = [*residue('HID', number=1), *residue('CYX', number=2, at=(0, 5, 0)),
           line('O', 'WAT', (9, 9, 9), number=3),
           line('O', 'TIP', (9, 9, 5), number=4)]  # fmt: skip
  near = read(tmp_path, lines)
  assert near.kept == {'protein': 10}
  assert near.dropped == {'water': 2}
  assert near.sequences == {'A': 'HC'}


def test_radius_and_order(tmp_path):
  lines = [*residue(number=1), line('ZN', 'ZN', (0, 0, -3), 'ZN', hetero=True,
                                    chain='B', number=9),
           *residue('GLY', number=2, at=(0, 9, 0))]  # fmt: skip
  near = read(tmp_path, lines, radius=8.0)
  assert near.atoms.numbers.tolist() == [7, 6, 6, 8, 6, 30]
  assert near.kept == {'metal': 1, 'protein': 5}
  assert near.sequences == {'A': 'AG'}  # the far residue too
  assert read(tmp_path, lines, radius=20.0).kept == {'metal': 1, 'protein': 10}


def changed(lines, i, start, text):
  copy = list(lines)
  copy[i] = copy[i][:start] + text + copy[i][start + len(text) :]
  return copy


FIVE = residue()


@pytest.mark.parametrize(
  ('lines', 'words'),
  [
    ([*FIVE[:4], FIVE[4][:40]], 'line 5: cut off'),
    ([*FIVE[:4], FIVE[4][:53]], 'line 5: cut off'),
    (changed(FIVE, 2, 17, '   '), 'line 3: no residue name'),
    (changed(FIVE, 1, 30, '     nan'), 'line 2: no coordinates'),
    (changed(FIVE, 1, 38, '********'), 'line 2: no coordinates'),
    (changed(FIVE, 1, 46, '        '), 'line 2: no coordinates'),
    (changed(FIVE, 1, 30, '   1.2 3'), 'line 2: no coordinates'),
    (changed(FIVE, 3, 76, 'Qq'), "no element 'X' .*'O', serial 1"),
    (changed(FIVE, 3, 54, '  nan '), 'line 4: no occupancy'),
    (['REMARK nothing'], 'no atoms'),
  ],
)
def test_damaged_files_raise_with_file_and_place(tmp_path, lines, words):
  with pytest.raises(types.ComplexError, match=words) as caught:
    read(tmp_path, lines)
  assert '1abc_protein.pdb' in str(caught.value)


def test_a_file_that_ends_in_its_last_line(tmp_path):
  path = tmp_path / '1abc_protein.pdb'
  path.write_text('\n'.join(FIVE)[:-20])
  with pytest.raises(types.ComplexError, match='cut off in its last line'):
    structure.read(path)
  path.write_text('\n'.join(text[:54] for text in FIVE))  # all are short
  assert structure.read(path)[0].count_atom_sites() == 5


@pytest.mark.parametrize(
  ('data', 'words'),
  [
    (b'', 'is empty'),
    (gzip.compress('\n'.join(FIVE).encode())[:-9], 'is cut off or damaged'),
  ],
  ids=['empty', 'cut off'],  # the bytes hold the time
)
def test_empty_and_cut_files(tmp_path, data, words):
  path = tmp_path / '1abc_protein.pdb.gz'
  path.write_bytes(data)
  files = types.Files('1abc', protein=path)
  with pytest.raises(types.ComplexError, match=f'1abc_protein.*{words}'):
    pocket.read_pocket(files, (0, 0, 0), 9.0, LIGAND)


def test_mmcif(tmp_path):
  rows = [
    f'ATOM {i} {element} {name} . ALA A 1 {x} {y} {z} 1.0 9.5 7 H'
    for i, (name, element, (x, y, z)) in enumerate(ALANINE, 1)
  ]
  path = tmp_path / '1abc_protein.cif'
  path.write_text(made_up_complexes.MMCIF_HEADER + '\n'.join(rows) + '\n')
  files = types.Files('1abc', protein=path)
  near = pocket.read_pocket(files, (0, 0, 0), 9.0, LIGAND)
  assert near.atoms.numbers.tolist() == [7, 6, 6, 8, 6]
  assert near.sequences == {'H': 'A'}
  for old, new, words in [
    (' 2.39 ', ' nan ', r'H 7\(ALA\): coordinates are not finite'),
    (' 2.39 ', ' ? ', r'H 7\(ALA\): coordinates are not finite'),
    (' . ALA A 1 1.25', ' . . A 1 1.25', 'no residue name'),
    (' 9.5 7 H', '', 'loop'),
  ]:
    path.write_text(
      made_up_complexes.MMCIF_HEADER
      + '\n'.join(rows).replace(old, new, 1)
      + '\n'
    )
    with pytest.raises(types.ComplexError, match=words) as caught:
      pocket.read_pocket(files, (0, 0, 0), 9.0, LIGAND)
    assert '1abc_protein.cif' in str(caught.value)


def test_a_ligand_in_another_frame_raises(tmp_path):
  with pytest.raises(
    types.ComplexError, match=r'1abc_protein\.pdb: .* frame .* 9\.0 Å apart'
  ):
    read(tmp_path, residue(), atoms_at((0, 0, 9)))
  assert read(tmp_path, residue(), atoms_at((0, 0, 5.9))).kept
  # Water and metals are no protein, and the ligand is none of its own.
  lines = [*residue(at=(30, 0, 0)), line('ZN', 'ZN', (0, 0, 2), 'ZN'),
           line('O', 'HOH', (0, 0, 7), number=3)]  # fmt: skip
  with pytest.raises(types.ComplexError, match='frame'):
    read(tmp_path, lines)
  with pytest.raises(types.ComplexError, match='no protein beside the ligand'):
    read(tmp_path, residue(), atoms_at(*(xyz for *_, xyz in ALANINE)))


def test_no_file_raises():
  with pytest.raises(types.ComplexError, match=r'no 1abc_protein\.pdb and no'):
    pocket.read_pocket(types.Files('1abc'), (0, 0, 0), 9.0, LIGAND)


def test_shortest_contact_counts_heavy_atoms(tmp_path):
  near = read(tmp_path, [*residue(), line('H', 'ALA', (0, 0, 3))],
              hydrogens=True)  # fmt: skip
  assert 1 in near.atoms.numbers
  given = types.Ligand(
    atoms_at((0, 0, 4), (0, 0, 1), numbers=[6, 1]), 0, None, '', ()
  )
  assert pocket.shortest_contact(given, near) == pytest.approx(4.0)
  empty = near._replace(atoms=atoms_at((0, 0, 0), numbers=[1]))
  assert pocket.shortest_contact(given, empty) == float('inf')


def as_ligand(*coords, numbers=None):
  return types.Ligand(atoms_at(*coords, numbers=numbers), 0, None, 'x', ())


def check(given, near, **limits):
  limits = {'min_contact': 1.2, 'max_clashes': 2} | limits
  pocket.check_contact(given, near, **limits)


def test_ligands_in_the_protein_are_refused_by_limits_to_be_set(tmp_path):
  """Atoms of the ligand above the alanine, at a distance from its plane."""
  own = [xyz for *_, xyz in ALANINE[:4]]  # N, CA, C, O with z = 0

  def above(z, count=4):
    ligand_atoms = atoms_at(*(np.add(xyz, (0, 0, z)) for xyz in own[:count]))
    near = read(tmp_path, residue()[:4], ligand_atoms)
    return as_ligand(*ligand_atoms.coords), near

  assert pocket.clashes(*above(1.5, 2)) == 2  # a covalent one
  check(*above(1.5, 2))
  check(*above(2.1))
  with pytest.raises(types.ComplexError, match=r'4 atoms nearer than 2 Å, the'):
    check(*above(1.5))
  check(*above(1.5), max_clashes=4)
  with pytest.raises(types.ComplexError, match=r'at 1\.10 Å.*min_contact=1\.2'):
    check(*above(1.1, 1))
  check(*above(1.1, 1), min_contact=1.0)
  # Atoms that were left out because they cannot be there count too.
  given = atoms_at((0, 0, 0.7), (0, 0, 4))
  near = read(tmp_path, residue(), given)
  assert near.dropped == {'clashes with the ligand': 1}
  given = as_ligand(*given.coords)
  assert pocket.shortest_contact(given, near) == pytest.approx(0.7)
  with pytest.raises(types.ComplexError, match=r'nearest at 0\.70 Å'):
    check(given, near)
  check(given, near, min_contact=0.5)


def test_metals_do_not_clash(tmp_path):
  zincs = [
    line('ZN', 'ZN', (x, 0, 0), 'ZN', hetero=True, number=9 + i)
    for i, x in enumerate((0, 4, 8))
  ]
  given = atoms_at((0, 0, 1.9), (4, 0, 1.9), (8, 0, 1.9), numbers=[7, 7, 8])
  near = read(tmp_path, [*residue(at=(0, 5, 0)), *zincs], given)
  assert near.kept['metal'] == 3
  assert pocket.clashes(as_ligand(*given.coords, numbers=[7, 7, 8]), near) == 0


@pytest.mark.parametrize(
  ('source', 'cut'),
  [('1abc_pocket.pdb', 8.0), ('1abc_env16.pdb.gz', 16.0)],
)
def test_coverage_of_files_cut_around_the_ligand(source, cut):
  """One atom in the middle: a ball in a cube of twice its radius is pi/6."""
  given = types.Ligand(atoms_at((5, 5, 5)), 0, None, '', ())
  near = types.Pocket(LIGAND, source, {}, {}, {})
  found = pocket.coverage(given, near, (5, 5, 5), cut)
  assert found == pytest.approx(np.pi / 6, abs=0.01)
  assert pocket.coverage(given, near, (5, 5, 5), cut / 2) == 1
  whole = near._replace(source='1abc_protein.pdb')
  assert pocket.coverage(given, whole, (5, 5, 5), 99.0) == 1
