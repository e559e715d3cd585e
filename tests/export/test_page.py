"""Pages of molecules, as a browser without a network shows them."""

import base64
import gzip
import hashlib
import json
import pathlib
import re
import shutil
import subprocess

import gemmi
import matplotlib.image
import numpy as np
import pytest
from support import made_up_volumes

from edjax import export
from edjax.export import page

FOLDER = pathlib.Path(page.__file__).parent
BROWSERS = 'chromium', 'chromium-browser', 'google-chrome', 'chrome'
# Of build/3Dmol-min.js in the archive of npm, 3dmol 2.5.5.
VIEWER_SHA256 = (
  'f7cc78921ae72e7623e89cdd111434f58c2efddd2ffda1cd212644b406fb8016'
)


def data_of(path):
  text = path.read_text(encoding='utf-8')
  pattern = r'<script type="application/json" id="data">(.*?)</script>'
  return json.loads(re.search(pattern, text)[1])


def test_viewer_is_that_of_npm():
  content = (FOLDER / '3Dmol-min.js').read_bytes()
  assert hashlib.sha256(content).hexdigest() == VIEWER_SHA256
  licence = (FOLDER / '3Dmol-LICENSE.txt').read_text(encoding='utf-8')
  assert 'Redistribution and use in source and binary forms' in licence


def test_page_holds_the_fields_on_their_places(tmp_path):
  """Read by gemmi, to what a page keeps of a value."""
  volume = made_up_volumes.random_volume(groups_A=np.array([0, 0, 1]))
  other = made_up_volumes.gaussian_volume(
    'shape', volume.coords_A3[0], 0.3, around=volume
  )
  path = tmp_path / 'page.html'
  numbers = {'gap, meV': [1.5, -2.0, 0.25]}
  page.write(path, 'a <b> & %DATA%', [volume, other], numbers)
  text = path.read_text(encoding='utf-8')
  assert text.count('<title>a &lt;b&gt; &amp; %DATA%</title>') == 1
  assert 'Redistribution and use in source and binary forms' in text
  data = data_of(path)
  assert data['atoms'] == [{'title': 'gap, meV', 'values': [1.5, -2.0, 0.25]}]
  assert data['is_pocket'] == [False, False, True]
  first, second = data['volumes']
  assert (first['title'], first['unit']) == ('density, e/Å^3', 'e/Å^3')
  assert (first['signed'], second['signed']) == (True, False)
  assert first['largest'] == np.abs(volume.values_XYZ).max()
  (tmp_path / 'map.ccp4').write_bytes(
    gzip.decompress(base64.b64decode(first['map']))
  )
  found = gemmi.read_ccp4_map(str(tmp_path / 'map.ccp4'))
  np.testing.assert_allclose(found.grid.array, volume.values_XYZ, rtol=2.0**-12)
  start = [found.header_i32(word) for word in (5, 6, 7)]
  assert start == [*volume.box.start]


def test_first_level_holds_three_quarters_of_a_field(tmp_path):
  """Of a Gaussian: within 2.03 standard deviations, chi's distribution."""
  box = export.around([[0, 0, 0]], 0.1, 2.5)
  volume = made_up_volumes.random_volume(
    box=box,
    numbers_A=np.array([1]),
    coords_A3=np.zeros((1, 3)),
    groups_A=np.zeros(1, int),
  )
  volume = made_up_volumes.gaussian_volume('x', [0, 0, 0], 0.5, volume)
  page.write(tmp_path / 'page.html', 'x', [volume])
  (entry,) = data_of(tmp_path / 'page.html')['volumes']
  assert entry['level'] == pytest.approx(np.exp(-0.5 * 2.0269**2), rel=0.02)


def test_a_field_of_zeros_and_bad_numbers(tmp_path):
  volume = made_up_volumes.random_volume()
  zeros = made_up_volumes.random_volume(
    values_XYZ=np.zeros_like(volume.values_XYZ)
  )
  page.write(tmp_path / 'page.html', 'x', [zeros])
  (entry,) = data_of(tmp_path / 'page.html')['volumes']
  assert (entry['level'], entry['largest'], entry['signed']) == (1, 1, False)
  with pytest.raises(ValueError, match='needs a field'):
    page.write(tmp_path / 'page.html', 'x', [])
  with pytest.raises(ValueError, match=r'gap must be \[3\]'):
    page.write(tmp_path / 'page.html', 'x', [volume], {'gap': [1, 2]})


def screenshot(path):
  """Returns the picture of a page in headless Chromium, [rows, columns, 3].

  No network: the address of a proxy at which nothing listens.
  """
  browser = next(filter(None, map(shutil.which, BROWSERS)), None)
  if browser is None:
    pytest.skip(f'there is none of {", ".join(BROWSERS)}')
  picture = path.with_suffix('.png')
  done = subprocess.run(
    [
      browser, '--headless=new', '--no-sandbox', '--hide-scrollbars',
      '--proxy-server=127.0.0.1:9', '--enable-unsafe-swiftshader',
      '--use-angle=swiftshader', '--window-size=1000,560',
      '--virtual-time-budget=5000', f'--user-data-dir={path.parent}/profile',
      f'--screenshot={picture}', path.as_uri(),
    ],
    capture_output=True, text=True, timeout=100, check=False,
  )  # fmt: skip
  assert picture.exists(), done.stderr
  assert 'Uncaught' not in done.stderr, done.stderr
  return matplotlib.image.imread(picture)[..., :3]


def centre_of(ink, left):
  """Returns where ink lies in a half of the picture: column, row, count."""
  half = ink[80:, :500] if left else ink[80:, 500:]
  row, column = np.nonzero(half)
  return np.array([column.mean(), row.mean()]), len(row)


@pytest.fixture(scope='module')
def shown(tmp_path_factory):
  """A page with O, C and S in a triangle; a field on O, and one of both signs.

  On the left is a Gaussian on O. On the right is one on C minus one on S. O has
  a number below 0, by which it is coloured.
  """
  numbers_A = np.array([8, 6, 16])
  coords_A3 = np.array([[-22.0, 3, 5], [-18, 3, 5], [-20.5, 6, 5.5]])
  atoms = made_up_volumes.random_volume(
    box=export.around(coords_A3, 0.2, 2.0),
    numbers_A=numbers_A,
    coords_A3=coords_A3,
  )
  on = [
    made_up_volumes.gaussian_volume(name, place, 0.4, atoms)
    for name, place in zip('OCS', coords_A3, strict=True)
  ]
  both = made_up_volumes.random_volume(
    name='C minus S',
    values_XYZ=on[1].values_XYZ - on[2].values_XYZ,
    box=atoms.box,
    numbers_A=numbers_A,
    coords_A3=coords_A3,
  )
  path = tmp_path_factory.mktemp('page') / 'page.html'
  page.write(path, 'three atoms', [on[0], both], {'x': [-2, 0, 0]})
  return screenshot(path)


def test_surfaces_lie_on_their_atoms(shown):
  """By the colours of surfaces and of the atoms that the other side shows.

  x goes to the right and y up: a page with swapped axes would not pass.
  """
  red, green, blue = np.moveaxis(shown, -1, 0)
  pale = np.minimum(red, np.minimum(green, blue)) > 0.35
  blues = pale & (blue - red > 0.1) & (blue > 0.8)
  oranges = pale & (red - blue > 0.1) & (red > 0.8)
  # By its number; by its element it would be red.
  oxygen = (red > 0.6) & (green > 0.25) & (green < 0.6) & (blue < 0.35)
  on_left, count = centre_of(blues, left=True)
  assert count > 500
  on_oxygen, count = centre_of(oxygen, left=False)
  assert count > 100
  assert np.abs(on_left - on_oxygen).max() < 6
  on_carbon, count = centre_of(blues, left=False)
  assert count > 500
  on_sulfur, count = centre_of(oranges, left=False)
  assert count > 500
  # 4 Å along x; 2.5 Å along x and 3 up from there.
  scale = (on_carbon - on_oxygen)[0] / 4
  assert scale > 20
  assert abs((on_carbon - on_oxygen)[1]) < 0.2 * scale
  to_sulfur = (on_sulfur - on_carbon) / scale
  np.testing.assert_allclose(to_sulfur, [-2.5, -3], atol=0.3)
  # No other surface on the left: nothing is below 0 there.
  assert oranges[80:, :500].sum() < 50
