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
from qmllib import kernels, representations
from scipy import linalg

from benchmarks.accuracy.regression_rows import Rows

ROWS = (
  pathlib.Path(__file__).resolve().parents[2]
  / 'docs/results/what_xtb_adds/rows.csv'
)
# Of the penalty, in mean diagonal elements of the kernel.
STRENGTHS = tuple(10.0**k for k in (-9, -7, -6, -5, -4, -3, -2))
# Of Gaussian kernels between atoms; the authors of FCHL19 recommend 21 for
# energies with many labels.
ATOM_WIDTHS = (2.0, 5.0, 10.0, 21.0)
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
  """Gaussian kernels between atoms; arguments as those of `Slatm`."""

  def __init__(self, numbers: list, positions: list):
    elements = sorted(set(np.concatenate(numbers).tolist()))
    self._numbers, most = numbers, max(map(len, numbers))
    self._x_NAF = np.array(
      [
        representations.generate_fchl19(z, r, elements=elements, pad=most)
        for z, r in zip(numbers, positions, strict=True)
      ]
    )

  def kernels(self, train, others):
    """Yields kernels among training molecules and from others to them."""
    x, y = self._x_NAF[train], self._x_NAF[others]
    z_x, z_y = ([self._numbers[i] for i in part] for part in (train, others))
    widths = list(ATOM_WIDTHS)
    inner_WMM = kernels.get_local_symmetric_kernels(x, z_x, widths)
    # Transposed against its documentation: the second molecules are rows.
    outer_WNM = kernels.get_local_kernels(x, y, z_x, z_y, widths)
    norms_WN = np.sqrt([self._with_itself(i) for i in others]).T
    for inner_MM, outer_NM, norm_N in zip(
      inner_WMM, outer_WNM, norms_WN, strict=True
    ):
      yield inner_MM, outer_NM
      norm_M = np.sqrt(np.diagonal(inner_MM))
      yield (
        inner_MM / np.outer(norm_M, norm_M),
        outer_NM / np.outer(norm_N, norm_M),
      )

  def _with_itself(self, i: int) -> np.ndarray:
    """Returns the kernels of a molecule with itself, one each width."""
    z = np.asarray(self._numbers[i])
    x_AF = self._x_NAF[i, : len(z)]
    square_AA = np.square(x_AF[:, None] - x_AF).sum(-1)[z[:, None] == z]
    return np.array(
      [np.exp(-square_AA / (2 * w**2)).sum() for w in ATOM_WIDTHS]
    )


REPRESENTATIONS = {'slatm': Slatm, 'fchl19': Fchl19}


def _squared_distances(a_NF, b_MF) -> np.ndarray:
  """Returns squared distances, [N, M]: in float64, exact where they are small.

  Both are shifted by the mean of b first, which leaves less to cancel.
  """
  centre_F = b_MF.mean(0, dtype=np.float64).astype(np.float32)
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
