"""The command line of edjax: its flags, and mistakes in them said in a line.

What it does is in edjax.commands, where tests and notebooks can import it.
"""

import ast
import difflib
import importlib.util
import os
import pathlib
import re
import sys
from collections.abc import Sequence

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from edjax import commands, explain, export
from edjax.config.errors import ConfigError
from edjax.runtime import malloc

_CONFIG = config_flags.DEFINE_config_file(
  'config',
  None,
  'A configuration, with :variant if it has variants: a file, or one of those '
  'below. --config.FIELD=VALUE sets one of its fields.',
)
_WORKDIR = flags.DEFINE_multi_string(
  'workdir',
  [],
  'Run directory (default: runs/<config>[-<variant>]). With --mode predict it '
  'may be given several times: the mean of the runs predicts.',
)
_MODE = flags.DEFINE_enum(
  'mode', 'train', sorted(commands.MODES), 'What to do with the configuration.'
)
_INPUT = flags.DEFINE_string(
  'input',
  '',
  'With --mode predict, export and explain: file or folder of molecules or '
  'complexes (docs/predicting.md).',
)
_OUTPUT = flags.DEFINE_string(
  'output',
  'predictions.csv',
  'With --mode predict: CSV file to write. With --mode export and explain: '
  'folder.',
)
_FIELDS = flags.DEFINE_list(
  'fields',
  [],
  'With --mode export: fields, channels and sources of density, as '
  'density,promolecule,atoms_O (default: the channels of the configuration).',
)
_FORMATS = flags.DEFINE_list(
  'formats',
  [],
  f'With --mode export and explain: some of {",".join(export.FORMATS)} '
  '(default: ccp4, with html for explain; docs/exporting.md).',
)
_SPACING = flags.DEFINE_float(
  'spacing',
  0.0,
  'With --mode export and explain: between points, Å (default: 0.2, or that '
  'of the input that is explained).',
)
_MARGIN = flags.DEFINE_float(
  'margin',
  export.Settings().margin,
  'With --mode export and explain: around the atoms, Å.',
)
_REFERENCE = flags.DEFINE_string(
  'reference',
  '',
  f'With --mode explain: {explain.FREE_ATOMS} or {explain.EMPTY} '
  '(docs/explaining.md).',
)
_SHARD = flags.DEFINE_string(
  'shard', '', 'i/n: every n-th run of a study, i from 0 (default: all).'
)
_DASK = flags.DEFINE_string(
  'dask',
  '',
  'With --mode study: address of the scheduler of a Dask cluster, whose '
  'workers do the runs (default: processes of this machine).',
)
_COORDINATOR = flags.DEFINE_string(
  'coordinator',
  '',
  'For one run on several processes: address:port of the first '
  "one, or 'auto' on TPU pods and SLURM (default: this process alone).",
)
_PROCESSES = flags.DEFINE_integer(
  'processes', 0, 'With --coordinator: number of processes.'
)
_PROCESS = flags.DEFINE_integer(
  'process', -1, 'With --coordinator: number of this process, from 0.'
)
_BEAM = flags.DEFINE_string(
  'beam',
  '',
  'With --mode build: flags of Apache Beam, in quotation marks; Beam then '
  'builds the dataset (default: processes of this machine).',
)


def main() -> None:
  """Runs the command of sys.argv and exits with its status."""
  app.run(_run, flags_parser=_parse)


def _run(argv) -> None:
  del argv  # `_parse` refuses what is no flag
  malloc.keep()
  files = ()
  if _MODE.value in _OF_FILES:
    workdir, files = _WORKDIR.value, (_INPUT.value, _OUTPUT.value)
    if _MODE.value != 'predict':
      files += (_settings(),)
  else:
    path = config_flags.get_config_filename(flags.FLAGS['config'])
    workdir = ''.join(_WORKDIR.value) or commands.default_workdir(path)
  together = ()
  if _COORDINATOR.value:
    together = _COORDINATOR.value, _PROCESSES.value, _PROCESS.value
  shard, beam, dask = _SHARD.value, _BEAM.value, _DASK.value
  config = _CONFIG.value  # None where the run directory has it
  status = commands.run(
    config, workdir, _MODE.value, shard, together, beam, dask, files
  )
  if status == commands.INTERRUPTED:
    # What an interrupt has left half compiled may crash the interpreter's end.
    sys.stdout.flush()
    os._exit(status)
  raise SystemExit(status)


def _parse(argv: Sequence[str]) -> list[str]:
  """Parses flags; exits with a message where they are wrong."""
  if {'--help', '-help', '-h', '--helpshort', '--helpfull'} & {*argv[1:]}:
    print(help_text())
    raise SystemExit(0)
  try:
    rest = flags.FLAGS(checked(argv))[1:]
    _check_files()
    if rest:
      raise ConfigError(
        f'unknown argument {rest[0]!r}; a field is set by --config.FIELD=VALUE'
      )
  except (ConfigError, flags.Error) as error:
    sys.stderr.write(f'error: {error}\nSee --help.\n')
    raise SystemExit(2) from None
  return [argv[0]]


# Modes that read files of molecules, and need no --config.
_OF_FILES = ('predict', 'export', 'explain')


def _check_files() -> None:
  """Refuses flags of these modes elsewhere, and what the modes lack."""
  mode, of_maps = _MODE.value, ('export', 'explain')
  for flag, modes in (
    ('input', _OF_FILES), ('output', _OF_FILES), ('fields', ('export',)),
    ('formats', of_maps), ('spacing', of_maps), ('margin', of_maps),
    ('reference', ('explain',)),
  ):  # fmt: skip
    if mode not in modes and flags.FLAGS[flag].present:
      raise ConfigError(f'--{flag} goes with --mode {" or ".join(modes)}')
  if mode != 'predict' and len(_WORKDIR.value) > 1:
    raise ConfigError('--workdir, more than once, goes with --mode predict')
  if mode not in _OF_FILES:
    return
  is_config = bool(flags.FLAGS['config'].present)
  if mode == 'export' and is_config == bool(_WORKDIR.value):
    raise ConfigError(
      '--mode export needs either --config, a configuration with the fields, '
      'or --workdir, the directory of a finished run'
    )
  output = flags.FLAGS['output'].present
  for flag, value, what in (
    ('workdir', _WORKDIR.value or is_config, 'the directory of a finished run'),
    ('input', _INPUT.value, 'a file or folder of molecules or complexes'),
    ('output', mode == 'predict' or output, 'a folder'),
  ):
    if not value:
      raise ConfigError(f'--mode {mode} needs --{flag}: {what}')


def _settings():
  """Returns what --mode export and explain do, with their own defaults."""
  given = {'margin': _MARGIN.value}
  if _FORMATS.value:
    given['formats'] = tuple(_FORMATS.value)
  if flags.FLAGS['spacing'].present:
    given['spacing'] = _SPACING.value
  if _MODE.value == 'explain':
    return explain.Settings(reference=_REFERENCE.value, **given)
  return export.Settings(fields=tuple(_FIELDS.value), **given)


def help_text() -> str:
  """Returns the flags, and the configurations with their variants."""
  lines = [
    f'usage: {pathlib.Path(sys.argv[0]).name} --config FILE[:VARIANT] '
    '[--config.FIELD=VALUE] [flags]',
    flags.FLAGS.module_help(sys.modules[__name__]),
    'configurations (configs/default.py and configs/study_base.py describe all '
    'fields):',
    *(f'  {usage}' for usage in listing()),
  ]
  return '\n'.join(lines)


def listing() -> list[str]:
  """Returns every configuration as its docstring names it.

  'configs/qm9_density.py[:smoke|:qm9_cpu|:full]' has three variants and a
  default.
  """
  found = []
  for path in sorted(_stock().glob('*.py')):
    text = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
    if named := re.search(rf'configs/{path.name}\S*', text):
      found.append(named[0])
  return found


def checked(argv: Sequence[str]) -> list[str]:
  """Returns argv with the path of the configuration.

  Args:
    argv: with the name of the program.

  Raises:
    ConfigError: there is no --config where it is needed (or one with --mode
      predict or explain), no such file, variant or field, or a tuple lacks its
      quotes.
  """
  argv, config = list(argv), None
  for i, argument in enumerate(argv):
    flag, equals, value = argument.partition('=')
    if flag.lstrip('-') == 'config' and argument.startswith('-'):
      if not equals and i + 1 < len(argv):
        value, argv[i + 1 : i + 2] = argv[i + 1], ()
      path, config = _load(value)
      argv[i] = f'--config={path}'
      break
  for mode in ('predict', 'explain'):
    if _is_mode(argv, mode) and config is not None:
      raise ConfigError(
        f'--mode {mode} takes no --config: the run directory has it'
      )
  if config is None and not any(_is_mode(argv, mode) for mode in _OF_FILES):
    raise ConfigError(
      '--config is missing, for example --config configs/qm9_density.py'
    )
  for i, argument in enumerate(argv):
    if match := re.fullmatch(r'--?config\.([^=]+)(?:=(.*))?', argument, re.S):
      value = match[2] if '=' in argument else ''.join(argv[i + 1 : i + 2])
      _check_field(config, match[1], value)
  return argv


def _is_mode(argv: Sequence[str], mode: str) -> bool:
  """Returns whether argv has a mode, in any form of absl."""
  return bool(re.search(rf'(^| )--?mode[= ]{mode}( |$)', ' '.join(argv)))


def _stock() -> pathlib.Path:
  """Returns the folder of edjax's own configurations."""
  return pathlib.Path(importlib.util.find_spec('configs').origin).parent


def _load(argument: str) -> tuple[str, ConfigDict]:
  """Returns the path, with its variant, and the configuration there."""
  name, colon, variant = argument.partition(':')
  path, file = pathlib.Path(name), pathlib.Path(name).name
  if not path.is_file() and str(path.parent) in ('.', 'configs'):
    path = _stock() / (file if file.endswith('.py') else f'{file}.py')
  if not path.is_file():
    stems = [re.match(r'configs/(\w+)', usage)[1] for usage in listing()]
    near = difflib.get_close_matches(path.stem, stems, 1)
    raise ConfigError(
      f'there is no configuration {name}; there are {", ".join(stems)}'
      + (f'. Did you mean configs/{near[0]}.py?' if near else '')
    )
  spec = importlib.util.spec_from_file_location('configuration', path)
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
    config = module.get_config(*([variant] if colon else []))
  except Exception as error:
    raise ConfigError(f'{name}: {error}') from error
  return f'{path}{colon}{variant}', config


def _check_field(config: ConfigDict, field: str, value: str) -> None:
  """Raises ConfigError for a field that is not there, or a tuple unquoted."""
  section, path = config, 'config'
  for name in re.sub(r'\[.*', '', field).split('.'):
    known = list(section) if isinstance(section, ConfigDict) else []
    if name not in known:
      near = difflib.get_close_matches(name, known, 1)
      hint = f'there are {", ".join(known) or "no fields"}'
      if near:
        hint = f'did you mean {path}.{near[0]}?'
      raise ConfigError(f'{path} has no field {name!r}; {hint}')
    section, path = section[name], f'{path}.{name}'
  if isinstance(section, tuple) and re.search(r'[(\[,]', value):
    try:
      ast.literal_eval(value)
    except (SyntaxError, ValueError):
      words = re.findall(r'[^\s,()\[\]\'"]+', value)
      right = ','.join(repr(word) for word in words)
      right += ',' if len(words) == 1 else ''
      raise ConfigError(
        f'{path}={value} is no tuple; write --{path}="({right})", with both '
        'kinds of quotes'
      ) from None
