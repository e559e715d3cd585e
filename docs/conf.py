"""Settings of the site; CONTRIBUTING.md has the command that builds it.

The source is the whole repository, so that pages keep their places and their
relative links, and notebooks, READMEs and measurements are pages as well.
"""

import pathlib
import sys

REPOSITORY = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

project = 'edjax'
author = 'the authors of edjax'
root_doc = 'docs/index'
include_patterns = [
  '*.md',
  'benchmarks/**.md',
  'data_builders/*/README.md',
  'docs/*.md',
  'docs/results/**.md',
  'notebooks/*.ipynb',
]
exclude_patterns = ['.*', 'build', 'runs']  # not walked through
html_extra_path = ['site']  # index.html, which leads to docs/index.html

extensions = [
  'myst_nb',
  'sphinx.ext.autodoc',
  'sphinx.ext.napoleon',
  'sphinxcontrib.mermaid',
]
nb_execution_mode = 'off'
myst_enable_extensions = ['dollarmath']
myst_fence_as_directive = ['mermaid']
myst_heading_anchors = 3
autodoc_member_order = 'bysource'
napoleon_use_ivar = True
highlight_language = 'none'
default_role = 'code'  # docstrings have names in single backticks
# Tables that a command prints begin below the first level.
suppress_warnings = ['myst.header']

html_theme = 'sphinx_book_theme'
html_title = 'edjax'
html_theme_options = {'navbar_persistent': []}  # one search box


def setup(app):
  """Lets docstrings write |x|, which reStructuredText takes for a reference."""
  app.connect('autodoc-process-docstring', _escape_bars)


def _escape_bars(app, what, name, obj, options, lines):
  lines[:] = [line.replace('|', r'\|') for line in lines]
