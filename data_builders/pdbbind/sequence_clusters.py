"""Clusters of complexes by the sequences of their pockets' protein chains.

Two chains are linked when three things hold for their alignment (global, by
gemmi, BLOSUM62, 10 half-bits for opening a gap and nothing for extending it):

1. identity: identical residues / residues aligned (columns without a gap) are
   at least 30 %, as in the HSSP curve (Rost, Protein Eng. 12, 85, 1999,
   doi:10.1093/protein/12.2.85);
2. at least 30 residues are aligned, and half of the shorter chain;
3. the score exceeds that of the alignment with the reversed second chain by
   6 times (length * length)^(1/4) half-bits.

Complexes are linked when any two of their chains are; clusters are the
connected components (single linkage).

Reasons. A file of the surroundings of a ligand has a chain in fragments:
aligned with the whole chain of the same protein, its gaps are residues that
were cut away, not evolution. So the length of a gap costs nothing, and gaps do
not count in the identity. But then, as in any global alignment, unrelated
chains are 30 % identical as well: among 55,945 pairs of shuffled chains (those
of the 386 complexes of the tests, 30 to 956 residues) 34,628 meet the first two
conditions, one of them with 67 %. Hence the third. In these pairs the excess
over the reversed chain is 0 +- 0.95 in units of (length * length)^(1/4), 4.6 at
most, whatever the lengths; the clusters of the real chains are the same for any
threshold from 5 to 6. Reversal keeps length and composition (Karplus et al.,
Bioinformatics 21, 4107, 2005, doi:10.1093/bioinformatics/bti629).

Accuracy. With chains cut 16 Å from the ligand instead of whole ones, 285
complexes lose 56 of 2,085 pairs that share a cluster, 2 where every other
complex is cut, and gain none. PDBbind's own pockets (8 Å, 45 residues) lose 371
and gain none: where there are only pocket files, give UniProt's groups as
`also_together`.

Chains under 30 residues (peptides, the light chain of thrombin) link nothing:
their alignments are never significant, and an inhibitor shared by two proteins
does not make these related.
"""

import functools
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from data_builders.support import worker_pool as workers_lib
from edjax.data.pdb_ids import complex_id
from edjax.runtime import reading

SHORTEST = 30
COVERAGE = 0.5
SIGNIFICANCE = 6.0
GAP = -10
# No alignment is worse than leaving everything unaligned: two gaps.
_WORST = 2 * GAP
# Workers compare a block of chains with another: 32 * 32 alignments take about
# a third of a second.
_BLOCK = 32
# A chain is grouped with a longer one that has half of its words of 4 residues,
# which means 85 % identity or more.
_WORD = 4
_PART = 0.5
# Members of two such groups are compared where the alignment of the longest of
# each is at least this significant. The real set loses nothing even at
# SIGNIFICANCE minus 1.5.
_NEAR = 4.0
# Misprints of GEMS's clusters_casf2016.json -> members of CASF-2016.
_MISPRINTS = {'105b': '1o5b', '10wh': '1owh'}
_OTHER = re.compile('[^ACDEFGHIKLMNPQRSTVWY]')


class Alignment(NamedTuple):
  """Two chains compared.

  Attributes:
    identity: identical / aligned residues, 0 to 1.
    aligned: residues that stand opposite a residue.
    significance: (score - score of the reversed second chain) / (length *
      length)^(1/4), half-bits.
  """

  identity: float
  aligned: int
  significance: float


def cluster(
  sequences: Mapping[str, Mapping[str, str]],
  identity: float = 0.3,
  also_together: Iterable[Iterable[str]] = (),
  workers: int | None = None,
) -> dict[str, str]:
  """Clusters complexes; their order does not matter.

  Not every pair of chains is aligned. Chains that are nearly a part of another
  (half of their words of 4 residues are in it, and the alignment links them)
  form a group with it; the longest chains of all groups are aligned with each
  other, and the members of two groups where these are not linked but near it
  (significance 4 of 6). On the 386 real complexes (335 chains, 158 groups) this
  gives the clusters of the 1,500 links among all 55,945 pairs. A filter by
  words in common between groups would not do: with 2 words of 3 residues it
  loses 6 of these links and lets 87 % of all pairs pass.

  Time: 0.3 to 0.5 ms a pair of groups on one core, in worker processes; 7 s for
  the 386 complexes. It grows with the square of the number of groups, so that
  6,000 groups (20,000 complexes, extrapolated) take two hours of one core.

  Args:
    sequences: PDB id -> chain -> one-letter sequence, as modelled; only the 20
      amino acids count.
    identity: of linked chains, at least.
    also_together: groups of PDB ids that belong together whatever their
      sequences; ids that are not in sequences connect those that are.
    workers: processes (default: as many as there are cores).

  Returns:
    PDB id -> id of its cluster, which is its smallest PDB id.

  Raises:
    ValueError: identity is not above 0 and at most 1.
    RuntimeError: a worker failed.
  """
  from scipy.cluster import hierarchy

  if not 0 < identity <= 1:
    raise ValueError(f'identity={identity} must be above 0 and at most 1')
  chains_of = {key: _usable(named) for key, named in sequences.items()}
  chains = set().union(*chains_of.values())
  # Ids are joined with each other, and with chains, which are longer.
  together = [
    *map(tuple, also_together),
    *((k, *c) for k, c in chains_of.items()),
  ]
  connected = hierarchy.DisjointSet(itertools.chain(*together))
  for first, *others in together:
    for other in others:
      connected.merge(first, other)
  _connect(connected, chains, identity, workers)
  smallest = {}
  for key in sorted(sequences):
    smallest.setdefault(connected[key], key)
  return {key: smallest[connected[key]] for key in sequences}


def without_chain(
  sequences: Mapping[str, Mapping[str, str]],
) -> tuple[str, ...]:
  """Returns complexes without a chain of 30 known residues.

  Args:
    sequences: as for `cluster`, which makes each of these a cluster.

  Returns:
    Their ids, sorted.
  """
  return tuple(
    sorted(key for key, chains in sequences.items() if not _usable(chains))
  )


def align(a: str, b: str, least: float = -math.inf) -> Alignment:
  """Aligns two chains.

  Args:
    a: one-letter sequence of the 20 amino acids.
    b: the same.
    least: a significance below it may come out as minus infinity.

  Returns:
    How similar they are.
  """
  import gemmi

  one, other = _residues(a), _residues(b)
  scale = (len(a) * len(b)) ** 0.25
  found = gemmi.align_string_sequences(one, other, [], _scoring())
  aligned = sum(map(int, re.findall(r'(\d+)M', found.cigar_str())))
  significance = -math.inf
  if found.score - _WORST >= least * scale:
    chance = gemmi.align_string_sequences(one, other[::-1], [], _scoring())
    significance = (found.score - chance.score) / scale
  return Alignment(found.match_count / max(aligned, 1), aligned, significance)


def read_casf_clusters(path) -> tuple[tuple[str, ...], ...]:
  """Reads clusters from a file in the format of GEMS's for CASF-2016.

  Args:
    path: of a JSON file {name: [[PDB id, pK], ...] or [PDB id, ...]}
      (`clusters_casf2016.json` of github.com/camlab-ethz/GEMS; its 105b and
      10wh, which are in no index, are read as CASF's 1o5b and 1owh).

  Returns:
    Groups of PDB ids in lower case, for `cluster`.

  Raises:
    ValueError: another format, or an id is in two clusters.
    FileNotFoundError: there is no such file.
  """
  groups = reading.read_json(path)
  if not isinstance(groups, dict) or not groups:
    raise ValueError(f'{path} must be {{cluster: [[PDB id, pK], ...]}}')
  seen, result = {}, []
  for name, rows in groups.items():
    if not isinstance(rows, list) or not rows:
      raise ValueError(f'{path}: cluster {name!r} has no list of ids')
    keys = []
    for row in rows:
      key = complex_id(row[0] if isinstance(row, list) and row else row)
      key = _MISPRINTS.get(key, key)
      if key in seen:
        raise ValueError(f'{path}: {key} is in clusters {seen[key]} and {name}')
      seen[key] = name
      keys.append(key)
    result.append(tuple(keys))
  return tuple(result)


def _usable(chains: Mapping[str, str]) -> set[str]:
  cleaned = (_OTHER.sub('', sequence.upper()) for sequence in chains.values())
  return {chain for chain in cleaned if len(chain) >= SHORTEST}


def _connect(connected, chains: set[str], identity: float, workers) -> None:
  """Merges linked chains."""
  groups = {}
  for chain, whole in _parts(chains).items():
    # Words may be nothing but a repeat.
    if chain != whole:
      pairs = compare([chain], [whole], identity)
      whole = whole if any(linked for *_, linked in pairs) else chain
    groups.setdefault(whole, []).append(chain)
    connected.merge(chain, whole)
  whole = sorted(groups)
  blocks = [whole[i : i + _BLOCK] for i in range(0, len(whole), _BLOCK)]
  jobs = [
    (blocks[i], blocks[j], identity)
    for i in range(len(blocks))
    for j in range(i + 1)
  ]
  near = []
  for a, b, linked in _compared(jobs, workers):
    if linked:
      connected.merge(a, b)
    else:
      near.append((a, b))
  jobs = [
    (groups[a], groups[b], identity)
    for a, b in near
    if len(groups[a]) * len(groups[b]) > 1 and not connected.connected(a, b)
  ]
  for a, b, linked in _compared(jobs, workers):
    if linked:
      connected.merge(a, b)


def _parts(chains: Iterable[str]) -> dict[str, str]:
  """Maps each chain to a longer one that has many of its words, or itself."""
  holders, result = {}, {}
  for chain in sorted(chains, key=lambda c: (-len(c), c)):
    words = {chain[i : i + _WORD] for i in range(len(chain) - _WORD + 1)}
    shared = {}
    for word in words:
      for whole in holders.get(word, ()):
        shared[whole] = shared.get(whole, 0) + 1
    best = max(shared, key=lambda c: (shared[c], c), default=chain)
    if shared.get(best, 0) < _PART * len(words):
      best = chain
      for word in words:
        holders.setdefault(word, []).append(chain)
    result[chain] = best
  return result


def _compared(jobs: Sequence, workers):
  """Yields the results of `compare` of all jobs; a few jobs need no workers."""
  if len(jobs) < 4:
    for job in jobs:
      yield from compare(*job)
    return
  for pairs in workers_lib.map_ordered(
    f'{__name__}:compare', jobs, workers=workers, chunk=1
  ):
    if isinstance(pairs, workers_lib.Failure):
      raise RuntimeError(f'sequences cannot be compared: {pairs.reason}')
    yield from pairs


def compare(
  some: Sequence[str], others: Sequence[str], identity: float
) -> list[tuple[str, str, bool]]:
  """Compares two lists of chains in a worker; returns the similar pairs.

  Args:
    some: sequences of the 20 amino acids, at least 30 each.
    others: the same; where they are the same list, each pair is compared once.
    identity: of linked chains, at least.

  Returns:
    Pairs with a significance of at least 4, and whether they are linked.
  """
  result = []
  for i, a in enumerate(some):
    for b in others[:i] if some == others else others:
      found = align(a, b, _NEAR)
      if found.significance >= _NEAR:
        linked = (
          found.identity >= identity
          and found.aligned >= max(SHORTEST, COVERAGE * min(len(a), len(b)))
          and found.significance >= SIGNIFICANCE
        )
        result.append((a, b, linked))
  return result


@functools.lru_cache(maxsize=256)
def _residues(chain: str) -> list[str]:
  import gemmi

  return gemmi.expand_one_letter_sequence(chain, gemmi.ResidueKind.AA)


@functools.cache
def _scoring():
  import gemmi

  scoring = gemmi.AlignmentScoring('b')
  scoring.gapo = scoring.bad_gapo = GAP
  scoring.gape = 0
  return scoring
