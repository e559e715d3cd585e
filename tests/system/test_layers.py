"""Imports only go down the folders, and never in a circle."""

import ast
import functools
import graphlib
import pathlib
import sys

import pytest

import edjax

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

# Folders and files of edjax/ from the bottom to the top: each imports from its
# own line and those above it.
ORDER = [
  {'arguments'},
  {'chem'},
  {'datasets'},
  {'grid', 'molecule'},
  {'kernels'},
  {'formats', 'geometry', 'fields', 'transforms', 'view'},
  {'models', 'optim'},
  {'voxelize'},
  {'config'},
  {'runtime'},
  {'data'},
  {'baselines'},
  {'task'},
  {'evaluate'},
  {'predict'},
  {'export'},
  {'explain', 'train'},
  {'study'},
  {'commands'},
  {'command_line'},
  {'__main__'},
]  # fmt: skip
RANK = {name: i for i, names in enumerate(ORDER) for name in names}
# Packages that a folder and those after it import at once; the rest is imported
# inside of functions, so that physics and training run without it.
ALLOWED = {
  'arguments': {'numpy'},
  'chem': {'scipy'},
  'grid': {'jax'},
  'models': {'flax', 'optax'},
  'optim': {'ml_collections'},
  'config': {'ml_collections'},
  'runtime': {'absl', 'orbax', 'tqdm'},
}


def modules():
  return sorted((REPOSITORY / 'edjax').rglob('*.py'))


def name_of(path):
  """'edjax.config.rules' of its file; a package is its '__init__'."""
  return '.'.join(path.relative_to(REPOSITORY).with_suffix('').parts)


def folder_of(name):
  return name.split('.')[1]


@functools.cache
def files():
  return {name_of(path) for path in REPOSITORY.glob('[bed]*/**/*.py')}


def imports(path, top_level_only=False):
  """Names of what a file imports; of this repository, names of files."""
  tree = ast.parse(path.read_text(encoding='utf-8'))
  for node in tree.body if top_level_only else ast.walk(tree):
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield next(_files(alias.name), alias.name)
    elif isinstance(node, ast.ImportFrom):
      for alias in node.names:
        full = f'{node.module}.{alias.name}'
        yield next(_files(full, node.module), node.module)


def _files(*names):
  for name in names:
    yield from (x for x in (name, f'{name}.__init__') if x in files())


def ours(path):
  """Files of this repository that one of them imports."""
  # edjax/__init__.py has the version and imports what it is asked for.
  return set(imports(path)) & files() - {'edjax.__init__'}


@pytest.mark.parametrize('path', modules(), ids=name_of)
def test_imports_go_down(path):
  if name_of(path) == 'edjax.__init__':
    return
  rank = RANK[folder_of(name_of(path))]
  for name in ours(path):
    if name.startswith('edjax.'):
      assert RANK[folder_of(name)] <= rank, f'{path}: {name}'


def test_no_imports_go_in_a_circle():
  paths = [
    path
    for folder in ('edjax', 'data_builders', 'benchmarks')
    for path in (REPOSITORY / folder).rglob('*.py')
  ]
  graph = {name_of(path): ours(path) for path in paths}
  list(graphlib.TopologicalSorter(graph).static_order())  # or CycleError
  graph['edjax.chem.units'] = {'edjax.voxelize'}  # the negative control
  with pytest.raises(graphlib.CycleError):
    list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize('path', modules(), ids=name_of)
def test_eager_imports_are_few(path):
  if name_of(path) == 'edjax.__init__':
    return
  rank = RANK[folder_of(name_of(path))]
  allowed = {'edjax', *sys.stdlib_module_names}
  for folder, packages in ALLOWED.items():
    if RANK[folder] <= rank:
      allowed |= packages
  for name in imports(path, top_level_only=True):
    assert name.partition('.')[0] in allowed, f'{path}: {name}'


def test_builders_import_physics_files_and_ids_alone():
  allowed = {
    f'edjax.{name}'
    for name in (
      'runtime.paths', 'runtime.locks', 'runtime.reading',
      'runtime.atomic_files', 'data.pdb_ids',
      'data.molecule_splits',
    )
  }  # fmt: skip
  for path in (REPOSITORY / 'data_builders').rglob('*.py'):
    for name in imports(path):
      if name.startswith('edjax.') and name not in allowed:
        assert RANK[folder_of(name)] <= RANK['fields'], f'{path}: {name}'


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
  assert edjax.grid.Grid(2, 0.5).extent == 1
  with pytest.raises(AttributeError, match='no attribute'):
    _ = edjax.unit
