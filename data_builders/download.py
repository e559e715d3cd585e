"""Files from the web, checked before they get their name."""

import hashlib
import os
import pathlib
import urllib.request

_TIMEOUT_S = 60
_BLOCK = 1 << 20


def fetch(url: str, path, sha256: str) -> pathlib.Path:
  """Downloads a file once; one that is there and right is kept.

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
    ValueError: what came is another file; it is not kept.
  """
  path = pathlib.Path(path)
  if path.is_file() and file_sha256(path) == sha256:
    return path
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(f'{path.name}.{os.getpid()}.part')
  try:
    _copy(url, part)
    found = file_sha256(part)
    if found != sha256:
      raise ValueError(
        f'{url} gave {part.stat().st_size} bytes with sha256 {found[:16]}..., '
        f'not {sha256[:16]}...'
      )
    part.replace(path)
  finally:
    part.unlink(missing_ok=True)
  return path


def file_sha256(path) -> str:
  """SHA-256 of a file, in hexadecimal."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def _copy(url: str, path: pathlib.Path) -> None:
  from tqdm import tqdm

  with (
    urllib.request.urlopen(url, timeout=_TIMEOUT_S) as source,
    open(path, 'wb') as target,
    tqdm(
      total=int(source.headers.get('Content-Length') or 0) or None,
      desc=f'downloading {path.name.split(".")[0]}',
      unit='B',
      unit_scale=True,
    ) as bar,
  ):
    while block := source.read(_BLOCK):
      target.write(block)
      bar.update(len(block))
