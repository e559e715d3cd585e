"""Geometries made of SMILES: RDKit's ETKDGv3, then MMFF94 or UFF.

S. Wang et al., J. Chem. Inf. Model. 2020, 60, 2044 (ETKDGv3); T. A. Halgren, J.
Comput. Chem. 1996, 17, 490 (MMFF94); A. K. Rappé et al., J. Am. Chem. Soc.
1992, 114, 10024 (UFF, for elements that MMFF94 lacks, such as boron).
"""

import contextlib
from typing import NamedTuple

import numpy as np

from data_builders.own.types import RecordError
from data_builders.support import result_cache

_SEED = 2020
_STEPS = 2000
# Seconds after which RDKit gives up a molecule: most take 0.02.
_TIMEOUT = 60


class Conformer(NamedTuple):
  """A geometry.

  Attributes:
    numbers: [A] atomic numbers, int32.
    coords: [A, 3] Å.
    notes: what is uncertain about it; '' for nothing.
  """

  numbers: np.ndarray
  coords: np.ndarray
  notes: str


def make(smiles: str) -> Conformer:
  """Makes the geometry of a canonical SMILES, the same for the same SMILES.

  Raises:
    RecordError: RDKit finds none, or neither force field has parameters.
  """
  import rdkit

  name = result_cache.key(f'conformer {rdkit.__version__} {_STEPS}', smiles)
  stored = result_cache.get(name)
  if stored is None:
    made = _make(smiles)
    arrays = {'numbers': made.numbers, 'coords': made.coords}
    result_cache.put(name, {**arrays, 'notes': np.array(made.notes)})
    return made
  return Conformer(stored['numbers'], stored['coords'], str(stored['notes']))


def _make(smiles: str) -> Conformer:
  from rdkit import Chem, rdBase
  from rdkit.Chem import rdDistGeom

  with rdBase.BlockLogs(), _refusing():
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    settings = rdDistGeom.ETKDGv3()
    settings.randomSeed, settings.timeout = _SEED, _TIMEOUT
    if rdDistGeom.EmbedMolecule(molecule, settings) < 0:
      settings.useRandomCoords = True
      if rdDistGeom.EmbedMolecule(molecule, settings) < 0:
        raise RecordError('RDKit finds no geometry for the SMILES (ETKDGv3)')
    notes = [_minimise(molecule), _undefined(molecule)]
  return Conformer(
    np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], np.int32),
    molecule.GetConformer().GetPositions(),
    '; '.join(filter(None, notes)),
  )


@contextlib.contextmanager
def _refusing():
  """Turns errors that RDKit raises within the block into RecordErrors."""
  try:
    yield
  except RuntimeError as error:  # a violated invariant, of many lines
    reason = ' '.join(str(error).split())[:80]
    raise RecordError(f'RDKit fails to make a geometry: {reason}') from error


def _minimise(molecule) -> str:
  """Relaxes a molecule in place, and returns a note."""
  from rdkit.Chem import rdForceFieldHelpers as fields

  if fields.MMFFHasAllMoleculeParams(molecule):
    status, note = fields.MMFFOptimizeMolecule(molecule, maxIters=_STEPS), ''
  elif fields.UFFHasAllMoleculeParams(molecule):
    status, note = fields.UFFOptimizeMolecule(molecule, maxIters=_STEPS), 'UFF'
  else:
    raise RecordError(
      'neither MMFF94 nor UFF has parameters for it: give a geometry'
    )
  more = f'force field not converged in {_STEPS} steps' if status else ''
  return '; '.join(filter(None, [note, more]))


def _undefined(molecule) -> str:
  """Counts stereocentres and double bonds that the SMILES leaves open."""
  from rdkit import Chem

  unspecified = Chem.StereoSpecified.Unspecified
  count = sum(
    one.specified == unspecified for one in Chem.FindPotentialStereo(molecule)
  )
  return f'{count} stereo elements undefined, chosen by RDKit' if count else ''
