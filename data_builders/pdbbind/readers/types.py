"""Types that the readers of complexes share."""

import math
import pathlib
from typing import Any, NamedTuple

import numpy as np


class ComplexError(ValueError):
  """A complex that cannot be used; the message says which file and why."""


class Entry(NamedTuple):
  """One row of an index.

  Attributes:
    pdb_id: of the PDB, or another id of one's own; lower case in PDBbind.
    ligand: the PDB's name of the ligand; '' where the index has none.
    pk: -log10 of Kd, Ki or IC50 in mol/l.
    measure: 'Kd', 'Ki', 'IC50', or '' where the index does not say.
    relation: '=', '~', '<', '>', '<=' or '>=', as written before the value.
    resolution: Å; NaN for NMR and where unknown.
    year: of release; 0 where unknown.
    source: name of the file and number of the line.
    stated: pK of the affinity that the row states beside `pk`; NaN for none.
    values: of a user's columns, NaN for none; () for PDBbind, which has `pk`.
  """

  pdb_id: str
  ligand: str
  pk: float
  measure: str
  relation: str
  resolution: float
  year: int
  source: str
  stated: float = math.nan
  values: tuple[float, ...] = ()


class Atoms(NamedTuple):
  """Atoms of a file, without padding.

  Attributes:
    numbers: [A] atomic numbers, int32.
    coords: [A, 3] Å, float64, the frame of the file.
    b_factors: [A] isotropic B, Å^2; 0 where the file has none.
    occupancies: [A], as in the file: 0 to 1 where nothing is wrong.
  """

  numbers: np.ndarray
  coords: np.ndarray
  b_factors: np.ndarray
  occupancies: np.ndarray


class Ligand(NamedTuple):
  """A ligand as read.

  Attributes:
    atoms: with the hydrogens that the file has.
    formal_charge: sum over atoms; None where bonds could not be read.
    molecule: RDKit's molecule with the atoms in the same order (sanitised),
      or None where RDKit refused every file.
    source: name of the file that was used.
    problems: problems on the way, one text each; () for none.
  """

  atoms: Atoms
  formal_charge: int | None
  molecule: Any
  source: str
  problems: tuple[str, ...]


class Pocket(NamedTuple):
  """Atoms around a ligand.

  Attributes:
    atoms: heavy atoms within the radius asked for.
    source: name of the file that was used.
    kept: 'protein', 'metal', 'cofactor', ... -> atoms.
    dropped: reason -> atoms ('hydrogen', 'water', 'alternative location',
      ...), of those within the radius; reasons that concern whole files
      ('other model') count all atoms.
    sequences: chain name -> one-letter sequence of the polymer as modelled,
      of every protein chain with an atom among the kept ones.
    problems: remarks on the file, '' for none.
    nearest_clash: Å from the ligand to the nearest atom of the protein that was
      left out because it is nearer than 1 Å; inf for none.
  """

  atoms: Atoms
  source: str
  kept: dict[str, int]
  dropped: dict[str, int]
  sequences: dict[str, str]
  problems: str = ''
  nearest_clash: float = float('inf')


class Files(NamedTuple):
  """Files of one complex; None for missing ones.

  Attributes:
    pdb_id: as in `Entry`.
    protein: <id>_protein.{pdb,cif}[.gz], or another name of `layout`.
    pocket: <id>_pocket.pdb[.gz].
    ligand_sdf: <id>_ligand.sdf[.gz].
    ligand_mol2: <id>_ligand.mol2[.gz].
    structure: a wwPDB file of the whole entry, <id>.{cif,pdb,ent}[.gz].
    density_map: <id>.{ccp4,map,mrc,mtz}[.gz].
    record: number of the ligand in ligand_sdf, from 1; 0 where the file has
      one ligand.
  """

  pdb_id: str
  protein: pathlib.Path | None = None
  pocket: pathlib.Path | None = None
  ligand_sdf: pathlib.Path | None = None
  ligand_mol2: pathlib.Path | None = None
  structure: pathlib.Path | None = None
  density_map: pathlib.Path | None = None
  record: int = 0
