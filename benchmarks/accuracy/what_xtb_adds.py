"""Measures what xTB adds to composition and geometry, without a network.

  python -m benchmarks.accuracy.what_xtb_adds --data_dir DIR --manual_dir DIR \
    --work DIR [--labels 125 500 2000 8000 --subsets 10] [--report]
  PYTHON_OF_THE_PEER -m benchmarks.peers.atom_kernels --work DIR

Ridge and kernel ridge regressions on QM9, on the composition with GFN2's
numbers, histograms of xTB's and of free atoms' valence density, and moments of
these and of atom types (docs/protocol.md). Subsets are those of the studies.
DIR of --work holds features, predictions, and molecules.npz for the peer, which
adds kernel ridge regressions on FCHL19 and SLATM; rows of finished regressions
go to a CSV file and are not fitted again. The tables are printed from all rows
whose predictions are in DIR. Nothing is selected on test data.
"""

import argparse
import hashlib
import pathlib
import time

import jax
import numpy as np
from tqdm import tqdm

from benchmarks.accuracy import regression_rows, regression_tables
from configs import qm9_base
from edjax import baselines, datasets, fields, voxelize
from edjax import config as configuration
from edjax import grid as grids
from edjax.baselines import kernel_ridge, ridge_regression
from edjax.baselines.log_histogram import log_histogram
from edjax.config.representation import dataset_variant
from edjax.data import batching, loading, padded, splitting
from edjax.grid import Grid
from edjax.kernels.numerics import batched
from edjax.models.input_moments import power_moments
from edjax.runtime import atomic_files
from edjax.task.make import selection_of

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
ROWS = REPOSITORY / 'docs/results/what_xtb_adds/rows.csv'
TARGETS = ('gap', 'mu', 'alpha', 'u0_atom', 'homo', 'lumo')
LABELS = (125, 500, 2000, 8000, 32000)
# Parts that features consist of, beside the composition.
FEATURES = {
  'composition': (),
  'gfn2': ('gfn2',),
  'histogram_xtb': ('histogram_xtb',),
  'histogram_free': ('histogram_free',),
  'moments_atoms': ('moments_atoms',),
  'moments_xtb': ('moments_xtb',),
  'moments_xtb_mass': ('moments_xtb_mass',),
  'moments_free': ('moments_free',),
}
FEATURES |= {
  f'gfn2+{name}': ('gfn2', *parts)
  for name, parts in FEATURES.items()
  if name not in ('composition', 'gfn2')
}
# The grid of the studies on QM9, and sub-points along an edge of its voxels.
GRID, SUPERSAMPLE = Grid(24, 0.5), 2
# Molecules in a file of features, and in a call of the compiled program.
_BLOCK, _BATCH = 1024, 64


def config_of(args, labels: float, subset_seed: int, origin: str = 'valence'):
  """Returns the resolved configuration of a subset; of all labels for 1."""
  config = qm9_base.get_config('qm9_cpu')
  config.data.data_dir = args.data_dir
  config.data.manual_dir = args.manual_dir
  config.data.targets = TARGETS
  config.data.train_size = float(labels)
  config.data.validation_share = 0.2
  config.data.subset_seed = subset_seed
  config.data.seed = 1
  config.data.max_eval = args.test
  config.data.origin = origin
  return configuration.resolve(config)


def about_valence(mol) -> dict[str, jax.Array]:
  """Returns densities at points, and moments about the valence charge."""
  points = GRID.refine(SUPERSAMPLE)
  densities = {
    'xtb': fields.orbital_density_grid(mol, points),
    'free': fields.free_atoms_density_grid(mol, points),
  }
  atoms = voxelize.make_voxelizer(('atoms',), GRID, supersample=SUPERSAMPLE)
  found = {'moments_atoms': _moments(atoms(mol))}
  for name, rho_XYZ in densities.items():
    means_XYZ = grids.pool(rho_XYZ, SUPERSAMPLE)
    found[f'moments_{name}'] = _moments(means_XYZ[..., None])
    found[f'histogram_{name}'] = rho_XYZ
  return found


def about_mass(mol) -> dict[str, jax.Array]:
  """Returns the moments about the centre of mass."""
  rho_XYZ = fields.orbital_density_grid(mol, GRID, SUPERSAMPLE)
  return {'moments_xtb_mass': _moments(rho_XYZ[..., None])}


def _moments(vox_XYZC: jax.Array) -> jax.Array:
  return power_moments(vox_XYZC[None])[0]


def features_of(pack, rows, selection, field, cache) -> dict[str, np.ndarray]:
  """Computes features of some rows of a pack, some molecules at a time.

  Args:
    pack: the dataset.
    rows: of it; a block that is finished serves any rows that begin alike.
    selection: of their atoms.
    field: molecule -> name -> [F], or densities for a 'histogram_...'.
    cache: directory of finished blocks.

  Returns:
    name -> [rows, F].
  """
  padding = padded.padding_of(pack, np.arange(len(pack)), selection)
  compute = jax.jit(batched(field))
  volume = GRID.refine(SUPERSAMPLE).voxel_volume
  found = []
  for begin in tqdm(range(0, len(rows), _BLOCK), field.__name__, unit='block'):
    block = rows[begin : begin + _BLOCK]
    digest = hashlib.sha256(f'{pack.fingerprint} {selection}'.encode())
    digest.update(np.asarray(block, np.int64).tobytes())
    path = cache / f'{field.__name__}-{digest.hexdigest()[:16]}.npz'
    if not path.exists():
      parts = []
      for positions in batching.cover(len(block), _BATCH):
        molecules = padded.make_molecules(
          pack, block[positions], padding, selection
        )
        values = jax.tree.map(np.asarray, compute(molecules))
        for name in values:
          if name.startswith('histogram_'):
            values[name] = np.array(
              [log_histogram(rho_XYZ, volume) for rho_XYZ in values[name]]
            )
        parts.append(values)
      values = {
        name: np.concatenate([part[name] for part in parts])[: len(block)]
        for name in parts[0]
      }
      with atomic_files.replacing(path) as part, part.open('wb') as file:
        np.savez(file, **values)
    with np.load(path) as values:
      found.append(dict(values))
  return {
    name: np.concatenate([block[name] for block in found]) for name in found[0]
  }


def _ridge(x, y, train, validation):
  fitted = ridge_regression.ridge_fit(
    x[train], y[train], x_val=x[validation], y_val=y[validation]
  )
  return fitted.predict


def _kernel(x, y, train, validation):
  fitted = kernel_ridge.fit(
    x[train], y[train], x_val=x[validation], y_val=y[validation]
  )
  return fitted.predict


METHODS = {'ridge': _ridge, 'kernel': _kernel}
PARTS = ('train', 'validation', 'test')


def write_molecules(path, pack, rows, y_NT, splits) -> None:
  """Writes what the peer learns from.

  Args:
    path: of molecules.npz.
    pack: the dataset.
    rows: of the molecules.
    y_NT: their targets, in the units of the tables.
    splits: (labels, subset seed) -> part -> positions in rows.
  """
  begin, end = pack.atom_offsets[rows], pack.atom_offsets[rows + 1]
  atoms = np.concatenate(
    [np.arange(b, e) for b, e in zip(begin, end, strict=True)]
  )
  parts = {
    f'{part}-{labels}-{seed}': positions
    for (labels, seed), split in splits.items()
    for part, positions in split.items()
  }
  with atomic_files.replacing(path) as part, part.open('wb') as file:
    np.savez(
      file,
      numbers=pack.numbers[atoms],
      positions=pack.positions[atoms],
      offsets=np.cumsum([0, *(end - begin)]),
      targets_NT=y_NT,
      columns=columns(),
      **parts,
    )


def columns() -> list[str]:
  """Returns the titles of the targets' columns."""
  targets = datasets.DATASETS['qm9'].targets
  return [f'{name} ({targets[name].report})' for name in TARGETS]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--data_dir', required=True)
  parser.add_argument('--manual_dir', default='')
  parser.add_argument('--work', type=pathlib.Path, required=True)
  parser.add_argument('--rows', type=pathlib.Path, default=ROWS)
  parser.add_argument('--labels', type=int, nargs='*', default=LABELS)
  parser.add_argument('--subsets', type=int, default=10)
  parser.add_argument('--test', type=int, default=1000, help='test molecules')
  parser.add_argument(
    '--methods', nargs='*', choices=METHODS, default=tuple(METHODS)
  )
  parser.add_argument(
    '--features', nargs='*', choices=FEATURES, default=tuple(FEATURES)
  )
  parser.add_argument(
    '--report', action='store_true', help='print what is there, fit nothing'
  )
  args = parser.parse_args()
  finished = regression_rows.Rows(
    args.rows, args.work / 'predictions', columns()
  )
  first = config_of(args, min(args.labels), 0)
  pack = loading.load_pack(first.data, dataset_variant(first))
  splits = {
    (labels, seed): splitting.make_split(
      pack, config_of(args, labels, seed).data
    )
    for seed in range(args.subsets)
    for labels in args.labels
  }
  test = splits[min(args.labels), 0].test
  factors = datasets.DATASETS['qm9'].targets
  y = np.column_stack([pack.columns[t] * factors[t].factor for t in TARGETS])
  if not args.report:
    _fit_all(args, pack, splits, y, finished)
  print(regression_tables.tables(finished, columns(), y[test]))


def _fit_all(args, pack, splits, y, finished) -> None:
  """Computes features, and fits what is not in the table yet."""
  jobs = [
    (name, method, labels, seed)
    for labels, seed in splits
    for method in args.methods
    for name in args.features
  ]
  jobs = [job for job in jobs if job not in finished]
  if not jobs:
    return
  shared = {
    (labels, seed): splitting.make_split(
      pack, config_of(args, labels, seed).data
    )
    for labels in LABELS
    for seed in range(10)
    if labels <= max(args.labels)
  }
  rows = _rows(splits, shared)
  order = np.argsort(rows)
  at = {
    key: {
      part: order[np.searchsorted(rows, rows_of_part, sorter=order)]
      for part, rows_of_part in _parts(split).items()
    }
    for key, split in (shared | splits).items()
    if np.isin(np.concatenate([*_parts(split).values()]), rows).all()
  }
  write_molecules(args.work / 'molecules.npz', pack, rows, y[rows], at)
  x = {
    'gfn2': np.column_stack(
      [pack.columns[f'xtb_{k}'][rows] for k in ('energy', 'gap', 'dipole')]
    )
  }
  cache = args.work / 'features'
  cache.mkdir(exist_ok=True)
  wanted = {part for name, *_ in jobs for part in FEATURES[name]}
  for origin, field, parts in (
    ('valence', about_valence, wanted - {'gfn2', 'moments_xtb_mass'}),
    ('mass', about_mass, wanted & {'moments_xtb_mass'}),
  ):
    if parts:
      config = config_of(args, min(args.labels), 0, origin)
      x |= features_of(pack, rows, selection_of(config), field, cache)
  composition = baselines.composition(pack)[rows]
  for job in tqdm(jobs, 'fits'):
    name, method, labels, seed = job
    split = at[labels, seed]
    features = np.hstack([composition, *(x[part] for part in FEATURES[name])])
    begun = time.perf_counter()
    predict = METHODS[method](
      features, y[rows], split['train'], split['validation']
    )
    prediction_NT = predict(features[split['test']])
    seconds = time.perf_counter() - begun
    finished.add(job, seconds, prediction_NT, y[rows][split['test']])


def _rows(splits, shared) -> np.ndarray:
  """Returns the rows that splits use, in an order that calls share.

  It is that in which all sizes and subsets of the protocol come to them, so
  that a call with more of both goes on where another has stopped.

  Args:
    splits: of this call.
    shared: of all, in that order.
  """
  rows, used = (
    np.concatenate([np.concatenate([*_parts(s).values()]) for s in each])
    for each in ([*shared.values(), *splits.values()], splits.values())
  )
  rows = rows[np.sort(np.unique(rows, return_index=True)[1])]
  last = np.flatnonzero(np.isin(rows, used)).max()
  # Whole blocks, which other calls can read.
  return rows[: -(-(last + 1) // _BLOCK) * _BLOCK]


def _parts(split) -> dict[str, np.ndarray]:
  return {part: getattr(split, part) for part in PARTS}


if __name__ == '__main__':
  main()
