"""Four representations of QM9 with one budget: a table of test errors.

  python -m benchmarks.accuracy.compare_qm9 --runs DIR --manual_dir DIR_OF_QM9 \
    --data_dir DIR [--steps N] [--trial_steps N] [--seeds N]

Each representation gets the same trials (learning rate times transform) at
`trial_steps` steps; the trial with the least standardised validation error is
trained for `steps` steps with each seed. Test errors are looked at once, at
the end, and choose nothing. ATOM3D's cnn3d on atoms stands beside them with
its recipe's learning rate, untuned; as a step of it costs ten times as much,
its batches are a quarter as large. Runs that are finished are not run again.
"""

import argparse
import itertools
import pathlib

from benchmarks.accuracy import runs
from edjax import datasets
from edjax.evaluate import metrics
from edjax.runtime import run_directory

RATES = (1e-3, 3e-3)
TRANSFORMS = ('none', 'arcsinh')
REPRESENTATIONS = {
  'atoms': ('atoms', {}),
  'density': ('density', {}),
  'gradient': ('gradient', {}),
  'shape': ('shape', {}),
}
# ATOM3D's recipe uses Adam at 1e-3 (LBA) and 5e-4 (SMP): drorlab/atom3d,
# examples/{lba,smp}/cnn3d.
RECIPE = 'atoms, cnn3d'
RECIPE_POINT = (1e-3, 'none')
ALL = REPRESENTATIONS | {
  RECIPE: ('atoms', {'model.name': 'cnn3d', 'train.batch_size': 8})
}
# With which the other inputs are compared molecule by molecule.
REFERENCE = 'density'
BASELINES = {
  'median': 'median of the training set',
  'ridge_composition': 'ridge, composition',
  'ridge_gfn2': 'ridge, composition + GFN2',
}


def fields(args, name: str, rate: float, transform: str) -> dict:
  """Overrides of one run."""
  channel, model = ALL[name]
  return {
    'data.data_dir': args.data_dir,
    'data.manual_dir': args.manual_dir,
    'optim.learning_rate': rate,
    f'representation.transforms.{channel}': transform,
    **model,
  }


def config_of(name: str) -> str:
  return f'configs/qm9_{ALL[name][0]}.py:qm9_cpu'


def trial_dir(args, name, rate, transform) -> pathlib.Path:
  return args.runs / 'trials' / f'{slug(name)}-{rate:g}-{transform}'


def final_dir(args, name, seed) -> pathlib.Path:
  return args.runs / 'final' / f'{slug(name)}-seed{seed}'


def slug(name: str) -> str:
  return name.replace(', ', '_')


def tune(args) -> dict[str, tuple[float, str]]:
  """Returns the best of each representation's trials, on validation."""
  grid = list(itertools.product(RATES, TRANSFORMS))
  budget = {
    'train.steps': args.trial_steps,
    'train.eval_every': args.trial_steps,
    'train.checkpoint_every': args.trial_steps,
    'data.max_eval': 300,  # trials look at part of validation only
    'eval.rotations': 1,
  }
  runs.launch_all(
    [
      (trial_dir(args, name, *point), config_of(name),
       fields(args, name, *point) | budget)
      for point in grid for name in REPRESENTATIONS
    ]
  )  # fmt: skip
  best = {RECIPE: RECIPE_POINT}
  for name in REPRESENTATIONS:
    errors = {
      point: runs.validation_error(trial_dir(args, name, *point))
      for point in grid
    }
    best[name] = min(errors, key=errors.get)
  return best


def differences(args, representation, dataset, names) -> list[dict]:
  """MAE of an input minus that of the reference, seed 0, paired."""
  mine, theirs = (
    run_directory.RunDirectory(final_dir(args, a, 0)).read_predictions('test')
    for a in (representation, REFERENCE)
  )
  found = []
  for name in names:
    factor = datasets.DATASETS[dataset].targets[name].factor
    truth, prediction = mine[name].T * factor
    same, reference = theirs[name].T * factor
    if not (truth == same).all():
      raise ValueError(
        f'{representation} and {REFERENCE} have other test molecules'
      )
    found.append(
      metrics.paired_mae_difference(truth, prediction, reference, 2000)
    )
  return found


def report(args, best) -> str:
  """The Markdown table, one row an input, then the baselines."""
  final = {
    name: [
      runs.results(final_dir(args, name, seed)) for seed in range(args.seeds)
    ]
    for name in ALL
  }
  first = next(iter(final.values()))[0]
  names = list(first['targets'])
  units = [f'{n} ({first["targets"][n]["unit"]})' for n in names]
  lines = [
    f'| input | {" | ".join(units)} | learning rate, transform | minutes |',
    '|---' * (len(names) + 3) + '|',
  ]
  for name, results in final.items():
    rate, transform = best[name]
    for seed, result in enumerate(results):
      label = f'{name} (seed {seed})' if args.seeds > 1 else name
      cells = [runs.interval(result['targets'][n]['mae']) for n in names]
      minutes = f'{result["seconds"] / 60:.0f}'
      lines.append(
        f'| {label} | {" | ".join(cells)} | {rate:g}, {transform} | {minutes} |'
      )
  for baseline, label in BASELINES.items():
    cells = [
      runs.interval(first['targets'][n]['baselines'][baseline]['mae'])
      for n in names
    ]
    lines.append(f'| {label} | {" | ".join(cells)} | | |')
  lines += ['', f'MAE minus that of {REFERENCE}, paired by molecule:', '']
  lines += [f'| input | {" | ".join(units)} |', '|---' * (len(names) + 1) + '|']
  for name in final:
    if name != REFERENCE:
      found = differences(args, name, first['dataset'], names)
      cells = [runs.interval(one) for one in found]
      lines.append(f'| {name} | {" | ".join(cells)} |')
  lines += ['', 'Trials, standardised validation MAE:', '']
  grid = list(itertools.product(RATES, TRANSFORMS))
  lines += [
    '| input | ' + ' | '.join(f'{r:g}, {t}' for r, t in grid) + ' |',
    '|---' * (len(grid) + 1) + '|',
  ]
  for name in REPRESENTATIONS:
    errors = [runs.validation_error(trial_dir(args, name, *p)) for p in grid]
    lines.append(f'| {name} | {" | ".join(f"{e:.4f}" for e in errors)} |')
  examples = first['examples']
  lines += [
    '',
    f'{examples["train"]} training, {examples["validation"]} validation, '
    f'{examples["test"]} test molecules; {args.steps} steps, trials '
    f'{args.trial_steps} steps. Test MAE with the bootstrap 95 % interval '
    'over test molecules.',
    '',
    f'Machine: {runs.machine(final_dir(args, REFERENCE, 0))}; two '
    'runs at a time, one core each.',
  ]
  return '\n'.join(lines) + '\n'


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--runs', type=pathlib.Path, required=True)
  parser.add_argument('--manual_dir', required=True)
  parser.add_argument('--data_dir', required=True)
  parser.add_argument('--steps', type=int, default=3000)
  parser.add_argument('--trial_steps', type=int, default=400)
  parser.add_argument('--seeds', type=int, default=1)
  args = parser.parse_args()
  args.runs = args.runs.resolve()
  best = tune(args)
  budget = {
    'train.steps': args.steps,
    'train.eval_every': args.steps // 4,
    'train.checkpoint_every': args.steps // 4,
  }
  runs.launch_all(
    [
      (final_dir(args, name, seed), config_of(name),
       fields(args, name, *best[name]) | budget | {'train.seed': seed})
      for seed in range(args.seeds) for name in ALL
    ]
  )  # fmt: skip
  table = report(args, best)
  (args.runs / 'table.md').write_text(table)
  print(table)


if __name__ == '__main__':
  main()
