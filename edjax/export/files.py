"""Exports the molecules of files to a folder, with a report in it."""

import collections
import contextlib
import itertools
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from tqdm import tqdm

from edjax.config import ConfigError, flatten
from edjax.config.representation import dataset_variant, make_voxelizer
from edjax.export import formats, molecules
from edjax.export.volume import MARGIN, SPACING, check_names, volumes
from edjax.predict import inputs, kept
from edjax.predict.table import Table
from edjax.runtime import preemption

# Table of the molecules, in the folder.
REPORT = 'export.csv'
_HEADER = ('id', 'files', 'notes', 'error')
# Molecules that are padded to one shape.
_CHUNK = 32


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
    source: see `edjax.predict.inputs.read`.
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
  opened = molecules.read(config, needs, source)
  folder = pathlib.Path(output).expanduser()
  if folder.exists() and not folder.is_dir():
    raise ConfigError(f'--output={output} is a file; give a folder')
  folder.mkdir(parents=True, exist_ok=True)
  stems = _stems(opened.ids)
  with contextlib.ExitStack() as stack:
    made_of = _made_of(config, needs, opened, settings)
    table = stack.enter_context(Table(folder / REPORT, _HEADER, made_of))
    done = table.rows
    if done:
      print(f'{done} rows of {table.path} are there already', flush=True)
    asked_to_stop = stack.enter_context(preemption.noticed())
    bar = stack.enter_context(
      tqdm(desc='export', total=len(stems), initial=done,
           unit=f' {opened.noun}', dynamic_ncols=True)
    )  # fmt: skip
    pairs = stack.enter_context(molecules.calculated(opened, done))
    while chunk := list(itertools.islice(pairs, _CHUNK)):
      # They are calculated already: a stop loses a chunk at most.
      for row in _rows(chunk, stems[done:], folder, config, needs, voxelizer,
                       settings):  # fmt: skip
        table.append([row])
        bar.update()
        done += 1
        if asked_to_stop() and done < len(stems):
          raise preemption.PreemptedError(
            f'stopped: {done} of {len(stems)} {opened.noun} are in {output}; '
            'the same command goes on from there'
          )
    bar.close()
    return _summary(table, folder, opened.noun)


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


def _made_of(config, needs, opened: inputs.Input, settings: Settings) -> dict:
  representation = flatten(config.representation)
  return {
    'representation': {k: str(v) for k, v in representation.items()},
    'variant': dataset_variant(molecules.with_needs(config, needs)),
    'input': opened.sha256,
    **settings._asdict(),
  }


def _stems(ids: Sequence[str]) -> list[str]:
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
  errors = [molecules.failure(x, needs, config) for _, x in chunk]
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
        map_unit=molecules.map_unit(config),
      )
      files = formats.write(folder, stem, found, settings.formats)
    except ValueError as unfit:
      yield [name, '', '', str(unfit)]
      continue
    yield [name, ' '.join(files), outcome.notes, '']


def _summary(table: Table, folder: pathlib.Path, noun: str) -> int:
  """Prints what there is; returns the number of exported molecules."""
  rows = table.read()
  exported = sum(not row['error'] for row in rows)
  said = f'{folder}: {exported} of {len(rows)} {noun} exported'
  if exported < len(rows):
    said += f', {len(rows) - exported} not (column error of {REPORT})'
  print(said, flush=True)
  return exported
