"""Normalisation and pooling of resnet3d, settled on validation data.

  python -m benchmarks.ablation --runs DIR --data_dir DIR [--steps N]

Every arm learns the embedded molecules from their density with the same
budget; the standardised validation errors (MAE over the standard deviation of
the training targets) decide. Test data are not looked at. Runs that are
finished are not run again.
"""

import argparse
import json
import pathlib

from benchmarks import runs

ARMS = {
  'rms; mean, max': {},
  'group; mean, max': {'model.norm': 'group'},
  'none; mean, max': {'model.norm': 'none'},
  'rms; mean, max, sum': {'model.pool': "('mean','max','sum')"},
  'rms; sum, moments': {'model.pool': "('sum','moments')"},
  'rms; mean, max; no input moments': {'model.input_moments': False},
}


def last_errors(workdir: pathlib.Path) -> dict[str, float]:
  """The last validation errors, 'mae_<target>' in units of reports."""
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  lines = [json.loads(line) for line in lines]
  return {
    line['name']: line['value']
    for line in lines
    if line['split'] == 'validation'
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--runs', type=pathlib.Path, required=True)
  parser.add_argument('--data_dir', required=True)
  parser.add_argument('--steps', type=int, default=300)
  parser.add_argument('--seeds', type=int, default=1)
  args = parser.parse_args()
  args.runs = args.runs.resolve()
  budget = {
    'data.data_dir': args.data_dir,
    'train.steps': args.steps,
    'train.eval_every': args.steps,
    'train.checkpoint_every': args.steps,
    'eval.rotations': 1,
  }

  def workdir(i, seed):
    return args.runs / f'arm{i}-seed{seed}'

  runs.launch_all(
    [
      (workdir(i, seed), 'configs/qm9_density.py',
       budget | changes | {'train.seed': seed})
      for seed in range(args.seeds) for i, changes in enumerate(ARMS.values())
    ]
  )  # fmt: skip
  rows = []
  for i, arm in enumerate(ARMS):
    for seed in range(args.seeds):
      errors = last_errors(workdir(i, seed))
      seconds = runs.results(workdir(i, seed))['seconds']
      rows.append((arm, seed, errors, seconds))
  names = [n for n in rows[0][2] if n != 'mae_standardised']
  head = ['arm', 'seed', 'standardised', *names, 'seconds']
  print('| ' + ' | '.join(head) + ' |\n' + '|---' * len(head) + '|')
  for arm, seed, errors, seconds in rows:
    cells = [f'{errors["mae_standardised"]:.4f}']
    cells += [f'{errors[n]:.4g}' for n in names]
    print(f'| {arm} | {seed} | {" | ".join(cells)} | {seconds:.0f} |')
  print(f'\n{args.steps} steps. Machine: {runs.machine(workdir(0, 0))}; one')
  print('run a core.')


if __name__ == '__main__':
  main()
