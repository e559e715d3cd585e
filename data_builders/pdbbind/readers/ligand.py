"""Ligands of PDBbind: atoms, charge, bonds where they can be read."""

import functools
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from data_builders.pdbbind.readers import (
  affinities,
  bond_repair,
  fragments,
  layout,
  molfile,
  types,
)
from edjax.chem import elements
from edjax.data import pdb_ids

# Names of `descriptors`, in order.
DESCRIPTORS = (
  'heavy_atoms', 'heavy_weight', 'log_p', 'tpsa', 'donors', 'acceptors',
  'rotatable_bonds', 'rings', 'aromatic_rings', 'fraction_sp3',
  'formal_charge',
)  # fmt: skip
# A heavy atom of the mol2 file is the same atom as one of the sdf file within
# this distance (Å): their frames differ by up to 0.11 Å in PDBbind, and no
# two heavy atoms are closer than 1 Å.
_SAME_ATOM_A = 0.3

# The shortest bond there is, that of H2, has 0.74 Å (CRC Handbook of Chemistry
# and Physics, 97th ed., section 9).
_COLLISION_A = 0.5


class XtbInput(NamedTuple):
  """A ligand with all its hydrogens.

  Attributes:
    numbers: [A] heavy atoms first, in the order of the ligand's heavy atoms,
      then hydrogens.
    coords: [A, 3] Å.
    charge: total charge.
  """

  numbers: np.ndarray
  coords: np.ndarray
  charge: int


def read_ligand(files: types.Files) -> types.Ligand:
  """Reads a ligand: sdf, then mol2 where RDKit refuses the sdf.

  Where RDKit refuses both, the ligand has elements and coordinates of the first
  that has them. Problems on the way are in `problems`.

  Raises:
    types.ComplexError: no file, or none that holds one molecule of known
      elements with finite coordinates in space (empty, cut off, NaN, flat,
      two ligands...), each file named with its reason.
  """
  problems, unbonded = [], None
  paths = [(files.ligand_sdf, 'sdf'), (files.ligand_mol2, 'mol2')]
  for path, kind in paths:
    if path is None:
      continue
    number = files.record if kind == 'sdf' else 0
    name = f'{path.name}, record {number}' if number else path.name
    try:
      record = _numbered(path, number, name) if number else _single(path, kind)
    except types.ComplexError as error:
      problems.append(str(error))
      continue
    if record.molecule is not None:
      return _ligand(record, name, problems)
    problems.append(f'{name}: {record.refusal}')
    unbonded = unbonded or (record, name)
  if unbonded:
    return _ligand(*unbonded, problems)
  if not problems:
    raise types.ComplexError(
      f'{files.pdb_id}: no {files.pdb_id}_ligand.sdf and no .mol2'
    )
  raise types.ComplexError('; '.join(problems))


def read_ligand_set(
  path,
) -> Iterator[tuple[types.Entry, types.Ligand | types.ComplexError]]:
  """Reads ligands with affinities from one SDF file, gzipped or not.

  Args:
    path: SDF; each record has the tags pdb_id and pK, and may have ligand,
      measure ('Ki=10nM'), resolution and year.

  Yields:
    (entry, ligand) in the order of the file, or (entry, error) where the
    molecule is unusable. A record without bonds that RDKit accepts is a
    ligand with a problem, as in `read_ligand`.

  Raises:
    types.ComplexError: the file cannot be read, or a record has no id as
      pdb_id or no pK of mol/l.
  """
  for i, (entry, record_text) in enumerate(_set_records(path), 1):
    name = f'{pathlib.Path(path).name}, record {i} ({entry.pdb_id})'
    try:
      yield entry, of_text(record_text, 'sdf', name, entry.source)
    except types.ComplexError as error:
      yield entry, error


def of_text(text: str, kind: str, name: str, source: str) -> types.Ligand:
  """Reads a ligand from the text of its record.

  Without bonds that RDKit accepts it is a ligand with a problem, as in
  `read_ligand`.

  Args:
    text: one record.
    kind: 'sdf' or 'mol2'.
    name: of the record, for messages.
    source: see `types.Ligand`.

  Raises:
    types.ComplexError: the molecule is unusable.
  """
  record = _parsed(text, kind, name)
  problems = [f'{name}: {record.refusal}'] if record.refusal else []
  return _ligand(record, source, problems)


def read_set_entries(path) -> list[types.Entry]:
  """Reads the entries of `read_ligand_set` alone, without molecules."""
  return [entry for entry, _ in _set_records(path)]


def heavy(atoms: types.Atoms) -> types.Atoms:
  """Returns the atoms heavier than hydrogen, in the same order."""
  heavy_A = np.asarray(atoms.numbers) > 1
  return types.Atoms(*(np.asarray(array)[heavy_A] for array in atoms))


def centre(atoms: types.Atoms) -> np.ndarray:
  """Returns the centre of mass of the heavy atoms, [3] Å."""
  heavy_atoms = heavy(atoms)
  return np.average(
    heavy_atoms.coords, axis=0, weights=elements.MASSES[heavy_atoms.numbers]
  )


def descriptors(molecule, atoms: types.Atoms) -> dict[str, float]:
  """Computes simple descriptors for a baseline, by RDKit.

  Files differ in protonation with their origin. So all but the formal charge
  are computed for the neutral form (RDKit's Uncharger, which leaves quaternary
  nitrogen and the like charged) with lost double bonds repaired, and no weight
  counts hydrogens.

  Args:
    molecule: `Ligand.molecule`, or None.
    atoms: of the ligand.

  Returns:
    The names of DESCRIPTORS -> value: number of heavy atoms, their weight in
    u, Crippen's log P (J. Chem. Inf. Comput. Sci. 1999, 39, 868), topological
    polar surface area in Å^2 (Ertl, J. Med. Chem. 2000, 43, 3714), counts,
    the share of sp3 among the carbon atoms, and the charge as in the file.
    Without a molecule, or where it has no neutral form that RDKit accepts,
    all but the first two are NaN.
  """
  numbers_A = heavy(atoms).numbers
  values = dict.fromkeys(DESCRIPTORS, float('nan'))
  values['heavy_atoms'] = float(len(numbers_A))
  values['heavy_weight'] = float(elements.MASSES[numbers_A].sum())
  if molecule is None:
    return values
  from rdkit import Chem, rdBase
  from rdkit.Chem import Crippen, rdMolDescriptors

  with rdBase.BlockLogs():
    repaired = bond_repair.repair(molecule) or molecule
    try:
      neutral = _neutral(Chem.RemoveHs(repaired, sanitize=False))
    except (ValueError, RuntimeError):
      return values
    values.update(
      log_p=Crippen.MolLogP(neutral),
      tpsa=rdMolDescriptors.CalcTPSA(neutral),
      donors=rdMolDescriptors.CalcNumHBD(neutral),
      acceptors=rdMolDescriptors.CalcNumHBA(neutral),
      rotatable_bonds=rdMolDescriptors.CalcNumRotatableBonds(neutral),
      rings=rdMolDescriptors.CalcNumRings(neutral),
      aromatic_rings=rdMolDescriptors.CalcNumAromaticRings(neutral),
      fraction_sp3=rdMolDescriptors.CalcFractionCSP3(neutral),
      formal_charge=Chem.GetFormalCharge(molecule),
    )
  return {name: float(value) for name, value in values.items()}


def for_xtb(
  ligand: types.Ligand, files: types.Files | None = None
) -> tuple[XtbInput | None, str]:
  """Completes the hydrogens for a closed-shell calculation.

  The file's hydrogens are kept; RDKit adds the missing ones with its
  coordinates, and the formal charge is the file's. Phosphates and amidinium
  groups whose double bonds the file lost get them first, and with them their
  charge (see `bond_repair.repair`). Where that leaves an odd number of
  electrons or atoms that collide, the mol2 file is tried in the same way, then
  the neutral form with all hydrogens from RDKit. Where RDKit refuses the bonds,
  the atoms of the file are used if they have hydrogens and a charge that fits.
  The heavy atoms stay where they are in `ligand`.

  Args:
    ligand: from `read_ligand`.
    files: the mol2 file of these is the second to be tried.

  Returns:
    The input (None where nothing gives an even number of electrons), and a
    record of fixed words, one per attempt: 'file' (hydrogens as in the file),
    'added' (the missing ones by RDKit), 'repaired' (double bonds, then as
    'added'), 'mol2', 'reprotonated' (all by RDKit). The last one was used,
    unless ':' and the reason against it follow: 'odd' (number of electrons),
    'collision' (of two atoms), 'no_bonds' (RDKit refuses the file, and
    hydrogens or charge are missing), 'other_atoms' (other heavy atoms),
    'failed' (RDKit could not).
  """
  attempts = _attempts(ligand, files)
  log = []
  for word, attempt in attempts:
    try:
      numbers_A, coords_A3, charge = attempt()
      completed = XtbInput(*_ordered(ligand, numbers_A, coords_A3), charge)
    except _RefusalError as reason:
      log.append(f'{word}:{reason}')
      continue
    if (int(completed.numbers.sum()) - charge) % 2:
      log.append(f'{word}:odd')
      continue
    if _collide(completed.coords):
      log.append(f'{word}:collision')
      continue
    return completed, ' '.join([*log, word])
  return None, ' '.join(log)


def _attempts(ligand, files):
  molecule = ligand.molecule
  if molecule is None:
    return [('file', lambda: _as_is(ligand))]
  repaired = bond_repair.repair(molecule)
  if repaired is not None:
    first = 'repaired'
    molecule = repaired
  elif any(_missing(atom) for atom in molecule.GetAtoms()):
    first = 'added'
  else:
    first = 'file'
  attempts = [(first, lambda: _completed(molecule))]
  mol2 = files.ligand_mol2 if files else None
  if mol2 and mol2.name != ligand.source:
    attempts.append(('mol2', lambda: _from_mol2(mol2)))
  return [*attempts, ('reprotonated', lambda: _reprotonated(molecule))]


class _RefusalError(Exception):
  """A short reason of `for_xtb`."""


def _single(path, kind) -> molfile.Record:
  records = molfile.split(layout.read_text(path), kind)
  if len(records) != 1:
    raise types.ComplexError(
      f'{path.name} holds {len(records)} molecules where one is expected'
    )
  return _parsed(records[0], kind, path.name)


def _numbered(path, number: int, name: str) -> molfile.Record:
  records = _records(path, path.stat().st_mtime_ns)
  if number > len(records):
    raise types.ComplexError(f'{path.name} has no record {number}')
  return _parsed(records[number - 1], 'sdf', name)


@functools.lru_cache(maxsize=1)  # a process reads a file record by record
def _records(path, modified: int) -> list[str]:
  del modified
  return molfile.split(layout.read_text(path), 'sdf')


def _parsed(text, kind, name) -> molfile.Record:
  return fragments.main_part(molfile.parse(text, kind, name), name)


def _ligand(record, source, problems) -> types.Ligand:
  problems = [*problems, record.note] if record.note else problems
  n_atoms = len(record.numbers)
  atoms = types.Atoms(
    record.numbers, record.coords, np.zeros(n_atoms), np.ones(n_atoms)
  )
  return types.Ligand(
    atoms, record.formal_charge, record.molecule, source, tuple(problems)
  )


def _set_records(path) -> Iterator[tuple[types.Entry, str]]:
  path = pathlib.Path(path)
  text = layout.read_text(path)
  for number, record_text in enumerate(molfile.split(text, 'sdf'), 1):
    yield _entry(record_text, path, number), record_text


def _entry(record_text, path, number) -> types.Entry:
  tags = dict(re.findall(r'^>.*?<([^>]+)>.*\n(.*)$', record_text, re.MULTILINE))
  tags = {name.lower(): value.strip() for name, value in tags.items()}
  measure, relation = re.match(
    r'([A-Za-z]+[0-9]*)?\s*([<>]=?|[=~])?', tags.get('measure', '')
  ).groups()
  try:
    return types.Entry(
      pdb_id=pdb_ids.complex_id(tags['pdb_id']),
      ligand=tags.get('ligand', ''),
      pk=affinities.checked_pk(tags['pk']),
      measure=measure or '',
      relation=relation or '=',
      resolution=_number(tags.get('resolution', '')),
      year=int(_number(tags.get('year', ''), 0)),
      source=f'{path.name}:{number}',
      stated=_stated(tags.get('measure', '')),
    )
  except (KeyError, ValueError) as error:
    raise types.ComplexError(
      f'{path.name}, record {number}: no tag pdb_id or pK, or another value '
      f'than such ({error}; tags: {", ".join(sorted(tags)) or "none"})'
    ) from error


def _stated(measure) -> float:
  try:
    return affinities.measured(measure).pk
  except ValueError:  # 'Ka=1uM'
    return float('nan')


def _number(text, default=float('nan')) -> float:
  try:
    return float(text)
  except ValueError:  # 'NMR'
    return default


def _neutral(molecule):
  """Returns a sanitised copy without charges that a proton can remove."""
  from rdkit import Chem
  from rdkit.Chem.MolStandardize import rdMolStandardize

  molecule = rdMolStandardize.Uncharger().uncharge(molecule)
  Chem.SanitizeMol(molecule)
  return molecule


def _missing(atom) -> int:
  """Hydrogens of an atom that are no atoms of the molecule."""
  return atom.GetNumImplicitHs() + atom.GetNumExplicitHs()


def _as_is(ligand):
  if ligand.formal_charge is None or not (ligand.atoms.numbers == 1).any():
    raise _RefusalError('no_bonds')
  return ligand.atoms.numbers, ligand.atoms.coords, ligand.formal_charge


def _completed(molecule):
  from rdkit import Chem

  full = Chem.AddHs(molecule, addCoords=True)
  numbers_A = np.array([a.GetAtomicNum() for a in full.GetAtoms()], np.int32)
  coords_A3 = full.GetConformer().GetPositions()
  if not np.isfinite(coords_A3).all():
    raise _RefusalError('failed')
  return numbers_A, coords_A3, Chem.GetFormalCharge(full)


def _from_mol2(path):
  try:
    record = _single(path, 'mol2')
  except types.ComplexError as error:
    raise _RefusalError('failed') from error
  if record.molecule is None:
    raise _RefusalError('no_bonds')
  return _completed(record.molecule)


def _reprotonated(molecule):
  """Replaces all hydrogens by the valences of the neutral form."""
  from rdkit import Chem, rdBase

  with rdBase.BlockLogs():
    try:
      bare = Chem.RWMol(Chem.RemoveAllHs(molecule))
      Chem.Kekulize(bare, clearAromaticFlags=True)
      for atom in bare.GetAtoms():
        atom.SetNumRadicalElectrons(0)
        atom.SetNumExplicitHs(0)
        atom.SetNoImplicit(atom.GetAtomicNum() in elements.METALS)
      Chem.SanitizeMol(bare)
      return _completed(_neutral(bare))
    except ValueError as error:  # all of RDKit's complaints are ValueErrors
      raise _RefusalError('failed') from error


def _collide(coords_A3) -> bool:
  import scipy.spatial

  return bool(scipy.spatial.KDTree(coords_A3).query_pairs(_COLLISION_A))


def _ordered(ligand, numbers_A, coords_A3):
  """Returns the ligand's own heavy atoms, then the given hydrogens."""
  import scipy.spatial

  own = heavy(ligand.atoms)
  is_heavy_A = numbers_A > 1
  distance_A, index_A = scipy.spatial.KDTree(own.coords).query(
    coords_A3[is_heavy_A]
  )
  same = (
    is_heavy_A.sum() == len(own.numbers)
    and len(set(index_A)) == len(own.numbers)
    and distance_A.max() < _SAME_ATOM_A
    and (own.numbers[index_A] == numbers_A[is_heavy_A]).all()
  )
  if not same:
    raise _RefusalError('other_atoms')
  n_hydrogens = int((~is_heavy_A).sum())
  return (
    np.concatenate([own.numbers, np.ones(n_hydrogens, np.int32)]),
    np.concatenate([own.coords, coords_A3[~is_heavy_A]]),
  )
