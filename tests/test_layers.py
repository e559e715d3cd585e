"""Imports only go down the layers."""

import ast
import pathlib
import sys

import pytest

import edjax

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]

LAYERS = [
  {'units', 'elements', 'form_factors', 'gto_basis', 'addresses'},
  {
    'numerics', 'molecule', 'geometry', 'grid', 'splat', 'orbitals',
    'splat_local',
    'orbital_grid', 'orbital_screen', 'orbital_tiles', 'orbital_chunks',
    'free_atoms', 'maps', 'fields', 'voxelize',
    'coverage', 'blur',
  },
  {
    'conv', 'isotropic', 'kernel_ridge', 'models', 'losses', 'metrics', 'optim',
    'paired',
    'verdicts',
  },
  {
    'main', 'parallel', 'pack', 'input_pipeline', 'checkpoint', 'train',
    'train_step', 'preemption', 'processes',
    'evaluate', 'report', 'config', 'rundir', 'task', 'baselines', 'finite',
    'arms', 'study', 'study_config', 'study_plan', 'study_queue',
    'study_tuning', 'study_worker', 'programs', 'many_seeds',
    'study_table', 'study_csv', 'study_document', 'study_comparisons',
    'study_extras', 'study_report', 'study_html', 'view', 'stores',
    'stored_data', 'host_memory', 'vitals', 'moments_alone',
  },
]  # fmt: skip
LAYER = {name: i for i, names in enumerate(LAYERS) for name in names}
# Packages that a layer and those above may import; the rest is lazy (inside
# functions), so that physics and training run without it.
ALLOWED = [
  {'numpy', 'scipy'},
  {'jax'},
  {'flax', 'optax'},
  {'absl', 'orbax', 'ml_collections', 'tqdm'},
]


def imports(path, top_level_only):
  tree = ast.parse(path.read_text(encoding='utf-8'))
  nodes = tree.body if top_level_only else ast.walk(tree)
  for node in nodes:
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      if node.module in ('edjax', 'data_builders'):
        yield from (f'{node.module}.{alias.name}' for alias in node.names)
      else:
        yield node.module


def modules():
  return sorted((REPOSITORY / 'edjax').glob('[a-z]*.py'))


@pytest.mark.parametrize('path', modules(), ids=lambda p: p.stem)
def test_imports_go_down(path):
  layer = LAYER[path.stem]
  for name in imports(path, top_level_only=False):
    package, _, rest = name.partition('.')
    if package == 'edjax':
      assert LAYER[rest.split('.')[0]] <= layer, f'{path.name}: {name}'
    if package == 'data_builders':
      assert layer == 3, f'{path.name}: {name}'


@pytest.mark.parametrize('path', modules(), ids=lambda p: p.stem)
def test_eager_imports_are_few(path):
  allowed = set().union(*ALLOWED[: LAYER[path.stem] + 1])
  for name in imports(path, top_level_only=True):
    package = name.partition('.')[0]
    known = package == 'edjax' or package in sys.stdlib_module_names
    assert known or package in allowed, f'{path.name}: {name}'


def test_builders_import_the_physics_alone():
  for path in (REPOSITORY / 'data_builders').rglob('*.py'):
    for name in imports(path, top_level_only=False):
      package, _, rest = name.partition('.')
      if package == 'edjax':
        assert LAYER[rest.split('.')[0]] <= 1, f'{path.name}: {name}'


@pytest.mark.parametrize(
  ('word', 'home'),
  [
    ('jax.pmap', 'parallel.py'),
    ('import orbax', 'checkpoint.py'),
    ('import tensorflow_datasets', None),
  ],
)
def test_some_libraries_have_one_home(word, home):
  found = {p.name for p in modules() if word in p.read_text(encoding='utf-8')}
  assert found == ({home} if home else set())


def test_modules_are_attributes_of_the_package():
  assert edjax.units.BOHR_A < 1
  with pytest.raises(AttributeError, match='no attribute'):
    _ = edjax.unit
