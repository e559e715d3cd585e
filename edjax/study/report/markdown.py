"""Writes plain text, lists and tables as blocks of Markdown."""

import re
from collections.abc import Sequence

# Characters with a meaning in Markdown or HTML. An underscore between letters
# and a single '<' or '&' have none.
_SPECIAL = re.compile(
  r'[\\`*|\[\]]|(?<![^\W_])_|_(?![^\W_])|<(?=[a-zA-Z/!?])|&(?=#?\w+;)'
)
# Columns of such cells are numbers, set flush right.
_NUMBER = re.compile(r'[-−+<\d]')


def escape(text: str) -> str:
  """Returns Markdown, on one line, that shows the text as it is."""
  return _SPECIAL.sub(r'\\\g<0>', ' '.join(text.split('\n')))


def section(title: str, *blocks) -> list:
  """Returns blocks under a heading; [] if there are none or one is empty."""
  return [f'## {escape(title)}', *blocks] if blocks and all(blocks) else []


def bullets(lines: Sequence[str]) -> str:
  """Returns lines of plain text as a list."""
  return '\n'.join(f'- {escape(line)}' for line in lines)


def table(
  caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]
) -> str:
  """Returns cells of plain text below a caption; '' where there are no rows."""
  if not rows:
    return ''
  rules = [
    '---:' if all(map(_NUMBER.match, cells)) else '---'
    for cells in zip(*rows, strict=True)
  ]
  rules[0] = '---'  # names
  lines = [[escape(cell) for cell in row] for row in (head, *rows)]
  lines.insert(1, rules)
  return '\n'.join(
    [f'**{escape(caption)}**', '', *(f'| {" | ".join(x)} |' for x in lines)]
  )


def anchor(heading: str) -> str:
  """Returns the name that GitHub gives to a heading, for links to it."""
  return re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')


def contents(blocks: Sequence) -> str:
  """Returns links to the sections."""
  titles = [
    block.removeprefix('## ')
    for block in blocks
    if isinstance(block, str) and block.startswith('## ')
  ]
  return ' · '.join(f'[{title}](#{anchor(title)})' for title in titles)
