"""Whether coordinates of a ligand can be those of a molecule in space."""

import numpy as np

from data_builders.pdbbind.readers import types
from edjax.chem import elements

# Root mean square distance from a plane, Å, below which atoms were drawn in it:
# files round coordinates to 1e-3 Å or finer.
_FLAT_A = 2e-3
# Length of a bond over the sum of its covalent radii (RDKit's, of B. Cordero et
# al., Dalton Trans. 2008, 2832). The median is 0.77 for N2, near 1 for most
# ligands, 1.9 times that in bohr, and 0.66 in drawings with bonds of length 1.
_MEDIAN = (0.7, 1.3)
# The longest single one of PDBbind's ligands that may be a bond has 1.6.
_LONGEST = 2.0


def check(molecule, numbers_A, coords_A3, says_flat: bool, name: str) -> None:
  """Refuses drawings in a plane, and bonds of impossible lengths.

  A planar molecule may lie in a plane, unless the file says that it is 2D.

  Args:
    molecule: RDKit's with its bonds; None where these are not known.
    numbers_A: [A] atomic numbers.
    coords_A3: [A, 3] Å.
    says_flat: whether the file has the dimension code 2D.
    name: of the file, for messages.

  Raises:
    types.ComplexError: with the reason.
  """
  if _is_flat(coords_A3, says_flat):
    carbon = _tetrahedral(molecule)
    if says_flat or carbon is not None:
      why = (
        'its dimension code is 2D'
        if says_flat
        else f'atom {carbon + 1} is a tetrahedral carbon'
      )
      raise types.ComplexError(
        f'{name}: no coordinates in space: all atoms lie in a plane, and '
        f'{why}. Give a geometry in space'
      )
  if molecule is not None:
    _check_lengths(molecule, numbers_A, coords_A3, name)


def _is_flat(coords_A3, says_flat) -> bool:
  if len(coords_A3) < 4:  # any three points lie in a plane
    return says_flat and not coords_A3[:, 2].any()
  centred_A3 = coords_A3 - coords_A3.mean(axis=0)
  smallest = np.linalg.svd(centred_A3, compute_uv=False)[-1]
  return bool(smallest / len(coords_A3) ** 0.5 < _FLAT_A)


def _tetrahedral(molecule) -> int | None:
  """Returns a carbon with three single bonds and no other; None without.

  A carbon between two nitrogens may be an amidine that lost its double bond.
  """
  for atom in molecule.GetAtoms() if molecule is not None else ():
    kinds = [str(bond.GetBondType()) for bond in atom.GetBonds()]
    near = [neighbour.GetSymbol() for neighbour in atom.GetNeighbors()]
    if (
      atom.GetAtomicNum() == 6
      and atom.GetFormalCharge() == 0
      and len(kinds) >= 3
      and set(kinds) == {'SINGLE'}
      and near.count('N') < 2
    ):
      return atom.GetIdx()
  return None


def _check_lengths(molecule, numbers_A, coords_A3, name) -> None:
  from rdkit import Chem

  radius = Chem.GetPeriodicTable().GetRcovalent
  ends_B2 = np.array(
    [
      (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
      for bond in molecule.GetBonds()
    ],
    int,
  ).reshape(-1, 2)
  of_metals = np.isin(numbers_A, elements.METALS)[ends_B2].any(axis=1)
  ends_B2 = ends_B2[(numbers_A[ends_B2] > 1).all(axis=1) & ~of_metals]
  if not len(ends_B2):
    return
  first_B, second_B = ends_B2.T
  length_B = np.linalg.norm(coords_A3[first_B] - coords_A3[second_B], axis=1)
  radius_A = np.array([radius(int(number)) for number in numbers_A])
  ratio_B = length_B / radius_A[ends_B2].sum(axis=1)
  if not _MEDIAN[0] < np.median(ratio_B) < _MEDIAN[1]:
    raise types.ComplexError(
      f'{name}: bonds have {np.median(ratio_B):.2f} times the sum of their '
      'covalent radii in the median: coordinates are not in Å'
    )
  i = int(ratio_B.argmax())
  if ratio_B[i] > _LONGEST:
    raise types.ComplexError(
      f'{name}: atoms {first_B[i] + 1} and {second_B[i] + 1} are bonded, and '
      f'{length_B[i]:.2f} Å apart'
    )
