"""Every product of the physics asks for full float32, and jax is sound.

On a CPU the precision makes no difference to the numbers, so that only the
program text can show a default that would be bfloat16 on a TPU.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edjax import fields, geometry, voxelize
from edjax.fields import channels
from edjax.grid import Grid
from edjax.kernels import gaussians
from edjax.molecule import DensityMap, Molecule

GRID = Grid(4, 0.7)
POINTS = jnp.zeros((3, 3))
PRODUCTS = ('dot_general', 'conv_general_dilated', 'ragged_dot_general')


def _mol() -> Molecule:
  rng = np.random.default_rng(0)
  return Molecule.from_arrays(
    [6, 16, 1],
    rng.normal(size=(3, 3)),
    orbitals=rng.normal(size=(4, 3, 9)),
    homo=rng.normal(size=(1, 3, 9)),
    lumo=rng.normal(size=(1, 3, 9)),
    density_map=DensityMap(jnp.ones((4, 4, 4)), jnp.zeros(3), 0.5 * jnp.eye(3)),
  )


def _equations(jaxpr):
  """All equations of a jaxpr and of those inside of its equations."""
  for equation in jaxpr.eqns:
    yield equation
    for value in jax.tree.leaves(
      list(equation.params.values()),
      is_leaf=lambda x: hasattr(x, 'eqns') or hasattr(x, 'jaxpr'),
    ):
      inner = getattr(value, 'jaxpr', value)
      if hasattr(inner, 'eqns'):
        yield from _equations(inner)


def _precisions(f, *args, composed=False) -> list:
  """The precision of each product of f, of its derivatives, and batched.

  Compositions of fields that are walked themselves, and derivatives, are traced
  once as they stand: orbitals take long to trace.
  """
  found = []
  directions = jax.tree.map(
    lambda x: (
      jnp.ones_like(x)
      if jnp.issubdtype(x.dtype, jnp.floating)
      else np.zeros(x.shape, jax.dtypes.float0)
    ),
    args,
  )
  forms = {
    'value': (f, args),
    'forward': (lambda *a: jax.jvp(f, a, directions), args),
    'batched': (jax.vmap(f), jax.tree.map(lambda x: x[None], args)),
  }
  if composed:
    forms = {'value': forms['value']}
  for form, inputs in forms.values():
    for equation in _equations(jax.make_jaxpr(form)(*inputs).jaxpr):
      if equation.primitive.name in PRODUCTS:
        found.append(equation.params['precision'])
  return found


def _functions() -> dict:
  """name: (function of arrays, whether it has a product at all)."""
  promolecule = functools.partial(fields.promolecule, b_iso=9.0)
  on_points = {
    'promolecule': promolecule,
    'orbital_density': fields.orbital_density,
    'free_atoms': fields.free_atoms_density,
    'deformation': fields.deformation,
    'charge': fields.charge,
    'all_electron': functools.partial(fields.all_electron_density, b_iso=9.0),
    'tau': fields.tau,
    'elf': fields.elf,
    'map_density': fields.map_density,
    'atoms': fields.atoms,
    'truncated_atoms': functools.partial(fields.atoms, truncated=True),
    'binary_atoms': fields.binary_atoms,
    'shape': fields.shape,
    'noise': fields.noise,
  }
  on_grid = {
    'promolecule_grid': fields.promolecule_grid,
    'orbital_density_grid': fields.orbital_density_grid,
    'free_atoms_grid': fields.free_atoms_density_grid,
    'deformation_grid': fields.deformation_grid,
    'charge_grid': fields.charge_grid,
    'all_electron_grid': fields.all_electron_density_grid,
    'potential_grid': fields.potential_grid,
    'tau_grid': fields.tau_grid,
    'elf_grid': fields.elf_grid,
    'map_density_grid': fields.map_density_grid,
    'atoms_grid': fields.atoms_grid,
    'truncated_atoms_grid': functools.partial(
      fields.atoms_grid, truncated=True
    ),
    'binary_atoms_grid': fields.binary_atoms_grid,
    'shape_grid': fields.shape_grid,
    'noise_grid': fields.noise_grid,
  }
  without = ('binary_atoms', 'free_atoms', 'noise', 'noise_grid')
  found = {}
  for name, f in on_points.items():
    found[name] = lambda m, f=f: f(m, POINTS), name not in without
  for name, f in on_grid.items():
    g = fields.gradient_magnitude(f)
    found[name] = lambda m, f=f: f(m, GRID, 2), name not in without
    found[f'gradient of {name}'] = (
      lambda m, g=g: g(m, GRID, 2),
      name not in without,
    )
  for density in channels.DENSITIES:
    found[f'voxelizer of {density}'] = (
      voxelize.make_voxelizer(tuple(channels.CHANNELS), GRID, density=density),
      True,
    )
  turn = geometry.quaternion_to_rotation(jnp.array([0.5, 0.1, -0.3, 0.8]))
  found['rotate'] = lambda m: geometry.rotate(m, turn), True
  found['translate'] = (
    lambda m: geometry.translate(m, jnp.ones(3)),
    False,
  )
  found['d_rotation'] = lambda m: geometry.d_rotation(turn + m.coords_A3), True
  found['random_rotation'] = (
    lambda m: geometry.random_rotation(jax.random.key(m.index)),
    False,
  )
  found['splat_points'] = (
    lambda m: gaussians.splat_points(
      POINTS, m.coords_A3, jnp.ones((3, 2)), jnp.ones(3)
    ),
    True,
  )
  return found


@pytest.mark.parametrize('name', _functions())
def test_every_product_asks_for_the_highest_precision(name):
  f, has_products = _functions()[name]
  composed = name.startswith(('gradient of', 'voxelizer of'))
  found = _precisions(f, _mol(), composed=composed)
  highest = jax.lax.Precision.HIGHEST
  assert all(p in (highest, (highest, highest)) for p in found), found
  # a walk that finds nothing would prove nothing
  assert has_products == bool(found)


@pytest.mark.parametrize(
  'careless',
  [
    lambda m: m.coords_A3 @ m.coords_A3.T,
    lambda m: jax.jit(jnp.dot)(m.coords_A3, m.coords_A3.T),
    lambda m: jax.lax.map(lambda x: x @ x, m.coords_A3),
    lambda m: jax.lax.platform_dependent(
      m.coords_A3, cpu=lambda x: x @ x.T, default=lambda x: x @ x.T
    ),
    lambda m: jnp.einsum('ij,kj->ik', m.coords_A3, m.coords_A3),
  ],
)
def test_the_walk_finds_a_careless_product(careless):
  found = _precisions(careless, _mol())
  assert found
  assert all(p is None for p in found)


def test_the_walk_sees_the_tangents_of_a_custom_derivative():
  @jax.custom_jvp
  def f(x):
    return x

  @f.defjvp
  def _(primals, tangents):
    return primals[0], tangents[0] @ primals[0]

  found = _precisions(lambda m: f(m.coords_A3), _mol())
  assert found == [None]


def test_canary_jax_39103():
  # jax 0.10.2 gives wrong numbers on CPU for more than 32,768 rows
  # (https://github.com/jax-ml/jax/issues/39103).
  rotation = geometry.quaternion_to_rotation(jnp.array([0.9, 0.2, -0.3, 0.1]))
  rows = np.random.default_rng(0).normal(size=(32769, 3)).astype(np.float32)
  got = jax.jit(jax.vmap(lambda r: jnp.sum((rotation @ r) ** 2)))(rows)
  want = np.sum((rows @ np.asarray(rotation).T) ** 2, axis=1)
  # float32 dot products of three terms
  np.testing.assert_allclose(got, want, rtol=1e-5)
