"""Files from the web, checked before they get their name."""

import hashlib
import json
import pathlib
import shutil
import urllib.request

from edjax.runtime import atomic_files

_TIMEOUT_S = 60


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

  def check_hash(part, facts):
    if facts['sha256'] != sha256:
      raise ValueError(
        f'{url} gave {facts["bytes"]} bytes with sha256 '
        f'{facts["sha256"][:16]}..., not {sha256[:16]}...'
      )

  _download(url, path, check_hash)
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

  def check_all(part, facts):
    try:
      check(part)
    except ValueError as error:
      raise ValueError(f'{url}: {error}') from error
    if known and known['sha256'] != facts['sha256']:
      raise ValueError(
        f'{url} has changed since {record} was written ({facts["bytes"]} '
        f'bytes, before {known["bytes"]}); delete the record to accept it'
      )

  atomic_files.write_json(record, _download(url, path, check_all))
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


def _download(url: str, path: pathlib.Path, check) -> dict:
  """Downloads a file that `check`, called with its path and facts, accepts."""
  from tqdm import tqdm

  path.parent.mkdir(parents=True, exist_ok=True)
  with atomic_files.replacing(path) as part:
    with (
      urllib.request.urlopen(url, timeout=_TIMEOUT_S) as source,
      open(part, 'wb') as target,
    ):
      announced = int(source.headers.get('Content-Length') or 0)
      label = f'downloading {path.name.split(".")[0]}'
      with tqdm.wrapattr(
        target, 'write', total=announced or None, desc=label
      ) as counting:
        shutil.copyfileobj(source, counting)
    facts = _facts(url, part)
    if announced not in (0, facts['bytes']):
      raise ValueError(f'{url} gave {facts["bytes"]} of {announced} bytes')
    check(part, facts)
  return facts
