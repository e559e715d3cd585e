"""What the molecular datasets have in common: features, xTB, the report."""

import hashlib
import json
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from data_builders import workers as workers_lib
from data_builders import xtb

REPORT = 'report.json'


class Record(NamedTuple):
  """One molecule of a source, before xTB.

  Attributes:
    example_id: unique in the dataset.
    index: number in the source.
    numbers: [A] atomic numbers, int32.
    positions: [A, 3] Å, float64.
    smiles: as the source has it.
    targets: name -> value, native units (targets.TARGETS).
  """

  example_id: str
  index: int
  numbers: np.ndarray
  positions: np.ndarray
  smiles: str
  targets: dict[str, float]


def features(targets: Sequence[str]):
  """TFDS features of a dataset with these targets.

  Doubles are kept as bytes: TFDS would round them to float32 otherwise.
  Orbitals are `orbitals.reshape(n_orbitals, A, orbital_width)`.
  """
  import tensorflow_datasets as tfds

  def tensor(shape, dtype, **kwargs):
    return tfds.features.Tensor(shape=shape, dtype=dtype, **kwargs)

  def double(shape=()):
    return tensor(shape, np.float64, encoding='bytes')

  return tfds.features.FeaturesDict(
    {
      'example_id': tfds.features.Text(),
      'index': tensor((), np.int64),
      'smiles': tfds.features.Text(),
      'numbers': tensor((None,), np.int32),
      'positions': double((None, 3)),
      'orbitals': tensor((None,), np.float32, encoding='bytes'),
      'n_orbitals': tensor((), np.int32),
      'orbital_width': tensor((), np.int32),
      'xtb_energy': double(),
      'xtb_dipole': double((3,)),
      'xtb_gap': double(),
      **{name: double() for name in targets},
    }
  )


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
    directory: where the report goes.
    facts: what else the report shall say.
    workers: xTB processes (default: as many as there are cores).
    variant: of the geometry, see `geometries`.

  Yields:
    (index, example) of every molecule that xTB could do.

  Raises:
    ValueError: an example id occurs twice, or there is no such variant.
    XtbError: not one molecule could be done.
  """
  ids = {record.example_id for record in records}
  if len(ids) != len(records):
    raise ValueError(f'{len(records)} records, but {len(ids)} different ids')
  start = time.monotonic()
  digest = hashlib.sha256()
  failures = []
  xtb_seconds = 0.0
  results = _calculate(records, workers, variant)
  for record, result in zip(records, results, strict=True):
    if isinstance(result, workers_lib.Failure):
      failures.append({'id': record.example_id, 'reason': result.reason})
      continue
    positions_A3, result = result
    record = record._replace(positions=positions_A3)
    xtb_seconds += result.seconds
    example = _example(record, result)
    update_digest(digest, example)
    yield record.index, example
  if len(failures) == len(records):
    raise xtb.XtbError(
      f'xTB failed for all {len(records)} molecules; the first: {failures[:1]}'
    )
  report = {
    **facts,
    'geometry': variant or 'published',
    'method': f'{xtb.METHOD}, tblite {xtb.version()}',
    'read': len(records),
    'written': len(records) - len(failures),
    'failed': len(failures),
    'failures': failures,
    'seconds': round(time.monotonic() - start, 1),
    # Of one core, of those that were written.
    'xtb_seconds_per_molecule': xtb_seconds / (len(records) - len(failures)),
    'sha256': digest.hexdigest(),
  }
  path = pathlib.Path(directory) / REPORT
  path.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
  print(
    f'{facts["dataset"]}: wrote {report["written"]} of {len(records)} '
    f'molecules, {len(failures)} failed (listed in {REPORT} beside them)'
  )


def _calculate(records, workers, variant: str):
  """Coordinates and `XtbResult` of each record in turn, or a `Failure`."""
  from data_builders import geometries  # which is about records

  noise = geometries.noise_of(variant)
  if noise:
    records = [geometries.noisy(record, noise) for record in records]
  items = [(r.numbers, r.positions) for r in records]
  if variant == geometries.RELAXED:
    yield from workers_lib.map_ordered(
      'data_builders.geometries:relax_and_run',
      items,
      workers,
      progress='GFN2-xTB relaxation',
    )
    return
  results = xtb.run_many(items, workers, progress='GFN2-xTB')
  for (_, positions_A3), result in zip(items, results, strict=True):
    failed = isinstance(result, workers_lib.Failure)
    yield result if failed else (positions_A3, result)


def _example(record: Record, result: xtb.XtbResult) -> dict[str, Any]:
  n_orbitals, _, width = result.orbitals.shape
  return {
    'example_id': record.example_id,
    'index': record.index,
    'smiles': record.smiles,
    'numbers': record.numbers,
    'positions': record.positions,
    'orbitals': result.orbitals.ravel(),
    'n_orbitals': n_orbitals,
    'orbital_width': width,
    'xtb_energy': result.energy,
    'xtb_dipole': result.dipole,
    'xtb_gap': result.gap,
    **record.targets,
  }


def update_digest(digest, example: dict[str, Any]) -> None:
  """Adds an example to a hash: names, types, shapes and values."""
  for name, value in sorted(example.items()):
    if isinstance(value, str):
      value = np.frombuffer(value.encode(), np.uint8)
    value = np.asarray(value)
    digest.update(f'{name}{value.dtype.str}{value.shape}'.encode())
    digest.update(value.tobytes())
