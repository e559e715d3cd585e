"""Exports the molecules of files to a folder, with a report in it."""

import collections
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from edjax.config import ConfigError, flatten
from edjax.config.representation import dataset_variant, make_voxelizer
from edjax.export import formats, molecules
from edjax.export.volume import MARGIN, SPACING, check_names, volumes
from edjax.predict import inputs, kept, rows
from edjax.predict.table import Table

# Table of the molecules, in the folder.
REPORT = 'export.csv'
_HEADER = ('id', 'files', 'notes', 'error')
# Molecules that are padded to one shape.
CHUNK = 32


class Settings(NamedTuple):
  """What is exported.

  Attributes:
    fields: see `volume.volumes`; (): the channels of the configuration.
    formats: names of `formats.FORMATS`.
    spacing: between points, Å.
    margin: around the atoms, Å.
  """

  fields: tuple[str, ...] = ()
  formats: tuple[str, ...] = ('ccp4',)
  spacing: float = SPACING
  margin: float = MARGIN


def export_files(
  config,
  workdirs: Sequence[str],
  source: str,
  output: str,
  settings: Settings,
) -> int:
  """Writes fields of the molecules of a file.

  Args:
    config: whose representation, columns and geometry are used; None for that
      of a run.
    workdirs: of the run, where there is no config.
    source: see `predict.inputs.read`.
    output: folder; one that the same command has begun is continued.
    settings: what is exported.

  Returns:
    Number of molecules whose files are there.

  Raises:
    ConfigError: a setting is wrong, or the source or the output cannot be used.
    preemption.PreemptedError: SIGTERM or Ctrl-C; what is done is written.
    OSError: something cannot be read or written.
  """
  config = kept.read(workdirs[0]).config if config is None else config
  needs, voxelizer = _checked(config, settings)
  given = inputs.read([molecules.with_needs(config, needs)], source)
  folder, names = open_folder(output), stems(given.ids)

  def rows_of(first: int, pairs):
    return _rows(pairs, names[first:], folder, config, needs, voxelizer,
                 settings)  # fmt: skip

  made_of = _made_of(config, needs, given, settings)
  with Table(folder / REPORT, _HEADER, made_of) as table:
    rows.fill(table, given, 'export', CHUNK, rows_of)
    return _summary(table, folder, given.noun)


def open_folder(output: str) -> pathlib.Path:
  """Returns the folder of --output, which is made where there is none.

  Raises:
    ConfigError: it is a file.
    OSError: it cannot be made.
  """
  folder = pathlib.Path(output).expanduser()
  if folder.exists() and not folder.is_dir():
    raise ConfigError(f'--output={output} is a file; give a folder')
  folder.mkdir(parents=True, exist_ok=True)
  return folder


def _checked(config, settings: Settings):
  """Returns what the fields need of a molecule, and the voxelizer.

  Raises:
    ConfigError: a setting is wrong.
  """
  if 'study' in config:
    raise ConfigError(
      'a study has several representations: give --mode export one of the '
      'other configurations'
    )
  try:
    voxelizer = make_voxelizer(config.representation)
  except ValueError as error:
    raise ConfigError(f'config.representation: {error}') from error
  for flag, check in (
    ('fields', lambda: check_names(settings.fields, voxelizer)),
    ('formats', lambda: formats.check(settings.formats)),
  ):
    try:
      check()
    except ValueError as error:
      raise ConfigError(f'--{flag}: {error}') from error
  if not 0.01 <= settings.spacing <= 10:
    raise ConfigError(f'--spacing={settings.spacing} is not 0.01 to 10 Å')
  if not 0 <= settings.margin <= 100:
    raise ConfigError(f'--margin={settings.margin} is not 0 to 100 Å')
  return check_names(settings.fields, voxelizer), voxelizer


def _made_of(config, needs, given: inputs.Input, settings: Settings) -> dict:
  representation = flatten(config.representation)
  return {
    'representation': {k: str(v) for k, v in representation.items()},
    'variant': dataset_variant(molecules.with_needs(config, needs)),
    'input': given.sha256,
    **settings._asdict(),
  }


def stems(ids: Sequence[str]) -> list[str]:
  """Returns a name for the files of each molecule: its id, as far as it can.

  Signs that file systems may refuse become _; a name that occurs twice, in any
  case, is followed by the number of the record.
  """
  names = [re.sub(r'[^\w.+-]', '_', name)[:100].lstrip('.') for name in ids]
  counts = collections.Counter(name.lower() for name in names)
  return [
    name if name and counts[name.lower()] == 1 else f'{name}_{i}'
    for i, name in enumerate(names, start=1)
  ]


def _rows(chunk, stems, folder, config, needs, voxelizer, settings: Settings):
  """Yields a row of the report for each (id, outcome) of a chunk."""
  errors = [molecules.failure(one, needs, config) for _, one in chunk]
  examples = [
    outcome.example
    for (_, outcome), error in zip(chunk, errors, strict=True)
    if not error
  ]
  made = iter(molecules.molecules(examples, needs, config) if examples else ())
  for (name, outcome), error, stem in zip(chunk, errors, stems, strict=False):
    if error:
      yield [name, '', '', error]
      continue
    mol = next(made)
    try:
      found = volumes(
        mol,
        voxelizer,
        settings.fields,
        spacing=settings.spacing,
        margin=settings.margin,
        map_unit=molecules.map_unit(outcome.example),
      )
      files = formats.write(folder, stem, found, settings.formats)
    except ValueError as unfit:
      yield [name, '', '', str(unfit)]
      continue
    yield [name, ' '.join(files), outcome.notes, '']


def _summary(table: Table, folder: pathlib.Path, noun: str) -> int:
  """Prints what there is; returns the number of exported molecules."""
  found = table.read()
  exported = sum(not row['error'] for row in found)
  said = f'{folder}: {exported} of {len(found)} {noun} exported'
  if exported < len(found):
    said += f', {len(found) - exported} not (column error of {REPORT})'
  print(said, flush=True)
  return exported
