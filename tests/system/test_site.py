"""The site is built without a warning, and its page of channels is complete."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from docs import draw_channels
from edjax.fields.channels import CHANNELS, DENSITIES
from edjax.grid import Grid
from edjax.molecule import Molecule

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.skipif(
  importlib.util.find_spec('sphinx') is None,
  reason='Sphinx (requirements-dev.txt) is absent',
)
def test_site_builds_without_a_warning(tmp_path):
  """15 to 20 s of a core: it imports what the API has, and writes 65 pages.

  A link, an anchor, a picture or a cross-reference that leads nowhere, a page
  that no table of contents has, and a docstring that cannot be read all warn.
  """
  # In a process of its own: what Sphinx and its extensions use may warn.
  done = subprocess.run(
    [sys.executable, '-m', 'sphinx', '-W', '--keep-going', '-q', '-b', 'html',
     '-c', 'docs', '.', tmp_path],
    cwd=REPOSITORY, capture_output=True, text=True,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  redirect = (tmp_path / 'index.html').read_text(encoding='utf-8')
  index = tmp_path / re.search(r'url=([\w./]+)', redirect)[1]
  for link in re.findall(r'href="([^"#:]+\.html)', index.read_text('utf-8')):
    assert (index.parent / link).is_file(), link
  api = (tmp_path / 'docs' / 'api.html').read_text(encoding='utf-8')
  for name in ('voxelize.make_voxelizer', 'fields.elf', 'molecule.Molecule'):
    assert f'id="edjax.{name}"' in api, name


def numbers(text):
  """Returns the numbers of a text without code and addresses of links."""
  text = re.sub(r'`[^`]*`|\]\([^)]*\)', ' ', text)
  return set(re.findall(r'(?<![\w.,])(?:\d+|\.\d+)(?:[.,]\d+)*(?!\w)', text))


def unsupported(text, folder):
  """Yields each number that no page has which its paragraph links to.

  A table's rows have links of their own, or those of the paragraph above.
  """
  links = []
  for block in re.split(r'\n(?=\n|\||- )', text):
    links = re.findall(r'\]\(([\w./]+\.md)', block) or links
    pages = [(folder / link).read_text(encoding='utf-8') for link in links]
    yield from sorted(numbers(block) - numbers(' '.join(pages)))


def test_numbers_of_the_questions_are_those_of_the_pages_they_link_to():
  text = (REPOSITORY / 'docs' / 'faq.md').read_text(encoding='utf-8')
  assert len(numbers(text)) > 40
  assert list(unsupported(text, REPOSITORY / 'docs')) == []
  wrong = text.replace('| 297 |', '| 298 |').replace('85 s', '86 s')
  assert list(unsupported(wrong, REPOSITORY / 'docs')) == ['298', '86']


def rows(heading):
  """Returns name -> (unit, needs) of a table of docs/channels.md."""
  text = (REPOSITORY / 'docs' / 'channels.md').read_text(encoding='utf-8')
  section = text.partition(f'## {heading}\n')[2].partition('\n## ')[0]
  found = re.findall(
    r'^\| `(\w+)` \|.*\| *([^|]*?) \| *([^|]*?) \|$', section, re.MULTILINE
  )
  return {name: (unit, needs.strip('`')) for name, unit, needs in found}


@pytest.mark.parametrize(
  ('heading', 'registry'), [('Channels', CHANNELS), ('Densities', DENSITIES)]
)
def test_page_has_units_and_needs_of_the_registry(heading, registry):
  expected = {
    name: (c.unit.replace('^3', '³'), c.needs)
    for name, c in registry.items()
    if not c.of_density
  }
  assert len(expected) >= 7
  of_density = {name for name, c in registry.items() if c.of_density}
  found = rows(heading)
  for name in of_density:
    unit, needs = found.pop(name)
    assert unit.startswith('of the density')
    assert unit.endswith(registry[name].unit)
    assert needs == 'of the density'
  assert found == expected


def test_pictures_are_small():
  sizes = [file.stat().st_size for file in draw_channels.SHEETS]
  # A sheet without panels has some hundred bytes.
  assert all(size > 20_000 for size in sizes)
  assert sum(sizes) < 300_000


def test_picture_has_x_to_the_right_and_y_upwards(monkeypatch):
  monkeypatch.setattr(draw_channels, 'GRID', Grid(size=9, spacing=1.0))
  # Off the centre by 3 voxels along x and by -1 along y.
  mol = Molecule.from_arrays(['H'], [[3, -1, 0]], center=False)
  values_CYX, unit, signed = draw_channels.plane(mol, 'shape')
  assert (unit, signed) == ('', False)
  assert np.unravel_index(values_CYX[0].argmax(), (9, 9)) == (4 - 1, 4 + 3)
  (panel, bar) = draw_channels.draw(mol, ('shape',), columns=1).axes
  assert panel.get_title() == 'shape'
  shown = panel.images[0]
  assert shown.origin == 'lower'
  np.testing.assert_array_equal(shown.get_array(), values_CYX[0])
  assert bar.get_xlabel() == 'a pure number'
