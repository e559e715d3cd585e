"""A report as one HTML file that needs nothing else, not even a network."""

import html
import json
import math
import re

from edjax.study.report import document as parts

# Longer titles are cut into lines by the browser, outside of the charts.
_WORDS = {'supported': '✓', 'contradicted': '✗', 'undecided': '?'}

_STYLE = """
:root{color-scheme:light dark;--back:#fff;--card:#f6f7f8;--ink:#16191d;
--soft:#555b61;--line:#d5d9dd;--link:#005a9c;--yes:#00654a;--no:#a03a00;
--open:#555b61}
@media (prefers-color-scheme:dark){:root{--back:#14171a;--card:#1d2126;
--ink:#e8eaed;--soft:#aab2ba;--line:#3a4047;--link:#7cc4ff;--yes:#43d3a6;
--no:#ff9a66;--open:#aab2ba}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:62rem;background:var(--back);
color:var(--ink);font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans",sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.2;margin:.5rem 0}
h2{font-size:1.2rem;margin:2.2rem 0 .6rem;padding-top:.4rem;
border-top:1px solid var(--line)}
a{color:var(--link)}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1rem;padding:0;list-style:none}
.lead{color:var(--soft)}
.finding{background:var(--card);border-left:.35rem solid var(--open);
border-radius:.3rem;padding:.6rem .9rem;margin:.7rem 0}
.finding.supported{border-color:var(--yes)}
.finding.contradicted{border-color:var(--no)}
.finding h3{margin:0;font-size:1rem}
.word{color:var(--open)}.supported .word{color:var(--yes)}
.contradicted .word{color:var(--no)}
.where{font-weight:normal;color:var(--soft)}
.finding p{margin:.2rem 0}.finding ul{margin:.3rem 0;padding-left:1.1rem}
.scroll{overflow-x:auto;margin:.6rem 0;border:1px solid var(--line);
border-radius:.3rem}
.scroll:focus-visible{outline:2px solid var(--link)}
table{border-collapse:collapse;width:100%;font-size:.88rem;
font-variant-numeric:tabular-nums;overflow-wrap:normal}
.caption{margin:1rem 0 .3rem;font-size:.9rem;color:var(--soft)}
.caption+.scroll{margin-top:0}
th,td{padding:.25rem .6rem;text-align:right;white-space:nowrap;
vertical-align:top}
tr+tr>*,tbody tr>*{border-top:1px solid var(--line)}
td small{display:block;color:var(--soft);font-size:.92em}
th:first-child{text-align:left;position:sticky;left:0;
background:var(--back);white-space:normal;min-width:6rem;overflow-wrap:normal}
.finding th:first-child{background:var(--card)}
th[scope=row]{font-weight:600}
td.words,th.words{text-align:left}
td.words{white-space:normal;min-width:8rem}
td.long{min-width:14rem}
summary{cursor:pointer;color:var(--link)}
figure{margin:1rem 0}
figcaption{font-size:.9rem;color:var(--soft)}
.chart{width:100%;height:27rem}
.chart.parity{height:30rem}
@media (max-width:40rem){body{padding:.7rem}.chart{height:30rem}
h1{font-size:1.3rem}}
@media print{.chart{break-inside:avoid}}
"""

# Colours follow the reader's choice of light or dark, the legend the width; it
# stands below the buttons that a pointer over a chart brings out.
_SCRIPT = """
(function(){
const dark=matchMedia('(prefers-color-scheme: dark)');
const charts=JSON.parse(document.getElementById('charts').textContent);
function css(n){return getComputedStyle(document.documentElement)
.getPropertyValue(n).trim()}
function show(c){
const el=document.getElementById(c.id);
const narrow=el.clientWidth<620, k=dark.matches?1:0;
const data=c.data.map((t,i)=>{
const r=Object.assign({},t), col=t.colors[k];delete r.colors;
r.line=Object.assign({},t.line,{color:col});
r.marker=Object.assign({},t.marker,{color:col,
line:{color:col,width:(t.marker.symbol||'').includes('open')?1.5:0}});
if(t.error_y)r.error_y=Object.assign({},t.error_y,{color:col});
const old=el.data&&el.data[i];if(old)r.visible=old.visible;return r});
const l=JSON.parse(JSON.stringify(c.layout)), ink=css('--ink'),
line=css('--line');
Object.assign(l,{paper_bgcolor:'rgba(0,0,0,0)',plot_bgcolor:'rgba(0,0,0,0)',
font:{color:ink,family:'system-ui,sans-serif',size:narrow?11:13},
margin:{l:narrow?52:64,r:narrow?8:16,t:8,b:48},
hoverlabel:{bgcolor:css('--card'),font:{color:ink},bordercolor:line},
legend:narrow?{orientation:'h',x:0,y:-.2,yanchor:'top'}:
{x:1.02,y:.92,xanchor:'left'}});
for(const a of ['xaxis','yaxis'])Object.assign(l[a],{gridcolor:line,
zeroline:false,linecolor:line,automargin:true,
fixedrange:narrow});
for(const s of l.shapes||[])s.line.color=css('--soft');
return Plotly.react(el,data,l,{responsive:true,displaylogo:false,
displayModeBar:narrow?false:'hover',
modeBarButtonsToRemove:['lasso2d','select2d']})}
function all(){charts.forEach(show)}
all();dark.addEventListener('change',all);
let wait;addEventListener('resize',()=>{clearTimeout(wait);
wait=setTimeout(all,150)});
})();
"""


def page(document: parts.Document) -> str:
  """The whole file.

  Args:
    document: what it says.

  Returns:
    HTML with plotly's own bundle and all charts' data inside.
  """
  from plotly import offline

  charts = []
  body = [
    '<header>',
    f'<h1>{_text(document.title)}</h1>',
    *(f'<p class="lead">{_text(s)}</p>' for s in document.lead),
    '</header><nav aria-label="Sections"><ul>',
    *(
      f'<li><a href="#s{i}">{_text(s.title)}</a></li>'
      for i, s in enumerate(document.sections)
    ),
    '</ul></nav><main>',
  ]
  for i, section in enumerate(document.sections):
    body.append(f'<section aria-labelledby="s{i}">')
    body.append(f'<h2 id="s{i}">{_text(section.title)}</h2>')
    body += [_part(part, charts) for part in section.parts]
    body.append('</section>')
  # '</' would end the script that holds it.
  data = json.dumps(charts, allow_nan=False).replace('</', '<\\/')
  return '\n'.join(
    [
      '<!doctype html><html lang="en"><head><meta charset="utf-8">',
      '<meta name="viewport" content="width=device-width,initial-scale=1">',
      '<meta name="color-scheme" content="light dark">',
      '<link rel="icon" href="data:,">',
      f'<title>{_text(document.title)}</title>',
      f'<style>{_STYLE}</style></head><body>',
      *body,
      '</main>',
      f'<script id="charts" type="application/json">{data}</script>',
      f'<script>{offline.get_plotlyjs()}</script>',
      f'<script>{_SCRIPT}</script>',
      '</body></html>',
    ]
  )


def _text(words: str) -> str:
  return html.escape(words, quote=True)


def _part(part, charts: list) -> str:
  if isinstance(part, parts.Table):
    return _table(part)
  if isinstance(part, parts.Finding):
    lines = ''.join(f'<li>{_text(line)}</li>' for line in part.lines)
    return (
      f'<article class="finding {part.word}"><h3>'
      f'{_text(part.name)}: <span class="word"><span aria-hidden="true">'
      f'{_WORDS[part.word]} </span>{part.word}</span> '
      f'<span class="where">{_text(part.where)}</span></h3>'
      f'<p>{_text(part.statement)}</p><ul>{lines}</ul>'
      f'{_details(part.table)}</article>'
    )
  if isinstance(part, parts.Listing):
    lines = ''.join(f'<li>{_text(line)}</li>' for line in part.lines)
    return f'<ul>{lines}</ul>'
  if isinstance(part, parts.Figure):
    identifier = f'chart-{part.name}'
    charts.append(_chart(part, identifier))
    kind = 'chart parity' if part.parity else 'chart'
    return (
      f'<figure><figcaption id="{identifier}-title">{_text(part.title)}'
      f'</figcaption><div class="{kind}" id="{identifier}" role="img" '
      f'aria-label="{_text(part.words)}"></div></figure>'
    )
  if isinstance(part, parts.Overview):
    return ''  # its charts come themselves
  return f'<p>{_text(part)}</p>'


def _table(table: parts.Table) -> str:
  kinds = [_kind(column) for column in zip(*table.rows, strict=True)]
  head = ''.join(
    f'<th scope="col"{kind}>{_text(c)}</th>'
    for c, kind in zip(table.head, kinds or [''] * 99, strict=False)
  )
  rows = ''.join(
    f'<tr><th scope="row">{_text(row[0])}</th>'
    + ''.join(_cell(*c) for c in zip(row[1:], kinds[1:], strict=True))
    + '</tr>'
    for row in table.rows
  )
  label = _text(table.caption)
  return (
    f'<p class="caption">{label}</p>'
    f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">'
    f'<table aria-label="{label}"><thead><tr>{head}</tr></thead>'
    f'<tbody>{rows}</tbody></table></div>'
  )


def _details(table: parts.Table | None) -> str:
  """A table that is folded away."""
  if table is None:
    return ''
  return (
    f'<details><summary>Every comparison</summary>{_table(table)}</details>'
  )


def _kind(cells) -> str:
  """Columns of words are set flush left; long ones may break."""
  if all(re.match(r'[-−+<\d]', c) for c in cells):
    return ''
  longest = max(len(c) for c in cells)
  return ' class="words long"' if longest > 60 else ' class="words"'


def _cell(text: str, kind: str) -> str:
  """Intervals stand below their value, so that tables fit on a phone."""
  match = re.fullmatch(r'([^()]{1,40}) \(([^()]+)\)', text)
  if match:
    text, below = match.groups()
    return f'<td{kind}>{_text(text)}<small>{_text(below)}</small></td>'
  return f'<td{kind}>{_text(text)}</td>'


def _log_axis(values) -> dict:
  """Of plotly, whose own ticks of less than a decade say '2' for 200."""
  values = [v for v in values if v > 0]  # NaN is not
  if not values:
    return {'type': 'log'}
  ticks = parts.log_ticks(min(values), max(values))
  words = [parts.tick_word(t) for t in ticks]
  return {'type': 'log', 'tickvals': ticks, 'ticktext': words}


def _chart(figure: parts.Figure, identifier: str) -> dict:
  """Data and layout for plotly, colours left to the script."""
  x = {'title': {'text': figure.x}}
  y = {'title': {'text': figure.y}}
  if figure.log_x:
    x |= _log_axis([v for s in figure.series for v in s.x])
  if figure.log_y:
    y |= _log_axis([v for s in figure.series for v in (*s.y, *s.low, *s.high)])
  if figure.ticks:
    x |= {
      'tickmode': 'array',
      'tickvals': list(figure.ticks),
      'ticktext': [parts.size_word(t) for t in figure.ticks],
    }
  layout = {'xaxis': x, 'yaxis': y, 'hovermode': 'closest', 'shapes': []}
  if figure.zero:
    layout['shapes'].append(
      {
        'type': 'line', 'xref': 'paper', 'x0': 0, 'x1': 1, 'y0': 0, 'y1': 0,
        'line': {'width': 1},
      }
    )  # fmt: skip
  if figure.parity:
    values = [v for s in figure.series for v in (*s.x, *s.y)]
    ends = [min(values, default=0), max(values, default=1)]
    layout['shapes'].append(
      {
        'type': 'line', 'x0': ends[0], 'x1': ends[1], 'y0': ends[0],
        'y1': ends[1], 'line': {'width': 1}, 'layer': 'below',
      }
    )  # fmt: skip
    y |= {'scaleanchor': 'x', 'scaleratio': 1}
  data = [_trace(figure, s, i) for i, s in enumerate(figure.series)]
  return {'id': identifier, 'data': data, 'layout': layout}


def _trace(figure: parts.Figure, series: parts.Series, i: int) -> dict:
  look = series.style
  factor = parts.dodge(figure, i)
  trace = {
    'type': 'scatter',
    'name': series.label,
    'mode': 'markers' if figure.parity else 'lines+markers',
    'x': [_finite(v * factor) for v in series.x],
    'y': [_finite(v) for v in series.y],
    'colors': [look.light, look.dark],
    'line': {'dash': look.dash, 'width': 2},
    'marker': {'symbol': look.symbol, 'size': 5 if figure.parity else 9},
  }
  if figure.parity:
    trace['marker']['opacity'] = 0.6
    trace['hovertemplate'] = '%{x:.4g}, %{y:.4g}'
  else:
    if len(series.low):
      above = [b - v for v, b in zip(series.y, series.high, strict=True)]
      below = [v - a for v, a in zip(series.y, series.low, strict=True)]
      trace['error_y'] = {
        'type': 'data', 'symmetric': False, 'thickness': 1.2, 'width': 3,
        'array': [_finite(v) or 0 for v in above],
        'arrayminus': [_finite(v) or 0 for v in below],
      }  # fmt: skip
    spans = [
      f'{figure.x}: {parts.size_word(x)}<br>{figure.y}: '
      + parts.spread(
        y,
        series.low[j] if len(series.low) else math.nan,
        series.high[j] if len(series.high) else math.nan,
      )
      for j, (x, y) in enumerate(zip(series.x, series.y, strict=True))
    ]
    trace['text'] = [html.escape(s, quote=False) for s in spans]
    trace['text'] = [s.replace('&lt;br&gt;', '<br>') for s in trace['text']]
    trace['hovertemplate'] = '%{text}'
  if series.hidden:
    trace['visible'] = 'legendonly'
  return trace


def _finite(value: float) -> float | None:
  value = float(value)
  return value if math.isfinite(value) else None
