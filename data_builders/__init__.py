"""Builders of the datasets that edjax trains on.

Each dataset has a TFDS builder, written as array_record and read with
`builder.as_data_source(split='all')`. TensorFlow is not needed. `build` locks,
checks and resumes; once this package is imported, TFDS finds the builders by
name as well (`tfds.builder('edjax_qm9')`).
"""

import contextlib
import hashlib
import importlib
import json
import pathlib
import shutil

from etils import epath

from data_builders.molecules import records
from data_builders.support import (
  result_cache,
  tfds_names,  # noqa: F401 (tells TFDS the names)
)
from edjax.datasets import DATASETS
from edjax.runtime import locks


def build(
  name, data_dir, manual_dir='', workers=None, variant='', beam='', **options
):
  """Opens a dataset, and builds it where it is missing.

  A dataset is written beside its place and moved there when it is complete:
  a build that was killed leaves nothing that could be opened. A dataset that is
  there is not built again, but its source files must still be the same. One of
  several processes builds, and the others wait for it.

  Args:
    name: of `edjax.datasets`.
    data_dir: directory of datasets, one directory each; with `beam` it may
      be the address of an object store.
    manual_dir: directory of files that were fetched by hand; '': none.
    workers: number of processes (default: as many as there are cores).
    variant: of the dataset, where it has several: the name of a TFDS
      configuration.
    beam: flags of Apache Beam, which then makes the dataset, separated by
      blanks; '' for processes of this machine.
    **options: of the builder.

  Returns:
    The builder; `as_data_source(split='all')` reads it, `report` tells how it
    was made.

  Raises:
    ValueError: an unknown name, a record that cannot be read, the dataset
      that is there is not complete, of another version or built from other
      files than manual_dir holds, or Apache Beam is not installed.
    FileNotFoundError: source files are missing; the message says what to put
      where.
  """
  builder_class = _module(name).Builder
  data_dir = epath.Path(data_dir).expanduser()
  data_dir.mkdir(parents=True, exist_ok=True)
  lock = data_dir / f'.{builder_class.name}.lock'
  with locks.locked(lock, f'dataset {name}') as held:
    # A builder looks for the dataset once, when it is made.
    if variant:
      options['config'] = variant
    builder = builder_class(
      data_dir=data_dir,
      manual_dir=manual_dir,
      workers=workers,
      on_beam=bool(beam),
      **options,
    )
    if builder.data_path.exists():
      _check_complete(builder)
      _check_sources(builder)
    else:
      _check_version(builder)
      if held:
        # What TFDS wrote into when a build was killed.
        for path in pathlib.Path(data_dir, builder.name).rglob('incomplete.*'):
          shutil.rmtree(path, ignore_errors=True)
      path = data_dir / f'.{builder.name}-{variant or "all"}.results'
      _prepare(builder, result_cache.until_done(path), beam)
      print(builder.summary(report(builder)), flush=True)
  return builder


def _prepare(builder, results, beam: str) -> None:
  """Builds a dataset; xTB results outlive a build that is killed."""
  with contextlib.ExitStack() as stack:
    options = {}
    if beam:
      engine = _beam()
      options['download_config'] = engine.download_config(beam)
      stack.enter_context(engine.importable_by_workers())
    earlier = stack.enter_context(results)
    if earlier:
      print(f'{earlier} results of an earlier build are used', flush=True)
    if beam:
      stack.enter_context(engine.naming_errors())
    builder.download_and_prepare(**options)


def _beam():
  try:
    from data_builders.molecules import on_beam
  except ModuleNotFoundError as error:
    raise ValueError(
      f'a build on Apache Beam needs it ({error}): pip install '
      "'.[beam]' in the repository"
    ) from error
  return on_beam


def report(builder) -> dict:
  """Reads the report of a dataset: what was written, what left out and why."""
  path = epath.Path(builder.data_dir) / records.REPORT
  return json.loads(path.read_text(encoding='utf-8'))


def fingerprint(builder) -> str:
  """Returns the SHA-256 of a dataset's name, version and contents.

  In hexadecimal. The contents were hashed, record by record, when they were
  made (`records.example_hash`).
  """
  facts = (builder.name, str(builder.version), report(builder)['sha256'])
  return hashlib.sha256('\n'.join(facts).encode()).hexdigest()


def _module(name):
  if name not in DATASETS:
    raise ValueError(
      f'unknown dataset {name!r} (known: {", ".join(sorted(DATASETS))})'
    )
  return importlib.import_module(DATASETS[name].builder)


def _check_version(builder) -> None:
  """Refuses a place that has the dataset of another version alone."""
  others = builder.data_path.parent.glob('[0-9]*.[0-9]*.[0-9]*')
  if found := sorted(map(str, others)):
    raise ValueError(
      f'{", ".join(found)} is not of version {builder.version}, which this '
      'edjax reads: records hold other things. Delete that directory to build '
      'the dataset again, or name another data_dir'
    )


def _check_complete(builder) -> None:
  files = [
    path for split in builder.info.splits.values() for path in split.filepaths
  ]
  missing = [
    str(path)
    for path in (builder.data_path / records.REPORT, *files)
    if not epath.Path(path).exists()
  ]
  if missing or not files:
    raise ValueError(
      f'{builder.data_path} is not complete ({len(missing)} files missing): a '
      'build or a copy is going on or was broken off. Wait, or delete it'
    )


def _check_sources(builder) -> None:
  changes = builder.changes(report(builder))
  if changes:
    raise ValueError(
      f'{builder.data_dir} was built from other files or settings: '
      f'{"; ".join(changes)}. '
      'Delete that directory to build the dataset again, or name another '
      'data_dir or manual_dir'
    )
