"""PDB files: every atom and chain that the text has."""

import pytest
from support.made_up_pockets import line, read, residue

from data_builders.pdbbind.readers import structure, types


def chain(numbers, letter='A', at=(0, 0, 0)):
  """Residues 4 Å apart; those of negative numbers are glycine by name."""
  lines = []
  for i, number in enumerate(numbers):
    place = (at[0] + 4 * i, *at[1:])
    name = 'ALA' if number > 0 else 'GLY'
    lines += residue(name, place, chain=letter, number=number)
  return lines


def chains(folder, lines):
  """Name -> numbers of residues, of each chain in the file."""
  path = folder / 'x.pdb'
  path.write_text('\n'.join([*lines, 'END', '']))
  found = structure.read(path)
  # Every atom of the text in a residue of its own: five of each.
  assert {len(r) for model in found for c in model for r in c} == {5}
  return [{c.name: [r.seqid.num for r in c] for c in model} for model in found]


BESIDE = (0, 20, 0)


@pytest.mark.parametrize(
  ('first', 'second'),
  [
    ([1, 2, 3], [-3, -2, -1]),
    ([1, 2, 3], [0, 1, 2]),
    ([5, 6, 7], [1, 2, 3]),
    ([-3, -2, -1], [-5, -4, -3]),
  ],
)
def test_chains_without_a_letter_begin_where_numbers_fall(
  tmp_path, first, second
):
  """PDBbind's blank chains may begin with a negative number."""
  lines = [*chain(first, ' '), *chain(second, ' ', BESIDE)]
  assert chains(tmp_path, lines) == [{'_1': first, '_2': second}]


@pytest.mark.parametrize('letter', [' ', 'A'])
def test_chains_end_at_ter(tmp_path, letter):
  lines = [*chain([1, 2], letter), 'TER', *chain([3, 4], letter, BESIDE)]
  names = {' ': ('_1', '_2'), 'A': ('A', 'A_2')}[letter]
  assert chains(tmp_path, lines) == [{names[0]: [1, 2], names[1]: [3, 4]}]
  # What is no ATOM belongs to the chain before, as in files of the wwPDB.
  lines = [
    *chain([1, 2], letter), 'TER',
    *residue('LIG', BESIDE, chain=letter, number=9, hetero=True),
  ]  # fmt: skip
  assert chains(tmp_path, lines) == [{names[0]: [1, 2, 9]}]


def test_copies_of_one_letter_are_two_chains(tmp_path):
  """The second begins at -1, before the first number that is there already."""
  lines = [*chain([1, 2, 3]), *chain([-1, 1, 2], at=BESIDE)]
  assert chains(tmp_path, lines) == [{'A': [1, 2, 3], 'A_2': [-1, 1, 2]}]
  near = read(tmp_path, lines, radius=50.0)
  assert near.sequences == {'A': 'AAA', 'A_2': 'GAA'}
  # Other chains keep their letters, and more copies than letters have names.
  many = [row for i in range(70) for row in chain([1, 2], at=(0, 6 * i, 0))]
  (found,) = chains(tmp_path, [*many, *chain([1], 'B', (0, 0, 30))])
  assert list(found) == ['A', *(f'A_{i}' for i in range(2, 71)), 'B']


def test_atoms_that_a_program_appended_are_no_chain(tmp_path):
  """Other atoms of the residues that are there, whose numbers fall."""
  parts = [residue(at=(4 * i, 0, 0), number=i + 1) for i in range(3)]
  lines = [row for part in parts for row in part[:3]]
  lines += [row for part in parts for row in part[3:]]
  assert chains(tmp_path, lines) == [{'A': [1, 2, 3]}]


def test_models_have_the_same_chains(tmp_path):
  model = [*chain([1, 2], ' '), *chain([1, 2], ' ', BESIDE)]
  lines = [
    'MODEL        1',
    *model,
    'ENDMDL',
    'MODEL        2',
    *model,
    'ENDMDL',
  ]
  assert chains(tmp_path, lines) == [{'_1': [1, 2], '_2': [1, 2]}] * 2


def test_atoms_after_end_are_read(tmp_path):
  lines = [*chain([1, 2]), 'END', *chain([3], at=(8, 0, 0))]
  assert chains(tmp_path, lines) == [{'A': [1, 2, 3]}]
  near = read(tmp_path, lines)
  assert near.kept == {'protein': 15}
  assert near.problems == '5 lines of atoms after END in line 11 are read'
  assert read(tmp_path, chain([1, 2])).problems == ''
  # In the middle of a residue too.
  whole = chain([1, 2])
  assert chains(tmp_path, [*whole[:7], 'END', *whole[7:]]) == [{'A': [1, 2]}]


def test_frames_between_ends_are_not_added_up(tmp_path):
  frame = chain([1, 2])
  with pytest.raises(
    types.ComplexError, match=r'x\.pdb: 10 lines .* END in line 11, 10 of which'
  ):
    chains(tmp_path, [*frame, 'END', *frame])
  models = ['MODEL 1', *frame, 'ENDMDL', 'END', 'MODEL 2', *frame, 'ENDMDL']
  assert chains(tmp_path, models) == [{'A': [1, 2]}] * 2


def test_atoms_that_the_reader_drops_are_counted(tmp_path, monkeypatch):
  """gemmi ends at END: without our passing over it, the text has more."""
  monkeypatch.setattr(structure.pdb_text, 'pass_over_ends', lambda *_: '')
  with pytest.raises(types.ComplexError, match='10 atoms are read of 15'):
    chains(tmp_path, [*chain([1, 2]), 'END', *chain([3], at=(8, 0, 0))])


def unknown(at, **kwargs):
  return line('UNK', 'UNX', at, 'X', number=99, hetero=True, **kwargs)


def test_unknown_elements_matter_where_they_are_used(tmp_path):
  far = [*chain([1, 2]), unknown((0, 60, 0))]
  assert read(tmp_path, far).kept == {'protein': 10}
  for text in (unknown((0, 5, 0)), line('Q1', 'LIG', (0, 5, 0), 'Q', number=9)):
    with pytest.raises(
      types.ComplexError, match=r'1abc_protein\.pdb: no element'
    ):
      read(tmp_path, [*chain([1, 2]), text])
  # One in the ligand's place is left out with it.
  near = read(tmp_path, [*chain([1, 2]), unknown((0, 0, 4.2))])
  assert near.dropped == {'ligand': 1}
  # One that another place of its residue replaces is not used either.
  lines = [
    *chain([1, 2]),
    line('SD', 'MET', (0, 5, 0), 'S', number=7, label='A', occ=0.7),
    line('SD', 'MET', (0, 6, 0), 'Q', number=7, label='B', occ=0.3),
  ]
  assert read(tmp_path, lines).dropped == {'alternative location': 1}


@pytest.mark.parametrize('occupancy', [2.0, 7.0, -1.0])
def test_occupancies_out_of_range_refuse_nothing(tmp_path, occupancy):
  lines = chain([1, 2])
  lines[3] = line('O', 'ALA', (1.25, 2.39, 0.0), occ=occupancy)
  near = read(tmp_path, lines)
  assert near.kept == {'protein': 10}
  assert near.atoms.occupancies.min() == min(occupancy, 1)


@pytest.mark.parametrize(
  ('edges', 'is_crystal'),
  [
    ((0, 0, 0), False),
    ((1, 1, 1), False),
    ((0.001, 50, 50), False),
    ((50, 60, 70), True),
  ],
)
def test_cells_that_no_crystal_has(tmp_path, edges, is_crystal):
  cell = ''.join(f'{edge:9.3f}' for edge in edges)
  header = f'CRYST1{cell}  90.00  90.00  90.00 P 1           1'
  path = tmp_path / 'x.pdb'
  path.write_text('\n'.join([header, *chain([1, 2]), 'END', '']))
  found = structure.read(path)
  assert found.cell.is_crystal() == is_crystal
  told = not is_crystal and edges != (1, 1, 1)  # 1 says that there is none
  assert ('no symmetry: a cell of' in structure.notes(found)) == told
  near = read(tmp_path, [header, *chain([1, 2])])
  assert near.problems == structure.notes(found)
