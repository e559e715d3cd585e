"""Times a build of QM9's dataset against xTB itself.

  python -m benchmarks.speed.build ARCHIVE [--molecules 1000]

ARCHIVE is QM9's dsgdb9nsd.xyz.tar.bz2. Every n-th of its records goes into a
small archive, which is built into a TFDS dataset as `data_builders.build` does
(parsing, xTB in one process per core, checks, records). Before and after, the
same molecules go through tblite alone, in as many processes of one thread:
singlepoint and nothing else.
"""

import argparse
import contextlib
import io
import os
import pathlib
import tarfile
import tempfile
import time

from benchmarks import timing
from data_builders.qm9 import archive as archives
from data_builders.qm9 import qm9_dataset_builder
from data_builders.support import worker_pool

MOLECULES = 1000


def xtb_alone(numbers, coords) -> float:
  """Returns the seconds of one calculation; runs in a worker."""
  from tblite import interface

  from edjax.chem import units

  begin = time.perf_counter()
  calculator = interface.Calculator(
    'GFN2-xTB', numbers, coords / units.BOHR_A, 0.0, 0
  )
  calculator.set('verbosity', 0)
  calculator.singlepoint()
  return time.perf_counter() - begin


def xtb_checked(numbers, coords) -> float:
  """Returns the seconds of one calculation with edjax's checks."""
  from data_builders import xtb

  begin = time.perf_counter()
  xtb.run(numbers, coords)
  return time.perf_counter() - begin


def shortened(archive: pathlib.Path, target: pathlib.Path, molecules: int):
  """Writes every n-th record into an archive of its own."""
  with tarfile.open(archive, 'r:*') as source:
    files = [
      (member, source.extractfile(member).read())
      for member in source
      if member.name.endswith('.xyz')
    ]
  step = max(len(files) // molecules, 1)
  with tarfile.open(target, 'w:bz2') as short:
    for member, data in files[::step][:molecules]:
      short.addfile(member, io.BytesIO(data))


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('archive', type=pathlib.Path)
  parser.add_argument('--molecules', type=int, default=MOLECULES)
  args = parser.parse_args()
  cores = len(os.sched_getaffinity(0))
  table = timing.Table(
    'build',
    'Building the QM9 dataset',
    [
      timing.machine(packages=('tblite', 'numpy', 'tensorflow-datasets')),
      'ms of one core per molecule. "tblite": what its singlepoint alone '
      'takes in a process, with one process per core, the mean of a run before '
      'and one after the build. "build": elapsed time of the whole build, '
      'times cores, over molecules. "checked": tblite with the overlap '
      'computed again from the basis, compared, and orbitals brought into '
      'edjax\'s order. "reading": parsing the archive, which the build does '
      'first, on one core.',
    ],
    ['molecules', 'tblite', 'checked', 'build', 'reading', 'ratio'],
  )
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    archive = folder / qm9_dataset_builder.ARCHIVE
    shortened(args.archive, archive, args.molecules)
    records = archives.read(archive)
    molecules = [(r.numbers, r.coords) for r in records]

    def inside(name: str) -> float:
      """Sums the seconds inside a function above over the molecules."""
      total = 0.0
      for value in worker_pool.map_ordered(
        f'benchmarks.speed.build:{name}', molecules
      ):
        if isinstance(value, worker_pool.Failure):
          raise RuntimeError(f'tblite failed: {value}')
        total += value
      return total

    before = inside('xtb_alone')
    begin = time.perf_counter()
    builder = qm9_dataset_builder.Builder(
      manual_dir=str(folder),
      data_dir=str(folder / 'data'),
    )
    with contextlib.redirect_stdout(io.StringIO()):
      builder.download_and_prepare()
    built = time.perf_counter() - begin
    after = inside('xtb_alone')
    checked = inside('xtb_checked')
    begin = time.perf_counter()
    archives.read(archive)
    reading = time.perf_counter() - begin
  n = len(records)
  xtb = (before + after) / 2
  table.row(
    n,
    xtb / n * 1e3,
    checked / n * 1e3,
    built * cores / n * 1e3,
    reading / n * 1e3,
    built * cores / xtb,
  )


if __name__ == '__main__':
  main()
