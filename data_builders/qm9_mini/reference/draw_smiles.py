"""Draws SMILES of small molecules, grown at random, without unstable kinds.

Elements H, C, N, O and F, 1 to 6 heavy atoms, neutral, at most one ring.
"""

import functools
import random

# Share of each number of heavy atoms in a draw. There are few kinds of up to
# 3; the share that a size cannot fill goes to the next larger one.
SIZE_SHARE = {1: 0.01, 2: 0.01, 3: 0.04, 4: 0.15, 5: 0.37, 6: 0.42}
_VALENCE = {'C': 4, 'N': 3, 'O': 2, 'F': 1}
_ELEMENT_WEIGHT = {'C': 5, 'N': 3, 'O': 2, 'F': 1}
_ORDER_WEIGHT = {1: 7, 2: 3, 3: 1}
_RING_PROBABILITY = 0.35
# Growths a size: every kind of up to 3 heavy atoms, a sample of the others.
TRIALS = {1: 100, 2: 1000, 3: 5000, 4: 20000, 5: 40000, 6: 60000}

# Patterns that rearrange, explode or have no closed shell: SMARTS on the
# kekulized molecule, so that '=' and '-' are double and single bonds.
UNSTABLE = {
  'O-O': '[#8]~[#8]',
  'O-F': '[#8]F',
  'N-F': '[#7]F',
  'F-F': 'FF',
  'chain of three N': '[#7]~[#7]~[#7]',
  'N between two O': '[#8]~[#7]~[#8]',
  'geminal diol': '[OX2H][CX4][OX2H]',
  'carbinol amine with two N and O': '[CX4](N)(N)[OX2H]',
  'three double bonds in a row': '*=*=*=*',
  'cumulated double bonds in a ring': '[R]=[R]=*',
  'triple bond in a ring': '[R]#[R]',
  'antiaromatic 4-ring': '*1=**=*1',
  'antiaromatic 3-ring': '[#7,#8]1*=*1',
  '4-ring of one double bond and two donors': '[#7,#8]1[#7,#8]*=*1',
}


@functools.cache
def _unstable_patterns():
  from rdkit import Chem

  return {name: Chem.MolFromSmarts(s) for name, s in UNSTABLE.items()}


def rejection(smiles):
  """Returns the name of the rule that `smiles` breaks, or ''.

  Args:
    smiles: a SMILES string that RDKit can read.
  """
  from rdkit import Chem

  mol = Chem.MolFromSmiles(smiles)
  if any(a.GetSymbol() not in _VALENCE for a in mol.GetAtoms()):
    return 'element'
  if any(
    a.GetFormalCharge() or a.GetNumRadicalElectrons() for a in mol.GetAtoms()
  ):
    return 'charge or radical'
  if len(Chem.GetMolFrags(mol)) != 1:
    return 'more than one molecule'
  # One ring: no fused, spiro or bridged strain.
  rings = mol.GetRingInfo().AtomRings()
  if len(rings) > 1:
    return 'more than one ring'
  if any(len(ring) > 6 for ring in rings):
    return 'ring of more than 6'
  Chem.Kekulize(mol, clearAromaticFlags=True)
  for name, pattern in _unstable_patterns().items():
    if mol.HasSubstructMatch(pattern):
      return name
  return ''


def _grow(size, rng):
  """Grows one SMILES of `size` heavy atoms; '' where no valence was left."""
  from rdkit import Chem

  elements, weights = zip(*_ELEMENT_WEIGHT.items(), strict=True)
  atoms, bonds, free = [], {}, []

  def order_between(i, j):
    top = min(free[i], free[j], 3)
    orders = range(1, top + 1)
    return rng.choices(orders, [_ORDER_WEIGHT[o] for o in orders])[0]

  for k in range(size):
    element = rng.choices(elements, weights)[0]
    open_atoms = [i for i in range(k) if free[i]]
    if k and not open_atoms:
      return ''
    atoms.append(element)
    free.append(_VALENCE[element])
    if k:
      i = rng.choice(open_atoms)
      order = order_between(i, k)
      bonds[i, k] = order
      free[i] -= order
      free[k] -= order
  if rng.random() < _RING_PROBABILITY:
    pairs = [
      (i, j)
      for i in range(size)
      for j in range(i + 1, size)
      if free[i] and free[j] and (i, j) not in bonds
    ]
    if pairs:
      i, j = rng.choice(pairs)
      bonds[i, j] = min(order_between(i, j), 2)
  mol = Chem.RWMol()
  for element in atoms:
    mol.AddAtom(Chem.Atom(element))
  for (i, j), order in bonds.items():
    mol.AddBond(i, j, Chem.BondType.values[order])
  Chem.SanitizeMol(mol)
  # Twice, because the first string of an aromatic may not be canonical.
  return Chem.MolToSmiles(Chem.MolFromSmiles(Chem.MolToSmiles(mol)))


def draw_smiles(count, seed, exclude=(), trials=TRIALS):
  """Draws `count` distinct canonical SMILES; a function of its arguments.

  Within a size, all distinct kinds that some tens of thousands of growths
  reached have the same chance.

  Args:
    count: how many.
    seed: of Python's Mersenne Twister.
    exclude: SMILES not to draw.
    trials: growths for each number of heavy atoms, {size: int}.

  Raises:
    ValueError: fewer than `count` kinds are left.
  """
  from rdkit import Chem

  excluded = {Chem.CanonSmiles(s) for s in exclude}
  rng = random.Random(seed)
  drawn, due = [], 0.0
  for size, share in SIZE_SHARE.items():
    kinds = {_grow(size, rng) for _ in range(trials[size])} - excluded - {''}
    kinds = sorted(s for s in kinds if not rejection(s))
    rng.shuffle(kinds)
    due += share * count
    drawn += kinds[: round(due) - len(drawn)]
  if len(drawn) < count:
    raise ValueError(
      f'only {len(drawn)} of {count} molecules are left to draw; ask for '
      'fewer, or use another seed'
    )
  # Mixed sizes, so that an interrupted run is a sample of the whole.
  rng.shuffle(drawn)
  return drawn
