"""Times the orbital density and its gradient against PySCF's numint.

  python -m benchmarks.speed.density

Eight molecules of QM9's size, padded to 29 atoms and 30 orbitals. Both
programs evaluate the same orbitals at the same points, in turn in one
process: edjax in float32 as the training loop does (one molecule after the
other in one compiled program), PySCF in float64, `eval_ao` and `eval_rho2` in
blocks, deriv=1 for the gradient. PySCF uses as many threads as there are
cores.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from data_builders import xtb
from edjax import fields
from edjax import grid as grids
from edjax.chem import elements, gfn2_basis
from edjax.chem.units import BOHR_A
from edjax.grid import Grid
from edjax.kernels import gto_functions, gto_screening, gto_tiled_cpu, numerics
from edjax.molecule import Molecule, stack

SMILES = (
  'CC1CCC(=O)NC1', 'CC(O)C1CC1C=O', 'CCC1(C)OC1CO', 'N#CC1CC1(O)C=O',
  'Cc1ccc(CO)o1', 'CCCCCCCCC', 'CC1(C)CC1CC#N', 'OCC1CN2CC12C',
)  # fmt: skip
REPEATS = 9
# Points that PySCF evaluates at a time, as its cubegen does; fewer are slower.
_BLOCK = 8000


def embedded() -> list[tuple]:
  """Returns numbers, coordinates (by RDKit) and orbitals."""
  from rdkit import Chem
  from rdkit.Chem import AllChem

  molecules = []
  for smiles in SMILES:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    coords = mol.GetConformer().GetPositions()
    molecules.append((numbers, coords, xtb.run(numbers, coords).orbitals))
  return molecules


def pyscf_molecule(numbers, coords, orbs):
  """Returns PySCF's molecule with GFN2-xTB's basis, and its orbitals."""
  from pyscf import gto

  basis = {
    elements.SYMBOLS[z]: [
      # PySCF's coefficients multiply normalised primitives.
      [
        shell.l,
        *(
          [a, c / gto.gto_norm(shell.l, a)]
          for a, c in zip(shell.exponents_P, shell.coefficients_P, strict=True)
        ),
      ]
      for shell in gfn2_basis.shells(z)
    ]
    for z in set(numbers.tolist())
  }
  symbols = [elements.SYMBOLS[z] for z in numbers]
  mol = gto.M(
    atom=list(zip(symbols, coords, strict=True)),
    basis=basis,
    spin=None,
    verbose=0,
  )
  # Shells of these elements are s, then p (x, y, z): the order of the slots.
  has_KO = [
    orbs[:, i, slot]
    for i, z in enumerate(numbers.tolist())
    for shell in gfn2_basis.shells(z)
    for slot in ([0] if shell.l == 0 else [1, 2, 3])
  ]
  return mol, np.array(has_KO, np.float64)


def pyscf_field(mol, c_KO, points_G3, gradient: bool) -> np.ndarray:
  """Returns e/Å^3 at points in bohr, or the length of the gradient, e/Å^4."""
  from pyscf.dft import numint

  occupied = np.ones(c_KO.shape[1])
  kind = {'deriv': 1} if gradient else {'deriv': 0}
  parts = []
  for start in range(0, len(points_G3), _BLOCK):
    ao = numint.eval_ao(mol, points_G3[start : start + _BLOCK], **kind)
    rho = numint.eval_rho2(
      mol, ao, c_KO, occupied, xctype='GGA' if gradient else 'LDA'
    )
    parts.append(np.linalg.norm(rho[1:4], axis=0) if gradient else rho)
  return np.concatenate(parts) / BOHR_A ** (4 if gradient else 3)


def main():
  from pyscf import lib

  raw = embedded()
  molecules = [
    Molecule.from_arrays(*m, max_atoms=29, max_orbitals=30) for m in raw
  ]
  batch = stack(molecules)
  # Coordinates as `from_arrays` moved them.
  peers = [
    pyscf_molecule(numbers, np.asarray(mol.coords_A3)[: len(numbers)], orbs)
    for mol, (numbers, _, orbs) in zip(molecules, raw, strict=True)
  ]
  table = timing.Table(
    'density',
    'Density of the GFN2-xTB orbitals on a grid',
    [
      timing.machine(packages=('jax', 'pyscf')),
      f'ms per molecule, the mean of {len(raw)}; PySCF on {lib.num_threads()} '
      'threads in float64, edjax in float32. "goal" is of the ratio, PySCF '
      'over edjax. "deviation": largest |difference| over the largest value.',
    ],
    ['grid', 'field', 'edjax', 'PySCF', 'PySCF/edjax', 'goal', 'deviation'],
  )
  for grid in (Grid(24, 0.5), Grid(48, 0.25)):
    points = grids.centres(grid) / BOHR_A
    for name, gradient, goal in (('density', 0, 10), ('gradient', 1, 5)):
      field, ours = _ours(batch, grid, 1, gradient)

      def theirs(points=points, gradient=gradient):
        for mol, c_KO in peers:
          pyscf_field(mol, c_KO, points, gradient)

      times = timing.in_turn(
        {'edjax': ours, 'PySCF': timing.elapsed(theirs)}, REPEATS
      )
      ms = {who: t / len(raw) * 1e3 for who, t in times.items()}
      values = np.asarray(field(batch)).reshape(len(raw), -1)
      expected = [pyscf_field(*peer, points, gradient) for peer in peers]
      error = np.abs(values - expected).max(1) / np.max(expected, axis=1)
      table.row(
        f'{grid.size}^3, {grid.spacing} Å',
        name if name == 'density' else 'gradient magnitude',
        ms['edjax'],
        ms['PySCF'],
        ms['PySCF'] / ms['edjax'],
        goal,
        f'{error.max():.0e}',
      )
  table.text('', '## Two sub-points along each edge of a voxel, in turn')
  table.text(
    '',
    '"products": the time of the matrix products alone that the 2^3 need, of '
    'the functions that count in each tile.',
  )
  table.head(['grid', 'field', '1^3', '2^3', 'ratio', 'goal', 'products'])
  grid = Grid(24, 0.5)
  for name in ('density', 'gradient'):
    gradient = name == 'gradient'
    contestants = {s: _ours(batch, grid, s, gradient)[1] for s in (1, 2)}
    contestants['products'] = products(batch, grid, gradient)
    times = timing.in_turn(contestants, REPEATS)
    ms = {key: t / len(raw) * 1e3 for key, t in times.items()}
    table.row(
      f'{grid.size}^3, {grid.spacing} Å',
      name if name == 'density' else 'gradient magnitude',
      ms[1],
      ms[2],
      ms[2] / ms[1],
      3,
      ms['products'],
    )


def products(batch, grid: Grid, gradient: bool) -> float:
  """Measures the seconds of the matrix products alone of a batch's tiles."""
  cut_of = gto_tiled_cpu.gradient_cut if gradient else gto_tiled_cpu.value_cut
  cut = cut_of(grid, 2)
  room, _ = gto_functions.rooms(batch.orbitals_OL9[0])
  points = cut.edge**3

  def one(mol):
    orbs = mol.numbers_A, mol.coords_A3, mol.orbitals_OL9
    rows = gto_functions.gather(room, *orbs)
    lines = gto_screening.tables(grid, cut, rows)
    tiles = gto_screening.screen(cut, rows, lines, gto_tiled_cpu.SIZES)

    def multiply(count, c_KO):
      c_JO, ao_JG = c_KO[:count], jnp.zeros((count, points)) + c_KO[0, 0]
      smaller = gradient or count < c_JO.shape[1]
      product = (
        gto_tiled_cpu.with_density_matrix if smaller else gto_tiled_cpu.orbitals
      )
      # Something of the product, so that it is not left out.
      return jnp.sum(product(c_JO, ao_JG)[:, 0])

    forms = [lambda c: jnp.zeros(())]
    forms += [functools.partial(multiply, n) for n in tiles.sizes[1:]]
    return jax.lax.map(
      lambda size: jax.lax.switch(size, forms, rows.c_OK.T), tiles.sizes_T
    )

  return timing.jitted(numerics.batched(one), batch)


def _ours(batch, grid: Grid, supersample: int, gradient: bool):
  """Returns the field of a batch, and its time."""

  def density(mol):
    return fields.orbital_density_grid(mol, grid, supersample)

  one = fields.gradient_magnitude(density) if gradient else density
  field = jax.jit(numerics.batched(one))
  return field, timing.jitted(field, batch)


if __name__ == '__main__':
  main()
