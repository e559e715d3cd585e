"""Makes qm9_mini: small molecules and their DFT labels, from SMILES alone.

    python -m data_builders.qm9_mini.reference.generate --count 20 \
        --out new.jsonl

SMILES are grown at random under valence rules (draw_smiles), embedded by ETKDG
and MMFF94 (RDKit), relaxed with GFN2-xTB (tblite), kept when the bonds are
still those of the SMILES, and labelled with B3LYP/6-31G(2df,p) (PySCF).
README.md beside this file states fields, units, level and tolerances.

This file works in bohr and Hartree; the records hold Angstrom and Hartree. It
needs the extra `reference` (pyscf); nothing that trains imports it.
"""

import argparse
import collections
import contextlib
import gzip
import hashlib
import importlib
import json
import pathlib
import random
import sys

import numpy as np

from data_builders.molecules import geometries
from data_builders.qm9_mini.reference import dft, draw_smiles
from data_builders.support import worker_pool
from edjax.chem import units

EMBEDDED = pathlib.Path(__file__).resolve().parents[1] / 'molecules.jsonl.gz'
# Largest |difference| of labels recomputed from a stored geometry: Ha, D,
# bohr^2. SCF and integration grid repeat to 1e-6 Ha; coordinates rounded to
# 1e-5 Å move a dipole by up to 1e-4 D and r2 by a few 1e-3 bohr^2.
TOLERANCE = {
  'mu': 2e-4,
  'homo': 1e-5,
  'lumo': 1e-5,
  'gap': 1e-5,
  'r2': 5e-3,
  'energy': 5e-6,
  'atomization_energy': 5e-6,
}
FIELDS = ('smiles', 'numbers', 'coords', *TOLERANCE)

# Beginnings of reasons that are no fault of the molecule.
_OF_THE_MACHINE = (
  'ImportError',
  'ModuleNotFoundError',
  'MemoryError',
  'the worker process died',
)


def make_record(smiles):
  """Computes the record of a SMILES (see README.md).

  Raises:
    RuntimeError: no conformer, no relaxation, other bonds, or no SCF.
  """
  numbers, coords_A3, bonds = dft.embed(smiles)
  # Each field anew: the embedded geometries were made so.
  coords_A3, _ = geometries.minimum(numbers, coords_A3, restart=False)
  if geometries.bonds_from_distances(numbers, coords_A3) != bonds:
    raise RuntimeError('the bonds changed while relaxing')
  # Rounded before the labels, so that they belong to the stored geometry.
  coords_A3 = coords_A3 - coords_A3.mean(0)
  angstrom_A3 = np.round(coords_A3 * units.BOHR_A, 5)
  labels = dft.label(numbers, angstrom_A3 / units.BOHR_A)
  digits = {'mu': 5, 'r2': 4}
  return {
    'smiles': smiles,
    'numbers': [int(z) for z in numbers],
    'coords': angstrom_A3.tolist(),
    **{k: round(v, digits.get(k, 6)) for k, v in labels.items()},
  }


def read_records(path):
  """Reads the records of a .jsonl or .jsonl.gz file, in its order."""
  path = pathlib.Path(path)
  opener = gzip.open if path.suffix == '.gz' else open
  with opener(path, 'rt', encoding='utf-8') as f:
    return [json.loads(line) for line in f]


def _require_pyscf():
  """Raises ModuleNotFoundError before molecules fail for want of PySCF."""
  try:
    importlib.import_module('pyscf')
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      "labels are computed with PySCF: pip install 'edjax[reference]'"
    ) from error


def generate(todo, out, workers):
  """Computes the SMILES `todo` that `out` lacks and appends them to it.

  Lines are written in the order of `todo`, as soon as they are ready. Failures
  go to `out`.failed, one JSON object a line, and are not tried again.

  Returns:
    (made, failed): how many in this call.

  Raises:
    ModuleNotFoundError: PySCF is not installed.
    RuntimeError: the machine fails, not a molecule; written lines stay, and the
      rest can be tried again.
  """
  _require_pyscf()
  out = pathlib.Path(out)
  failed_path = out.with_name(out.name + '.failed')
  seen = set()
  for path in (out, failed_path):
    if path.exists():
      # A kill may leave half a line; drop it and compute that one again.
      whole = path.read_bytes()
      path.write_bytes(whole[: whole.rfind(b'\n') + 1])
      seen |= {record['smiles'] for record in read_records(path)}
  todo = [s for s in todo if s not in seen]
  made, failed = 0, collections.Counter()
  results = worker_pool.map_ordered(
    f'{make_record.__module__}:make_record',
    [(smiles,) for smiles in todo],
    workers,
    chunk=1,
    progress='labels',
  )
  with (
    contextlib.closing(results),
    open(out, 'a', encoding='utf-8') as f,
    open(failed_path, 'a', encoding='utf-8') as g,
  ):
    for smiles, result in zip(todo, results, strict=True):
      if isinstance(result, worker_pool.Failure):
        if result.reason.startswith(_OF_THE_MACHINE):
          raise RuntimeError(f'{smiles}: {result.reason}')
        failed[result.reason] += 1
        result, file = {'smiles': smiles, 'reason': result.reason}, g
      else:
        made, file = made + 1, f
      file.write(json.dumps(result) + '\n')
      file.flush()
  for reason, count in failed.most_common():
    print(f'failed {count}: {reason}')
  print(f'{made} molecules made, {failed.total()} failed')
  return made, failed.total()


def _fault(record):
  """Returns a reason why a record cannot be right, or ''."""
  from rdkit import Chem

  r = record
  if set(r) != set(FIELDS):
    return f'fields {sorted(set(r) ^ set(FIELDS))} lack or are too many'
  if Chem.CanonSmiles(r['smiles']) != r['smiles']:
    return 'the SMILES is not canonical'
  mol = Chem.AddHs(Chem.MolFromSmiles(r['smiles']))
  if r['numbers'] != [a.GetAtomicNum() for a in mol.GetAtoms()]:
    return 'numbers differ from the SMILES'
  coords_A3 = np.array(r['coords']) / units.BOHR_A
  if coords_A3.shape != (len(r['numbers']), 3):
    return f'coords have shape {coords_A3.shape}'
  if not np.isfinite([*coords_A3.flat, *(r[k] for k in TOLERANCE)]).all():
    return 'a value is not finite'
  bonds = geometries.bonds_from_distances(r['numbers'], coords_A3)
  if bonds != dft.bonds_of(mol):
    return 'the bonds are not those of the SMILES'
  if abs(r['gap'] - (r['lumo'] - r['homo'])) > 2e-6:
    return 'gap is not lumo - homo'
  if r['gap'] < 0.05:
    return 'the gap is below 0.05 Ha'
  if r['mu'] < 0 or r['r2'] < 0:
    return 'mu or r2 is below 0'
  bound_Ha = r['energy'] - dft.atoms_energy(r['numbers'])
  if abs(r['atomization_energy'] - bound_Ha) > 1e-6:
    return 'atomization_energy is not energy minus atoms'
  if bound_Ha >= 0:
    return 'the molecule is not bound'
  return ''


def check_records(records):
  """Raises ValueError naming the first record that cannot be right."""
  seen = set()
  for r in records:
    fault = 'the SMILES occurs twice' if r['smiles'] in seen else _fault(r)
    if fault:
      raise ValueError(f'record {r["smiles"]}: {fault}')
    seen.add(r['smiles'])


def composition_residuals(records):
  """Subtracts a least-squares fit to element counts from the energies.

  A label that is wrong, or a molecule in a strange state, stands out.

  Returns:
    [number of records].
  """
  counts = np.array(
    [[r['numbers'].count(z) for z in dft.ATOM_ENERGY_HA] for r in records],
    float,
  )
  energy = np.array([r['atomization_energy'] for r in records])
  return energy - counts @ np.linalg.lstsq(counts, energy)[0]


def pack(records, path):
  """Writes records as .jsonl.gz; equal records give equal bytes.

  The order is that of the SHA-256 of the SMILES: it does not depend on who
  finished first, and every contiguous part is a random sample of the whole.
  """
  records = sorted(
    records, key=lambda r: hashlib.sha256(r['smiles'].encode()).digest()
  )
  lines = [json.dumps({k: r[k] for k in FIELDS}) + '\n' for r in records]
  data = gzip.compress(''.join(lines).encode(), 9, mtime=0)
  pathlib.Path(path).write_bytes(data)


def describe(records):
  """Returns counts and the strangest energies as a few lines of text."""
  sizes = collections.Counter(sum(z > 1 for z in r['numbers']) for r in records)
  lines = [f'{len(records)} molecules; by heavy atoms {sorted(sizes.items())}']
  for z in dft.ATOM_ENERGY_HA:
    with_z = sum(z in r['numbers'] for r in records)
    atoms = sum(r['numbers'].count(z) for r in records)
    lines.append(f'element {z}: in {with_z} molecules, {atoms} atoms')
  residual = composition_residuals(records)
  lines.append(
    'atomisation energy minus its fit to the composition: standard '
    f'deviation {residual.std():.4f} Ha; largest:'
  )
  for i in np.argsort(-np.abs(residual))[:10]:
    lines.append(f'  {residual[i]:+.4f} {records[i]["smiles"]}')
  return '\n'.join(lines)


def differences(record, again):
  """Returns |difference| of every label in TOLERANCE, {name: float}."""
  return {k: abs(again[k] - record[k]) for k in TOLERANCE}


def verify(records, count, seed):
  """Recomputes `count` records and prints a Markdown table of differences.

  One row from the stored geometry, which has to meet TOLERANCE, and one of
  the whole way from SMILES, which another RDKit or tblite may lead to
  another minimum: there the largest coordinate difference says what happened.

  Returns:
    Whether all rows from stored geometries are within TOLERANCE.
  """
  records = sorted(records, key=lambda r: r['smiles'])
  print(f'| molecule | from | {" | ".join(TOLERANCE)} | coords (Å) |')
  print('|---' * (len(TOLERANCE) + 3) + '|')

  def row(name, start, values, coords):
    cells = ' | '.join(f'{values[k]:.0e}' for k in TOLERANCE)
    print(f'| {name} | {start} | {cells} | {coords} |', flush=True)

  good = True
  for r in random.Random(seed).sample(records, count):
    coords_A3 = np.array(r['coords'])
    errors = differences(r, dft.label(r['numbers'], coords_A3 / units.BOHR_A))
    good &= all(errors[k] <= TOLERANCE[k] for k in TOLERANCE)
    row(f'`{r["smiles"]}`', 'geometry', errors, '')
    whole = make_record(r['smiles'])
    moved = np.abs(np.array(whole['coords']) - coords_A3).max()
    row('', 'SMILES', differences(r, whole), f'{moved:.0e}')
  row('tolerance', 'geometry', TOLERANCE, '')
  return good


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--count', type=int, help='draw so many SMILES')
  parser.add_argument('--seed', type=int, default=0, help='of every draw')
  parser.add_argument('--out', help='file to append to, or to --merge into')
  parser.add_argument('--workers', type=int, default=1, help='processes')
  parser.add_argument(
    '--exclude', nargs='*', default=[], help='record files: draw none of these'
  )
  parser.add_argument(
    '--merge', nargs='+', help='record files: check, describe, write to --out'
  )
  parser.add_argument(
    '--verify', type=int, metavar='K', help='recompute K embedded molecules'
  )
  parser.add_argument(
    '--atoms', action='store_true', help='recompute the energies of free atoms'
  )
  args = parser.parse_args(argv)
  jobs = (args.count, args.merge, args.verify, args.atoms or None)
  if sum(job is not None for job in jobs) != 1:
    parser.error('give one of --count, --merge, --verify, --atoms')
  if args.atoms:
    for z, stored in dft.ATOM_ENERGY_HA.items():
      energy = dft.atom_energy(z)
      print(f'{z}: {energy:.6f} Ha, stored {stored:.6f}')
    return 0
  if args.verify is not None:
    return 0 if verify(read_records(EMBEDDED), args.verify, args.seed) else 1
  if args.out is None:
    parser.error('--out is missing: the file to write')
  if args.merge:
    records = [r for path in args.merge for r in read_records(path)]
    # One table of atoms, whatever digits a file was made with.
    for r in records:
      bound_Ha = r['energy'] - dft.atoms_energy(r['numbers'])
      if abs(bound_Ha - r['atomization_energy']) > 1e-5:
        raise ValueError(f'{r["smiles"]}: other energies of the free atoms')
      r['atomization_energy'] = round(bound_Ha, 6)
    check_records(records)
    print(describe(records))
    pack(records, args.out)
    return 0
  known = [r['smiles'] for path in args.exclude for r in read_records(path)]
  todo = draw_smiles.draw_smiles(args.count, args.seed, known)
  generate(todo, args.out, args.workers)
  return 0


if __name__ == '__main__':
  sys.exit(main())
