"""Fields of molecules as files of other programs, in the file's own frame."""

from edjax.export.box import Box, around
from edjax.export.files import Settings, export_files
from edjax.export.formats import FORMATS, write
from edjax.export.page import write as write_page
from edjax.export.structure import write_pdb
from edjax.export.volume import Volume, volumes

__all__ = [
  'FORMATS',
  'Box',
  'Settings',
  'Volume',
  'around',
  'export_files',
  'volumes',
  'write',
  'write_page',
  'write_pdb',
]
