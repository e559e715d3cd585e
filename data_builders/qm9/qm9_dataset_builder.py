"""TFDS builder of QM9 with GFN2-xTB orbitals."""

import pathlib
import time

import tensorflow_datasets as tfds

from data_builders.molecules import builder
from data_builders.qm9 import archive, parse
from data_builders.support import download
from edjax.runtime import reading

ARCHIVE = 'dsgdb9nsd.xyz.tar.bz2'
UNCHARACTERIZED = 'uncharacterized.txt'
# Addresses and SHA-256 are those that tensorflow_datasets 4.9.10 lists for its
# own qm9 (datasets/qm9/checksums.tsv). Figshare has been answering such
# requests without a file since June 2026
# (github.com/tensorflow/datasets/issues/11210).
_FIGSHARE = 'https://springernature.figshare.com/ndownloader/files'
URLS = {
  ARCHIVE: f'{_FIGSHARE}/3195389',
  UNCHARACTERIZED: f'{_FIGSHARE}/3195404',
}
_SHA256 = {
  ARCHIVE: '3a63848ac80691bdb8d41834b575afad345b9300d7a2db0c38adb7f6eaa8360c',
  UNCHARACTERIZED: (
    '3aa5115d540b356de94791d4a74c3bf1ed91c469ecf52a4f5d7cc0506fe02e24'
  ),
}
_INSTRUCTIONS = f"""Fetch {ARCHIVE} (86 MB, sha256 3a63848a...) from
{URLS[ARCHIVE]} and, better,
{UNCHARACTERIZED} from {URLS[UNCHARACTERIZED]}
with a browser (https://doi.org/10.6084/m9.figshare.c.978904.v5 lists both),
and put them, unchanged, into the manual directory"""


class Builder(builder.Builder, skip_registration=True):
  """All molecules in one TFDS split, `molecules`; see README.md."""

  name = 'edjax_qm9'
  VERSION = tfds.core.Version('1.1.0')
  description = 'QM9 with occupied and frontier GFN2-xTB orbitals'
  homepage = 'https://doi.org/10.6084/m9.figshare.c.978904.v5'

  def changes(self, report: dict) -> list[str]:
    """Compares the manual directory with the sources of a dataset.

    Absent files are no difference, except for the list of uncharacterized
    molecules beside an archive: without it a build drops none.

    Args:
      report: of the dataset.

    Returns:
      A line for each difference.
    """
    manual = _manual(self._manual_dir)
    lines = []
    if ARCHIVE in manual:
      sha256 = archive.digest(manual[ARCHIVE])
      before = report.get('archive_sha256', sha256)
      if sha256 != before:
        lines.append(
          f'{manual[ARCHIVE]} has sha256 {sha256[:16]}..., the one built from '
          f'had {before[:16]}...'
        )
    if manual and 'uncharacterized' in report:
      left_out = _left_out(manual)
      before = report['uncharacterized']
      if left_out != before:
        lines.append(
          f'{UNCHARACTERIZED} now lists {len(left_out or ())} molecules, '
          f'{"others" if left_out and before else f"not {len(before or ())}"}'
        )
    return lines

  def _generate_examples(self):
    downloads = pathlib.Path(self._data_dir_root) / 'downloads' / self.name
    sources = _sources(self._manual_dir, downloads)
    left_out = _left_out(sources)
    start = time.monotonic()
    every = archive.read(sources[ARCHIVE])
    dropped = set(left_out or ())
    remaining = [record for record in every if record.index not in dropped]
    facts = {
      'dataset': self.name,
      'archive': str(sources[ARCHIVE]),
      'archive_sha256': archive.digest(sources[ARCHIVE]),
      'in_archive': len(every),
      # None: the file was absent and nothing was dropped.
      'uncharacterized': left_out,
      'uncharacterized_dropped': len(every) - len(remaining),
      'seconds_parsing': round(time.monotonic() - start, 1),
    }
    if left_out is None:
      print(
        f'{self.name}: no {UNCHARACTERIZED}, so no molecule is dropped as '
        'uncharacterized, and the splits cormorant and dimenet are not defined'
      )
    return self._generated(remaining, facts)


def _left_out(sources: dict) -> list[int] | None:
  """Returns the ids of uncharacterized molecules; None without the list."""
  if UNCHARACTERIZED not in sources:
    return None
  return parse.parse_uncharacterized(reading.text(sources[UNCHARACTERIZED]))


def _manual(manual_dir: str) -> dict:
  """Returns the files that were fetched by hand, by name.

  Where the archive was unpacked, its files' directory stands for it.
  """
  if not manual_dir:
    return {}
  manual = pathlib.Path(manual_dir).expanduser()
  found = {
    ARCHIVE: archive.find(manual),
    UNCHARACTERIZED: manual / UNCHARACTERIZED,
  }
  return {name: path for name, path in found.items() if path and path.exists()}


def _sources(manual_dir: str, downloads: pathlib.Path) -> dict:
  """Returns files by name, from the manual directory or downloaded.

  The list of uncharacterized molecules is only downloaded together with the
  archive: an archive in the manual directory is used with the list beside it.
  """
  files = _manual(manual_dir)
  if ARCHIVE in files:
    return files
  try:
    for name in URLS.keys() - files.keys():
      files[name] = download.fetch(URLS[name], downloads / name, _SHA256[name])
    return files
  except (OSError, ValueError) as error:
    where = f' ({manual_dir})' if manual_dir else ''
    found = f': {reading.found_in(manual_dir)}' if manual_dir else ''
    raise FileNotFoundError(
      f'QM9 is not in the manual directory{found}. Nor could it be downloaded '
      f'({error}).\n{_INSTRUCTIONS}{where}.'
    ) from error
