"""Loads the pack of a configuration, and builds it where it is missing."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

from edjax import datasets
from edjax.config import ConfigError
from edjax.data import packed_dataset
from edjax.runtime import locks, paths


def load_pack(data, variant: str = '', beam: str = '') -> packed_dataset.Pack:
  """Opens the pack of a dataset; builds dataset and pack where missing.

  If several processes call it, one builds and packs, and the others wait.

  Args:
    data: `config.data`: name, data_dir, manual_dir, workers, download, the
      settings of the dataset and, where they are columns of the user's files,
      targets.
    variant: of the dataset, where it has several.
    beam: flags of Apache Beam, which then builds the dataset; '' for processes
      of this machine.

  Raises:
    ConfigError: the dataset cannot be built or opened: its source is damaged
      or has changed, xTB failed for every molecule, a pack is damaged, or a
      directory is in an object store.
    FileNotFoundError: source files are missing.
  """
  import data_builders  # imported only where it is needed

  with _naming(data):
    data_dir = _on_this_machine('data_dir', data.data_dir)
    builder = _build(data, data_dir, variant, beam)
    fingerprint = data_builders.fingerprint(builder)
    report = data_builders.report(builder)
    packs = data_dir / 'packs'
    packs.mkdir(exist_ok=True)
    directory = packs / packed_dataset.name_of(data.name, fingerprint)
    lock = packs / f'.{data.name}.lock'
    with locks.locked(lock, f'the pack of {data.name}') as held:
      if held:
        packed_dataset.remove_partial(packs, data.name)
      if not directory.is_dir():
        from tqdm import tqdm

        source = builder.as_data_source(split='all')
        records = tqdm(source, desc=f'packing {data.name}', unit=' molecules')
        records = _with_columns(records, report.get('columns', ()))
        dropped = report.get('uncharacterized')
        packed_dataset.write(directory, records, fingerprint, dropped)
    pack = packed_dataset.open_pack(directory)
  return dataclasses.replace(
    pack,
    xtb_seconds=report.get('xtb_seconds_per_molecule'),
    unread_densities=report.get('unread_densities', 0),
  )


def _with_columns(records, names) -> Iterator[dict]:
  """Gives records the columns of the user's files by their names."""
  for record in records:
    values = record.get('values', ())
    yield {**record, **dict(zip(names, values, strict=True))}


def build_in_store(data, variant: str, beam: str) -> int:
  """Builds a dataset by Apache Beam in the object store `data.data_dir`.

  Args:
    data, variant, beam: see `load_pack`.

  Returns:
    Number of records.

  Raises:
    ConfigError: see `load_pack`; or `beam` is '', or no manual_dir is named:
      downloads need a data_dir of this machine.
    FileNotFoundError: source files are missing.
  """
  import data_builders

  if not beam:  # raises
    _on_this_machine('data_dir', data.data_dir)
  if not data.manual_dir:
    raise ConfigError(
      f'config.data.data_dir={data.data_dir}: name the directory of the source '
      'files with config.data.manual_dir'
    )
  with _naming(data):
    builder = _build(data, data.data_dir, variant, beam)
    return data_builders.report(builder)['written']


def _build(data, data_dir: str | pathlib.Path, variant: str, beam: str):
  """Builds the dataset where it is missing, and returns its builder."""
  import data_builders

  manual_dir = data.manual_dir or paths.join(data_dir, 'manual')
  options = {'download': True} if data.download else {}
  dataset = datasets.DATASETS[data.name]
  if dataset.settings:
    options['settings'] = {name: data[name] for name in dataset.settings}
  if dataset.open_targets:
    options['targets'] = tuple(data.targets)
  return data_builders.build(
    data.name,
    data_dir,
    manual_dir=_on_this_machine('manual_dir', manual_dir),
    workers=data.workers or None,
    variant=variant,
    beam=beam,
    **options,
  )


@contextlib.contextmanager
def _naming(data) -> Iterator[None]:
  """Raises errors of the builders again, with the name of the dataset."""
  from data_builders import xtb

  try:
    yield
  except ConfigError:
    raise
  except (ValueError, xtb.XtbError) as error:
    raise ConfigError(f'dataset {data.name}: {error}') from error


def _on_this_machine(field: str, path: str | pathlib.Path) -> pathlib.Path:
  """Checks a directory of `config.data` and returns it.

  Raises:
    ConfigError: it is in an object store.
  """
  if paths.is_remote(path):
    raise ConfigError(
      f'config.data.{field}={path}: datasets are read from directories of this '
      'machine. Copy it here (gcloud storage cp -r, aws s3 cp --recursive) and '
      'name the copy'
    )
  return pathlib.Path(path).expanduser()
