"""The registry of datasets: a `Dataset` each.

A new one is a folder of data_builders/, a line in `DATASETS` and a test.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from edjax.chem.units import HARTREE_MEV


class Target(NamedTuple):
  """Units of a target.

  Attributes:
    native: unit of the stored values.
    report: unit of errors in tables.
    factor: native * factor is in the unit of reports.
  """

  native: str
  report: str
  factor: float


_ENERGY = Target('Ha', 'meV', HARTREE_MEV)
_ATOMIZATION = Target('eV', 'meV', 1e3)
_DIPOLE = Target('D', 'D', 1.0)
_PK = Target('pK', 'pK', 1.0)
_EXTENT = Target('a0^2', 'a0^2', 1.0)

_QM9_TARGETS = {
  'mu': _DIPOLE,
  'alpha': Target('a0^3', 'a0^3', 1.0),
  'homo': _ENERGY,
  'lumo': _ENERGY,
  'gap': _ENERGY,
  'r2': _EXTENT,
  'zpve': _ENERGY,
  'u0': _ENERGY,
  'u': _ENERGY,
  'h': _ENERGY,
  'g': _ENERGY,
  'cv': Target('cal/(mol K)', 'cal/(mol K)', 1.0),
  # Molecule minus atoms: negative.
  'u0_atom': _ATOMIZATION,
  'u_atom': _ATOMIZATION,
  'h_atom': _ATOMIZATION,
  'g_atom': _ATOMIZATION,
}
_MINI_TARGETS = {
  'mu': _DIPOLE,
  'homo': _ENERGY,
  'lumo': _ENERGY,
  'gap': _ENERGY,
  'r2': _EXTENT,
  'energy': _ENERGY,
  # Electronic, molecule minus atoms: negative.
  'atomization': _ATOMIZATION,
}
# -log10 of Kd, Ki or IC50 in mol/l.
_AFFINITY = {'pk': _PK}


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A dataset that edjax can build and learn from.

  Attributes:
    name: as `config.data.name` has it.
    builder: module with the TFDS builder.
    targets: name -> units; {} where `open_targets`.
    splits: names of `config.data.split`.
    geometries: names of `config.data.geometry`.
    deltas: names of `config.data.delta` beside ''.
    is_complexes: whether molecules are ligands of proteins.
    has_pockets: whether it has atoms of the proteins and files to download.
    has_maps: whether densities may come from files.
    radius: distance from the centre of the ligand up to which it has atoms, Å.
    settings: fields of `config.data` that say how files are read and which
      entries are left out -> their defaults.
    open_targets: whether targets are columns of the user's files, which have
      the units of `config.data.units`.
  """

  name: str
  builder: str
  targets: Mapping[str, Target]
  splits: Collection[str]
  geometries: Collection[str] = ('published',)
  deltas: Collection[str] = ('composition',)
  is_complexes: bool = False
  has_pockets: bool = False
  has_maps: bool = False
  radius: float = float('inf')
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  open_targets: bool = False

  def target(self, name: str, unit: str = '') -> Target:
    """Returns the units of a target.

    Args:
      name: of the target.
      unit: of an open target, in files and in tables; '' for none.

    Raises:
      KeyError: the dataset has no such target.
    """
    if self.open_targets:
      return Target(unit, unit, 1.0)
    return self.targets[name]

  def variant(
    self, geometry: str, noise: float, needs: Collection[str], hydrogens: bool
  ) -> str:
    """Returns the TFDS configuration that a run reads; '' for the default.

    Args:
      geometry: one of `geometries`.
      noise: of the geometry 'noise', Å.
      needs: fields that a molecule has to hold: 'orbitals', 'map'.
      hydrogens: whether the hydrogens of the files are kept.
    """
    if not self.is_complexes:
      if 'map' in needs:
        return 'maps'
      names = {'published': '', 'noise': f'noise_{float(noise)!r}'}
      return names.get(geometry, geometry)
    if 'orbitals' in needs:
      return 'orbitals'
    if 'map' in needs:
      return 'maps'
    return 'hydrogens' if hydrogens else 'heavy'


_MOLECULE_SPLITS = ('random', 'size', 'file')
# Splits of complexes by protein, by year or by published list.
COMPLEX_SPLITS = ('clusters', 'time', 'refined_core', 'published')
_GEOMETRIES = ('published', 'gfn2', 'noise')
# What the densities of files are: in standard deviations; in e/Å^3, of these
# electrons; or of which it cannot be told whether there are cores. Records have
# the place in it as map_kind.
MAP_KINDS = ('sigma', 'valence', 'all_electron', 'electrons')
# Å between points of densities with cores, at least.
CORE_STEP = 0.25
# How density maps are read, and which are left out.
MAP_LIMITS = {
  'map_periodic': '',
  'map_columns': (),
  'min_map_coverage': 0.9,
  'max_map_missing': 0.1,
  'min_map_at_atoms': 0.5,
}
# Of complexes, too.
_LIMITS = {'min_contact': 1.2, 'max_clashes': 2, **MAP_LIMITS}
_MOLECULE_DELTAS = ('composition', 'gfn2', 'gfn2_kernel')

DATASETS: Mapping[str, Dataset] = {
  dataset.name: dataset
  for dataset in (
    Dataset(
      'qm9',
      'data_builders.qm9.qm9_dataset_builder',
      _QM9_TARGETS,
      (*_MOLECULE_SPLITS, 'cormorant', 'dimenet'),
      _GEOMETRIES,
      _MOLECULE_DELTAS,
    ),
    Dataset(
      'qm9_mini',
      'data_builders.qm9_mini.qm9_mini_dataset_builder',
      _MINI_TARGETS,
      _MOLECULE_SPLITS,
      _GEOMETRIES,
      _MOLECULE_DELTAS,
    ),
    Dataset(
      'molecules',
      'data_builders.own.molecules_dataset_builder',
      {},
      (*_MOLECULE_SPLITS, 'scaffold', 'column'),
      _GEOMETRIES,
      _MOLECULE_DELTAS,
      has_maps=True,
      settings={
        'source': '',
        'id_column': '',
        'smiles_column': '',
        'charge_column': '',
        'unpaired_column': '',
        'split_column': '',
        **MAP_LIMITS,
      },
      open_targets=True,
    ),
    Dataset(
      'pdbbind',
      'data_builders.pdbbind.pdbbind_dataset_builder',
      _AFFINITY,
      ('random', 'file', *COMPLEX_SPLITS),
      is_complexes=True,
      has_pockets=True,
      has_maps=True,
      radius=24.0,
      settings={'affinity_unit': '', 'max_pk_difference': 0.5, **_LIMITS},
    ),
    Dataset(
      'complexes',
      'data_builders.own.complexes_dataset_builder',
      {},
      ('random', 'file', 'clusters', 'time', 'published', 'column'),
      is_complexes=True,
      has_pockets=True,
      has_maps=True,
      radius=24.0,
      settings={
        'source': '',
        'id_column': '',
        'split_column': '',
        **_LIMITS,
      },
      open_targets=True,
    ),
    Dataset(
      'pdbbind_ligands',
      'data_builders.pdbbind.pdbbind_ligands_dataset_builder',
      _AFFINITY,
      ('random', 'file', *COMPLEX_SPLITS),
      is_complexes=True,
      settings={'max_pk_difference': 0.5},
    ),
  )
}


def target_of(data, name: str) -> Target:
  """Returns the units of a target of a run.

  Args:
    data: `config.data`.
    name: one of `data.targets`.
  """
  units = dict(zip(data.targets, data.units, strict=False))
  return DATASETS[data.name].target(name, units.get(name, ''))


def names_of(attribute: str) -> tuple[str, ...]:
  """Returns the names that datasets have for a choice, such as 'splits'."""
  choices = (getattr(dataset, attribute) for dataset in DATASETS.values())
  return tuple(dict.fromkeys(name for names in choices for name in names))
