"""Kernel ridge regressions on FCHL19 and SLATM, on the subsets of a benchmark.

  PYTHON_OF_THE_PEER -m benchmarks.peers.atom_kernels --work DIR \
    --representation slatm|fchl19 [--labels 125 500 2000 --subsets 10]

DIR is that of benchmarks/accuracy/what_xtb_adds.py, which has written
molecules.npz there; rows go where its rows are. SLATM (Huang and von Lilienfeld
2020, Nat. Chem. 12, 945) describes a molecule, and has a Gaussian kernel;
FCHL19 (Christensen et al. 2020, J. Chem. Phys. 152, 044107) describes atoms,
and has the sum of Gaussian kernels between atoms of one element, as it is or
normalised (1 for a molecule with itself; the sum suits extensive targets). For
each target the validation error chooses kernel, width and strength, and whether
the mean of the training targets or their linear fit to the composition is
subtracted first.
"""

import argparse
import pathlib
import time

import numpy as np
from qmllib import representations
from scipy import linalg, sparse

from benchmarks.accuracy.regression_rows import Rows

ROWS = (
  pathlib.Path(__file__).resolve().parents[2]
  / 'docs/results/what_xtb_adds/rows.csv'
)
# Of the penalty, in mean diagonal elements of the kernel.
STRENGTHS = tuple(10.0**k for k in (-9, -7, -6, -5, -4, -3, -2))
# Of Gaussian kernels between atoms, each half of the one before; the authors of
# FCHL19 recommend 21 for energies with many labels.
ATOM_WIDTHS = (20.0, 10.0, 5.0, 2.5)
# Molecules whose kernels between atoms are in memory at a time.
_BLOCK = 64
# In median distances of training molecules.
WIDTHS = (0.5, 1.0, 2.0, 4.0, 8.0)


class Slatm:
  """Gaussian kernels between global representations.

  Args:
    numbers: [A] of each molecule.
    positions: [A, 3] Å of each molecule.
  """

  def __init__(self, numbers: list, positions: list):
    types = representations.get_slatm_mbtypes(numbers)
    self._x_NF = np.array(
      [
        representations.generate_slatm(z, r, types)
        for z, r in zip(numbers, positions, strict=True)
      ],
      np.float32,
    )

  def kernels(self, train, others):
    """Yields kernels among training molecules and from others to them."""
    x_MF, y_NF = self._x_NF[train], self._x_NF[others]
    inner, outer = (
      _squared_distances(x_MF, x_MF),
      _squared_distances(y_NF, x_MF),
    )
    median = np.median(inner[np.triu_indices(len(inner), 1)])
    for width in WIDTHS:
      scale = -1 / (2 * width**2 * median)
      yield np.exp(scale * inner), np.exp(scale * outer)


class Fchl19:
  """Gaussian kernels between atoms; arguments as those of `Slatm`.

  `qmllib.kernels.get_local_kernels` has the same sums, forty times slower.
  """

  def __init__(self, numbers: list, positions: list):
    elements = sorted(set(np.concatenate(numbers).tolist()))
    self._atoms = [
      {element: x_AF[z == element] for element in elements}
      for z, x_AF in (
        (z, representations.generate_fchl19(z, r, elements=elements))
        for z, r in zip(numbers, positions, strict=True)
      )
    ]
    self._elements = elements

  def kernels(self, train, others):
    """Yields kernels among training molecules and from others to them."""
    inner_WMM = self._sums(train, train)
    outer_WNM = self._sums(others, train)
    norm_WN = np.sqrt(
      np.concatenate([self._sums([i], [i])[:, 0] for i in others], axis=1)
    )
    for inner_MM, outer_NM, norm_N in zip(
      inner_WMM, outer_WNM, norm_WN, strict=True
    ):
      yield inner_MM, outer_NM
      norm_M = np.sqrt(np.diagonal(inner_MM))
      yield (
        inner_MM / np.outer(norm_M, norm_M),
        outer_NM / np.outer(norm_N, norm_M),
      )

  def _sums(self, rows, columns) -> np.ndarray:
    """Returns sums over pairs of atoms of an element, [widths, N, M]."""
    sums_WNM = np.zeros((len(ATOM_WIDTHS), len(rows), len(columns)))
    for element in self._elements:
      x_PF, of_column_PM = self._stacked(columns, element)
      for begin in range(0, len(rows), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        y_QF, of_row_QN = self._stacked(rows[block], element)
        square_QP = _squared_distances(y_QF, x_PF)
        # The widest kernel; the others are its 4th, 16th and 64th power.
        value_QP = np.exp(-square_QP / (2 * ATOM_WIDTHS[0] ** 2))
        for w in range(len(ATOM_WIDTHS)):
          if w:
            value_QP = np.square(np.square(value_QP))
          sums_WNM[w, block] += of_row_QN.T @ (value_QP @ of_column_PM)
    return sums_WNM

  def _stacked(self, molecules, element: int):
    """Returns the atoms of an element, and which molecule each belongs to."""
    parts = [self._atoms[i][element] for i in molecules]
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    ones = np.ones(len(owner))
    of_molecule = sparse.csr_array(
      (ones, (np.arange(len(owner)), owner)), (len(owner), len(parts))
    )
    return np.concatenate(parts), of_molecule


REPRESENTATIONS = {'slatm': Slatm, 'fchl19': Fchl19}


def _squared_distances(a_NF, b_MF) -> np.ndarray:
  """Returns squared distances, [N, M], float64.

  Both are shifted by the mean of b first, which leaves less to cancel.
  """
  if not len(b_MF):
    return np.zeros((len(a_NF), 0))
  centre_F = b_MF.mean(0)
  a_NF, b_MF = a_NF - centre_F, b_MF - centre_F
  square_N, square_M = (
    np.einsum('nf,nf->n', x, x, dtype=np.float64) for x in (a_NF, b_MF)
  )
  inner_NM = (a_NF @ b_MF.T).astype(np.float64)
  return np.maximum(square_N[:, None] + square_M - 2 * inner_NM, 0)


def predict(representation, counts_NE, y_NT, train, validation, test):
  """Fits to training molecules and predicts the test molecules.

  Args:
    representation: of all molecules.
    counts_NE: atoms of each element.
    y_NT: targets.
    train, validation, test: positions.

  Returns:
    [test, T].
  """
  others = np.concatenate([validation, test])
  targets = y_NT.shape[1]
  ones_N1 = np.ones((len(y_NT), 1))
  bases = [
    linear @ np.linalg.lstsq(linear[train], y_NT[train])[0]
    for linear in (ones_N1, np.hstack([ones_N1, counts_NE]))
  ]
  base_NK = np.hstack(bases)
  left_MK = np.tile(y_NT[train], len(bases)) - base_NK[train]
  best = [(np.inf, None)] * targets
  for inner_MM, outer_NM in representation.kernels(train, others):
    size = np.diagonal(inner_MM).mean()
    for strength in STRENGTHS:
      damped_MM = inner_MM + np.diag(np.full(len(inner_MM), strength * size))
      try:
        factor = linalg.cho_factor(damped_MM, overwrite_a=True)
      except linalg.LinAlgError:  # too small a strength for rounding errors
        continue
      guess_NK = outer_NM @ linalg.cho_solve(factor, left_MK) + base_NK[others]
      for k in range(guess_NK.shape[1]):
        t, n = k % targets, len(validation)
        error = np.abs(guess_NK[:n, k] - y_NT[validation, t]).mean()
        if error < best[t][0]:
          best[t] = error, guess_NK[n:, k]
  return np.column_stack([guess_N for _, guess_N in best])


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--work', type=pathlib.Path, required=True)
  parser.add_argument('--rows', type=pathlib.Path, default=ROWS)
  parser.add_argument(
    '--representation', choices=REPRESENTATIONS, required=True
  )
  parser.add_argument('--labels', type=int, nargs='*', default=(125, 500, 2000))
  parser.add_argument('--subsets', type=int, default=10)
  args = parser.parse_args()
  with np.load(args.work / 'molecules.npz') as file:
    data = dict(file)
  columns = data['columns'].tolist()
  finished = Rows(args.rows, args.work / 'predictions', columns)
  jobs = [
    (args.representation, 'kernel', labels, seed)
    for seed in range(args.subsets)
    for labels in args.labels
  ]
  jobs = [job for job in jobs if job not in finished]
  if not jobs:
    return
  parts = [
    [
      data[f'{part}-{labels}-{seed}']
      for part in ('train', 'validation', 'test')
    ]
    for _, _, labels, seed in jobs
  ]
  used = np.unique(np.concatenate([np.concatenate(three) for three in parts]))
  begins, ends = data['offsets'][:-1][used], data['offsets'][1:][used]
  numbers, positions = (
    [
      data[name][begin:end].astype(dtype)
      for begin, end in zip(begins, ends, strict=True)
    ]
    for name, dtype in (('numbers', np.int32), ('positions', np.float64))
  )
  counts_NE = np.array([np.bincount(z, minlength=10) for z in numbers])
  y_NT = data['targets_NT'][used]
  begun = time.perf_counter()
  representation = REPRESENTATIONS[args.representation](numbers, positions)
  spent = time.perf_counter() - begun
  print(f'{len(used)} molecules in {spent:.0f} s', flush=True)
  for job, three in zip(jobs, parts, strict=True):
    three = [np.searchsorted(used, part) for part in three]
    begun = time.perf_counter()
    prediction_NT = predict(representation, counts_NE, y_NT, *three)
    seconds = time.perf_counter() - begun
    finished.add(job, seconds, prediction_NT, y_NT[three[2]])
    print(*job, f'{seconds:.0f} s', flush=True)


if __name__ == '__main__':
  main()
