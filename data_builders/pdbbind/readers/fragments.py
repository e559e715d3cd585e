"""Parts of a ligand's file that lie far from each other."""

import numpy as np

from data_builders.pdbbind.readers import molfile, types

# Å between atoms of one bound ligand and the next at the most, as between a
# ligand and its protein. Bonds and salt bridges are shorter.
_GAP_A = 6.0


def main_part(record: molfile.Record, name: str) -> molfile.Record:
  """Leaves out ions and solvent that lie far from the ligand.

  Args:
    record: as read.
    name: of the file, for messages.

  Returns:
    The record without atoms that are separated from the part with the most
    heavy atoms by more than 6 Å everywhere; its `note` tells these, or that
    several molecules near each other make the ligand.

  Raises:
    types.ComplexError: the far parts have more than half as many heavy atoms as
      the largest one: the file does not say which is the ligand.
  """
  part_A = _parts(record.coords)
  sizes = np.bincount(part_A, weights=record.numbers > 1).astype(int)
  largest = int(sizes.argmax())
  others = int(sizes.sum()) - int(sizes[largest])
  if others:
    far = (
      f'{name}: {others} of {sizes.sum()} heavy atoms are more than '
      f'{_GAP_A:g} Å from the others'
    )
    if 2 * others > sizes[largest]:
      raise types.ComplexError(
        f'{far}; the ligand may be either: leave one in the file'
      )
    record = _kept(record, part_A == largest)._replace(
      note=f'{far} and left out'
    )
  n_molecules = _count(record.molecule)
  if n_molecules > 1:
    notes = (record.note, f'{name}: the ligand is {n_molecules} molecules')
    record = record._replace(note='; '.join(filter(None, notes)))
  return record


def _count(molecule) -> int:
  from rdkit import Chem

  return len(Chem.GetMolFrags(molecule)) if molecule is not None else 1


def _parts(coords_A3) -> np.ndarray:
  """Returns the number of each atom's part, [A]."""
  import scipy.sparse
  import scipy.spatial

  n_atoms = len(coords_A3)
  first_P, second_P = (
    scipy.spatial.KDTree(coords_A3)
    .query_pairs(_GAP_A, output_type='ndarray')
    .reshape(-1, 2)
    .T
  )
  near = scipy.sparse.coo_array(
    (np.ones(len(first_P)), (first_P, second_P)), (n_atoms, n_atoms)
  )
  return scipy.sparse.csgraph.connected_components(near, directed=False)[1]


def _kept(record, keep_A) -> molfile.Record:
  from rdkit import Chem

  charge, molecule = None, record.molecule
  if molecule is not None:
    molecule = Chem.RWMol(molecule)
    for i in np.flatnonzero(~keep_A)[::-1]:
      molecule.RemoveAtom(int(i))
    Chem.SanitizeMol(molecule)
    charge = Chem.GetFormalCharge(molecule)
  return record._replace(
    numbers=record.numbers[keep_A],
    coords=record.coords[keep_A],
    molecule=molecule,
    formal_charge=charge,
  )
