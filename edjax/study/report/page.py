"""Renders a report as one HTML file, without other files or a network."""

import base64
import html
import itertools
from collections.abc import Mapping

from edjax.study.report import markdown

_STYLE = """
body{margin:0 auto;padding:1rem;max-width:62rem;background:#fff;color:#16191d;
font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem}
h2{font-size:1.25rem;margin-top:2.2rem;border-top:1px solid #d5d9dd;
padding-top:.6rem}
a{color:#005a9c}
img{max-width:100%;height:auto}
table{display:block;overflow-x:auto;border-collapse:collapse;font-size:.88rem;
font-variant-numeric:tabular-nums;overflow-wrap:normal}
th,td{padding:.25rem .7rem;border-bottom:1px solid #d5d9dd;text-align:left;
vertical-align:top}
th{background:#f2f4f5}
td[style*=right]{white-space:nowrap}
"""


def page(title: str, report: str, images: Mapping[str, bytes]) -> str:
  """Returns the HTML file.

  Args:
    title: plain text.
    report: Markdown.
    images: PNG files by their addresses in the Markdown.
  """
  from markdown_it import MarkdownIt

  parser = MarkdownIt('commonmark', {'html': False}).enable('table')
  tokens = parser.parse(report)
  for token, following in itertools.pairwise(tokens):
    if token.type == 'heading_open':
      token.attrSet('id', markdown.anchor(following.content))
    for child in token.children or ():
      if child.type == 'image':
        data = base64.b64encode(images[child.attrGet('src')]).decode('ascii')
        child.attrSet('src', f'data:image/png;base64,{data}')
  body = parser.renderer.render(tokens, parser.options, {})
  return (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
    f'<title>{html.escape(title)}</title>\n<style>{_STYLE}</style></head>\n'
    f'<body>\n{body}</body></html>\n'
  )
