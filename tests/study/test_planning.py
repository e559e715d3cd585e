"""Which runs a study is made of, before any of them."""

import collections
import json
import types

import jax
import pytest

from configs import study_choices, study_pdbbind, study_qm9
from edjax import config as configuration
from edjax.config import ConfigError
from edjax.study import planning, runner, settings, tuning
from edjax.study.representations import REPRESENTATIONS


def smoke(**changes):
  """The smoke study with fields of config.study replaced."""
  config = study_qm9.get_config('smoke')
  config.study.update({'subset_seeds': 2} | changes)
  return config


def planned(config):
  return planning.entries(*settings.split(config))


def test_the_grid_is_complete_and_balanced():
  config = smoke(subset_seeds=2, small_size=60, small_seeds=3)
  entries = planned(config)
  cells = collections.Counter(
    (e.representation, e.size, e.subset_seed) for e in entries
  )
  assert set(cells.values()) == {1}
  expected = {
    (representation, size, seed)
    for representation in config.study.representations
    for size, seeds in ((60, 3), (240, 2))
    for seed in range(seeds)
  }
  assert set(cells) == expected
  # Seed by seed: all runs of one before the first of the next.
  assert [e.subset_seed for e in entries] == sorted(
    e.subset_seed for e in entries
  )
  assert len({e.name for e in entries}) == len(entries)


def test_representations_share_everything_but_the_representation():
  base = settings.split(smoke())[1]
  groups = collections.defaultdict(list)
  for entry in planned(smoke()):
    config = planning.with_fields(base, entry.fields)
    flat = configuration.flatten(config)
    rest = {
      k: v for k, v in flat.items() if not k.startswith('representation.')
    }
    shared = {k: flat[f'representation.{k}'] for k in (
      'grid_size', 'spacing', 'supersample', 'b_iso')}  # fmt: skip
    groups[entry.size, entry.subset_seed].append((rest, shared))
  for members in groups.values():
    assert len(members) == 5
    assert all(member == members[0] for member in members)
  # Another seed is another subset and another initialisation.
  first, other = (groups[60, seed][0][0] for seed in (0, 1))
  assert {k for k in first if first[k] != other[k]} == {
    'data.subset_seed', 'train.seed',
  }  # fmt: skip


def test_names_follow_the_content_and_nothing_else():
  names = [e.name for e in planned(smoke())]
  elsewhere = smoke()
  elsewhere.data.data_dir = '/elsewhere'
  assert [e.name for e in planned(elsewhere)] == names
  other = smoke()
  other.optim.weight_decay = 0.5
  assert not {e.name for e in planned(other)} & set(names)
  # Growth by a seed, a size, an initialisation or a ablation keeps all names.
  for grown in (
    smoke(subset_seeds=3),
    smoke(sizes=(60, 240, 480)),
    smoke(init_seeds=2),
    smoke(ablations=('controls',)),
  ):
    entries = planned(grown)
    assert set(names) < {e.name for e in entries}
  second = [e for e in planned(smoke(init_seeds=2)) if e.init_seed == 1]
  assert {e.fields['train.seed'] for e in second} == {1000, 1001}
  assert all('-i1-' in e.name for e in second)


def test_folds_are_part_of_a_run():
  entries = planned(study_pdbbind.get_config())
  assert {e.fold for e in entries} == set(range(3))
  one = [
    e
    for e in entries
    if (e.representation, e.size, e.subset_seed) == ('atoms', 60, 0)
  ]
  assert [e.fields['data.fold'] for e in one] == list(range(3))
  assert all(f'-f{e.fold}-' in e.name for e in one)


def test_ablations_vary_what_they_are_named_for():
  config = smoke(
    ablations=('spacing', 'controls'),
    spacings=(1.0, 0.5), smooths=(0.0,), boxes=(12.0,),
    ablation_seeds=2, middle_size=60,
  )  # fmt: skip
  by_ablation = collections.defaultdict(list)
  for entry in planned(config):
    by_ablation[entry.ablation].append(entry)
  # 12^3 at 1 Å is what 'main' has: not run twice.
  assert {e.setting for e in by_ablation['spacing']} == {
    'spacing 0.5 Å, blur 0 Å, box 12 Å'
  }
  assert len(by_ablation['spacing']) == 5 * 2
  assert by_ablation['spacing'][0].fields['representation.grid_size'] == 24
  controls = collections.Counter(
    (e.setting, e.representation) for e in by_ablation['controls']
  )
  assert (
    controls[('noise', 'noise')] == controls[('noise', 'density_noise')] == 2
  )
  assert controls[('exchanged labels', 'atoms')] == 2
  ablations = [e.ablation for e in planned(config)]
  assert ablations.index('controls') > max(
    i for i, b in enumerate(ablations) if b == 'main'
  )


def test_variants_differ_in_their_own_fields():
  base = settings.split(smoke())[1]
  config = smoke(
    ablations=('variants',), ablation_seeds=1, middle_size=60,
    variants={'a': {'data': {'origin': 'mass'}, 'model': {'name': 'moments'}}},
  )  # fmt: skip
  entries = [e for e in planned(config) if e.subset_seed == 0 and e.size == 60]
  by_kind = {(e.setting, e.representation): e for e in entries}
  assert len(entries) == len(by_kind) == 2 * len(config.study.representations)
  for name in config.study.representations:
    plain, other = (
      configuration.flatten(planning.with_fields(base, by_kind[k, name].fields))
      for k in ('', 'a')
    )
    differ = {k: v for k, v in other.items() if v != plain[k]}
    assert differ == {'data.origin': 'mass', 'model.name': 'moments'}


def test_ablations_may_have_fewer_representations():
  config = smoke(
    ablations=('stopping', 'controls'),
    ablation_representations=('density',),
    ablation_seeds=1,
  )
  found = collections.defaultdict(set)
  for entry in planned(config):
    found[entry.ablation, entry.setting].add(entry.representation)
  assert found['main', ''] == set(config.study.representations)
  assert found['stopping', 'patience 4'] == {'density'}
  assert found['controls', 'exchanged labels'] == {'density'}
  # What noise is a control for does not depend on the choice.
  assert found['controls', 'noise'] == {'noise', 'density_noise'}


@pytest.mark.parametrize('name', REPRESENTATIONS)
def test_every_representation_is_a_configuration(name):
  config = settings.split(smoke(representations=(name,)))[1]
  fields = REPRESENTATIONS[name].fields
  configuration.resolve(planning.with_fields(config, fields))


def test_trials_are_as_many_for_each_representation():
  study, base = settings.split(smoke(trial_transforms=('none', 'arcsinh')))
  trials = tuning.trials(study, base, study.representations)
  points = collections.defaultdict(list)
  for trial in trials:
    points[trial.representation].append(
      (trial.chosen['optim.learning_rate'], *(
        v for k, v in trial.chosen.items() if 'transforms' in k))
    )  # fmt: skip
    assert trial.fields['data.train_size'] == study.trial_size
    assert trial.fields['train.steps'] == study.trial_steps
    assert trial.fields['data.subset_seed'] >= study.subset_seeds
  assert set(points) == set(study.representations)
  assert all(p == points['atoms'] for p in points.values())
  assert len(points['atoms']) == 4


def test_trials_of_folds_do_not_see_the_tests_of_others():
  study, base = settings.split(study_pdbbind.get_config())
  trials = tuning.trials(study, base, ('atoms',))
  assert collections.Counter(t.fold for t in trials) == dict.fromkeys(
    range(3), 3
  )


def test_shards_are_disjoint_and_complete():
  names = [e.name for e in planned(smoke(subset_seeds=40))]
  shares = [
    [n for n in names if planning.in_shard(n, (i, 3))] for i in range(3)
  ]
  assert sorted(n for share in shares for n in share) == sorted(names)
  assert all(0.2 < len(share) / len(names) < 0.47 for share in shares)
  assert [n for n in names if planning.in_shard(n, (0, 1))] == names


def test_the_plan_grows_and_never_shrinks(tmp_path):
  study, base = settings.split(smoke(subset_seeds=2))
  first = planning.write(tmp_path, study, base, planning.entries(study, base))
  assert json.loads((tmp_path / 'plan.json').read_text()) == first
  assert {
    'name',
    'ablation',
    'representation',
    'size',
    'subset_seed',
    'init_seed',
    'fold',
  } <= (first['entries'][0].keys())
  assert first['labels']['promolecule'] == 'promolecule'
  study, base = settings.split(smoke(subset_seeds=3))
  more = planning.write(tmp_path, study, base, planning.entries(study, base))
  assert more['entries'][: len(first['entries'])] == first['entries']
  assert first['history'] == []
  assert [h['added'] for h in more['history']] == [10]
  assert more['history'][0]['finished'] == 0
  assert len(more['entries']) == 30
  study, base = settings.split(smoke(subset_seeds=1))
  fewer = planning.write(tmp_path, study, base, planning.entries(study, base))
  assert fewer['entries'] == more['entries']
  assert fewer['history'] == more['history']
  # With results there: how many, and the report says it.
  for entry in more['entries'][:3]:
    run = tmp_path / 'runs' / entry['name']
    run.mkdir(parents=True)
    (run / 'results.json').write_text('{}')
  study, base = settings.split(smoke(subset_seeds=4))
  late = planning.write(tmp_path, study, base, planning.entries(study, base))
  assert late['history'][0] == more['history'][0]
  assert (late['history'][1]['added'], late['history'][1]['finished']) == (
    10,
    3,
  )


@pytest.mark.parametrize(
  ('change', 'named'),
  [
    (lambda c: c.train.update(steps=41), 'config.train.steps=40, not 41'),
    (lambda c: c.study.update(primary=('mu',)), 'primary='),
    (lambda c: c.study.update(margins=(1.0, 1.0, 1.0, 1.0)), 'margins='),
    (lambda c: c.study.update(trial_steps=21), 'trials='),
  ],
)
def test_what_was_laid_down_stays(tmp_path, change, named):
  study, base = settings.split(smoke())
  planning.write(tmp_path, study, base, [])
  config = smoke()
  change(config)
  study, base = settings.split(config)
  with pytest.raises(ConfigError, match=named):
    planning.write(tmp_path, study, base, [])


def test_settings_of_jax_stay_as_well(tmp_path):
  study, base = settings.split(smoke())
  plan = planning.write(tmp_path, study, base, [])
  del plan['numerics']  # as in plans of before: JAX's own
  for text in ((tmp_path / 'plan.json').read_text(), json.dumps(plan)):
    (tmp_path / 'plan.json').write_text(text)
    with (
      jax.default_prng_impl('rbg'),
      pytest.raises(ConfigError, match=r'numerics=.*threefry2x32.*rbg'),
    ):
      planning.write(tmp_path, study, base, [])
    planning.write(tmp_path, study, base, [])


def test_where_the_data_lie_may_change(tmp_path):
  study, base = settings.split(smoke())
  planning.write(tmp_path, study, base, [])
  base.data.data_dir = '/elsewhere'
  planning.write(tmp_path, study, base, [])


@pytest.mark.parametrize(
  ('changes', 'named'),
  [
    ({'representations': ('atoms', 'desnity')}, r'representations has'),
    ({'sizes': (240, 60)}, r'config\.study\.sizes must be a tuple of growing'),
    ({'sizes': (1,)}, r'config\.study\.sizes'),
    ({'sizes': (1.0, 0.5)}, r'sizes must be .* or of growing shares up to 1'),
    ({'sizes': (0.5, 60)}, r'sizes must be .* or of growing shares'),
    ({'subset_seeds': 0}, r'config\.study\.subset_seeds must be'),
    ({'subset_seeds': 999, 'trial_seed': 7}, r'config\.study\.trial_seed=7'),
    ({'folds': 5}, r"config\.study\.folds=5 with config\.data\.split='random'"),
    ({'ablations': ('all',)}, r'config\.study\.ablations has'),
    ({'trial_learning_rates': ()}, r'config\.study\.trial_learning_rates'),
    ({'trial_transforms': ('sqrt',)}, r"unknown transform 'sqrt'"),
    ({'primary': ('volume',)}, r'config\.study\.primary has'),
    ({'margins': (1.0,)}, r'config\.study\.margins has 1 numbers for the 4'),
    ({'hypotheses': ('H9',)}, r'config\.study\.hypotheses has'),
    ({'metric': 'r2'}, r'config\.study\.metric must be one of'),
    ({'metric': 'log_loss'}, r"metric='log_loss' with .*loss='huber'"),
    (
      {
        'variants': {'a': {'optim': {'loss': 'log_loss'}}},
        'ablations': ('variants',),
      },
      r"metric='mae' with .*every variant",
    ),
    ({'boxes': (12.5,), 'ablations': ('spacing',)}, r'study\.boxes: 12\.5'),
    ({'noises': (0.1, 0.1)}, r'config\.study\.noises'),
    ({'folds': 2}, r'config\.study\.folds=2: .* three are the fewest'),
    ({'ablation_seeds': 9, 'trial_seed': 3}, r'trial_seed=3'),
    ({'init_seeds': 2, 'trial_seed': 1001}, r'trial_seed=1001'),
    ({'ablations': ('noise',), 'middle_size': 61}, r'middle_size=61'),
    ({'ablations': ('variants',)}, r'study\.variants has \[\]'),
    ({'variants': {'a': {'data': {'seed': 1}}}}, r"has \['a'\], and .*\(\)"),
    (
      {'variants': {'a': {'data': {'sed': 1}}}, 'ablations': ('variants',)},
      r"config\.study\.variants\.a has \['data\.sed'\]: no such field",
    ),
    ({'variants': {'a': 3}}, r'study\.variants must be a dict of dicts'),
    ({'trial_learning_rates': (5e-3,)}, r'optim\.learning_rate=0\.003, but'),
  ],
)  # fmt: skip
def test_wrong_fields_are_named(changes, named):
  with pytest.raises(ConfigError, match=named):
    settings.split(smoke(**changes))


def test_unknown_missing_and_base_fields_are_named():
  config = smoke()
  config.study.size = (60,)
  del config.study['patience']
  with pytest.raises(ConfigError) as caught:
    settings.split(config)
  assert 'did you mean config.study.sizes?' in str(caught.value)
  assert 'config.study.patience is missing' in str(caught.value)
  config = smoke()
  config.data.validation_share = 0.0
  config.train.weights = 'best'
  with pytest.raises(ConfigError) as caught:
    settings.split(config)
  assert 'config.data.validation_share must be' in str(caught.value)
  assert 'config.train.weights must be' in str(caught.value)
  del config['study']
  with pytest.raises(ConfigError, match='no section'):
    settings.split(config)


@pytest.mark.parametrize('module', [study_qm9, study_pdbbind, study_choices])
def test_no_other_variants(module):
  with pytest.raises(ValueError, match="no variant 'x'"):
    module.get_config('x')


@pytest.mark.parametrize(
  ('module', 'variant'),
  [(study_qm9, v) for v in ('', 'smoke', 'full')]
  + [(study_pdbbind, v) for v in ('', 'ligands', 'smoke', 'full')]
  + [
    (study_choices, v)
    for v in ('origin', 'head', 'head_ligands', 'nonlinearity')
  ],
)
def test_every_variant_is_a_study(module, variant):
  """Each representation in each setting is a configuration."""
  study, base = settings.split(module.get_config(variant))
  entries = planning.entries(study, base)
  kinds = {(e.ablation, e.setting, e.representation): e for e in entries}
  names = dict.fromkeys(e.representation for e in entries)
  trials = tuning.trials(study, base, names)
  for item in (*kinds.values(), *trials):
    configuration.resolve(planning.with_fields(base, item.fields))
  assert {e.ablation for e in entries} == {'main', *study.ablations}


def test_shares_of_the_data_become_numbers(monkeypatch):
  """Of labels outside of the test set; all targets are primary."""
  study, base = settings.split(smoke(sizes=(0.25, 0.5, 1.0), primary=()))
  assert study.primary == base.data.targets
  monkeypatch.setattr(runner.loading, 'load_pack', lambda *_: 'pack')
  monkeypatch.setattr(
    runner.splitting,
    'make_split',
    lambda pack, data: types.SimpleNamespace(pool=143),
  )
  assert runner._whole_sizes(study.sizes, base, '') == (36, 72, 143)
  assert runner._whole_sizes((60, 240), base, '') == (60, 240)
