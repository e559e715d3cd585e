"""Residues of an entry that are the ligand which an index names.

An index names a ligand by the code of a residue (GLU), by the codes of several
that are bound to each other (SIA-GAL, KDA&KDO), or by their number alone
(5-mer), which is how PDBbind names peptides and sugars.
"""

import collections
import re

import numpy as np

from data_builders.pdbbind.readers import structure as structure_lib
from data_builders.pdbbind.readers import types

# Å up to which atoms of two residues are bound. Peptide bonds have 1.33, C-S
# 1.82, C-Br 1.94; disulfide bridges (2.05) and metals hold no ligand together.
_BOUND = 2.0
_CODE = re.compile(r'[A-Z0-9]{1,5}')
_SEVERAL = re.compile(r'[A-Z0-9]{1,5}([-&][A-Z0-9]{1,5})+')
_NUMBER = re.compile(r'(\d+)-MER')


class Copy:
  """One copy of a ligand, each residue in its best alternative location.

  Attributes:
    index: number of the copy in the file.
    place: chain and number of the residue, or of the first and last one.
    best: labels of the alternative locations that were taken; '' for none.
    names: of the heavy atoms.
    mean_b: of the heavy atoms, Å^2.
    atoms: of the copy, gemmi.Atom.
  """

  def __init__(self, index: int, residues: list[tuple]):
    """Makes the copy of (chain, residue) of each of its residues."""
    atoms, names, labels = [], [], []
    for i, (_, residue) in enumerate(residues):
      best = structure_lib.best_alternative(residue)
      here = [a for a in residue if a.altloc in (best, structure_lib.NO_LABEL)]
      prefix = f'{i + 1}.' if len(residues) > 1 else ''
      names += [f'{prefix}{atom.name}' for atom in here if _is_heavy(atom)]
      if len({a.altloc for a in residue} - {structure_lib.NO_LABEL}) > 1:
        labels.append(best)
      atoms += here
    (chain, first), (_, last) = residues[0], residues[-1]
    self.index = index
    self.place = f'{chain.name} {first.seqid}'
    if len(residues) > 1:
      self.place += f'-{last.seqid}'
    self.best = ', '.join(dict.fromkeys(labels))
    self.names = set(names)
    b_factors = [atom.b_iso for atom in atoms if _is_heavy(atom)]
    self.mean_b = float(np.mean(b_factors or [np.inf]))
    self.atoms = atoms


def find(structure, name: str, source: str) -> list[Copy]:
  """Finds the copies of a ligand in an entry.

  A standard amino acid or nucleotide is a ligand where it is bound to no other
  residue and no ATOM of a polymer. Several residues are one where they are
  bound to each other and to nothing else; a number of residues names one where
  all groups of so many have the same residues, and no other amino acid has the
  name of their chain: that would be a protein with a gap.

  Args:
    structure: gemmi.Structure.
    name: of the index, in any case.
    source: name of the file, for messages.

  Raises:
    types.ComplexError: the name is none of these, or the entry has no such
      residues, or several different ones; the message lists what it has.
  """
  places = [
    (chain, residue)
    for chain in structure[0]
    for residue in chain
    if not structure_lib.is_water(residue.name) and any(map(_is_heavy, residue))
  ]
  groups = _named(places, name.upper())
  if groups is None:
    raise types.ComplexError(
      f"{source}: {name!r} names no residues; without PDBbind's ligand file "
      "the index must give the ligand's code, or codes as in SIA-GAL"
    )
  kinds = sorted({'-'.join(_names(group)).upper() for group in groups})
  if len(kinds) > 1 and _NUMBER.fullmatch(name.upper()):
    raise types.ComplexError(
      f'{source}: {name} may be {" or ".join(kinds)}; the index must give the '
      'codes'
    )
  if not groups:
    raise types.ComplexError(
      f'{source}: no ligand {name}; residues that may be ligands: '
      f'{_candidates(places)}'
    )
  return [Copy(i, group) for i, group in enumerate(groups)]


def _named(places, name: str) -> list[list] | None:
  """Returns groups of residues; None for a name in none of the three ways."""
  if _CODE.fullmatch(name):
    return _single(places, name)
  number = _NUMBER.fullmatch(name)
  if number:
    return [
      group
      for group in _groups(places)
      if int(number[1]) in _sizes(group) and _is_whole(group, places)
    ]
  if _SEVERAL.fullmatch(name):
    wanted = sorted(re.split('[-&]', name))
    return [g for g in _groups(places) if sorted(_names(g)) == wanted]
  return None


def _names(group) -> list[str]:
  return [residue.name for _, residue in group]


def _single(places, code) -> list[list]:
  groups = [[place] for place in places if place[1].name.upper() == code]
  if not structure_lib.tabulated(code).is_standard():
    return groups
  return [
    group
    for group in _groups(places)
    if _is_free(group) and _names(group) == [code]
  ]


def _groups(places) -> list[list]:
  """Groups residues that are bound to each other, in the order of the file."""
  import scipy.sparse
  import scipy.spatial

  owners, atoms = [], []
  for i, (_, residue) in enumerate(places):
    heavy = [a for a in residue if _is_heavy(a) and not a.element.is_metal]
    owners += [i] * len(heavy)
    atoms += heavy
  coords = np.array([atom.pos.tolist() for atom in atoms]).reshape(-1, 3)
  near = collections.defaultdict(set)  # pair of residues -> names of atoms
  for i, j in scipy.spatial.KDTree(coords).query_pairs(_BOUND):
    labels = {atoms[i].altloc, atoms[j].altloc}
    if len(labels - {structure_lib.NO_LABEL}) < 2:
      near[owners[i], owners[j]].add((atoms[i].name, atoms[j].name))
  # Residues that clash, as in 3nzd, have more pairs of atoms so near.
  bound = [pair for pair, names in near.items() if len(names) == 1]
  rows, columns = np.array(bound, int).reshape(-1, 2).T
  graph = scipy.sparse.coo_matrix(
    (np.ones(len(rows)), (rows, columns)), shape=(len(places),) * 2
  )
  _, labels = scipy.sparse.csgraph.connected_components(graph, directed=False)
  groups = {}
  for label, place in zip(labels, places, strict=True):
    groups.setdefault(label, []).append(place)
  return list(groups.values())


def _sizes(group) -> tuple[int, int]:
  """Returns the numbers of residues and of amino acids, without caps."""
  n_amino_acids = sum(structure_lib.is_amino_acid(r) for _, r in group)
  return len(group), n_amino_acids


def _is_whole(group, places) -> bool:
  """Returns whether no other amino acid is in the chains of a group's."""
  amino_acids = [p for p in group if structure_lib.is_amino_acid(p[1])]
  chains = {chain.name for chain, _ in amino_acids}
  return len(amino_acids) == sum(
    chain.name in chains and structure_lib.is_amino_acid(residue)
    for chain, residue in places
  )


def _candidates(places) -> str:
  names = {
    residue.name
    for _, residue in places
    if not structure_lib.tabulated(residue.name).is_standard()
  }
  for group in _groups(places):
    if _is_free(group):
      names.update(_names(group))
    elif 1 < len(group) <= 5 and _is_whole(group, places):
      names.add('-'.join(_names(group)))
  return ', '.join(sorted(names)) or 'none'


def _is_free(group) -> bool:
  """Returns whether a group is one residue outside of polymers."""
  return len(group) == 1 and group[0][1].het_flag != 'A'


def _is_heavy(atom) -> bool:
  return atom.element.atomic_number > 1
