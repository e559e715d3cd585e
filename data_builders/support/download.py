"""Files from the web, checked before they get their name."""

import hashlib
import json
import pathlib
import urllib.request

from edjax.runtime import atomic_files

_TIMEOUT_S = 60
_BLOCK = 1 << 20


def fetch(url: str, path, sha256: str) -> pathlib.Path:
  """Downloads a file, unless it is there already.

  One attempt without retries: TFDS's own downloader goes on for minutes where
  there is no network.

  Args:
    url: https://...
    path: where the file goes; directories are made.
    sha256: of the right file, in hexadecimal.

  Returns:
    The path.

  Raises:
    OSError: no connection, or no such file there.
    ValueError: another file came, which is not stored.
  """
  path = pathlib.Path(path)
  if path.is_file() and file_sha256(path) == sha256:
    return path
  path.parent.mkdir(parents=True, exist_ok=True)
  with atomic_files.replacing(path) as part:
    _copy(url, part, path.name)
    sha = file_sha256(part)
    if sha != sha256:
      raise ValueError(
        f'{url} gave {part.stat().st_size} bytes with sha256 {sha[:16]}..., '
        f'not {sha256[:16]}...'
      )
  return path


def fetch_recorded(url: str, path, check) -> pathlib.Path:
  """Downloads a file whose hash is not known beforehand, once.

  Address, size and hash are written to <path>.json. From then on only that
  very file is accepted, so that the same command gives the same data on
  another day: archives revise their files.

  Args:
    url: https://...
    path: where the file goes; directories are made.
    check: called with the path of the downloaded file; raises ValueError where
      it is no file of the right kind.

  Returns:
    The path.

  Raises:
    OSError: no connection, or no such file there.
    ValueError: the file is cut off or of another kind, or it, or a file that
      is there already, differs from the record; nothing is stored.
  """
  path = pathlib.Path(path)
  record = path.with_name(f'{path.name}.json')
  known = json.loads(record.read_text()) if record.is_file() else None
  if path.is_file():
    facts = _facts(url, path)
    if known and known['sha256'] != facts['sha256']:
      raise ValueError(
        f'{path} is not what {record} says; delete it to download it again, or '
        'the record to accept it'
      )
    if not known:  # somebody put it there
      check(path)
      atomic_files.write_json(record, {**facts, 'url': ''})
    return path
  path.parent.mkdir(parents=True, exist_ok=True)
  with atomic_files.replacing(path) as part:
    announced = _copy(url, part, path.name)
    facts = _facts(url, part)
    if announced not in (0, facts['bytes']):
      raise ValueError(f'{url} gave {facts["bytes"]} of {announced} bytes')
    try:
      check(part)
    except ValueError as error:
      raise ValueError(f'{url}: {error}') from error
    if known and known['sha256'] != facts['sha256']:
      raise ValueError(
        f'{url} has changed since {record} was written ({facts["bytes"]} '
        f'bytes, before {known["bytes"]}); delete the record to accept it'
      )
  atomic_files.write_json(record, facts)
  return path


def file_sha256(path) -> str:
  """Returns the SHA-256 of a file, in hexadecimal."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def _facts(url: str, path: pathlib.Path) -> dict:
  return {
    'url': url,
    'bytes': path.stat().st_size,
    'sha256': file_sha256(path),
  }


def _copy(url: str, path: pathlib.Path, name: str) -> int:
  """Downloads a file.

  Args:
    url: https://...
    path: to write.
    name: for the progress bar.

  Returns:
    The announced size, bytes; 0 for none.
  """
  from tqdm import tqdm

  with (
    urllib.request.urlopen(url, timeout=_TIMEOUT_S) as source,
    open(path, 'wb') as target,
    tqdm(
      total=_announced(source) or None,
      desc=f'downloading {name.split(".")[0]}',
      unit='B',
      unit_scale=True,
    ) as bar,
  ):
    while block := source.read(_BLOCK):
      target.write(block)
      bar.update(len(block))
    return _announced(source)


def _announced(source) -> int:
  return int(source.headers.get('Content-Length') or 0)
