"""Atoms around a ligand: the rules that keep or drop each."""

import collections
import re
from typing import NamedTuple

import numpy as np

from data_builders.pdbbind.readers import structure as structure_lib
from data_builders.pdbbind.readers import types
from data_builders.pdbbind.readers.ligand import heavy

# An atom of the file is an atom of the ligand within this distance (Å);
# PDBbind's ligands are up to 0.11 Å off between their own files.
_SAME_A = 0.5
# No two bonded heavy atoms are closer: N2 has 1.098 Å, CO 1.128 Å (CRC
# Handbook of Chemistry and Physics, 97th ed., section 9).
_CLASH_A = 1.0
# A ligand without any atom of the protein this near is in another frame; the
# complexes of PDBbind have 38 and more.
_FRAME_A = 6.0
_POCKET_CUT_A = 8.0


class Coverage(NamedTuple):
  """The share of a box that the file of a pocket fills.

  Attributes:
    fraction: of the box, in which the file has every atom.
    note: a warning; '' where the fraction is 1.
  """

  fraction: float
  note: str


def read_pocket(
  files: types.Files,
  centre_3,
  radius: float,
  ligand_atoms: types.Atoms,
  waters: bool = False,
  hydrogens: bool = False,
) -> types.Pocket:
  """Reads the atoms within a distance of a point, without the ligand's.

  They come from the protein file where there is one, else the pocket file. The
  first of these rules that applies to an atom decides:

  - Several models: the first. The atoms of the others are counted.
  - The ligand itself: a residue is left out with all its alternative locations
    if in any of these most of its heavy atoms are within 0.5 Å of one of the
    ligand's. So are atoms less than 1 Å from a heavy atom of the ligand, and
    their whole residue if it is no part of a polymer: it is another pose of the
    ligand, or bound in its absence. Residues bound to the ligand stay.
  - Alternative locations: in each residue the one with the highest sum of
    occupancies, the first by name among equals. Residues of different names
    that share a place in the chain count as alternatives. Atoms without a
    label stay.
  - Water is left out by default.
  - Hydrogen is left out by default.
  - All else is kept atom by atom: metals (alone or in a cofactor), cofactors,
    non-standard residues, ions and crystallisation agents. (PDBbind's own
    files hold metals, water and non-standard residues, no cofactors and no
    crystallisation agents; entries of the wwPDB hold all.)
  - Atoms of any occupancy, even 0, are kept and the occupancy is recorded. An
    occupancy of 0 marks side chains that were placed without being seen, but
    PDBbind's files of the core set have 1 there: like B factors, occupancies
    tell where a file came from.

  Args:
    files: of one complex.
    centre_3: [3] Å.
    radius: Å.
    ligand_atoms: of the ligand, in the same frame.
    waters: keep water.
    hydrogens: keep hydrogen atoms.

  Returns:
    The pocket. The order of atoms is that of the file, chain by chain.
    `kept` and `dropped` add up to the atoms within the radius, but for
    'other model'.

  Raises:
    types.ComplexError: no file; a file that cannot be used (see
      `structure.read`); no atom of it within 6 Å of the ligand.
  """
  path = files.protein or files.pocket
  if path is None:
    raise types.ComplexError(
      f'{files.pdb_id}: no {files.pdb_id}_protein.pdb and no _pocket.pdb'
    )
  structure = structure_lib.read(path)
  return select(
    structure, path.name, centre_3, radius, ligand_atoms, waters, hydrogens
  )


def select(
  structure,
  source: str,
  centre_3,
  radius: float,
  ligand_atoms: types.Atoms,
  waters: bool = False,
  hydrogens: bool = False,
) -> types.Pocket:
  """Selects the pocket of a structure by the rules of `read_pocket`.

  Args:
    structure: from `structure.read`.
    source: name of its file.
    centre_3: see `read_pocket`.
    radius: see `read_pocket`.
    ligand_atoms: see `read_pocket`.
    waters: see `read_pocket`.
    hydrogens: see `read_pocket`.

  Raises:
    types.ComplexError: no atom of a protein within 6 Å of the ligand.
  """
  import scipy.spatial

  tree = scipy.spatial.KDTree(heavy(ligand_atoms).coords)
  sites = _Sites(structure[0])
  near_A = tree.query(sites.coords, distance_upper_bound=_FRAME_A)[0]
  reasons = _Reasons(len(sites.atoms))
  ligand_residues = _mark_ligand(sites, near_A, reasons)
  _check_frame(sites, near_A, reasons, tree, source)
  _mark_alternatives(sites, reasons)
  if not waters:
    is_water = [structure_lib.is_water(r.name) for r in sites.residues]
    reasons.mark('water', np.array(is_water)[sites.residue_A])
  if not hydrogens:
    reasons.mark('hydrogen', sites.numbers == 1)
  distance_A = np.linalg.norm(sites.coords - np.asarray(centre_3), axis=1)
  within_A = distance_A <= radius
  kept_A = within_A & reasons.none()
  dropped = reasons.count(within_A)
  n_others = sum(model.count_atom_sites() for model in list(structure)[1:])
  if n_others:
    dropped['other model'] = n_others
  return types.Pocket(
    atoms=structure_lib.arrays_of(
      [sites.atoms[i] for i in np.flatnonzero(kept_A)]
    ),
    source=source,
    kept=_classes(sites, kept_A),
    dropped=dropped,
    sequences=_sequences(sites, kept_A, ligand_residues),
  )


def shortest_contact(ligand: types.Ligand, pocket: types.Pocket) -> float:
  """Returns the shortest distance of heavy atoms in Å; inf for no pocket."""
  import scipy.spatial

  coords_A3 = heavy(pocket.atoms).coords
  if not len(coords_A3):
    return float('inf')
  tree = scipy.spatial.KDTree(coords_A3)
  return float(tree.query(heavy(ligand.atoms).coords)[0].min())


def coverage(
  ligand: types.Ligand, pocket: types.Pocket, centre_3, half_edge: float
) -> Coverage:
  """Estimates the share of a box that a file cut around the ligand fills.

  PDBbind's pockets hold the residues within 8 Å of the ligand, files named
  _env<n> those within n Å: further atoms may be missing.

  Args:
    ligand: in the frame of the pocket.
    pocket: its `source` tells the cut.
    centre_3: [3] Å, of the box.
    half_edge: Å, half the edge of the box (edges along the axes of the file).

  Returns:
    The fraction of the box nearer to the ligand than the cut (on 16^3 points),
    and a warning where it is not 1.
  """
  import scipy.spatial

  match = re.search(r'_env(\d+)\.', pocket.source.lower())
  if match:
    cut = float(match.group(1))
  elif '_pocket.' in pocket.source.lower():
    cut = _POCKET_CUT_A
  else:
    return Coverage(1.0, '')
  edge = (np.arange(16) - 7.5) / 8.0 * half_edge
  box_G3 = np.stack(np.meshgrid(edge, edge, edge), -1).reshape(-1, 3)
  tree = scipy.spatial.KDTree(heavy(ligand.atoms).coords)
  near_G = tree.query(box_G3 + np.asarray(centre_3))[0]
  fraction = float(np.mean(near_G <= cut))
  if fraction == 1.0:
    return Coverage(1.0, '')
  return Coverage(
    fraction,
    f'{pocket.source} ends {cut:g} Å from the ligand: {1 - fraction:.0%} of '
    f'the box of {2 * half_edge:g} Å may lack atoms; add a _protein file',
  )


class _Sites:
  """Atoms and residues of a model as flat lists and arrays."""

  def __init__(self, model):
    self.atoms, self.residues, self.chains, self.spans = [], [], [], []
    for chain in model:
      for residue in chain:
        start = len(self.atoms)
        self.atoms += residue
        self.residues.append(residue)
        self.chains.append(chain.name)
        self.spans.append(np.arange(start, len(self.atoms)))
    sizes = [len(span) for span in self.spans]
    self.residue_A = np.repeat(np.arange(len(sizes)), sizes)
    self.coords = np.array([atom.pos.tolist() for atom in self.atoms])
    self.numbers = np.array(
      [atom.element.atomic_number for atom in self.atoms], np.int32
    )
    self.labels = np.array([atom.altloc for atom in self.atoms])
    self.amino_acids = np.array(
      [structure_lib.is_amino_acid(residue) for residue in self.residues]
    )

  def groups(self) -> list[list[int]]:
    """Groups residues by place in the chain; a group's are alternatives."""
    groups, last = [], None
    for i, residue in enumerate(self.residues):
      labelled = (self.labels[self.spans[i]] != structure_lib.NO_LABEL).all()
      place = (self.chains[i], str(residue.seqid)) if labelled else None
      if place and place == last:
        groups[-1].append(i)
      else:
        groups.append([i])
      last = place
    return groups


class _Reasons:
  """Reasons to leave out atoms; the first that is given counts."""

  def __init__(self, n_atoms):
    self._names = ['']
    self._index_A = np.zeros(n_atoms, np.int8)

  def mark(self, name: str, atoms) -> None:
    """Marks atoms, given as [A] flags or as indices."""
    if name not in self._names:
      self._names.append(name)
    new_A = np.zeros(len(self._index_A), bool)
    new_A[atoms] = True
    new_A &= self._index_A == 0
    self._index_A[new_A] = self._names.index(name)

  def none(self) -> np.ndarray:
    return self._index_A == 0

  def count(self, mask_A) -> dict[str, int]:
    index_A = self._index_A[mask_A]
    counts = {n: int((index_A == i).sum()) for i, n in enumerate(self._names)}
    return {name: n for name, n in counts.items() if name and n}


def _mark_ligand(sites, near_A, reasons) -> set[int]:
  """Marks the ligand, and atoms that cannot exist beside it.

  Returns:
    Residues that are the ligand.
  """
  heavy_A = sites.numbers > 1
  clash_A = heavy_A & (near_A < _CLASH_A)
  ligand_residues = set()
  for i in np.unique(sites.residue_A[clash_A]):
    span = sites.spans[i][heavy_A[sites.spans[i]]]
    labels = sites.labels[span]
    shares = [
      np.mean(
        near_A[span[(labels == label) | (labels == structure_lib.NO_LABEL)]]
        <= _SAME_A
      )
      for label in np.unique(labels)
    ]
    if max(shares) > 0.5:
      ligand_residues.add(int(i))
      reasons.mark('ligand', sites.spans[i])
    elif sites.amino_acids[i]:
      reasons.mark('overlaps the ligand', span[clash_A[span]])
    else:
      reasons.mark('overlaps the ligand', sites.spans[i])
  return ligand_residues


def _check_frame(sites, near_A, reasons, tree, source) -> None:
  protein_A = sites.amino_acids[sites.residue_A] & (sites.numbers > 1)
  protein_A &= reasons.none()
  if not protein_A.any():
    raise types.ComplexError(f'{source}: no protein beside the ligand')
  if not (near_A[protein_A] <= _FRAME_A).any():
    nearest = tree.query(sites.coords[protein_A])[0].min()
    raise types.ComplexError(
      f'{source}: the ligand is outside the frame of the protein: their '
      f'nearest atoms are {nearest:.1f} Å apart'
    )


def _mark_alternatives(sites, reasons) -> None:
  for group in sites.groups():
    span = np.concatenate([sites.spans[i] for i in group])
    best = structure_lib.best_alternative([sites.atoms[j] for j in span])
    labels = sites.labels[span]
    reasons.mark(
      'alternative location',
      span[(labels != best) & (labels != structure_lib.NO_LABEL)],
    )


def _classes(sites, kept_A) -> dict[str, int]:
  counts = collections.Counter()
  for i in np.flatnonzero(kept_A):
    j = sites.residue_A[i]
    counts[_class(sites.residues[j], sites.amino_acids[j], sites.atoms[i])] += 1
  return dict(sorted(counts.items()))


def _class(residue, is_amino_acid, atom) -> str:
  import gemmi

  info = structure_lib.tabulated(residue.name)
  if atom.element.is_metal:
    return 'metal'
  if info.is_water():
    return 'water'
  if is_amino_acid:
    return 'protein' if info.is_standard() else 'modified residue'
  if info.is_nucleic_acid():
    return 'nucleic acid'
  if info.kind == gemmi.ResidueKind.BUF:
    return 'buffer'
  return 'cofactor'


def _sequences(sites, kept_A, ligand_residues) -> dict[str, str]:
  """Returns one-letter sequences of chains with a kept amino acid atom."""
  kept_residues = np.unique(sites.residue_A[kept_A])
  chains = {sites.chains[i] for i in kept_residues if sites.amino_acids[i]}
  letters = {chain: [] for chain in sorted(chains)}
  for i, *_ in sites.groups():
    if (
      sites.chains[i] in chains
      and sites.amino_acids[i]
      and i not in ligand_residues
    ):
      info = structure_lib.tabulated(sites.residues[i].name)
      letters[sites.chains[i]].append(info.one_letter_code.upper())
  return {chain: ''.join(sequence) for chain, sequence in letters.items()}
