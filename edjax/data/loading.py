"""The dataset of a configuration, built where it is not there yet."""

import dataclasses
import json
import pathlib

from edjax.config import ConfigError
from edjax.data import packed_dataset, remote_datasets
from edjax.runtime import paths


def load_pack(data, variant: str = '', beam: str = '') -> packed_dataset.Pack:
  """Opens the pack of a dataset; builds dataset and pack where missing.

  Of several processes one builds and packs, and the others wait for it.

  Args:
    data: `config.data`: name, data_dir, manual_dir, workers, download.
    variant: of the dataset, where it has several.
    beam: flags of Apache Beam, which then builds what is missing; ''
      processes of this machine.

  Returns:
    The pack.

  Raises:
    ConfigError: the dataset cannot be built or opened: its source is damaged
      or has changed, xTB failed for every molecule, or a pack is damaged.
    FileNotFoundError: source files are missing.
  """
  from data_builders import xtb  # builders only where they are needed

  try:
    return _load_pack(data, variant, beam)
  except (ValueError, xtb.XtbError) as error:
    raise ConfigError(f'dataset {data.name}: {error}') from error


def _load_pack(data, variant: str, beam: str) -> packed_dataset.Pack:
  import data_builders
  from edjax.runtime import locks

  data_dir, builder = _build(data, variant, beam)
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
      dropped = report.get('uncharacterized')
      packed_dataset.write(directory, records, fingerprint, dropped)
  return dataclasses.replace(
    packed_dataset.open_pack(directory),
    xtb_seconds=report.get('xtb_seconds_per_molecule'),
  )


def _build(data, variant: str, beam: str):
  """Where datasets are on this machine, and the builder of this one.

  Of an object store the dataset is copied here, after it was made here and
  copied there, or made there by Apache Beam.
  """
  import data_builders
  from data_builders.molecules import records

  def build(data_dir, **options):
    if data.download:
      options['download'] = True
    return data_builders.build(
      data.name,
      data_dir,
      workers=data.workers or None,
      variant=variant,
      **options,
    )

  place = data_builders.place(data.name, variant)
  if not paths.is_remote(data.data_dir):
    local = pathlib.Path(data.data_dir).expanduser()
    manual_dir = _manual_dir(data, (local / place).exists())
    return local, build(local, manual_dir=manual_dir, beam=beam)
  local = remote_datasets.copy_of(data.data_dir)
  there = paths.join(data.data_dir, place)
  if remote_datasets.is_complete(there):
    remote_datasets.fetch(there, local / place)
    report = json.loads(remote_datasets.read(there, records.REPORT))
  else:
    if beam and not (local / place).exists():
      remote_datasets.check_empty(there)
      build(data.data_dir, manual_dir=_manual_dir(data), beam=beam)
      remote_datasets.seal(there)
      return _build(data, variant, '')
    if not (local / place).exists():
      build(local, manual_dir=_manual_dir(data))
    remote_datasets.send(local / place, there)
    report = None
  builder = build(local)
  if report and report['sha256'] != data_builders.report(builder)['sha256']:
    raise ValueError(
      f'{there} holds another dataset than its copy in {local / place}; delete '
      'the one that is out of date'
    )
  return local, builder


def _manual_dir(data, built: bool = False) -> str | pathlib.Path:
  """On this machine; copied from a store where a dataset is to be built."""
  address = data.manual_dir or paths.join(data.data_dir, 'manual')
  if not paths.is_remote(address):
    return pathlib.Path(address).expanduser()
  return '' if built else remote_datasets.source_files(address)
