"""The notebooks run from top to bottom, and are kept without outputs."""

import ast
import json
import os
import pathlib
import re
import shutil
import tarfile

import numpy as np
import pytest
from support import waiting, xla_flags

nbformat = pytest.importorskip('nbformat')
nbclient = pytest.importorskip('nbclient')

NOTEBOOKS = pathlib.Path(__file__).resolve().parents[2] / 'notebooks'
NAMES = sorted(p.stem for p in NOTEBOOKS.glob('*.ipynb'))
# Nothing in a notebook may warn; the kernel around it does when it ends.
STRICT = r"""
import warnings
warnings.simplefilter('error')
warnings.filterwarnings('ignore', module='ipykernel')
warnings.filterwarnings('ignore', r'label\(\) is deprecated')  # pyproject.toml
"""


def read(name):
  return nbformat.read(NOTEBOOKS / f'{name}.ipynb', as_version=4)


def code_cells(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == 'code']


def is_tagged(cell):
  return 'parameters' in cell.metadata.get('tags', ())


def assigned(source):
  return {
    target.id: node.value.value
    for node in ast.parse(source).body
    if isinstance(node, ast.Assign)
    for target in node.targets
  }


def test_there_are_notebooks():
  assert NAMES == ['ablation', 'qm9_colab_tpu']


@pytest.mark.parametrize('name', NAMES)
def test_kept_without_outputs_and_in_plain_python(name):
  notebook = read(name)
  nbformat.validate(notebook)
  for cell in code_cells(notebook):
    assert cell.outputs == []
    assert cell.execution_count is None
    # Neither %magic nor !shell, nor anything newer than Python 3.11.
    ast.parse(cell.source, feature_version=(3, 11))
  assert sum(map(is_tagged, notebook.cells)) == 1
  assert notebook.metadata.kernelspec.name == 'python3'


def test_colab_installs_extras_that_exist():
  """By floors: the pins are for CPUs and another Python."""
  import tomllib

  path = NOTEBOOKS.parent / 'pyproject.toml'
  extras = tomllib.loads(path.read_text())['project']['optional-dependencies']
  for name in NAMES:
    source = '\n'.join(cell.source for cell in code_cells(read(name)))
    assert 'tpu,view' in source
    assert '-r' not in source.split()
  assert any('jax[tpu]>=' in line for line in extras['tpu'])
  assert any('plotly' in line for line in extras['view'])


def execute(name, tmp_path, flags='', **parameters):
  """Runs a notebook with other values of its parameters; gives its outputs.

  On the devices of this process, or with other flags of XLA.
  """
  notebook = read(name)
  (cell,) = filter(is_tagged, notebook.cells)
  values = assigned(cell.source)
  assert parameters.keys() <= values.keys()  # no name that nothing reads
  lines = [f'{k} = {v!r}' for k, v in (values | parameters).items()]
  cell.source = STRICT + '\n'.join(lines)
  client = nbclient.NotebookClient(
    notebook,
    timeout=waiting.HANG,
    kernel_name='python3',
    resources={'metadata': {'path': str(NOTEBOOKS)}},
  )
  home = {name: str(tmp_path) for name in ('IPYTHONDIR', 'JUPYTER_RUNTIME_DIR')}
  jax = {'XLA_FLAGS': flags or os.environ['XLA_FLAGS'], 'JAX_PLATFORMS': 'cpu'}
  client.execute(env=os.environ | home | jax)
  outputs = [o for cell in code_cells(notebook) for o in cell.outputs]
  text = ''.join(o.text for o in outputs if o.output_type == 'stream')
  assert 'Warning' not in text, text
  return outputs, text


def pictures(outputs):
  """How many stand still, and how many turn."""
  kinds = [o.data for o in outputs if 'data' in o]
  turning = sum('Plotly.newPlot' in d.get('text/html', '') for d in kinds)
  return sum('image/png' in d for d in kinds), turning


def test_qm9_notebook_runs_and_goes_on_in_another_session(qm9_mini, tmp_path):
  """Some 50 s on 2 idle cores: two kernels, each of which compiles all."""
  work, keep = tmp_path / 'work', tmp_path / 'drive'
  shutil.copytree(qm9_mini, work / 'data')
  options = {'VARIANT': 'smoke', 'WORK': str(work), 'KEEP': str(keep)}
  outputs, text = execute('qm9_colab_tpu', tmp_path, **options)
  # On all local devices: conftest forces 4.
  assert '4 x cpu' in text
  assert "No TPU: JAX found 'cpu'" in text
  assert 'Test errors on 16 molecules' in text
  assert 'The run comes from' not in text
  assert pictures(outputs) == (3, 1)

  # The session ended before the last steps were saved; the local disk is lost.
  kept, run = keep / 'qm9_mini-density-smoke.tar', tmp_path / 'run'
  with tarfile.open(kept) as tar:
    tar.extractall(run, filter='data')
  results = (run / 'results.json').read_text()
  for name in ('results.json', 'parity.png'):
    (run / name).unlink()
  for kind in ('latest', 'best'):
    shutil.rmtree(run / 'checkpoints' / kind / '40')
  with tarfile.open(kept, 'w') as tar:
    tar.add(run, '.')
  shutil.rmtree(work)
  _, text = execute('qm9_colab_tpu', tmp_path, **options)
  assert 'The dataset comes from' in text
  assert 'The run comes from' in text
  assert re.search(r'continuing after step [23]0\n', text)
  with tarfile.open(kept) as tar:
    again = tar.extractfile('results.json').read().decode()
  # Bit for bit what it would have been, but for the times.
  found, wanted = json.loads(again), json.loads(results)
  assert found['targets'] == wanted['targets']
  assert found['selected_step'] == wanted['selected_step']


def test_ablation_notebook_runs(qm9_mini, tmp_path):
  """Some 60 s on 2 idle cores (87 s of processor time).

  It compiles the gradient of the orbitals' density, and the new form, each for
  the scales, the training step and the predictions.
  """
  outputs, text = execute(
    'ablation', tmp_path, xla_flags.QUICK, VARIANT='smoke', STEPS=4, SEEDS=2,
    LABELS=48, DATA=str(qm9_mini), WORK=str(tmp_path / 'runs'),
  )  # fmt: skip
  assert pictures(outputs) == (2, 1)
  assert 'density integrates to 38.0' in text
  assert 'splat integrates to 19.00 atoms' in text
  # Six targets, each with its difference and interval.
  assert len(re.findall(r'\(\S+ to \S+\): (?:open|apart)', text)) == 6
  assert 'MAE on 16 test molecules, 2 subsets of 48 labels' in text
  # The same subsets, another input.
  old, new = (
    np.loadtxt(
      tmp_path / 'runs' / name / 'predictions_test.csv',
      delimiter=',', skiprows=1, usecols=(2, 3),
    )
    for name in ('gradient-0', 'reduced_gradient-0')
  )  # fmt: skip
  np.testing.assert_array_equal(old[:, 0], new[:, 0])
  assert not np.allclose(old[:, 1], new[:, 1], rtol=1e-3)
