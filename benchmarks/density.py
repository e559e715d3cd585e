"""Time of the orbital density and its gradient for one molecule of QM9's size.

  python -m benchmarks.density

Prints the least elapsed and processor time of a molecule (19 atoms padded to
29, 23 orbitals padded to 30, mapped one by one) as a Markdown table. On a
busy machine the processor time says more; there, pin it to one core.
"""

import time

import jax

from data_builders import xtb
from edjax import fields, numerics, orbitals
from edjax.grid import Grid
from edjax.molecule import Molecule, stack

MOLECULES = 8


def molecule() -> Molecule:
  """5-methylpiperidin-2-one, embedded by RDKit: 19 atoms."""
  from rdkit import Chem
  from rdkit.Chem import AllChem

  mol = Chem.AddHs(Chem.MolFromSmiles('CC1CCC(=O)NC1'))
  AllChem.EmbedMolecule(mol, randomSeed=1)
  numbers = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
  coords = mol.GetConformer().GetPositions()
  return Molecule.from_arrays(
    numbers,
    coords,
    xtb.run(numbers, coords).orbitals,
    max_atoms=29,
    max_orbitals=30,
  )


def least(f, batch, repeats=20):
  """Least elapsed and processor time per molecule, ms."""
  f = jax.jit(numerics.batched(f))
  jax.block_until_ready(f(batch))
  elapsed, processor = [], []
  for _ in range(repeats):
    start = time.perf_counter(), time.process_time()
    jax.block_until_ready(f(batch))
    elapsed.append(time.perf_counter() - start[0])
    processor.append(time.process_time() - start[1])
  return min(elapsed) / MOLECULES * 1e3, min(processor) / MOLECULES * 1e3


def main():
  batch = stack([molecule()] * MOLECULES)
  print('| grid | sub-points | field | elapsed ms | processor ms |')
  print('|---|---|---|---|---|')
  for grid in (Grid(24, 0.5), Grid(32, 0.5), Grid(48, 0.25)):
    for s in (1, 2) if grid.size == 24 else (1,):
      for name, wrap in (
        ('density', lambda f: f),
        ('gradient', fields.gradient_magnitude),
      ):

        def field(mol, grid=grid, s=s):
          return orbitals.density_grid(mol, grid, s)

        wall, cpu = least(wrap(field), batch)
        print(f'| {grid.size} | {s}^3 | {name} | {wall:.2f} | {cpu:.2f} |')


if __name__ == '__main__':
  main()
