"""Freed memory is used again, and not met as fresh pages."""

import platform
import subprocess
import sys

import pytest

from edjax.runtime import malloc

# Pages that are new to the process in the second half of ten rounds, for each
# MiB, where memory is taken and freed in another thread than the first.
_PROGRAM = """
import resource, sys, threading
import numpy as np
from edjax.runtime import malloc
if sys.argv[1] == 'keep':
  assert malloc.keep()
counts = []
def rounds():
  for _ in range(10):
    np.ones(200 * 2**17)  # 200 MiB
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
thread = threading.Thread(target=rounds)
thread.start()
thread.join()
print((counts[-1] - counts[4]) / (5 * 200))
"""

glibc = pytest.mark.skipif(
  platform.libc_ver()[0] != 'glibc', reason='another C library than glibc'
)


def _new_pages(what: str) -> float:
  command = sys.executable, '-c', _PROGRAM, what
  return float(subprocess.run(command, capture_output=True, check=True).stdout)


@glibc
def test_freed_memory_is_kept():
  assert _new_pages('keep') < 1


@glibc
def test_else_every_page_is_new():
  """256 a MiB, or fewer where the system hands out larger ones."""
  assert _new_pages('leave') > 0.4


def test_nothing_is_done_elsewhere(monkeypatch):
  monkeypatch.setattr(platform, 'libc_ver', lambda: ('', ''))
  assert not malloc.keep()
