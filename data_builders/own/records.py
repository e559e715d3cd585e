"""Makes the record of a user's molecule: geometry, xTB, descriptors."""

import hashlib

import numpy as np

from data_builders.molecules import geometries
from data_builders.molecules import records as records_lib
from data_builders.molecules.records import Calculated
from data_builders.molecules.types import Record
from data_builders.own import conformers
from data_builders.own.types import Raw, RecordError
from data_builders.pdbbind.readers import ligand, types
from edjax.chem import gfn2_occupations, units

# The function that worker processes run on each record.
FUNCTION = 'data_builders.own.records:calculate'
# Columns of the descriptors begin with this; their names: ligand.DESCRIPTORS.
DESCRIPTOR = 'descriptor_'
# Float64 columns beside those of other datasets.
COLUMNS = (
  'charge', 'unpaired', 'made_up', 'structure', 'scaffold',
  *(f'{DESCRIPTOR}{name}' for name in ligand.DESCRIPTORS),
)  # fmt: skip


def calculate(raw: Raw, variant: str = '') -> Calculated:
  """Makes the geometry where there is none, and runs xTB.

  Args:
    raw: as it was read.
    variant: of the geometry, see `molecules.geometries`.

  Returns:
    The example: keys of `molecules.records.example`, with charge, unpaired
    electrons, made_up (1.0 where the geometry comes from SMILES), structure and
    scaffold (see `groups`) and descriptors of the molecule (NaN where bonds
    are not known). Numbers are float64, as a pack needs them.

  Raises:
    RecordError: `raw.problem`, or no geometry can be made.
    ValueError: see `xtb.run`.
    XtbError: see `xtb.run` and `geometries.relax`.
  """
  if raw.problem:
    raise RecordError(raw.problem)
  notes, made_up = raw.notes, raw.numbers is None
  if made_up:
    conformer = conformers.make(raw.smiles)
    raw = raw._replace(numbers=conformer.numbers, coords=conformer.coords)
    notes = '; '.join(filter(None, [notes, conformer.notes]))
  record, result = geometries.calculate(
    Record(
      raw.example_id,
      raw.index,
      raw.numbers,
      raw.coords,
      raw.smiles,
      {},
      raw.charge,
      raw.unpaired,
    ),
    variant,
  )
  example = records_lib.example(record, _about_frame(record, result))
  example |= described(raw, record.numbers, made_up)
  example = {
    name: np.float64(value) if isinstance(value, float) else value
    for name, value in example.items()
  }
  return Calculated(example, result.seconds, notes)


def described(raw: Raw, numbers, made_up: bool) -> dict[str, np.float64]:
  """Returns what a record has of `COLUMNS`.

  Args:
    raw: as it was read.
    numbers: [A] atomic numbers.
    made_up: whether its geometry was made from SMILES.
  """
  structure, scaffold = groups(raw.smiles)
  values = {
    'charge': raw.charge,
    'unpaired': raw.unpaired,
    'made_up': made_up,
    'structure': structure,
    'scaffold': scaffold,
    **_descriptors(raw.smiles, numbers),
  }
  return {name: np.float64(value) for name, value in values.items()}


def groups(smiles: str) -> tuple[float, float]:
  """Returns numbers of a molecule's constitution and of its scaffold.

  The constitution is the SMILES without stereo and isotopes; the scaffold that
  of G. W. Bemis, M. A. Murcko, J. Med. Chem. 1996, 39, 2887, by RDKit, or the
  constitution where there is no ring. They are the first 52 bits of a hash,
  which a float64 holds. Both are NaN where bonds are not known.
  """
  if not smiles:
    return float('nan'), float('nan')
  from rdkit import Chem
  from rdkit.Chem.Scaffolds import MurckoScaffold

  molecule = Chem.MolFromSmiles(smiles)
  for atom in molecule.GetAtoms():
    atom.SetIsotope(0)
  # Hydrogen isotopes are atoms of the SMILES.
  molecule = Chem.RemoveHs(molecule)
  plain = Chem.MolToSmiles(molecule, isomericSmiles=False)
  scaffold = MurckoScaffold.MurckoScaffoldSmiles(plain)
  return _hash52(plain), _hash52(scaffold or plain)


def _hash52(text: str) -> float:
  digest = hashlib.sha256(text.encode()).digest()
  return float(int.from_bytes(digest[:8], 'big') >> 12)


def _about_frame(record: Record, result):
  """Refers an ion's dipole to the centre of valence charge, not to the file's.

  The dipole of a charged molecule depends on the origin: mu - Q d about a place
  at d.
  """
  weights_A = gfn2_occupations.valence_electrons(record.numbers)
  centre_3 = np.average(record.coords, axis=0, weights=weights_A)
  moved_3 = record.charge * centre_3 / units.BOHR_A * units.AU_DIPOLE_D
  return result._replace(dipole=result.dipole - moved_3)


def _descriptors(smiles: str, numbers_A) -> dict[str, float]:
  from rdkit import Chem

  zeros_A = np.zeros(len(numbers_A))
  atoms = types.Atoms(np.asarray(numbers_A), zeros_A, zeros_A, zeros_A)
  molecule = Chem.MolFromSmiles(smiles) if smiles else None
  values = ligand.descriptors(molecule, atoms)
  return {f'{DESCRIPTOR}{name}': value for name, value in values.items()}
