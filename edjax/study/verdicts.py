"""Judges hypotheses on representations by their paired differences.

The rules are data here and prose in docs/protocol.md; both are fixed before a
study runs.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from edjax.evaluate.paired import ALPHA, Difference
from edjax.study.multiple_testing import holm

# In simulations up to 13 % of the 95 % intervals from 2 seeds missed the truth
# (3 seeds: 8 %, 5 or more: 6 %), so that 2 seeds give no verdict.
MIN_SEEDS = 3
# Representation from which equivalent inputs have to be told apart.
CONTROL = 'noise'


@dataclasses.dataclass(frozen=True)
class Claim:
  """A statement about two representations.

  Attributes:
    kind: 'less' (a has the lower error), 'no_worse' (a's error is not higher
      than b's by the margin, or by 0 without one), 'equivalent' (within the
      margin), or 'told_apart' (a has the lower error by more than the margin: a
      control, which contradicts nothing).
    a: representation.
    b: representation.
  """

  kind: str
  a: str
  b: str

  @property
  def is_control(self) -> bool:
    return self.kind == 'told_apart'


@dataclasses.dataclass(frozen=True)
class Hypothesis:
  """Claims with the sizes that they are judged at.

  Attributes:
    name: short name, such as 'H1'.
    statement: the claims in a sentence.
    sizes: 'few', the smallest two sizes of the study, never the largest;
      'all', the largest; 'crossover', the largest, and the reverse at some
      smaller one.
    claims: all of them must hold.
    part_of: the hypothesis whose plan includes this one.
  """

  name: str
  statement: str
  sizes: str
  claims: tuple[Claim, ...]
  part_of: str = ''

  @property
  def tests(self) -> tuple[Claim, ...]:
    """The claims, and a control for each input of a claim of equivalence.

    Two inputs of which a network learned nothing would be equivalent, too.
    """
    equal = (c for c in self.claims if c.kind == 'equivalent')
    inputs = dict.fromkeys(name for c in equal for name in (c.a, c.b))
    controls = (Claim('told_apart', name, CONTROL) for name in inputs)
    return (*self.claims, *controls)


_FOUR = ('atoms', 'density', 'gradient', 'shape')


# Stated in the abstract of the paper that edjax tests (H4x and H5 are inferred
# from it; H6 and H7 are ours).
HYPOTHESES: Mapping[str, Hypothesis] = {
  h.name: h
  for h in (
    Hypothesis(
      'H1',
      'With all training data the inputs are equivalent.',
      'all',
      tuple(
        Claim('equivalent', a, b) for a, b in itertools.combinations(_FOUR, 2)
      ),
    ),
    Hypothesis(
      'H2',
      'With few training examples density and gradient each have a lower '
      'error than atom types.',
      'few',
      (Claim('less', 'density', 'atoms'), Claim('less', 'gradient', 'atoms')),
    ),
    Hypothesis(
      'H3',
      'With few training examples shape is equivalent to density.',
      'few',
      (Claim('equivalent', 'shape', 'density'),),
    ),
    Hypothesis(
      'H4',
      'At the largest size density has a lower error than atom types.',
      'all',
      (Claim('less', 'density', 'atoms'),),
    ),
    Hypothesis(
      'H4x',
      'Density overtakes atom types: behind at some smaller size, ahead at '
      'the largest.',
      'crossover',
      (Claim('less', 'density', 'atoms'),),
      part_of='H4',
    ),
    Hypothesis(
      'H5a',
      'At the largest size the gradient has no higher error than density.',
      'all',
      (Claim('no_worse', 'gradient', 'density'),),
    ),
    Hypothesis(
      'H5b',
      'At the largest size density and gradient together have a lower error '
      'than density alone.',
      'all',
      (Claim('less', 'density_gradient', 'density'),),
    ),
    Hypothesis(
      'H6',
      "At the largest size density has a lower error than free atoms' density.",
      'all',
      (Claim('less', 'density', 'promolecule'),),
    ),
    Hypothesis(
      'H7',
      'At the largest size atom types and density together have a lower error '
      'than atom types alone.',
      'all',
      (Claim('less', 'atoms_density', 'atoms'),),
    ),
  )
}


def expand(names: Sequence[str]) -> list[Hypothesis]:
  """Returns hypotheses by name, each followed by its further parts."""
  return [h for n, h in HYPOTHESES.items() if n in names or h.part_of in names]


def sizes_read(hypothesis: Hypothesis, sizes: Sequence) -> list:
  """Returns the sizes of a study that a hypothesis is judged at, rising."""
  sizes = sorted(sizes)
  if hypothesis.sizes == 'few':
    return sizes[:-1][:2]
  if hypothesis.sizes == 'all':
    return sizes[-1:]
  return sizes if len(sizes) > 1 else []


@dataclasses.dataclass(frozen=True)
class Evidence:
  """One comparison that a verdict rests on.

  Attributes:
    claim: the claim, or the control, that it tests.
    size: number of labels.
    difference: a minus b, or None.
    lacking: why there is no difference, or the missing seeds; '' otherwise.
  """

  claim: Claim
  size: float
  difference: Difference | None
  lacking: str = ''


@dataclasses.dataclass(frozen=True)
class Verdict:
  """The outcome for one hypothesis and one target, or all of them.

  Attributes:
    hypothesis: the judged one.
    word: 'supported', 'contradicted' or 'undecided'.
    p_support: p value, corrected over the targets by Holm's method; 1 where
      comparisons are missing; for all targets the largest.
    p_contradict: likewise; for all targets the smallest.
    evidence: all comparisons.
    reason: why there is no verdict; '' otherwise.
  """

  hypothesis: Hypothesis
  word: str
  p_support: float
  p_contradict: float
  evidence: tuple[Evidence, ...]
  reason: str = ''


def judge(
  hypothesis: Hypothesis,
  evidence: Mapping[str, Sequence[Evidence]],
  margins: Mapping[str, float],
) -> dict[str, Verdict]:
  """Returns verdicts for each primary target, and for all of them under ''.

  A hypothesis is a conjunction over its claims and sizes.

  - A target supports it when each test does: the largest p value counts
    (intersection-union test: Berger 1982, Technometrics 24, 295). Controls of
    equivalence are among them.
  - A target contradicts it when one test is in the opposite direction: the
    smallest p value counts, times the number of tests (Bonferroni). Controls
    are not among them.
  - A crossover is supported by the largest size together with the reverse at
    one of the k smaller ones (the larger of p and k times the smallest p of the
    reverse). It is contradicted by the reverse at the largest size, or by the
    same sign at all of the smaller sizes.
  - Support and contradiction are corrected over the targets by Holm's method.
  - All targets together support it when each one does, and contradict it when
    any does.
  - A comparison that is missing leaves the target undecided; a control that is
    missing may leave it contradicted.

  Args:
    hypothesis: the one to judge.
    evidence: primary target -> comparisons at the sizes of `sizes_read`, one
      for each of `hypothesis.tests`.
    margins: target -> margin in the unit of the differences; a claim of
      equivalence needs one.
  """

  def verdict(support, contradict, of_evidence, reason='') -> Verdict:
    word = 'undecided'
    if support <= ALPHA:
      word = 'supported'
    elif contradict <= ALPHA:
      word = 'contradicted'
    return Verdict(
      hypothesis, word, float(support), float(contradict), tuple(of_evidence),
      reason if word == 'undecided' else '',
    )  # fmt: skip

  reasons = [
    _unjudgeable(hypothesis, rows, margins.get(target))
    for target, rows in evidence.items()
  ]
  p_TP = np.array(
    [
      (1.0, 1.0) if why else _p_values(hypothesis, rows, margins.get(target, 0))
      for (target, rows), why in zip(evidence.items(), reasons, strict=True)
    ]
  )
  reasons = [
    why or _missing([e for e in rows if e.claim.is_control])
    for rows, why in zip(evidence.values(), reasons, strict=True)
  ]
  support_T, contradict_T = holm(p_TP[:, 0]), holm(p_TP[:, 1])
  each = map(verdict, support_T, contradict_T, evidence.values(), reasons)
  everything = [e for rows in evidence.values() for e in rows]
  return {
    '': verdict(support_T.max(), contradict_T.min(), everything),
    **dict(zip(evidence, each, strict=True)),
  }


def _unjudgeable(hypothesis, evidence, margin) -> str:
  """Returns why there can be no verdict; '' where there can."""
  if not evidence:
    return 'the study has no such sizes'
  needs = any(c.kind == 'equivalent' for c in hypothesis.claims)
  if needs and margin is None:
    return 'no margin was named for it'
  claims = [e for e in evidence if not e.claim.is_control]
  if missing := _missing(claims):
    return missing
  fewest = min(e.difference.seeds for e in claims)
  if fewest < MIN_SEEDS:
    return f'{fewest} seeds; a verdict takes {MIN_SEEDS} or more'
  return ''


def _missing(evidence) -> str:
  """Returns which comparisons cannot be made; '' where all can."""
  missing = [e for e in evidence if e.difference is None]
  if not missing:
    return ''
  first = missing[0]
  return (
    f'{len(missing)} of {len(evidence)} comparisons cannot be made '
    f'({first.claim.a} and {first.claim.b} at n = {first.size:g}: '
    f'{first.lacking})'
  )


def _p_values(hypothesis, evidence, margin) -> tuple[float, float]:
  """Returns p values for support and contradiction by a target, before Holm."""
  if hypothesis.sizes == 'crossover':
    *smaller, largest = (e.difference for e in evidence)
    ahead = _two_sided(largest.p_below())
    behind = [_two_sided(d.p_above()) for d in smaller]
    support = max(ahead, min(1.0, len(smaller) * min(behind)))
    always = max(_two_sided(d.p_below()) for d in smaller)
    contrary = min(always, _two_sided(largest.p_above()))
    return support, min(1.0, 2 * contrary)
  pairs = [_claim_p(e.claim.kind, e.difference, margin) for e in evidence]
  support_E, contrary_E = zip(*pairs, strict=True)
  claims = sum(not e.claim.is_control for e in evidence)
  return max(support_E), min(1.0, claims * min(contrary_E))


def _claim_p(kind, d: Difference | None, margin) -> tuple[float, float]:
  """Returns p values for and against one claim."""
  if kind == 'equivalent':
    outside = min(d.p_above(margin), d.p_below(-margin))
    return d.p_equivalent(margin), _two_sided(outside)
  if kind == 'told_apart':
    if d is None or d.seeds < MIN_SEEDS:
      return 1.0, 1.0  # without its control an equivalence is not supported
    return _two_sided(d.p_below(-margin)), 1.0
  limit = margin if kind == 'no_worse' else 0.0
  return _two_sided(d.p_below(limit)), _two_sided(d.p_above(limit))


def _two_sided(p: float) -> float:
  """Returns the two-sided p value of a one-sided one."""
  return min(1.0, 2 * p)
