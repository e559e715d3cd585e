"""Features, xTB calculations and report of the datasets of molecules."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from data_builders import xtb
from data_builders.molecules import geometries
from data_builders.molecules.types import Record
from data_builders.support import worker_pool as workers_lib

REPORT = 'report.json'
# Orbital energies on either side of the gap that a record holds.
LEVELS = 6


def double(shape=()):
  """Returns a TFDS feature of doubles, stored as bytes.

  TFDS would round them to float32 otherwise.
  """
  import tensorflow_datasets as tfds

  return tfds.features.Tensor(shape=shape, dtype=np.float64, encoding='bytes')


def whole(shape=()):
  """Returns a TFDS feature of whole numbers."""
  import tensorflow_datasets as tfds

  return tfds.features.Tensor(shape=shape, dtype=np.int32)


def floats():
  """Returns a TFDS feature of any number of floats, stored as bytes."""
  import tensorflow_datasets as tfds

  return tfds.features.Tensor(shape=(None,), dtype=np.float32, encoding='bytes')


def features(columns: Sequence[str], **others):
  """Returns the TFDS features of a dataset.

  Orbitals are `orbitals.reshape(n_orbitals, A, orbital_width)`, A the number of
  atoms, or of those of the ligand.

  Args:
    columns: names of float64 numbers.
    **others: further features by name.
  """
  import tensorflow_datasets as tfds

  return tfds.features.FeaturesDict(
    {
      'example_id': tfds.features.Text(),
      'index': tfds.features.Tensor(shape=(), dtype=np.int64),
      'numbers': whole((None,)),
      'positions': double((None, 3)),
      'orbitals': floats(),
      'n_orbitals': whole(),
      'orbital_width': whole(),
      **{name: double() for name in columns},
      **others,
    }
  )


class Calculated(NamedTuple):
  """A molecule after xTB.

  Attributes:
    example: the record for TFDS.
    xtb_seconds: of one core.
    notes: what was done to the molecule; '' for nothing.
  """

  example: dict[str, Any]
  xtb_seconds: float
  notes: str = ''


# The function that worker processes run on each record.
FUNCTION = 'data_builders.molecules.records:calculate'


def calculate(record: Record, variant: str = '') -> Calculated:
  """Runs xTB on one molecule.

  Args:
    record: of the source.
    variant: of the geometry, see `geometries`.

  Raises:
    ValueError: see `xtb.run`.
    XtbError: see `xtb.run` and `geometries.relax`.
  """
  record, result = geometries.calculate(record, variant)
  return Calculated(example(record, result), result.seconds)


def examples(
  records: Sequence[Record],
  directory: str,
  facts: dict[str, Any],
  workers: int | None = None,
  variant: str = '',
) -> Iterator[tuple[int, dict[str, Any]]]:
  """Runs xTB on all records, in order; writes the report at the end.

  Args:
    records: the molecules.
    directory: of the report.
    facts: further entries of the report.
    workers: xTB processes (default: as many as there are cores).
    variant: of the geometry, see `geometries`.

  Yields:
    (index, example) of every molecule that xTB could do.

  Raises:
    ValueError: an example id occurs twice, or there is no such variant.
    XtbError: not one molecule could be done.
  """
  check_ids(records)
  start = time.time()
  tally = Tally()
  outcomes = workers_lib.map_ordered(
    FUNCTION,
    [(record, variant) for record in records],
    workers,
    progress='GFN2-xTB',
  )
  for record, outcome in zip(records, outcomes, strict=True):
    tally.add(record, outcome)
    if not isinstance(outcome, workers_lib.Failure):
      yield record.index, outcome.example
  write_report(tally, facts, directory, variant, start)


def check_ids(records: Sequence[Record]) -> None:
  """Raises ValueError where two records have one id."""
  ids = {record.example_id for record in records}
  if len(ids) != len(records):
    raise ValueError(f'{len(records)} records, but {len(ids)} different ids')


@dataclasses.dataclass
class Tally:
  """Counts of a dataset's molecules; those of its parts can be merged.

  Attributes:
    written: number of molecules in the dataset.
    failures: (index, id, reason) of the others.
    xtb_seconds: on one core, of the written molecules.
    content: sum of `example_hash`.
  """

  written: int = 0
  failures: list[tuple[int, str, str]] = dataclasses.field(default_factory=list)
  xtb_seconds: float = 0.0
  content: int = 0

  def add(self, record: Record, outcome) -> None:
    """Counts a `Calculated`, or a `worker_pool.Failure` in place of it."""
    if isinstance(outcome, workers_lib.Failure):
      failure = record.index, record.example_id, outcome.reason
      self.failures.append(failure)
      return
    self.written += 1
    self.xtb_seconds += outcome.xtb_seconds
    self.content += example_hash(outcome.example)

  def merge(self, other: 'Tally') -> None:
    """Adds the counts of another part."""
    self.written += other.written
    self.failures += other.failures
    self.xtb_seconds += other.xtb_seconds
    self.content += other.content


def write_report(
  tally: Tally,
  facts: dict[str, Any],
  directory: str,
  variant: str,
  start: float,
) -> None:
  """Writes the report of a complete dataset.

  Args:
    tally: of all its molecules.
    facts: further entries of the report.
    directory: of the report.
    variant: of the geometry.
    start: of the build, `time.time()`.

  Raises:
    XtbError: not one molecule could be done.
  """
  failures = [
    {'id': example_id, 'reason': reason}
    for _, example_id, reason in sorted(tally.failures)
  ]
  read = tally.written + len(failures)
  if not tally.written:
    raise xtb.XtbError(
      f'xTB failed for all {read} molecules; the first: {failures[:1]}'
    )
  report = {
    **facts,
    'geometry': variant or 'published',
    'method': f'{xtb.METHOD}, tblite {xtb.version()}',
    'read': read,
    'written': tally.written,
    'failed': len(failures),
    'failures': failures,
    # On one core, over the molecules that were written.
    'xtb_seconds_per_molecule': tally.xtb_seconds / tally.written,
  }
  save_report(directory, report, tally.content, start)


def save_report(
  directory, report: dict[str, Any], content: int, start: float
) -> None:
  """Writes a report, with the hash of the records and the build's seconds.

  Args:
    directory: of the dataset.
    report: its other entries.
    content: sum of `example_hash` of the records.
    start: of the build, `time.time()`.
  """
  report = report | {
    'seconds': round(time.time() - start, 1),
    'sha256': f'{content % 2**256:064x}',
  }
  path = epath.Path(directory) / REPORT
  path.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')


def summary(report: dict[str, Any]) -> str:
  """Returns a report as one line for the user."""
  return (
    f'{report["dataset"]}: wrote {report["written"]} of {report["read"]} '
    f'molecules, {report["failed"]} failed (listed in {REPORT} beside them)'
  )


def levels(energies_K, n_filled: int) -> np.ndarray:
  """Returns the energies of HOMO-5 to LUMO+5, ascending.

  Args:
    energies_K: of all orbitals, ascending.
    n_filled: number of orbitals up to the HOMO.

  Returns:
    [12]; NaN where the basis has no such orbital.
  """
  padded = np.pad(energies_K, LEVELS, constant_values=np.nan)
  return padded[n_filled : n_filled + 2 * LEVELS]


def example(record: Record, result: xtb.XtbResult) -> dict[str, Any]:
  """Returns the record for TFDS of a molecule and its xTB result."""
  n_orbitals, _, width = result.orbitals.shape
  return {
    'example_id': record.example_id,
    'index': record.index,
    'smiles': record.smiles,
    'numbers': record.numbers,
    'positions': record.coords,
    'orbitals': result.orbitals.ravel(),
    'n_orbitals': n_orbitals,
    'orbital_width': width,
    'frontier': np.concatenate([result.homo, result.lumo]).ravel(),
    'n_homo': len(result.homo),
    'n_lumo': len(result.lumo),
    'xtb_energy': result.energy,
    'xtb_dipole': result.dipole,
    'xtb_gap': result.gap,
    'xtb_levels': levels(result.orbital_energies, result.n_filled),
    **record.targets,
  }


def example_hash(example: dict[str, Any]) -> int:
  """Returns SHA-256 over names, types, shapes and values of an example.

  The sum of these hashes modulo 2^256 is the hash of a set of examples in any
  order (AdHash of M. Bellare, D. Micciancio, EUROCRYPT 1997): it detects
  accidental differences, not attacks. Each example holds its index.
  """
  digest = hashlib.sha256()
  for name, value in sorted(example.items()):
    if isinstance(value, str):
      value = np.frombuffer(value.encode(), np.uint8)
    value = np.asarray(value)
    digest.update(f'{name}{value.dtype.str}{value.shape}'.encode())
    digest.update(value.tobytes())
  return int.from_bytes(digest.digest(), 'big')
