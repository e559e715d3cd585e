"""Times sums of Gaussians on grids beside libmolgrid, molvoxel and gemmi.

  python -m benchmarks.speed.voxelize --peers DIR [--repeats 15] [--pack PACK]

Atom types of molecules of QM9's size and of made-up pockets beside libmolgrid
and molvoxel; the promolecule of pockets beside gemmi's DensityCalculatorX.
All go through a batch one molecule after the other, and write to memory that
is there already. PACK, a packed dataset of complexes (see
edjax/data/packed_dataset.py), adds the cost of their channels. Prints Markdown
tables and writes them to benchmarks/results/voxelize.md.
"""

import argparse
import dataclasses
import functools
import pathlib
import tempfile

import gemmi
import jax
import numpy as np

from benchmarks.timing import Peer, Table, elapsed, in_turn, machine
from edjax import fields, voxelize
from edjax.chem import elements, form_factors
from edjax.fields import atom_types, promolecules
from edjax.grid import Grid
from edjax.kernels import gaussians, numerics
from edjax.molecule import Molecule, stack
from edjax.runtime import malloc

WIDTH = fields.ATOM_WIDTH
# 16 to 20 atoms, 18 on average as in QM9.
SMILES = (
  'CC1CCC(=O)NC1',
  'CCOC(=O)CC#N',
  'CC(C)C(C)(O)C#C',
  'OCC1CC2CC12C',
  'CC1=CC(=O)OC1C',
  'CCC1=NC=C(F)C=N1',
  'CC(=O)NC1CCC1',
  'C1CC2OCC2CN1',
)
POCKET = ('C', 'N', 'O', 'S', 'F', 'P', 'Cl', 'Br', 'I', 'Zn', 'Mg', 'Ca',
          'Fe')  # fmt: skip
# Shares of the elements in a pocket.
_SHARES = (0.6, 0.17, 0.18, 0.02, *(0.03 / 9,) * 9)


def small_molecules(count: int = 32) -> list[Molecule]:
  """Embeds molecules of QM9's size by RDKit, turned, padded to 29."""
  from rdkit import Chem
  from rdkit.Chem import AllChem

  rng = np.random.default_rng(0)
  molecules = []
  for i in range(count):
    mol = Chem.AddHs(Chem.MolFromSmiles(SMILES[i % len(SMILES)]))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    numbers = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    coords = mol.GetConformer().GetPositions() @ turn
    molecules.append(Molecule.from_arrays(numbers, coords, max_atoms=29))
  return molecules


def pockets(count: int = 8, atoms: int = 600, edge: float = 24.0):
  """Draws atoms in a cube, no two nearer than 1.4 Å."""
  rng = np.random.default_rng(0)
  numbers = [elements.atomic_number(symbol) for symbol in POCKET]
  molecules = []
  for _ in range(count):
    coords = np.empty((0, 3))
    while len(coords) < atoms:
      new = rng.uniform(-edge / 2, edge / 2, (1, 3))
      if not len(coords) or np.min(
        np.sum((coords - new) ** 2, axis=1)
      ) >= 1.4**2:  # fmt: skip
        coords = np.concatenate([coords, new])
    molecules.append(
      Molecule.from_arrays(
        rng.choice(numbers, atoms, p=_SHARES),
        coords,
        max_atoms=atoms,
        center=False,
      )
    )
  return molecules


def mapped(field, molecules, over=numerics.batched):
  """Returns a function that times a field over a batch, and its last result.

  Each result reuses the memory of the one before: fresh memory, page by page,
  would cost as much as the sums themselves.
  """
  batch = stack(molecules)
  run = over(field)
  state = [jax.block_until_ready(jax.jit(run)(batch))]
  again = jax.jit(
    lambda batch, out: run(batch), donate_argnums=1, keep_unused=True
  )

  def once():
    state[0] = jax.block_until_ready(again(batch, state[0]))

  once()
  return elapsed(once), state


def whole(mol, grid, symbols):
  """Computes atom types as one matrix product."""
  terms = atom_types._atom_terms(mol, symbols, WIDTH, False)
  return gaussians.splat_grid(*terms, grid)


def without_atoms(molecules):
  """Makes molecules of the same shapes from padding alone."""
  return [
    dataclasses.replace(mol, numbers_A=np.zeros_like(mol.numbers_A))
    for mol in molecules
  ]


def types(mol: Molecule, symbols) -> np.ndarray:
  """Returns the channel of each atom; -1 on padding."""
  listed = {elements.atomic_number(s): i for i, s in enumerate(symbols)}
  return np.array([
    -1 if z == 0 else listed.get(int(z), len(symbols))
    for z in np.asarray(mol.numbers_A)
  ])  # fmt: skip


def rows_of_atom_types(table, molgrid, molvoxel, scratch, repeats):
  """Writes the rows of atom types."""
  for name, molecules, symbols, grid in (
    ('QM9', small_molecules(), fields.ELEMENTS, Grid(24, 0.5)),
    ('QM9', small_molecules(), fields.ELEMENTS, Grid(32, 0.5)),
    ('QM9', small_molecules(), fields.ELEMENTS, Grid(48, 0.25)),
    ('pocket', pockets(), POCKET, Grid(48, 0.5)),
  ):
    channels = len(symbols) + 1
    cases = scratch / 'cases.npz'
    np.savez(
      cases,
      coords_BA3=[np.asarray(mol.coords_A3) for mol in molecules],
      types_BA=[types(mol, symbols) for mol in molecules],
    )
    arguments = {
      'cases': str(cases),
      'channels': channels,
      'size': grid.size,
      'spacing': grid.spacing,
      'width': WIDTH,
    }
    molvoxel.prepare('atoms', reach=3.0, **arguments)
    field = functools.partial(fields.atoms_grid, grid=grid, elements=symbols)
    voxelizer = voxelize.make_voxelizer(('atoms',), grid, elements=symbols)
    # As training does it; the truncated form likewise.
    over = jax.vmap if voxelizer.batches_on_cpu else numerics.batched
    edjax, state = mapped(field, molecules, over)
    truncated, state_truncated = mapped(
      functools.partial(field, truncated=True), molecules, over
    )
    empty, _ = mapped(field, without_atoms(molecules), over)
    plain, _ = mapped(
      functools.partial(whole, grid=grid, symbols=symbols), molecules
    )

    for peer, reach in molgrid.values():
      peer.prepare('atoms', reach=reach, **arguments)
    times = in_turn(
      {
        'edjax': edjax,
        'truncated': truncated,
        'empty': empty,
        'plain': plain,
        **{key: peer.seconds for key, (peer, _) in molgrid.items()},
        'molvoxel': molvoxel.seconds,
      },
      repeats,
    )
    deviations = [
      deviation(ours[0], molgrid[name][0].save(scratch / 'out.npy'))
      for ours, name in ((state, 'exact'), (state_truncated, 'molgrid'))
    ]
    ms = {k: t / len(molecules) * 1e3 for k, t in times.items()}
    real = np.mean([int(mol.mask_A.sum()) for mol in molecules])
    table.row(
      f'{name}, {real:.0f} atoms, {channels} channels',
      f'{grid.size}^3 x {grid.spacing:g} Å',
      *(float(ms[k]) for k in ms),
      float(ms['edjax'] / ms['molgrid']),
      float(ms['edjax'] / ms['cut']),
      float(ms['edjax'] / ms['exact']),
      float(ms['truncated'] / ms['molgrid']),
      *deviations,
    )


def deviation(ours_BXYZC, theirs_BCXYZ) -> float:
  """Returns the largest difference of two grids, in units of the maximum."""
  ours_BCXYZ = np.moveaxis(np.asarray(ours_BXYZC), -1, 1)
  return float(np.abs(theirs_BCXYZ - ours_BCXYZ).max() / ours_BCXYZ.max())


def with_gemmi(mol: Molecule, grid: Grid):
  """Sets up gemmi's promolecule with the same b_iso, in a cell that is the box.

  Its grid is periodic: the box of edjax and a margin that its atoms reach.
  """
  margin = 12
  size = grid.size + 2 * margin
  model = gemmi.Model(1)
  chain, residue = gemmi.Chain('A'), gemmi.Residue()
  residue.name, residue.seqid = 'LIG', gemmi.SeqId('1')
  # gemmi's points are corners: the first is that of edjax's first voxel.
  shift = (grid.size - 1) / 2 * grid.spacing + margin * grid.spacing
  for z, xyz in zip(mol.numbers_A, mol.coords_A3, strict=True):
    atom = gemmi.Atom()
    atom.element = gemmi.Element(int(z))
    atom.pos = gemmi.Position(*(np.asarray(xyz, np.float64) + shift))
    atom.b_iso = 0.0
    residue.add_atom(atom)
  chain.add_residue(residue)
  model.add_chain(chain)
  calculator = gemmi.DensityCalculatorX()
  calculator.grid.unit_cell = gemmi.UnitCell(
    *(size * grid.spacing,) * 3, 90, 90, 90
  )
  calculator.grid.spacegroup = gemmi.SpaceGroup('P1')
  calculator.grid.set_size(size, size, size)
  calculator.blur = form_factors.tied_b_iso(grid.spacing)

  def run():
    calculator.grid.fill(0)
    calculator.add_model_density_to_grid(model)
    return calculator

  def values():
    inner = slice(margin, margin + grid.size)
    return np.array(run().grid)[inner, inner, inner]

  return elapsed(run), values


def promolecule(table, repeats):
  """Writes the rows of the promolecule."""
  grid = Grid(48, 0.5)
  molecules = pockets(4)
  edjax, state = mapped(
    functools.partial(fields.promolecule_grid, grid=grid), molecules
  )
  gradient, _ = mapped(
    functools.partial(fields.promolecule_and_gradient_grid, grid=grid),
    molecules,
  )

  def product(mol):
    b_iso = form_factors.tied_b_iso(grid.spacing)
    terms = promolecules._promolecule_terms(mol, b_iso, False, False)
    return gaussians.splat_grid(*terms, grid)

  plain, _ = mapped(product, molecules)
  peer, values = with_gemmi(molecules[0], grid)
  times = in_turn(
    {'edjax': edjax, 'plain': plain, 'gradient': gradient, 'gemmi': peer},
    repeats,
  )
  ms = {
    k: t / (1 if k == 'gemmi' else len(molecules)) * 1e3
    for k, t in times.items()
  }
  ours = np.asarray(state[0])[0]
  table.row(
    f'{len(molecules[0].numbers_A)} atoms',
    f'{grid.size}^3 x {grid.spacing:g} Å',
    *(float(ms[k]) for k in ms),
    float(ms['gemmi'] / ms['edjax']),
    float(np.abs(values() - ours).max() / ours.max()),
  )


def complexes(table, directory, repeats):
  """Writes the rows of the complexes of a pack."""
  from edjax.data import packed_dataset

  packed = packed_dataset.open_pack(directory)
  counts = packed.atom_counts
  # The middle of them by size, all padded to the largest of these.
  order = np.argsort(counts)[len(counts) // 2 :][:8]
  offsets = packed.atom_offsets
  molecules = []
  for i in order:
    part = slice(offsets[i], offsets[i + 1])
    molecules.append(
      Molecule.from_arrays(
        packed.numbers[part],
        packed.positions[part],
        max_atoms=int(counts[order].max()),
        groups=(np.arange(counts[i]) >= packed.ligand_counts[i]).astype(int),
        b_factors=packed.b_factors[part],
      )
    )
  grid = Grid(32, 0.75)

  def product(mol):
    b_iso = form_factors.tied_b_iso(grid.spacing)
    terms = promolecules._promolecule_terms(mol, b_iso, False, False)
    return gaussians.splat_grid_and_gradient(*terms, grid)

  for name, near, plain in (
    (
      'atom types, 14 channels',
      functools.partial(fields.atoms_grid, grid=grid, elements=POCKET),
      functools.partial(whole, grid=grid, symbols=POCKET),
    ),
    (
      'density and gradient',
      functools.partial(fields.promolecule_and_gradient_grid, grid=grid),
      product,
    ),
  ):
    times = in_turn(
      {
        'edjax': mapped(near, molecules)[0],
        'plain': mapped(plain, molecules)[0],
      },
      repeats,
    )
    ms = {k: t / len(molecules) * 1e3 for k, t in times.items()}
    table.row(
      f'{name}, {int(counts[order].mean())} atoms',
      f'{grid.size}^3 x {grid.spacing:g} Å',
      float(ms['edjax']),
      float(ms['plain']),
      float(ms['edjax'] / ms['plain']),
    )


def main():
  malloc.keep()  # as launch.py does
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--peers', type=pathlib.Path, required=True)
  parser.add_argument('--repeats', type=int, default=15)
  parser.add_argument('--pack', type=pathlib.Path)
  args = parser.parse_args()
  with (
    Peer(args.peers, 'molgrid') as default,
    Peer(args.peers, 'molgrid') as cut,
    Peer(args.peers, 'molgrid') as exact,
    Peer(args.peers, 'molvoxel') as molvoxel,
    tempfile.TemporaryDirectory() as scratch,
  ):
    table = Table(
      'voxelize',
      'Sums of Gaussians on CPU',
      [
        machine(default, molvoxel, packages=('jax', 'gemmi')),
        'Milliseconds a molecule. Atoms are Gaussians of 0.5 Å. edjax leaves '
        'out what is below 9e-8 of the peak (5.7 standard deviations), '
        '`plain` nothing: the one matrix product. `truncated` is edjax with '
        '`representation.truncated`. `empty` is edjax without an '
        'atom: clearing (and, of the pocket, copying) the grid. libmolgrid by '
        'default goes on as a parabola from 2 standard deviations to nothing '
        'at 3 (`molgrid`; so does `truncated`), or cuts the Gaussian off at 3 '
        '(`cut`), or at 5.7 as edjax does (`exact`). Deviations, of the '
        'maximum, are from `exact`, and of `truncated` from `molgrid`. '
        'molvoxel cuts off at 3. libmolgrid and molvoxel use one core.',
      ],
      (
        'atom types',
        'grid',
        'edjax',
        'truncated',
        'empty',
        'plain',
        'molgrid',
        'cut',
        'exact',
        'molvoxel',
        'edjax / molgrid',
        'edjax / cut',
        'edjax / exact',
        'truncated / molgrid',
        'deviation',
        'of truncated',
      ),
    )
    # Its reach in radii of two standard deviations; below 0, cut off there.
    molgrid = {
      'molgrid': (default, 1.0),
      'cut': (cut, -1.5),
      'exact': (exact, -2.85),
    }
    rows_of_atom_types(
      table, molgrid, molvoxel, pathlib.Path(scratch), args.repeats
    )
    table.head(
      (
        'promolecule',
        'grid',
        'edjax',
        'plain',
        'with gradient',
        'gemmi',
        'gemmi / edjax',
        'deviation',
      )
    )
    promolecule(table, args.repeats)
    if args.pack:
      table.head(('complexes', 'grid', 'edjax', 'plain', 'edjax / plain'))
      complexes(table, args.pack, args.repeats)


if __name__ == '__main__':
  main()
