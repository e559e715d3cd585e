"""The pages say what is there: links, paths, commands, imports, the example."""

import functools
import re
import textwrap

import numpy as np
import pytest
import test_layers

from configs import default, study_base
from docs import draw_inputs
from edjax.config import flatten
from edjax.grid import Grid

REPOSITORY = test_layers.REPOSITORY
ARCHITECTURE = REPOSITORY / 'docs' / 'architecture.md'
README = REPOSITORY / 'README.md'
# Results and the changelog keep the commands and names of their day.
PAGES = sorted(
  [
    *REPOSITORY.glob('*.md'),
    *REPOSITORY.glob('docs/*.md'),
    *REPOSITORY.glob('data_builders/**/*.md'),
  ]
)
CURRENT = [page for page in PAGES if page.name != 'CHANGELOG.md']
DATED = sorted(
  [
    *REPOSITORY.glob('docs/results/**/*.md'),
    *REPOSITORY.glob('benchmarks/**/*.md'),
  ]
)


def relative(page):
  return str(page.relative_to(REPOSITORY))


@functools.cache
def paths():
  """Returns the files and folders of the repository, as the pages name them."""
  folders = ('edjax', 'data_builders', 'configs', 'tests', 'benchmarks', 'docs',
             'notebooks', '.ci')  # fmt: skip
  below = [p for folder in folders for p in (REPOSITORY / folder).rglob('*')]
  below += [*REPOSITORY.glob('*'), *(REPOSITORY / f for f in folders)]
  return {relative(p) for p in below if '__pycache__' not in p.parts}


def without_blocks(text):
  """Returns a page without its fenced blocks."""
  return re.sub(r'^```.*?^```', '', text, flags=re.MULTILINE | re.DOTALL)


def anchors(text):
  """Returns the anchors that GitHub gives the headings of a page."""
  for heading in re.findall(r'^#+ +(.+)$', without_blocks(text), re.MULTILINE):
    yield re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')


def broken_links(text, folder):
  """Yields each link of a page to a file or a heading that does not exist."""
  for target in re.findall(r'\]\(([^)\s]+)\)', without_blocks(text)):
    if re.match(r'[a-z]+:', target):
      continue
    name, _, anchor = target.partition('#')
    if name and not (folder / name).exists():
      yield target
    elif anchor:
      linked = (folder / name).read_text(encoding='utf-8') if name else text
      if anchor not in anchors(linked):
        yield target


def is_module(name):
  path = REPOSITORY.joinpath(*name.split('.'))
  return path.with_suffix('.py').is_file() or (path / '__main__.py').is_file()


def unknown_commands(text):
  """Yields each module of the repository that `python -m` does not find."""
  for name in re.findall(r'python3?(?:\.\d+)? -m\s+([\w.]+)', text):
    ours = (REPOSITORY / name.partition('.')[0]).is_dir()
    if ours and not is_module(name):
      yield name


def unknown_paths(text):
  """Yields each path or module in backticks that the repository lacks.

  Paths may begin at any folder: `kernels/numerics.py` is one of edjax/.
  """
  for quoted in re.findall(r'`([^`\n]+)`', without_blocks(text)):
    name = quoted.partition(':')[0].removeprefix('./').rstrip('/')
    if re.search(r'[\s<>*{}()\[\]=]', name):
      continue  # code, a pattern, or a placeholder
    folder = re.split(r'[./]', name)[0]
    ours = folder in ('edjax', 'data_builders', 'configs', 'tests',
                      'benchmarks', 'docs', 'notebooks')  # fmt: skip
    if (ours and '/' in name) or name.endswith('.py'):
      if not any(f'/{path}'.endswith(f'/{name}') for path in paths()):
        yield quoted
    elif ours and re.fullmatch(r'\w+(\.\w+)+', name):
      # A module, or a name in one.
      parents = (name, name.rpartition('.')[0])
      if not any(
        p.replace('.', '/') + end in paths()
        for p in parents for end in ('', '.py')
      ):  # fmt: skip
        yield quoted


@functools.cache
def fields():
  """Returns the names of fields and sections of all configurations."""
  config = default.get_config()
  study = study_base.add_study(config)
  study.variants.name = 0  # it is empty
  names = [name.split('.') for name in flatten(config)]
  return {'.'.join(n[:i]) for n in names for i in range(1, len(n) + 1)}


def unknown_fields(text):
  """Yields each field, in backticks or a command, that no configuration has."""
  sections = '|'.join(sorted(name for name in fields() if '.' not in name))
  name = rf'(?:{sections})\.(?!csv|log)[\w.]+'
  for quoted, set_to in re.findall(
    rf'`({name})(?:=[^`]*)?`|--config\.({name})=', text
  ):
    if (quoted or set_to) not in fields():
      yield quoted or set_to


@pytest.mark.parametrize('page', [*PAGES, *DATED], ids=relative)
def test_links_lead_somewhere(page):
  assert not list(broken_links(page.read_text(encoding='utf-8'), page.parent))


@pytest.mark.parametrize('page', CURRENT, ids=relative)
def test_commands_paths_and_fields_exist(page):
  text = page.read_text(encoding='utf-8')
  assert not list(unknown_commands(text))
  assert not list(unknown_paths(text))
  assert not list(unknown_fields(text))


def test_checks_of_pages_see_mistakes():
  text = textwrap.dedent("""\
    # A title, and more
    [page](no.md) [heading](#none) [fine](#a-title-and-more) [out](https://x.y)
    `edjax/no.py` `no.py` `edjax.no.name`
    `edjax/` `numerics.py` `edjax.grid.Grid`
    `data.no` `train.seed=1` `study.sizes`
    ```sh
    python -m benchmarks.no
    python -m benchmarks.speed.density
    python -m pytest --config.optim.no=1 --config.model.name=cnn3d
    ```
    """)
  assert list(broken_links(text, REPOSITORY)) == ['no.md', '#none']
  assert list(unknown_commands(text)) == ['benchmarks.no']
  assert list(unknown_paths(text)) == ['edjax/no.py', 'no.py', 'edjax.no.name']
  assert list(unknown_fields(text)) == ['data.no', 'optim.no']


def test_readme_is_read_in_three_minutes():
  assert len(README.read_text(encoding='utf-8').splitlines()) <= 150


def test_example_of_the_readme_runs(capsys):
  """Over 10 s: it runs xTB and compiles orbitals."""
  blocks = re.findall(
    r'^```python\n(.*?)^```', README.read_text(encoding='utf-8'),
    re.MULTILINE | re.DOTALL,
  )  # fmt: skip
  assert blocks
  for block in blocks:
    exec(compile(block, 'README.md', 'exec'), {})
  assert '(32, 32, 32, 8)' in capsys.readouterr().out


def test_picture_shows_four_inputs_in_the_plane_of_the_molecule(monkeypatch):
  monkeypatch.setattr(draw_inputs, 'GRID', Grid(size=33, spacing=0.25))
  mol = draw_inputs.molecule()
  assert np.abs(mol.coords_A3[:, 2]).max() < 0.01
  figure = draw_inputs.draw(mol)
  titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
  assert titles == [
    'atom types', 'electron density', 'gradient magnitude', 'shape',
  ]  # fmt: skip
  assert draw_inputs.FILE.stat().st_size < 150_000


def node(name):
  """Returns a module's folder or file below edjax/, or its root folder."""
  root = name.partition('.')[0]
  return test_layers.folder_of(name) if root == 'edjax' else root


def imports():
  """Returns (node that imports, node imported) of the whole repository."""
  modules = [
    path
    for folder in ('edjax', 'data_builders', 'configs')
    for path in (REPOSITORY / folder).rglob('*.py')
    if path != REPOSITORY / 'edjax' / '__init__.py'
  ]
  edges = {
    (node(test_layers.name_of(path)), node(name))
    for path in [*modules, REPOSITORY / 'launch.py']
    for name in test_layers.ours(path)
  }
  return {(a, b) for a, b in edges if a != b}


def reduced(edges):
  """Returns the edges that no path of other edges stands for."""

  def below(a):
    return {b for x, b in edges if x == a}

  @functools.cache
  def reached(a):
    return below(a).union(*map(reached, below(a)))

  return {
    (a, b) for a, b in edges if not any(b in reached(c) for c in below(a))
  }


def diagram(text):
  """Returns the solid arrows, the dotted ones, and the nodes of the diagram."""
  pattern = r'^```mermaid\n(.*?)^```'
  block = re.search(pattern, text, re.MULTILINE | re.DOTALL)[1]
  solid, dotted = (
    set(re.findall(rf'^ *(\w+) {arrow} (\w+)$', block, re.MULTILINE))
    for arrow in ('-->', '-\\.->')
  )
  return solid, dotted, set(re.findall(r'^ *(\w+)\[', block, re.MULTILINE))


def test_diagram_of_the_architecture_is_that_of_the_imports():
  solid, dotted, nodes = diagram(ARCHITECTURE.read_text(encoding='utf-8'))
  edges = imports()
  # Builders are imported where a dataset is built, inside of functions.
  building = {(a, b) for a, b in edges if b == 'data_builders'}
  wrong = []
  for arrow, drawn, true in (
    ('-->', solid, reduced(edges - building)),
    ('-.->', dotted, building),
  ):
    wrong += [f'add:    {a} {arrow} {b}' for a, b in sorted(true - drawn)]
    wrong += [f'remove: {a} {arrow} {b}' for a, b in sorted(drawn - true)]
  named = {name for edge in edges for name in edge} | {'configs'}
  wrong += [f'add:    {name}["..."]' for name in sorted(named - nodes)]
  wrong += [f'remove: {name}["..."]' for name in sorted(nodes - named)]
  assert not wrong, '\n'.join(['edit docs/architecture.md', *wrong])


def test_reduced_keeps_what_no_path_says():
  edges = {('a', 'b'), ('b', 'c'), ('c', 'd'), ('a', 'c'), ('a', 'd')}
  assert reduced(edges) == {('a', 'b'), ('b', 'c'), ('c', 'd')}
  assert reduced({('a', 'b'), ('a', 'c')}) == {('a', 'b'), ('a', 'c')}
