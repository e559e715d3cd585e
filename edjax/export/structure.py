"""Atoms as a PDB file, which every program that shows maps reads."""

import pathlib

import numpy as np

from edjax import arguments
from edjax.chem import elements
from edjax.molecule import LIGAND, POCKET

# Widest numbers of the format's columns.
_LOWEST, _HIGHEST = -999.999, 9999.999
_HIGHEST_B = 999.99


# Of each group: name of the residue, and chain.
_RESIDUES = {LIGAND: ('LIG', 'A'), POCKET: ('PKT', 'B')}


def write_pdb(
  path, numbers_A, coords_A3, b_factors_A=None, groups_A=None
) -> None:
  """Writes atoms as HETATM records, in order within each group.

  The ligand is the residue LIG of chain A, the pocket PKT of chain B.

  Args:
    path: of the file.
    numbers_A: atomic numbers.
    coords_A3: Å; the file has three decimals.
    b_factors_A: numbers for the column of B factors, by which programs colour
      atoms; None for 0.
    groups_A: LIGAND or POCKET of `edjax.molecule`; None for no pocket.

  Raises:
    ValueError: a number does not fit into its column.
    OSError: the file cannot be written.
  """
  import gemmi

  coords_A3 = arguments.real('coords', coords_A3)
  if not ((coords_A3 > _LOWEST) & (coords_A3 < _HIGHEST)).all():
    raise ValueError(
      f'coordinates of PDB files go from {_LOWEST} to {_HIGHEST} Å, and these '
      f'from {coords_A3.min():.3f} to {coords_A3.max():.3f}'
    )
  b_factors_A = arguments.real(
    'b_factors',
    np.zeros(len(coords_A3)) if b_factors_A is None else b_factors_A,
  )
  if not (np.abs(b_factors_A) < _HIGHEST_B).all():
    raise ValueError(f'B factors of PDB files are below {_HIGHEST_B}')
  if groups_A is None:
    groups_A = np.full(len(coords_A3), LIGAND)
  model = gemmi.Model(1)
  for group, (name, chain_name) in _RESIDUES.items():
    residue = gemmi.Residue()
    residue.name, residue.het_flag = name, 'H'
    residue.seqid = gemmi.SeqId('1')
    for i, (number, place, b_factor, of_atom) in enumerate(
      zip(numbers_A, coords_A3, b_factors_A, groups_A, strict=True), start=1
    ):
      if of_atom != group:
        continue
      atom = gemmi.Atom()
      symbol = elements.SYMBOLS[number]
      atom.name = f'{symbol.upper()}{i}'[:4]
      atom.element = gemmi.Element(symbol)
      atom.pos = gemmi.Position(*place.tolist())
      atom.b_iso = float(b_factor)
      residue.add_atom(atom)
    chain = gemmi.Chain(chain_name)
    chain.add_residue(residue)
    model.add_chain(chain)
  structure = gemmi.Structure()
  structure.add_model(model)
  pathlib.Path(path).write_text(structure.make_minimal_pdb())
