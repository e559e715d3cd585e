"""Atoms around a ligand: the rules that keep or drop each."""

import collections
import re

import numpy as np

from data_builders.pdbbind.readers import structure as structure_lib
from data_builders.pdbbind.readers import types
from data_builders.pdbbind.readers.ligand import heavy
from edjax.chem import elements

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
# Heavy atoms nearer than this that are no metals are bonded, or clash: hydrogen
# bonds are longer than 2.4 Å.
_BONDED_A = 2.0
_CLASHES = 'clashes with the ligand'


def read_pocket(
  files: types.Files,
  centre_3,
  radius: float,
  ligand_atoms: types.Atoms,
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
    ligand, or bound in its absence. Atoms of a polymer without alternatives
    cannot be absent: they clash with the ligand (`check_contact`). Residues
    bound to the ligand stay.
  - Alternative locations: in each residue the one with the highest sum of
    occupancies, the first by name among equals. Residues of different names
    that share a place in the chain count as alternatives. Atoms without a
    label stay.
  - Water is left out.
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
  return select(structure, path.name, centre_3, radius, ligand_atoms, hydrogens)


def select(
  structure,
  source: str,
  centre_3,
  radius: float,
  ligand_atoms: types.Atoms,
  hydrogens: bool = False,
) -> types.Pocket:
  """Selects the pocket of a structure by the rules of `read_pocket`.

  Args:
    structure: from `structure.read`.
    source: name of its file.
    centre_3: see `read_pocket`.
    radius: see `read_pocket`.
    ligand_atoms: see `read_pocket`.
    hydrogens: see `read_pocket`.

  Raises:
    types.ComplexError: no atom of a protein within 6 Å of the ligand.
  """
  import scipy.spatial

  tree = scipy.spatial.KDTree(heavy(ligand_atoms).coords)
  sites = _Sites(structure[0])
  near_A = tree.query(sites.coords, distance_upper_bound=_FRAME_A)[0]
  # Why an atom is left out; '' for those that stay.
  reason_A = np.full(len(sites.atoms), '', object)
  ligand_residues = _mark_ligand(sites, near_A, reason_A)
  _check_frame(sites, near_A, reason_A, tree, source)
  _mark_alternatives(sites, reason_A)
  is_water = [structure_lib.is_water(r.name) for r in sites.residues]
  _mark(reason_A, 'water', np.array(is_water)[sites.residue_A])
  if not hydrogens:
    _mark(reason_A, 'hydrogen', sites.numbers == 1)
  distance_A = np.linalg.norm(sites.coords - np.asarray(centre_3), axis=1)
  within_A = distance_A <= radius
  kept_A = within_A & (reason_A == '')
  dropped = dict(collections.Counter(reason_A[within_A & ~kept_A]))
  n_others = sum(model.count_atom_sites() for model in list(structure)[1:])
  if n_others:
    dropped['other model'] = n_others
  return types.Pocket(
    atoms=structure_lib.arrays_of(
      [sites.atoms[i] for i in np.flatnonzero(kept_A)], source
    ),
    source=source,
    kept=_classes(sites, kept_A),
    dropped=dropped,
    sequences=_sequences(sites, kept_A, ligand_residues),
    problems=structure_lib.notes(structure),
    nearest_clash=min(near_A[reason_A == _CLASHES], default=float('inf')),
  )


def shortest_contact(ligand: types.Ligand, pocket: types.Pocket) -> float:
  """Returns the shortest distance of heavy atoms in Å; inf for no pocket.

  Atoms of the protein that `select` left out as clashes count: `nearest_clash`.
  """
  import scipy.spatial

  coords_A3 = heavy(pocket.atoms).coords
  if not len(coords_A3):
    return pocket.nearest_clash
  tree = scipy.spatial.KDTree(coords_A3)
  nearest = float(tree.query(heavy(ligand.atoms).coords)[0].min())
  return min(nearest, pocket.nearest_clash)


def clashes(ligand: types.Ligand, pocket: types.Pocket) -> int:
  """Counts the ligand's heavy atoms within 2 Å of the pocket's, without metals.

  A covalent ligand has one or two. Atoms of the protein that `select` left out
  because they are nearer than 1 Å count as one each.
  """
  import scipy.spatial

  own_A3, other_A3 = (
    atoms.coords[(atoms.numbers > 1) & ~np.isin(atoms.numbers, elements.METALS)]
    for atoms in (ligand.atoms, pocket.atoms)
  )
  near = 0
  if len(own_A3) and len(other_A3):
    distance_A = scipy.spatial.KDTree(other_A3).query(own_A3)[0]
    near = int((distance_A < _BONDED_A).sum())
  return near + pocket.dropped.get(_CLASHES, 0)


def check_contact(
  ligand: types.Ligand, pocket: types.Pocket, min_contact: float, max_clashes
) -> None:
  """Refuses a ligand that lies in the protein.

  Args:
    ligand: in the frame of the pocket.
    pocket: from `select`.
    min_contact: Å, see `shortest_contact`.
    max_clashes: see `clashes`.

  Raises:
    types.ComplexError: the shortest contact is shorter, or there are more
      clashes.
  """
  nearest, count = shortest_contact(ligand, pocket), clashes(ligand, pocket)
  if nearest < min_contact or count > max_clashes:
    raise types.ComplexError(
      f'{ligand.source} lies in the protein of {pocket.source}: {count} atoms '
      f'nearer than {_BONDED_A:g} Å, the nearest at {nearest:.2f} Å. The '
      f'limits are config.data.min_contact={min_contact:g} and '
      f'config.data.max_clashes={max_clashes}'
    )


def coverage(
  ligand: types.Ligand, pocket: types.Pocket, centre_3, half_edge: float
) -> float:
  """Estimates the share of a box that a file cut around the ligand fills.

  PDBbind's pockets hold the residues within 8 Å of the ligand, files named
  _env<n> those within n Å: further atoms may be missing.

  Args:
    ligand: in the frame of the pocket.
    pocket: its `source` tells the cut.
    centre_3: [3] Å, of the box.
    half_edge: Å, half the edge of the box (edges along the axes of the file).

  Returns:
    The fraction of the box nearer to the ligand than the cut (on 16^3 points).
  """
  import scipy.spatial

  match = re.search(r'_env(\d+)\.', pocket.source.lower())
  if match:
    cut = float(match.group(1))
  elif '_pocket.' in pocket.source.lower():
    cut = _POCKET_CUT_A
  else:
    return 1.0
  edge = (np.arange(16) - 7.5) / 8.0 * half_edge
  box_G3 = np.stack(np.meshgrid(edge, edge, edge), -1).reshape(-1, 3)
  tree = scipy.spatial.KDTree(heavy(ligand.atoms).coords)
  near_G = tree.query(box_G3 + np.asarray(centre_3))[0]
  return float(np.mean(near_G <= cut))


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


def _mark(reason_A, name: str, atoms) -> None:
  """Marks atoms ([A] flags, or indices) that have no reason yet."""
  index = np.arange(len(reason_A))[atoms]
  reason_A[index[reason_A[index] == '']] = name


def _mark_ligand(sites, near_A, reason_A) -> set[int]:
  """Marks the ligand, and atoms that cannot exist beside it.

  Returns:
    Residues that are the ligand.
  """
  heavy_A = sites.numbers != 1  # atoms of unknown element are heavy
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
      _mark(reason_A, 'ligand', sites.spans[i])
    elif sites.amino_acids[i]:
      near = span[clash_A[span]]
      alone = sites.labels[near] == structure_lib.NO_LABEL
      _mark(reason_A, _CLASHES, near[alone])
      _mark(reason_A, 'overlaps the ligand', near[~alone])
    else:
      _mark(reason_A, 'overlaps the ligand', sites.spans[i])
  return ligand_residues


def _check_frame(sites, near_A, reason_A, tree, source) -> None:
  protein_A = sites.amino_acids[sites.residue_A] & (sites.numbers > 1)
  protein_A &= reason_A == ''
  if not protein_A.any():
    raise types.ComplexError(f'{source}: no protein beside the ligand')
  if not (near_A[protein_A] <= _FRAME_A).any():
    nearest = tree.query(sites.coords[protein_A])[0].min()
    raise types.ComplexError(
      f'{source}: the ligand is outside the frame of the protein: their '
      f'nearest atoms are {nearest:.1f} Å apart'
    )


def _mark_alternatives(sites, reason_A) -> None:
  for group in sites.groups():
    span = np.concatenate([sites.spans[i] for i in group])
    best = structure_lib.best_alternative([sites.atoms[j] for j in span])
    labels = sites.labels[span]
    _mark(
      reason_A,
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
