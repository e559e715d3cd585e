"""Regressions on simple descriptors: composition, results of GFN2-xTB, size."""

import itertools

import numpy as np

from edjax.baselines import kernel_ridge, ridge_regression
from edjax.baselines.moments_alone import MAX_MOLECULES
from edjax.chem import elements
from edjax.data import packed_dataset

# The baseline that sees the input of the run.
MOMENTS = 'moments'
# Labels in tables.
LABELS = {
  'mean': 'mean',
  'median': 'median',
  'ridge_composition': 'ridge, composition',
  'ridge_gfn2': 'ridge, composition + GFN2',
  'kernel_gfn2': 'kernel ridge, composition + GFN2',
  'ridge_size': 'ridge, log ligand size',
  'ridge_ligand': 'ridge, ligand descriptors',
  MOMENTS: 'moments of the input',
}
# Baseline whose difference a network learns, by `config.data.delta`.
_DELTAS = {
  'composition': 'ridge_composition',
  'gfn2': 'ridge_gfn2',
  'gfn2_kernel': 'kernel_gfn2',
}
# Parts of the training set, each of which is predicted without itself.
_FOLDS = 5
# HOMO-2 to LUMO+2 of a pack's xtb_levels. More of them change little.
_LEVELS = slice(3, 9)
# Columns of complexes that describe the ligand alone begin with this.
_LIGAND = 'ligand_'
_SIZE = 'ligand_heavy_atoms'


def composition(
  source: packed_dataset.Pack, of_ligands: bool = False
) -> np.ndarray:
  """Counts the atoms of each element that occurs in the pack, [N, E].

  Args:
    source: the pack.
    of_ligands: counts heavy atoms of ligands alone, since it depends on the
      variant of the dataset whether complexes have hydrogens.
  """
  counts = source.atom_counts
  molecule_of = np.repeat(np.arange(len(source)), counts)
  keep = np.ones(len(molecule_of), bool)
  if of_ligands:
    local = np.arange(len(keep)) - source.atom_offsets[:-1][molecule_of]
    is_ligand = local < source.ligand_counts[molecule_of]
    keep = is_ligand & (source.numbers > 1)
  counts_NE = np.zeros((len(source), elements.MAX_NUMBER + 1))
  np.add.at(counts_NE, (molecule_of[keep], source.numbers[keep]), 1)
  return counts_NE[:, counts_NE.any(0)]


def reference(source: packed_dataset.Pack, delta: str) -> str:
  """Returns the baseline of the differences paired by molecule.

  Args:
    source: the pack.
    delta: `config.data.delta`; where a network learns what a baseline leaves,
      it is that one.
  """
  if delta:
    return _DELTAS[delta]
  return 'ridge_ligand' if _SIZE in source.columns else 'ridge_composition'


def fit(source: packed_dataset.Pack, columns_NT, train, validation) -> dict:
  """Returns the predictions of all baselines for all rows.

  Ridge strengths, and widths of kernels, are chosen on validation.

  Args:
    source: the pack.
    columns_NT: targets, native units.
    train: rows.
    validation: rows.

  Returns:
    name -> [N, T]: mean and median of the training targets; for molecules,
    ridge regressions on the composition, and on composition and GFN2 energy,
    dipole and orbital energies of HOMO-2 to LUMO+2 (where the pack has them),
    the latter with a Gaussian kernel too (fitted to `MAX_MOLECULES` at most);
    for complexes, ridge regressions on the ligand's composition, on the
    logarithm of its number of heavy atoms, and on simple descriptors of it
    (missing ones take the training mean).
  """
  y = columns_NT[train]
  ones = np.ones((len(source), 1))
  predictions = {'mean': ones * y.mean(0), 'median': ones * np.median(y, 0)}
  for name, x in _features(source, train).items():
    ridge = ridge_regression.ridge_fit(
      x[train], y, x_val=x[validation], y_val=columns_NT[validation]
    )
    predictions[name] = ridge.predict(x)
    if name == 'ridge_gfn2':
      predict = _kernel_fit(x, columns_NT, train, validation)
      predictions['kernel_gfn2'] = predict(x)
  return predictions


def delta_offset(
  delta: str, fitted: dict, source: packed_dataset.Pack, columns_NT, train,
  validation,
) -> np.ndarray:  # fmt: skip
  """Returns what a network adds its differences to.

  A kernel regression is much closer to its training molecules than to others:
  a network would learn from differences that are too small. So each fifth of
  them gets the prediction of a fit without it.

  Args:
    delta: `config.data.delta`, not ''.
    fitted: from `fit`, with the same pack, targets and rows.
    source: the pack.
    columns_NT: targets, native units.
    train: rows.
    validation: rows.

  Returns:
    [N, T], native units.
  """
  offset_NT = fitted[_DELTAS[delta]]
  if delta != 'gfn2_kernel':
    return offset_NT
  offset_NT = offset_NT.copy()
  x = _features(source, train)['ridge_gfn2']
  shuffled = np.random.default_rng(0).permutation(train)
  for held in np.array_split(shuffled, _FOLDS):
    rest = np.setdiff1d(train, held)
    predict = _kernel_fit(x, columns_NT, rest, validation)
    offset_NT[held] = predict(x[held])
  return offset_NT


def _kernel_fit(x, columns_NT, train, validation):
  draw = np.random.default_rng(0)
  train, validation = (
    draw.permutation(rows)[:MAX_MOLECULES] for rows in (train, validation)
  )
  return kernel_ridge.fit(
    x[train],
    columns_NT[train],
    x_val=x[validation],
    y_val=columns_NT[validation],
  )


def _features(source: packed_dataset.Pack, train) -> dict[str, np.ndarray]:
  """Returns the features of each ridge regression, name -> [N, F]."""
  columns = source.columns
  if _SIZE in columns:
    size = np.log(columns[_SIZE])[:, None]
    names = sorted(name for name in columns if name.startswith(_LIGAND))
    described = np.column_stack([columns[name] for name in names])
    known = np.isfinite(described)
    count_F = np.maximum(known[train].sum(0), 1)
    mean_F = np.where(known, described, 0)[train].sum(0) / count_F
    described = np.where(known, described, mean_F)
    return {
      'ridge_composition': composition(source, of_ligands=True),
      'ridge_size': size,
      'ridge_ligand': np.hstack([size, described]),
    }
  features = {'ridge_composition': composition(source)}
  if {'xtb_energy', 'xtb_dipole', 'xtb_levels'} <= columns.keys():
    features['ridge_gfn2'] = np.column_stack(
      [
        features['ridge_composition'],
        columns['xtb_energy'],
        columns['xtb_dipole'],
        _filled(columns['xtb_levels'][:, _LEVELS]),
      ]
    )
  return features


def _filled(levels_NE) -> np.ndarray:
  """Gives orbitals that a small molecule lacks the energy of the next one."""
  filled_NE = levels_NE.copy()
  middle = filled_NE.shape[1] // 2
  for side_NE in (filled_NE[:, middle - 1 :: -1], filled_NE[:, middle:]):
    for inner, outer in itertools.pairwise(range(side_NE.shape[1])):
      lacking_N = np.isnan(side_NE[:, outer])
      side_NE[lacking_N, outer] = side_NE[lacking_N, inner]
  return filled_NE
