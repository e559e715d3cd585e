"""Paths of directories, on this machine or in object stores."""

import os
import pathlib


def is_remote(path: str | os.PathLike) -> bool:
  """Returns whether a path is an address with a scheme (gs://, s3://, ...).

  There are no locks there, no appending and no renaming.
  """
  return '://' in os.fspath(path)


def join(path: str | os.PathLike, name: str) -> str | pathlib.Path:
  """Returns the path of a file in a directory, wherever that is."""
  if is_remote(path):
    return f'{os.fspath(path).rstrip("/")}/{name}'
  return pathlib.Path(path) / name
