"""Double bonds that a file format lost.

Some ligands of PDBbind that went through a converter have all their hydrogens,
but phosphates with four single bonds, P(OH)3, sulfoxides with three, and
amidinium and guanidinium groups without a double bond and without their charge.
RDKit accepts them as groups that lack a hydrogen at P, S or C.
"""


def repair(molecule):
  """Gives phosphates, sulfoxides and amidinium groups their double bond back.

  P with four single bonds: one P-OH becomes P=O, its hydrogen goes (the
  neutral acid). S with three: likewise, or the oxygen has no hydrogen. C with
  three single bonds, two or more of them to nitrogen:
  the bond to the nitrogen with the most hydrogens becomes double, and that
  nitrogen gets its charge where it has three bonds. Other atoms stay as they
  are. Molecules without any hydrogen atom are left alone: there a missing
  bond and a missing hydrogen look the same.

  Args:
    molecule: RDKit's, sanitised, hydrogens as atoms.

  Returns:
    A repaired copy, or None where there is nothing to repair. The atoms are
    in the same order but for the hydrogens that went.
  """
  from rdkit import Chem

  copy = Chem.RWMol(molecule)
  if all(atom.GetAtomicNum() != 1 for atom in copy.GetAtoms()):
    return None
  extra, repaired = [], False
  for atom in copy.GetAtoms():
    if any(bond.GetValenceContrib(atom) > 1 for bond in atom.GetBonds()):
      continue
    if atom.GetNumImplicitHs() + atom.GetNumExplicitHs() == 0:
      continue
    kind = (atom.GetSymbol(), atom.GetDegree())
    partner = None
    if kind == ('P', 4):
      partner = _hydroxyl(atom)
    elif kind == ('S', 3):
      partner = _hydroxyl(atom) or _bare_oxygen(atom)
    elif kind == ('C', 3):
      partner = _amine(atom)
    if partner is None:
      continue
    bond = copy.GetBondBetweenAtoms(atom.GetIdx(), partner.GetIdx())
    bond.SetBondType(Chem.BondType.DOUBLE)
    if partner.GetSymbol() == 'N' and partner.GetDegree() == 3:
      partner.SetFormalCharge(1)
    for touched in (atom, partner):
      touched.SetNumExplicitHs(0)
      touched.SetNoImplicit(True)
    if partner.GetSymbol() == 'O':
      extra += _hydrogens(partner)
    repaired = True
  if not repaired:
    return None
  for index in sorted(extra, reverse=True):
    copy.RemoveAtom(index)
  try:
    Chem.SanitizeMol(copy)
  except (ValueError, RuntimeError):  # it was another group
    return None
  return copy.GetMol()


def _hydrogens(atom) -> list[int]:
  return [n.GetIdx() for n in atom.GetNeighbors() if n.GetAtomicNum() == 1]


def _hydroxyl(centre):
  """Returns the oxygen of the first OH, or None."""
  oxygens = (n for n in centre.GetNeighbors() if n.GetSymbol() == 'O')
  return next(filter(_hydrogens, oxygens), None)


def _bare_oxygen(centre):
  """Returns the first oxygen that has no other neighbour, or None."""
  return next(
    (n for n in centre.GetNeighbors()
     if n.GetSymbol() == 'O' and n.GetDegree() == 1), None
  )  # fmt: skip


def _amine(carbon):
  """Returns the nitrogen that takes the double bond, or None."""
  amines = [n for n in carbon.GetNeighbors() if n.GetSymbol() == 'N']
  if len(amines) < 2:
    return None
  return max(amines, key=lambda n: len(_hydrogens(n)))
