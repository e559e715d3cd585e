import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_builders import xtb
from edjax import fields, geometry, molecule, voxelize
from edjax import grid as grids
from edjax.fields import channels as registry
from edjax.fields import shapes
from edjax.grid import Grid
from edjax.kernels import gto_dense, numerics, truncated_gaussians
from edjax.molecule import DensityMap, Molecule
from edjax.voxelize import make_voxelizer

WATER = [8, 1, 1], [[0.0, 0, 0.12], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48]]
GRID = Grid(8, 0.6)
EVERY = ('atoms', 'density', 'gradient', 'shape', 'noise')


@functools.cache
def _orbitals():
  return xtb.run(*WATER).orbitals


def _mol(**options) -> Molecule:
  density_map = DensityMap(
    jnp.linspace(-1, 1, 1000).reshape(10, 10, 10), jnp.full(3, -2.0),
    0.45 * jnp.eye(3),
  )  # fmt: skip
  return Molecule.from_arrays(
    *WATER, orbitals=_orbitals(), density_map=density_map, **options
  )


def _vox(channels, mol=None, **options):
  f = make_voxelizer(channels, GRID, **options)
  return np.asarray(jax.jit(f)(_mol() if mol is None else mol))


def test_every_channel_in_the_order_asked_for():
  f = make_voxelizer(EVERY, GRID, density='promolecule')
  names = ('atoms_H', 'atoms_C', 'atoms_N', 'atoms_O', 'atoms_F',
           'atoms_other', 'density', 'gradient', 'shape', 'noise')  # fmt: skip
  assert f.channel_names == names
  assert f.num_channels == 10
  assert f.units == ('', 'e/Å^3', 'e/Å^3/Å', '', '')
  mol = _mol()
  vox = jax.jit(f)(mol)
  assert vox.shape == (8, 8, 8, 10)
  assert vox.dtype == jnp.float32

  @jax.jit
  def one_by_one(mol):
    magnitude = fields.gradient_magnitude(fields.promolecule_grid)
    parts = [
      f(mol, GRID)
      for f in (fields.promolecule_grid, magnitude, fields.shape_grid,
                fields.noise_grid)
    ]  # fmt: skip
    atoms = fields.atoms_grid(mol, GRID)
    return jnp.concatenate([atoms, jnp.stack(parts, axis=-1)], axis=-1)

  np.testing.assert_allclose(vox, one_by_one(mol), rtol=1e-4, atol=1e-5)
  backwards = make_voxelizer(EVERY[::-1], GRID, density='promolecule')
  assert backwards.channel_names[:4] == EVERY[:0:-1]
  np.testing.assert_allclose(
    jax.jit(backwards)(mol)[..., :4], vox[..., :-5:-1], rtol=1e-5, atol=1e-5
  )


@pytest.mark.parametrize(
  ('density', 'field'),
  [
    ('xtb', fields.orbital_density_grid),
    ('promolecule', fields.promolecule_grid),
    ('free_atoms', fields.free_atoms_density_grid),
    ('deformation', fields.deformation_grid),
    ('all_electron', fields.all_electron_density_grid),
    ('map', fields.map_density_grid),
  ],
)
def test_density_sources_and_their_gradients(density, field):
  vox = _vox(('gradient', 'density'), density=density, supersample=2)
  both = jax.jit(
    fields.value_and_gradient_magnitude(field), static_argnums=(1, 2)
  )
  value, magnitude = both(_mol(), GRID, 2)
  scale = float(jnp.abs(magnitude).max())
  assert scale > 0.1
  np.testing.assert_allclose(vox[..., 1], value, atol=1e-5 * scale)
  np.testing.assert_allclose(vox[..., 0], magnitude, atol=1e-5 * scale)


def test_options_reach_their_fields():
  mol = _mol(b_factors=np.full(3, 9.0))
  cases = [
    (('density',), {'density': 'promolecule', 'b_iso': 12.0},
     lambda: fields.promolecule_grid(mol, GRID, b_iso=12.0)),
    (('density',), {'density': 'all_electron', 'b_iso': 12.0},
     lambda: fields.all_electron_density_grid(mol, GRID, b_iso=12.0)),
    (('density',), {'density': 'promolecule', 'use_b_factors': True},
     lambda: fields.promolecule_grid(mol, GRID, use_b_factors=True)),
    (('atoms',), {'widths': {'atoms': 0.8}},
     lambda: fields.atoms_grid(mol, GRID, width=0.8)),
    (('atoms',), {'elements': ('O',), 'groups': True},
     lambda: fields.atoms_grid(mol, GRID, elements=('O',), groups=True)),
    (('atoms',), {'binary': True, 'widths': {'atoms': 1.3}},
     lambda: fields.binary_atoms_grid(mol, GRID, radius=1.3)),
    (('atoms',), {'truncated': True, 'widths': {'atoms': 0.8}},
     lambda: fields.atoms_grid(mol, GRID, width=0.8, truncated=True)),
    (('shape',), {'widths': {'shape': 0.7}, 'supersample': 2},
     lambda: fields.shape_grid(mol, GRID, 2, width=0.7)),
    (('shape',), {'shape_radius': 1.1},
     lambda: fields.shape_grid(mol, GRID, radius=1.1)),
    (('valence',), {'widths': {'atoms': 0.8}},
     lambda: fields.valence_grid(mol, GRID, width=0.8)),
    (('valence',), {'truncated': True, 'widths': {'atoms': 0.8}},
     lambda: fields.valence_grid(mol, GRID, width=0.8, truncated=True)),
    (('valence',), {'groups': True},
     lambda: fields.valence_grid(mol, GRID, groups=True)),
  ]  # fmt: skip
  for channels, options, want in cases:
    got = _vox(channels, mol, **options)
    want = np.asarray(jax.jit(want)()).reshape(got.shape)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    plain = _vox(channels, mol, density='promolecule')
    assert plain.shape != got.shape or not np.allclose(plain, got, atol=1e-3)


def test_groups_split_every_kind_but_noise():
  # Water with orbitals beside a "pocket" of one zinc, which has none.
  numbers, coords = [*WATER[0], 30], [*WATER[1], [1.5, 0, 0]]
  mol = Molecule.from_arrays(
    numbers, coords, _orbitals(), groups=[0, 0, 0, 1], center=False
  )
  channels = ('atoms', 'density', 'gradient', 'shape', 'noise', 'valence')
  options = {'elements': ('O',), 'groups': True}
  f = make_voxelizer(channels, GRID, **options)
  assert f.channel_names == (
    'ligand_O', 'ligand_other', 'pocket_O', 'pocket_other', 'ligand_density',
    'pocket_density', 'ligand_gradient', 'pocket_gradient', 'ligand_shape',
    'pocket_shape', 'noise', 'ligand_valence', 'pocket_valence',
  )  # fmt: skip
  vox = np.asarray(jax.jit(f)(mol))
  assert vox.shape[-1] == f.num_channels == 13
  water = Molecule.from_arrays(*WATER, _orbitals(), center=False)
  zinc = Molecule.from_arrays([30], [[1.5, 0, 0]], center=False)
  both = fields.value_and_gradient_magnitude
  ligand = jax.jit(both(fields.orbital_density_grid), static_argnums=1)
  pocket = jax.jit(both(fields.promolecule_grid), static_argnums=1)
  for first, (value, magnitude) in (
    (4, ligand(water, GRID)), (5, pocket(zinc, GRID)),
  ):  # fmt: skip
    np.testing.assert_allclose(vox[..., first], value, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
      vox[..., first + 2], magnitude, rtol=1e-3, atol=1e-5
    )
  for one, vox_XYZ in ((water, vox[..., 11]), (zinc, vox[..., 12])):
    valence_XYZ = fields.valence_grid(one, GRID)
    np.testing.assert_allclose(vox_XYZ, valence_XYZ, rtol=1e-3, atol=1e-5)
    assert vox_XYZ.max() > 0.5
  promolecule = np.asarray(
    jax.jit(
      make_voxelizer(('density',), GRID, density='promolecule', groups=True)
    )(mol)
  )
  np.testing.assert_allclose(promolecule[..., 1], vox[..., 5], atol=1e-6)
  # all electrons of the blurred atoms, not the valence of the orbitals
  assert np.abs(promolecule[..., 0] - vox[..., 4]).max() > 0.1
  without = Molecule.from_arrays(
    numbers, coords, np.zeros_like(_orbitals()), groups=[0, 0, 0, 1],
    center=False,
  )  # fmt: skip
  fallen_back = jax.jit(make_voxelizer(('density',), GRID, groups=True))
  np.testing.assert_allclose(fallen_back(without), promolecule, atol=1e-6)


def test_transforms_are_fixed_functions_of_the_value():
  raw = _vox(('density', 'gradient', 'noise'), density='promolecule')
  got = _vox(
    ('density', 'gradient', 'noise'),
    density='promolecule',
    transforms={'density': 'log1p', 'noise': 'arcsinh'},
  )
  np.testing.assert_allclose(got[..., 0], np.log1p(raw[..., 0]), rtol=1e-5)
  np.testing.assert_allclose(got[..., 1], raw[..., 1], rtol=1e-5)
  np.testing.assert_allclose(
    got[..., 2], np.arcsinh(raw[..., 2]), rtol=1e-4, atol=1e-6
  )


@pytest.mark.parametrize('density', ['deformation', 'map'])
def test_log1p_of_either_sign_raises_and_arcsinh_keeps_the_sign(density):
  with pytest.raises(ValueError, match='either sign'):
    make_voxelizer(
      ('density',), GRID, density=density, transforms={'density': 'log1p'}
    )
  raw = _vox(('density',), density=density)
  got = _vox(('density',), density=density, transforms={'density': 'arcsinh'})
  assert raw.min() < 0
  np.testing.assert_allclose(got, np.arcsinh(raw), rtol=1e-4, atol=1e-6)
  # the length of a gradient has no sign
  make_voxelizer(
    ('gradient',), GRID, density=density, transforms={'gradient': 'log1p'}
  )


def test_scales_come_from_a_sample_and_stay():
  mols = molecule.stack(
    [
      geometry.rotate(_mol(), geometry.random_rotation(jax.random.key(k)))
      for k in range(4)
    ]
  )
  options = {'transforms': {'density': 'log1p'}}
  plain = make_voxelizer(('atoms', 'density'), GRID, **options)
  scales = voxelize.fit_scales(plain, mols)
  assert len(scales) == plain.num_channels
  final = make_voxelizer(('atoms', 'density'), GRID, scales=scales, **options)
  scaled = make_voxelizer(('atoms', 'density'), GRID, scales=scales)
  vox = jax.jit(numerics.batched(scaled))(mols)
  # scaled first, then transformed: the transform bends at the usual size
  np.testing.assert_allclose(
    jax.jit(numerics.batched(final))(mols)[..., 3:],
    np.concatenate([vox[..., 3:6], np.log1p(vox[..., 6:])], axis=-1),
    rtol=1e-5,
    atol=1e-6,
  )
  # unit root mean square over the sample, of all atom channels together
  rms = np.sqrt(np.mean(np.square(vox), axis=(0, 1, 2, 3)))
  assert rms[-1] == pytest.approx(1, abs=1e-4)
  assert np.sum(rms[:6] ** 2) == pytest.approx(1, abs=1e-4)
  np.testing.assert_array_equal(rms[[1, 2, 4, 5]], 0)  # C, N, F, other
  # one scale for all elements, those that the sample lacks included: an atom
  # weighs as much as another, however rare it is
  assert len(set(scales[:6])) == 1
  total = np.asarray(vox).sum((0, 1, 2, 3))
  assert total[0] == pytest.approx(2 * total[3], rel=1e-3)
  # never a statistic of the sample itself: a smaller molecule stays smaller
  one = jax.jit(scaled)(Molecule.from_arrays(
    [8], [[0.0, 0, 0]], orbitals=_orbitals()[:, :1], center=False
  ))  # fmt: skip
  assert float(jnp.sqrt(jnp.mean(one[..., 3] ** 2))) == pytest.approx(
    rms[3], rel=0.2
  )
  assert float(jnp.abs(one[..., 0]).max()) == 0
  # scales do not depend on scales or transforms that are there already
  assert voxelize.fit_scales(final, mols) == scales


def test_equal_voxelizers_share_compiled_code():
  traces = []

  @functools.partial(jax.jit, static_argnums=0)
  def program(voxelizer, mol):
    traces.append(1)
    return voxelizer(mol)

  for k in range(3):
    f = make_voxelizer(
      ['atoms', 'density'], Grid(8, 0.6), density='promolecule',
      widths={'atoms': 0.5}, transforms={'density': 'log1p'},
    )  # fmt: skip
    turn = geometry.random_rotation(jax.random.key(k))
    program(f, geometry.rotate(_mol(), turn))
  assert len(traces) == 1
  assert hash(f) == hash(f)
  other = make_voxelizer(['atoms', 'density'], Grid(8, 0.6))
  assert other != f
  program(other, _mol())
  assert len(traces) == 2


def test_programs_share_one_trace(monkeypatch):
  """Of equal voxelizers, alone and in a batch; not of different ones."""
  traced = []
  real = shapes.shape_grid

  def counted(*args, **kwargs):
    traced.append(1)
    return real(*args, **kwargs)

  monkeypatch.setattr(shapes, 'shape_grid', counted)
  grid = Grid(size=6, spacing=0.9)  # of no other test, as traces are kept
  one, same, sharper = (
    make_voxelizer(('shape',), grid, supersample=n) for n in (1, 1, 2)
  )
  mol = _mol()
  batch = jax.tree.map(lambda x: np.stack([x, x]), mol)
  jax.jit(one)(mol)
  jax.jit(lambda m: same(m).sum())(mol)
  jax.jit(jax.vmap(same))(batch)
  jax.jit(numerics.batched(one.raw))(batch)
  assert len(traced) == 1
  jax.jit(sharper)(mol)
  assert len(traced) == 2


def test_deterministic_and_the_same_in_a_batch():
  f = make_voxelizer(EVERY, Grid(6, 0.8), density='promolecule')
  mols = [_mol(index=k, max_atoms=5) for k in range(3)]
  batch = molecule.stack(mols)
  got = jax.jit(jax.vmap(f))(batch)
  np.testing.assert_array_equal(jax.jit(jax.vmap(f))(batch), got)
  chunked = jax.jit(numerics.batched(f))(batch)
  np.testing.assert_allclose(chunked, got, rtol=1e-4, atol=1e-4)
  single = jax.jit(f)(mols[1])
  np.testing.assert_allclose(single, got[1], rtol=1e-4, atol=1e-4)
  # keyed by id: the noise differs, nothing else does
  np.testing.assert_allclose(got[0, ..., :-1], got[1, ..., :-1], atol=1e-5)
  assert float(jnp.abs(got[0, ..., -1] - got[1, ..., -1]).max()) > 1


def test_padding_is_inert():
  f = jax.jit(make_voxelizer(EVERY[:-1], GRID, density='xtb'))
  mol = _mol()
  padded = _mol(max_atoms=7, max_orbitals=len(_orbitals()) + 2)
  np.testing.assert_allclose(f(padded), f(mol), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
  ('channels', 'options', 'message'),
  [
    (('atom',), {}, "unknown channel 'atom'; there are atoms, density"),
    ((), {}, 'no channel'),
    (('atoms', 'atoms'), {}, 'repeated'),
    (('density',), {'density': 'dft'}, 'there are xtb, promolecule'),
    (('density',), {'supersample': 0}, 'supersample'),
    (('density',), {'b_iso': -1.0}, 'b_iso'),
    (('atoms',), {'widths': {'density': 0.5}}, 'there are atoms, shape'),
    (('atoms',), {'widths': {'atoms': 0.0}}, 'width of atoms'),
    (('atoms',), {'elements': ('C', 'Zz')}, 'unknown element'),
    (('atoms',), {'transforms': {'atoms': 'sqrt'}}, 'none, log1p, arcsinh'),
    (('atoms',), {'transforms': {'mass': 'none'}}, 'channels are .*atoms'),
    (('noise',), {'transforms': {'noise': 'log1p'}}, 'either sign'),
    (('density',), {'b_iso': 9.0}, "b_iso is for .* not density='xtb'"),
    (('density',), {'density': 'map', 'use_b_factors': True}, 'use_b_factors'),
    (('density',), {'binary': True}, 'binary'),
    (
      ('shape',),
      {'truncated': True},
      "truncated is for .*'atoms' or 'valence'",
    ),
    (('atoms',), {'truncated': True, 'binary': True}, 'exclude each other'),
    (('noise',), {'groups': True}, 'groups'),
    (('density',), {'groups': True, 'density': 'map'}, 'groups: the density'),
    (('gradient',), {'groups': True, 'density': 'deformation'}, 'groups'),
    (('density',), {'transforms': {'gradient': 'none'}}, 'of gradient, but'),
    (('shape',), {'shape_radius': -1.0}, 'shape_radius must be'),
    (('atoms',), {'shape_radius': 1.0}, "shape_radius is for .*'shape'"),
    (('shape',), {'scales': (1.0, 2.0)}, '2 scales'),
    (('shape',), {'scales': (0.0,)}, 'scales must be'),
  ],
)
def test_errors_name_what_is_wrong(channels, options, message):
  with pytest.raises(ValueError, match=message):
    make_voxelizer(channels, GRID, **options)


@pytest.mark.parametrize('channel', ['density', 'gradient'])
@pytest.mark.parametrize(
  ('density', 'message'),
  [('xtb', 'orbitals'), ('deformation', 'orbitals'), ('map', 'density map')],
)
def test_missing_contents_raise_when_traced(channel, density, message):
  bare = Molecule.from_arrays(*WATER)
  f = make_voxelizer((channel,), GRID, density=density)
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(f, bare)
  # channels that need neither are fine
  assert jax.eval_shape(make_voxelizer(('atoms', 'shape'), GRID), bare)


@pytest.mark.parametrize('truncated', [False, True])
def test_atom_types_of_a_batch_at_once_are_those_one_by_one(truncated):
  mols = molecule.stack([
    _mol(index=i, center=False) if i else _mol() for i in range(3)
  ])  # fmt: skip
  f = make_voxelizer(('atoms',), Grid(24, 0.5), truncated=truncated)
  assert f.batches_on_cpu
  at_once, one_by_one = (
    np.asarray(jax.jit(numerics.batched(f, chunk))(mols)) for chunk in (3, 1)
  )
  assert at_once.max() > 0
  np.testing.assert_array_equal(at_once, one_by_one)


def test_other_channels_stay_in_the_cache_one_by_one():
  grid = Grid(24, 0.5)
  for channels, options in (
    (('density',), {'density': 'promolecule'}),
    (('atoms', 'shape'), {}),
    (('atoms',), {'binary': True}),
    (('atoms',), {'widths': {'atoms': 2.0}}),
    (('atoms',), {'truncated': True, 'smooth': 0.5}),
  ):
    assert not make_voxelizer(channels, grid, **options).batches_on_cpu
  assert not make_voxelizer(('atoms',), Grid(96, 0.5)).batches_on_cpu


def test_strict_promotion(strict_promotion):
  cases = dict.fromkeys(registry.DENSITIES, ('density', 'gradient'))
  for density, channels in (cases | {'promolecule': EVERY}).items():
    make = functools.partial(make_voxelizer, channels, GRID, density=density,
                             supersample=2, smooth=0.5)  # fmt: skip
    f = make(scales=(2.0,) * make().num_channels)
    assert jax.eval_shape(f, _mol()).dtype == jnp.float32


@pytest.mark.parametrize(
  ('channel', 'options'),
  [
    ('density', {'density': 'promolecule', 'groups': True}),
    ('gradient', {'density': 'promolecule', 'groups': True}),
    ('atoms', {'elements': ('C',), 'groups': True}),
    ('atoms', {'elements': ('C',), 'binary': True}),
    ('shape', {'supersample': 2, 'groups': True}),
    ('shape', {'smooth': 0.7}),
    ('density', {'density': 'map'}),
  ],
)
def test_scratch_is_about_what_the_compiler_allots(channel, options):
  n, batch = 400, 3
  rng = np.random.default_rng(0)
  values = rng.normal(size=(8, 8, 8))
  mol = Molecule.from_arrays(
    np.full(n, 6), rng.normal(size=(n, 3)) * 5, groups=np.arange(n) % 2,
    density_map=DensityMap(values, np.full(3, -4.0), np.eye(3)),
    center=False,
  )  # fmt: skip
  mols = molecule.stack([mol] * 12)
  f = make_voxelizer((channel,), Grid(16, 0.7), **options)

  def temporary(chunk):
    compiled = jax.jit(numerics.batched(f, chunk)).lower(mols).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  estimate = f.scratch_bytes(mols)
  # A chunk of 3, not the batch of 12, is what takes memory.
  assert 0.3 * estimate < temporary(batch) / batch < 3 * estimate
  assert temporary(12) > 2 * temporary(batch)


@pytest.mark.parametrize('supersample', [1, 2])
@pytest.mark.parametrize('channel', ['atoms', 'valence'])
def test_scratch_of_truncated_gaussians_is_that_of_layers(channel, supersample):
  """The form of accelerators; CPUs have windows."""
  n, grid = 400, Grid(24, 0.7)
  mol = Molecule.from_arrays(
    np.full(n, 6), np.random.default_rng(0).normal(size=(n, 3)) * 5
  )
  terms = (mol.coords_A3, jnp.ones((n, 1)), jnp.full(n, 0.5))
  compiled = (
    jax.jit(truncated_gaussians.splat_grid, static_argnums=(3, 4))
    .lower(*terms, grid, supersample)
    .compile()
  )
  temporary = compiled.memory_analysis().temp_size_in_bytes
  f = make_voxelizer((channel,), grid, truncated=True, supersample=supersample)
  estimate = f.scratch_bytes(mol)
  assert 0.3 * estimate < temporary < 3 * estimate


@pytest.mark.parametrize('channel', ['density', 'gradient'])
def test_scratch_of_orbitals_is_that_of_the_form_of_accelerators(channel):
  n, occupied = 30, 40
  rng = np.random.default_rng(0)
  mol = Molecule.from_arrays(
    np.full(n, 6), rng.normal(size=(n, 3)) * 3,
    orbitals=rng.normal(size=(occupied, n, 4)).astype(np.float32),
  )  # fmt: skip
  grid = Grid(48, 0.3)

  def dense(mol, grid):
    return gto_dense.density(
      grid, mol.numbers_A, mol.coords_A3, mol.orbitals_OL9
    )

  field = dense if channel == 'density' else fields.gradient_magnitude(dense)
  compiled = jax.jit(field, static_argnums=1).lower(mol, grid).compile()
  temporary = compiled.memory_analysis().temp_size_in_bytes
  estimate = make_voxelizer((channel,), grid).scratch_bytes(mol)
  assert 0.3 * estimate < temporary < 3 * estimate


def reduced_gradient(mol, grid, supersample):
  """A field of a user: the density's gradient over its power of 4/3."""
  both = fields.value_and_gradient_magnitude(fields.promolecule_grid)
  rho_XYZ, slope_XYZ = both(mol, grid, supersample)
  return slope_XYZ / (rho_XYZ + 1e-3) ** (4 / 3)


def test_a_function_is_a_channel():
  f = make_voxelizer(
    ('shape', reduced_gradient), GRID, supersample=2,
    transforms={'reduced_gradient': 'arcsinh'}, scales=(1.0, 3.0),
  )  # fmt: skip
  assert f.channel_names == ('shape', 'reduced_gradient')
  mol = _mol()
  raw = np.asarray(jax.jit(f.raw)(mol)[1])  # at the sub-points, for arcsinh
  own = np.asarray(
    jax.jit(reduced_gradient, static_argnums=(1, 2))(mol, GRID.refine(2), 1)
  )
  np.testing.assert_allclose(np.asarray(raw)[..., 0], own, rtol=1e-5)
  np.testing.assert_allclose(
    np.asarray(jax.jit(f)(mol))[..., 1],
    grids.pool(np.arcsinh(own / 3), 2),
    rtol=1e-5,
  )
  # Its scale is fitted as that of any other, and equal ones share programs.
  bare = make_voxelizer((reduced_gradient,), GRID)
  assert bare == make_voxelizer((reduced_gradient,), GRID)
  batch = jax.tree.map(lambda x: np.stack([x, x]), mol)
  (scale,) = voxelize.fit_scales(bare, batch)
  expected = np.sqrt(np.mean(np.asarray(jax.jit(bare)(mol)) ** 2))
  assert scale == pytest.approx(expected, rel=1e-5)


def test_functions_of_a_user_are_blurred_like_other_fields():
  f = make_voxelizer((fields.promolecule_grid,), GRID, smooth=0.5)
  g = make_voxelizer(('shape', fields.promolecule_grid), GRID)
  assert f.channel_names == ('promolecule_grid',)
  mol = _mol()
  blurred = np.asarray(jax.jit(f)(mol))[..., 0]
  sharp = np.asarray(jax.jit(g)(mol))[..., 1]
  assert blurred.max() < 0.9 * sharp.max()
  # Zeros would be lower as well: the named density says what it has to be.
  named = make_voxelizer(('density',), GRID, density='promolecule', smooth=0.5)
  want = np.asarray(jax.jit(named)(mol))[..., 0]
  np.testing.assert_allclose(blurred, want, atol=0.02 * want.max())


def test_functions_without_a_name_of_their_own_are_refused():
  with pytest.raises(ValueError, match="'<lambda>'"):
    make_voxelizer((lambda mol, grid, n: None,), GRID)

  def shape(mol, grid, supersample):
    return fields.shape_grid(mol, grid, supersample)

  with pytest.raises(ValueError, match="not 'shape'"):
    make_voxelizer((shape,), GRID)


def test_what_a_channel_needs():
  assert [p.name for p in registry.parts_of(('atoms', 'shape'), 'map')] == [
    'atoms', 'shape',
  ]  # fmt: skip
  for density in (('gradient',), (reduced_gradient,)):
    needs = {p.needs for p in registry.parts_of(density, 'deformation')}
    assert needs == {'', registry.ORBITALS}
  for channel in registry.CHANNELS.values():
    f = make_voxelizer((channel.name,), GRID, density='promolecule')
    costs = f.scratch_bytes(_mol()) > 0
    assert costs or channel.needs or channel.name == 'noise'
