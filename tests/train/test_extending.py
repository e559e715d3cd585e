"""A finished run that goes on to more steps."""

import json

import pytest
from support import tiny_runs

from data_builders.qm9_mini import qm9_mini_dataset_builder as mini
from edjax.runtime import compile_cache
from edjax.train import train_and_evaluate


@pytest.fixture
def make(tmp_path, monkeypatch):
  """(steps, changes) -> configuration of the first embedded molecules."""
  lines = mini.embedded_lines()[:60]
  monkeypatch.setattr(mini, 'embedded_lines', lambda: lines)

  def config(steps, final_fraction=0.0):
    config = tiny_runs.tiny(tmp_path / 'data')
    config.data.workers, config.data.max_eval = 1, 8
    config.data.train_size, config.train.batch_size = 32.0, 8
    config.train.steps = steps
    config.train.checkpoint_every = config.train.eval_every = 3
    config.optim.warmup_fraction = 0.0
    config.optim.final_fraction = final_fraction
    return config

  return config


def _predictions(path):
  return (path / 'predictions_test.csv').read_text()


def test_extended_equals_undisturbed_where_the_schedule_is_level(
  make, tmp_path, capsys
):
  """With a constant learning rate the schedule knows of no end."""
  shared = compile_cache.CompileCache()
  short, whole = tmp_path / 'short', tmp_path / 'whole'
  first = train_and_evaluate(make(6, 1.0), short, shared)
  assert (first['trained_steps'], first['selected_step'] <= 6) == (6, True)
  before = _predictions(short)
  results = train_and_evaluate(make(12, 1.0), short, shared)
  printed = capsys.readouterr().out
  assert 'extended from 6 to 12 steps' in printed
  assert 'continuing after step 6' in printed
  assert results['trained_steps'] == 12
  train_and_evaluate(make(12, 1.0), whole, shared)
  assert _predictions(short) == _predictions(whole) != before
  lines = (short / 'metrics.jsonl').read_text().splitlines()
  assert lines == (whole / 'metrics.jsonl').read_text().splitlines()
  # It has ended again, and the results of before are kept.
  again = train_and_evaluate(make(12, 1.0), short, shared)
  assert again['trained_steps'] == 12
  kept = json.loads((short / 'results_6_steps.json').read_text())
  assert kept['trained_steps'] == 6


def test_the_learning_rate_takes_the_longer_schedule(make, tmp_path):
  """At the end of the old one, where it is 0, nothing would move any more."""
  shared = compile_cache.CompileCache()
  train_and_evaluate(make(6), tmp_path / 'run', shared)
  train_and_evaluate(make(12), tmp_path / 'run', shared)
  text = (tmp_path / 'run' / 'metrics.jsonl').read_text()
  lines = map(json.loads, text.splitlines())
  errors = {
    (line['name'], line['step']): line['value']
    for line in lines
    if line['split'] == 'validation'
  }
  changed = [v != errors[n, 6] for (n, step), v in errors.items() if step == 9]
  assert any(changed)
