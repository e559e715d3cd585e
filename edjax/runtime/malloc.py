"""Settings of the C library's memory allocator."""

import ctypes
import platform

# Parameters of mallopt(3), from malloc.h of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_MOST = 2**31 - 1


def keep() -> bool:
  """Keeps freed memory instead of giving it back to the system.

  XLA asks for the intermediate arrays of a program in one piece and frees it
  after each call. glibc takes pieces of more than 32 MiB from the system and
  gives them back, so that every training step on a CPU meets its memory as
  fresh pages, which the system must find and clear. The process stays as large
  as it once was. `launch.py` calls this before JAX starts its threads;
  libraries and notebooks do not.

  Returns:
    Whether glibc is there and did as asked; else nothing is changed.
  """
  if platform.libc_ver()[0] != 'glibc':
    return False
  mallopt = ctypes.CDLL(None).mallopt
  # No pieces of their own for large ones; nothing given back below 2 GiB; one
  # heap for all threads, as those of other threads cannot grow beyond 64 MiB.
  settings = (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _MOST), (_M_ARENA_MAX, 1)
  done = [mallopt(*setting) == 1 for setting in settings]
  return all(done)
