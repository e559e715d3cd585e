"""Explains the molecules of files: tables, maps and pages in a folder."""

import csv
import io
import itertools
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from edjax import export
from edjax.chem import elements
from edjax.config import ConfigError
from edjax.explain import references
from edjax.explain.explainer import Explainer, Explanation
from edjax.export import formats, molecules
from edjax.export.files import CHUNK, open_folder, stems
from edjax.export.volume import MARGIN, Volume, check_names
from edjax.molecule import LIGAND, Molecule
from edjax.predict import Model, inputs, load, rows
from edjax.predict.table import Table
from edjax.runtime import atomic_files

# Table of the molecules, in the folder.
REPORT = 'explain.csv'
# Largest absolute B factor of an atom.
_LARGEST_B = 100.0


class Settings(NamedTuple):
  """How molecules are explained.

  Attributes:
    reference: a name of `references.of`; '': the first of them.
    formats: of the maps, names of `export.FORMATS`.
    spacing: of the maps, Å; 0: that of the network's input.
    margin: of the maps, around the atoms, Å.
  """

  reference: str = ''
  formats: tuple[str, ...] = ('ccp4', 'html')
  spacing: float = 0.0
  margin: float = MARGIN


def explain_files(
  workdirs: Sequence[str], source: str, output: str, settings: Settings
) -> int:
  """Explains what a run predicts for the molecules of a file.

  Args:
    workdirs: of the run.
    source: see `predict.inputs.read`.
    output: folder; one that the same command has begun is continued.
    settings: how.

  Returns:
    Number of molecules that are explained.

  Raises:
    ConfigError: a setting is wrong, or the source or the output cannot be used.
    preemption.PreemptedError: SIGTERM or Ctrl-C; what is done is written.
    OSError: something cannot be read or written.
  """
  model = load(workdirs[0])
  reference = settings.reference or references.of(model.voxelizer)[0]
  try:
    explainer = Explainer(model, reference)
  except ValueError as error:
    raise ConfigError(f'--reference: {error}') from error
  settings = settings._replace(
    reference=reference, spacing=settings.spacing or explainer.grid.spacing
  )
  try:
    formats.check(settings.formats)
  except ValueError as error:
    raise ConfigError(f'--formats: {error}') from error
  given = inputs.read([model.config], source)
  folder = open_folder(output)
  made_of = {
    'run': model.kept.sha256(), 'input': given.sha256, **settings._asdict()
  }  # fmt: skip
  names = stems(given.ids)
  with Table(folder / REPORT, _header(model), made_of) as table:
    writer = _Writer(explainer, folder, settings)

    def rows_of(first: int, pairs) -> Iterator[list]:
      return writer.rows(names[first:], pairs)

    rows.fill(table, given, 'explain', CHUNK, rows_of)
    return _summary(table, folder, model, reference, given.noun)


def _header(model: Model) -> list[str]:
  ends = ('', '_unit', '_reference', '_contributions', '_missed')
  names = [f'{name}{end}' for name in model.kept.names for end in ends]
  return ['id', *names, 'files', 'notes', 'error']


def _units(model: Model) -> list[str]:
  """Returns the units of contributions: of classes, the network's log odds."""
  if model.kept.classes:
    return ['log odds'] * len(model.kept.names)
  return list(model.kept.units)


class _Writer:
  """Explains molecules and writes their files."""

  def __init__(
    self, explainer: Explainer, folder: pathlib.Path, settings: Settings
  ):
    self._explainer, self._folder = explainer, folder
    self._settings, self._model = settings, explainer.model
    self._needs = check_names((), self._model.voxelizer)
    self._names = self._model.kept.names
    self._units = _units(self._model)

  def rows(self, stems: Sequence[str], pairs) -> Iterator[list]:
    """Yields a row of the report for each (id, outcome)."""
    reasons = [inputs.refusal([self._model], one) for _, one in pairs]
    examples = [
      one.example
      for (_, one), reason in zip(pairs, reasons, strict=True)
      if not reason
    ]
    made = iter(
      molecules.molecules(examples, self._needs, self._model.config)
      if examples
      else ()
    )
    empty = [''] * (5 * len(self._names) + 2)
    for (name, outcome), reason, stem in zip(
      pairs, reasons, stems, strict=False
    ):
      if reason:
        yield [name, *empty, reason]
        continue
      mol = next(made)
      found = self._explainer(mol)
      try:
        files = self._files(stem, mol, found)
      except ValueError as error:  # coordinates that a format cannot hold
        yield [name, *empty, str(error)]
        continue
      yield [name, *self._numbers(found), ' '.join(files), outcome.notes, '']

  def _numbers(self, found: Explanation) -> list[str]:
    cells = []
    for t, unit in enumerate(self._units):
      numbers = found.reference_T[t], found.sum_T[t], found.missed_T[t]
      cells += [f'{found.output_T[t]:.8g}', unit]
      cells += [f'{x:.8g}' for x in numbers]
    return cells

  def _files(self, stem: str, mol: Molecule, found: Explanation) -> list[str]:
    """Writes the files of a molecule; returns their names."""
    is_atom_A = np.asarray(mol.mask_A)
    number_A = np.asarray(mol.numbers_A)[is_atom_A]
    group_A = np.asarray(mol.groups_A)[is_atom_A]
    origin_3 = np.asarray(mol.origin_3, np.float64)
    place_A3 = np.asarray(mol.coords_A3, np.float64)[is_atom_A] + origin_3
    parts_AT = found.contribution_AT[is_atom_A]
    files = []

    def add(name: str, write, *arguments) -> None:
      with atomic_files.replacing(self._folder / name) as part:
        write(part, *arguments)
      files.append(name)

    rows = _atom_rows(number_A, place_A3, parts_AT, found.sd_AT[is_atom_A])
    add(f'{stem}.atoms.csv', _write_csv, _atom_header(self._names), rows)
    for t, name in enumerate(self._names):
      largest = np.abs(parts_AT[:, t]).max() or 1.0
      b_factors_A = _LARGEST_B * parts_AT[:, t] / largest
      add(f'{stem}.{name}.pdb', export.write_pdb, number_A, place_A3,
          b_factors_A, group_A)  # fmt: skip
    volumes = self._volumes(mol, found, number_A, place_A3, group_A)
    others = [kind for kind in self._settings.formats if kind != 'html']
    if others:
      files += export.write(self._folder, stem, volumes, others)
    if 'html' in self._settings.formats:
      of_atoms = {
        _with_unit(name, unit): parts_AT[:, t]
        for t, (name, unit) in enumerate(
          zip(self._names, self._units, strict=True)
        )
      }
      add(f'{stem}.html', export.write_page, stem, volumes, of_atoms)
    return files

  def _volumes(self, mol, found: Explanation, number_A, place_A3, group_A):
    """Returns a map of contributions for each target, in the file's frame."""
    is_ligand_A = group_A == LIGAND
    within_A3 = place_A3[is_ligand_A] if is_ligand_A.any() else place_A3
    box = export.around(
      within_A3, self._settings.spacing, self._settings.margin
    )
    axes = [
      first + np.arange(count) * box.spacing
      for first, count in zip(box.origin_3, box.shape, strict=True)
    ]
    points_G3 = np.stack(np.meshgrid(*axes, indexing='ij'), -1).reshape(-1, 3)
    density_GT = found.density(points_G3 - np.asarray(mol.origin_3))
    return [
      Volume(
        name=name,
        unit=f'{unit or "1"}/Å^3',
        about=f'contributions to {name}, from {self._settings.reference}',
        values_XYZ=density_GT[:, t].reshape(box.shape).astype(np.float32),
        box=box,
        numbers_A=number_A,
        coords_A3=place_A3,
        groups_A=group_A,
      )
      for t, (name, unit) in enumerate(
        zip(self._names, self._units, strict=True)
      )
    ]


def _with_unit(name: str, unit: str) -> str:
  return f'{name}, {unit}' if unit else name


def _atom_header(names: Sequence[str]) -> list[str]:
  of_targets = [(name, f'{name}_sd_rotations') for name in names]
  return ['atom', 'element', 'x', 'y', 'z', *itertools.chain(*of_targets)]


def _atom_rows(number_A, place_A3, parts_AT, sd_AT) -> Iterator[list]:
  """Yields a row for each atom: place, contributions, spread."""
  for i, number in enumerate(number_A):
    pairs = zip(parts_AT[i], sd_AT[i], strict=True)
    yield [
      i + 1,
      elements.SYMBOLS[number],
      *(f'{x:.4f}' for x in place_A3[i]),
      *('' if np.isnan(x) else f'{x:.8g}' for pair in pairs for x in pair),
    ]


def _write_csv(path, header, rows) -> None:
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(header)
  writer.writerows(rows)
  pathlib.Path(path).write_text(text.getvalue(), encoding='utf-8')


def _summary(
  table: Table, folder: pathlib.Path, model: Model, reference: str, noun: str
) -> int:
  """Prints what there is; returns the number of explained molecules."""
  written = table.read()
  done = [row for row in written if not row['error']]
  failed = len(written) - len(done)
  lines = [
    f'{folder}: {len(done)} of {len(written)} {noun} explained'
    + f', {failed} not (column error of {REPORT})' * bool(failed)
  ]
  if done:
    lines.append(
      f'Contributions add up to the difference to {reference} within (largest '
      'of the molecules; difference, root mean square):'
    )
  for name, unit in zip(model.kept.names, _units(model), strict=True):
    if done:
      missed = max(abs(float(row[f'{name}_missed'])) for row in done)
      change_N = [
        float(row[name]) - float(row[f'{name}_reference']) for row in done
      ]
      size = np.sqrt(np.mean(np.square(change_N)))
      lines.append(
        f'  {name}: {missed:.2g} {unit} ({size:.2g} {unit})'.replace(' )', ')')
      )
  print('\n'.join(lines), flush=True)
  return len(done)
