"""The installed package works outside the checkout, tables included."""

import subprocess
import sys
import zipfile

from support import wheels

PROGRAM = """
import jax, numpy as np
import data_builders, edjax
from data_builders import xtb
from edjax import fields, grid, molecule
assert 'site' in edjax.__file__, edjax.__file__
r = xtb.run([8, 1, 1], [[0, 0, .117], [0, .757, -.471], [0, -.757, -.471]])
mol = molecule.Molecule.from_arrays(
  [8, 1, 1], [[0, 0, .117], [0, .757, -.471], [0, -.757, -.471]], r.orbitals)
g = grid.Grid(32, 0.25)
rho = fields.orbital_density_grid(mol, g, supersample=2)
print(float(rho.sum()) * g.voxel_volume)
print(float(fields.promolecule_grid(mol, g, b_iso=20.0).max()))
import importlib.resources as r
assert (r.files('data_builders') / 'qm9_mini' / 'molecules.jsonl.gz').is_file()
"""


def test_wheel_works_outside_the_checkout(tmp_path):
  """Over 20 s: it builds the package and starts a fresh interpreter."""
  wheel = wheels.build(tmp_path)
  site = tmp_path / 'site'
  with zipfile.ZipFile(wheel) as archive:
    names = archive.namelist()
    archive.extractall(site)
  assert 'edjax/chem/tables/elements.json' in names
  assert {'edjax/export/3Dmol-min.js', 'edjax/export/page.html'} <= {*names}
  assert not any(n.startswith('tests/') for n in names)

  def run(*arguments):
    return subprocess.run(
      [sys.executable, *arguments],
      cwd=tmp_path, env={'PYTHONPATH': str(site), 'JAX_PLATFORMS': 'cpu',
                         'PATH': '/usr/bin:/bin'},
      capture_output=True, text=True, check=False,
    )  # fmt: skip

  done = run('-c', PROGRAM)
  assert done.returncode == 0, done.stderr
  electrons = float(done.stdout.split()[0])
  # 8 valence electrons of water; box of 8 Å, two sub-points a voxel edge.
  assert abs(electrons - 8) < 2e-3 * 8
  # The command `edjax`, with a configuration of the package.
  (entry,) = (n for n in names if n.endswith('entry_points.txt'))
  assert 'edjax = edjax.__main__:main' in (site / entry).read_text()
  done = run(
    '-m', 'edjax', '--config=configs/qm9_density.py:smoke', '--mode=report',
    '--workdir=nothing',
  )  # fmt: skip
  assert (done.returncode, done.stdout) == (2, '')
  assert 'nothing holds no finished run' in done.stderr
