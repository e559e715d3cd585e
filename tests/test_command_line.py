"""Mistakes on the command line end in a line that says what is right."""

import importlib
import pathlib
import re
import subprocess
import sys

import pytest
from absl import flags
from absl.testing import flagsaver

from edjax import command_line
from edjax.config.errors import ConfigError

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
DENSITY = 'configs/qm9_density.py'


@pytest.fixture(autouse=True)
def _inside_the_checkout(monkeypatch):
  monkeypatch.chdir(REPOSITORY)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ([], r'--config is missing'),
    (['--mode=train'], r'--config is missing'),
    (['--config=configs/qm9_densty.py'],
     r'no configuration configs/qm9_densty.py; there are complexes_atoms, .*'
     r'qm9_shape.*mean configs/qm9_density.py\?$'),
    (['--config=elsewhere/qm9_density.py'],
     r'no configuration elsewhere/qm9_density.py'),
    ([f'--config={DENSITY}:smok'],
     r"qm9_density.py: no variant 'smok'; there are '', 'smoke'"),
    ([f'--config={DENSITY}', '--config.train.stps=3'],
     r"config.train has no field 'stps'; did you mean config.train.steps\?"),
    (['--config', f'{DENSITY}:smoke', '--config.trin.steps', '3'],
     r"config has no field 'trin'; did you mean config.train\?"),
    ([f'--config={DENSITY}', '--config.train.steps.more=3'],
     r"config.train.steps has no field 'more'; there are no fields"),
    ([f'--config={DENSITY}', '--config.representation.channels=(atoms,shape)'],
     r'''is no tuple; write --config.representation.channels="\('atoms','''
     r"""'shape'\)\""""),
    ([f'--config={DENSITY}', '--config.data.targets', '(gap,)'],
     r'''write --config.data.targets="\('gap',\)"'''),
    ([f'--config={DENSITY}', '--mode', 'predict'],
     r'--mode predict takes no --config: the run directory has it'),
  ],
)  # fmt: skip
def test_mistakes_are_named(arguments, message):
  with pytest.raises(ConfigError, match=message):
    command_line.checked(['launch.py', *arguments])


def test_what_is_right_stays(tmp_path, monkeypatch):
  fields = [
    '--config.train.steps=3', "--config.data.targets=('gap',)",
    '--config.data.targets', "('gap',)", '--mode=train',
  ]  # fmt: skip
  found = command_line.checked(
    ['launch.py', '--config', f'{DENSITY}:smoke', *fields]
  )
  assert found == ['launch.py', f'--config={DENSITY}:smoke', *fields]
  # edjax's own configurations are found from anywhere, after the user's.
  monkeypatch.chdir(tmp_path)
  for name in (DENSITY, 'qm9_density.py', 'qm9_density'):
    found = command_line.checked(['launch.py', f'--config={name}:smoke'])
    assert found[1] == f'--config={REPOSITORY}/{DENSITY}:smoke'
  own = tmp_path / 'qm9_density.py'
  own.write_text('def get_config():\n  raise ValueError("mine")\n')
  with pytest.raises(ConfigError, match=r'qm9_density\.py: mine'):
    command_line.checked(['launch.py', '--config=qm9_density.py'])


def check_files(arguments, message):
  """Checks flags, which end with the message ('' for none)."""
  with flagsaver.flagsaver():
    flags.FLAGS(['launch.py', *arguments])
    if not message:
      command_line._check_files()
      return
    with pytest.raises(ConfigError, match=message):
      command_line._check_files()


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--mode=predict', '--input=a.sdf'], 'needs --workdir'),
    (['--mode=predict', '--workdir=a', '--workdir=b'], 'needs --input'),
    (['--input=a.sdf'], '--input goes with --mode predict'),
    (['--output=a.csv'], '--output goes with --mode predict'),
    (['--workdir=a', '--workdir=b'], 'more than once, goes with --mode predic'),
    (['--mode=predict', '--workdir=a', '--workdir=b', '--input=a.sdf'], ''),
    (['--workdir=a'], ''),
  ],
)  # fmt: skip
def test_flags_of_predictions(arguments, message):
  check_files(arguments, message)


OF_EXPORT = ['--mode=export', '--input=a.sdf', '--output=folder']


# ml_collections loads configurations so.
@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (OF_EXPORT, 'needs either --config, a configuration with the fields, or'),
    ([*OF_EXPORT, '--workdir=a', f'--config={DENSITY}'], 'needs either'),
    ([*OF_EXPORT, '--workdir=a', '--workdir=b'], 'more than once, goes with'),
    ([*OF_EXPORT[:2], '--workdir=a'], 'needs --output: a folder'),
    (['--mode=export', '--workdir=a'], 'needs --input: a file or folder'),
    (['--workdir=a', '--fields=density'], '--fields goes with --mode export'),
    (['--workdir=a', '--spacing=1'], '--spacing goes with --mode export'),
    ([*OF_EXPORT, '--workdir=a', '--fields=density,elf', '--margin=4'], ''),
    ([*OF_EXPORT, f'--config={DENSITY}', '--formats=cube,html'], ''),
  ],
)  # fmt: skip
def test_flags_of_exports(arguments, message):
  check_files(arguments, message)


def test_settings_of_exports():
  fields = '--fields=density,elf', '--formats=cube', '--spacing=0.5'
  with flagsaver.flagsaver():
    flags.FLAGS(['launch.py', *OF_EXPORT, '--workdir=a', *fields])
    settings = command_line._settings()
  assert settings == (('density', 'elf'), ('cube',), 0.5, 3.0)


def test_settings_of_explanations():
  with flagsaver.flagsaver():
    flags.FLAGS(['launch.py', '--mode=explain', '--reference=empty'])
    settings = command_line._settings()
    assert settings == ('empty', ('ccp4', 'html'), 0.0, 3.0)
    flags.FLAGS(['launch.py', '--mode=explain', '--fields=density'])
    with pytest.raises(ConfigError, match='--fields goes with --mode export'):
      command_line._check_files()


def test_exports_of_a_run_need_no_configuration():
  argv = ['launch.py', *OF_EXPORT, '--workdir=a']
  assert command_line.checked(argv) == argv


def test_predictions_need_no_configuration():
  argv = ['launch.py', '--mode=predict', '--workdir=a', '--input', 'b.sdf']
  assert command_line.checked(argv) == argv


def test_every_listed_variant_loads_and_none_is_left_out():
  listed = command_line.listing()
  stock = {path.name for path in (REPOSITORY / 'configs').glob('*.py')}
  shared = {'__init__.py', 'default.py'}
  shared |= {name for name in stock if name.endswith('_base.py')}
  named = {re.search(r'(\w+\.py)', usage)[1] for usage in listed}
  assert named == stock - shared
  for usage in listed:
    path, _, rest = usage.partition('.py')
    module = importlib.import_module(path.replace('/', '.'))
    variants = set(re.findall(r':(\w+)', rest))
    if '[' in rest or not variants:
      variants.add('')
    for variant in variants:
      module.get_config(variant)
    with pytest.raises(ValueError, match="no variant 'x'") as error:
      module.get_config('x')
    text = str(error.value).removeprefix("no variant 'x'")
    assert set(re.findall(r"'(\w*)'", text)) == variants, usage


def test_help_lists_flags_and_configurations():
  text = command_line.help_text()
  assert '--workdir' in text
  assert 'configs/qm9_density.py[:smoke|:qm9_cpu|:full]' in text


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--config.train.steps=many'], "literal for int() with base 10: 'many'"),
    (['--mode=fly'], 'value should be one of <build|'),
    (['--confg=1'], "Unknown command line flag 'confg'. Did you mean: config"),
    (['surplus'], "unknown argument 'surplus'"),
  ],
)  # fmt: skip
def test_two_lines_and_status_2(arguments, message):
  done = subprocess.run(
    [sys.executable, 'launch.py', f'--config={DENSITY}:smoke', *arguments],
    capture_output=True, text=True, check=False,
  )  # fmt: skip
  assert (done.returncode, done.stdout) == (2, '')
  assert message in done.stderr
  assert len(done.stderr.splitlines()) == 2
