"""What makes a prediction less sure than the errors of the run say."""

from collections.abc import Sequence

import numpy as np

from edjax.chem import elements
from edjax.data import box_coverage, packed_dataset, padded
from edjax.molecule import LIGAND
from edjax.predict.kept import geometries_of
from edjax.predict.model import Model

# Share of the valence electrons outside of the box, in the worst orientation.
MAX_OUTSIDE = 0.01
_GEOMETRY = {
  'SMILES': 'geometry made from SMILES, unlike those of training',
  'file': 'geometry of the file, where those of training are made from SMILES',
  'valence': 'density of valence electrons alone, unlike training',
  'all_electron': 'density of all electrons, unlike training',
}


def flags(members: Sequence[Model], source: packed_dataset.Pack) -> list[str]:
  """Returns the flags of each row, '; ' between them; '' for none.

  Args:
    members: models of an ensemble; what one of them has not seen counts.
    source: the molecules.
  """
  seen = set.intersection(*({*m.kept.numbers_E.tolist()} for m in members))
  largest = min(m.kept.heavy_atoms for m in members)
  outside_MN = [_outside(m, source) for m in members]
  origins = set.intersection(*({*m.kept.geometries} for m in members))
  origin_N = geometries_of(source)
  heavy_N = source.heavy_atoms()
  found = []
  for row in range(len(source)):
    begin, end = source.atom_offsets[row : row + 2]
    new = {*source.numbers[begin:end].tolist()} - seen
    worst = max(outside_N[row] for outside_N in outside_MN)
    lines = [f'{elements.SYMBOLS[n]} was not in training' for n in sorted(new)]
    if heavy_N[row] > largest:
      lines.append(
        f'{heavy_N[row]} heavy atoms, at most {largest} were in training'
      )
    if worst > MAX_OUTSIDE:
      lines.append(f'{worst:.1%} of the electrons are outside of the box')
    if origin_N[row] not in origins and str(origin_N[row]) in _GEOMETRY:
      lines.append(_GEOMETRY[str(origin_N[row])])
    found.append('; '.join(lines))
  return found


def _outside(model: Model, source: packed_dataset.Pack) -> np.ndarray:
  """Returns the shares of the electrons outside of the box, at worst, [N]."""
  rows = np.arange(len(source))
  if 'ligand' not in model.config.data.parts:
    return np.zeros(len(source))  # pockets go on beyond every box
  selection = padded.Selection(origin=model.config.data.origin)
  molecules = padded.make_molecules(
    source, rows, padded.padding_of(source, rows, selection), selection
  )
  numbers_NA = np.where(molecules.groups_A == LIGAND, molecules.numbers_A, 0)
  half = model.voxelizer.grid.extent / 2
  translate = model.config.augment.translate
  # Of the sphere in the box: an upper bound, and fast.
  share_N = box_coverage.electrons_outside_sphere(
    numbers_NA, molecules.coords_A3, max(half - translate, 0)
  )
  for row in np.flatnonzero(share_N > MAX_OUTSIDE):
    share_N[row] = box_coverage.electrons_outside_box(
      numbers_NA[row], molecules.coords_A3[row], half, translate
    )
  return share_N
