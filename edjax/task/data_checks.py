"""Checks the data of a representation: B factors, orbitals, elements, box."""

import math

import jax
import numpy as np

from edjax import fields
from edjax.chem import elements
from edjax.config import ConfigError
from edjax.config.representation import (
  density_source,
  needs_map,
  parts_of,
)
from edjax.data import (
  batching,
  box_coverage,
  near_duplicates,
  splitting,
)
from edjax.data.packed_dataset import Pack
from edjax.fields.channels import ORBITALS
from edjax.grid import Grid
from edjax.kernels.numerics import batched
from edjax.molecule import LIGAND

# By how much the share of molecules with B factors may differ between parts.
_B_SHARE = 0.02
# Å between sub-points that do not miss cores, which files' densities share
# between points 0.25 Å and more apart (`data_builders.own.densities`).
_SEES_CORES = 0.45


def check_b_factors(pack: Pack, rows: dict[str, np.ndarray]) -> None:
  """Refuses B factors that would tell a network where a file comes from.

  For instance, files of PDBbind's core set have B = 0 for every atom.

  Raises:
    ConfigError: the share of ligands or of pockets with B factors differs
      between parts.
  """
  ends = pack.atom_offsets[:-1] + pack.ligand_counts
  for group, begins, stops in (
    ('ligands', pack.atom_offsets[:-1], ends),
    ('pockets', ends, pack.atom_offsets[1:]),
  ):
    has_b = np.array(
      [
        bool(np.any(pack.b_factors[begin:end] > 0))
        for begin, end in zip(begins, stops, strict=True)
      ]
    )
    share = {part: float(np.mean(has_b[r])) for part, r in rows.items()}
    if max(share.values()) - min(share.values()) <= _B_SHARE:
      continue
    text = ', '.join(f'{s:.0%} of {part}' for part, s in share.items())
    raise ConfigError(
      f'config.representation.use_b_factors: the files of {group} have B '
      f'factors for {text}, so that the network could tell where a file comes '
      'from; set it to False, or choose a split in which the shares are the '
      'same'
    )


def check_orbitals(config, pack: Pack, rows: dict[str, np.ndarray]) -> None:
  """Refuses ligands for which GFN2-xTB failed, where nothing replaces them.

  Without groups they would be empty space; with groups the voxelizer takes
  their promolecule for the xTB density, and has nothing for other fields.

  Raises:
    ConfigError: some ligands lack orbitals, and nothing replaces them; or all
      do.
  """
  of_orbitals = _of_orbitals(config.representation)
  named = f'config.representation has {", ".join(of_orbitals)}'
  used = np.concatenate(list(rows.values()))
  lacking = used[pack.orbital_counts[used] == 0]
  if len(lacking) == len(used):
    raise ConfigError(
      f'{named}: GFN2-xTB has orbitals for none of the ligands; the manifest '
      'of the dataset says why (column xtb)'
    )
  if len(lacking) and not replaces_orbitals(config.representation):
    names = ', '.join(sorted(pack.ids[row] for row in lacking)[:5])
    raise ConfigError(
      f'{named}: {len(lacking)} ligands have no orbitals ({names}, ...; column '
      "xtb of the manifest says why). With density='xtb' alone and "
      'config.representation.groups=True their promolecule takes the place; '
      "or leave them out with config.data.split='file'"
    )


def replaces_orbitals(representation) -> bool:
  """Returns whether a ligand without orbitals has something in their place.

  With density='xtb' alone, and groups, it is the promolecule.
  """
  return representation.groups and set(_of_orbitals(representation)) == {'xtb'}


def _of_orbitals(representation) -> list[str]:
  """Returns the channels, and the source of density, that need orbitals."""
  return [p.name for p in parts_of(representation) if p.needs == ORBITALS]


def check_densities(representation, pack: Pack, rows) -> None:
  """Refuses sub-points of voxels between which cores of files' densities lie.

  Of formaldehyde's 16 electrons (6-31G, on points 0.11 to 0.21 Å apart) the sum
  over voxels varies with the orientation by 0.7 (one standard deviation) where
  sub-points are 0.5 Å apart, by 0.16 at 0.44 Å, and by 0.01 at 0.29 Å.

  Raises:
    ConfigError: they are farther apart than 0.45 Å, and a density has cores.
  """
  if not needs_map(representation):
    return
  kinds = pack.map_kinds()[np.concatenate(list(rows.values()))]
  spacing, supersample = representation.spacing, representation.supersample
  needed = math.ceil(spacing / _SEES_CORES - 1e-6)
  has_cores = kinds == 'all_electron'
  if supersample < needed and has_cores.any():
    raise ConfigError(
      f'{has_cores.sum()} densities of the files hold all electrons, whose '
      f'cores sub-points of voxels {spacing / supersample:.2f} Å apart miss: '
      f'up to {_SEES_CORES:g} Å apart they are with config.representation.'
      f'supersample={needed}, or with a smaller config.representation.spacing'
    )


def check_elements(representation, pack: Pack, rows, molecules) -> None:
  """Refuses elements that a channel does not know, such as those beyond Rn.

  Raises:
    ConfigError: a molecule has such an element; the message names one.
  """
  parts = parts_of(representation)
  last = min(part.max_number for part in parts)
  beyond = {}
  for part in rows:
    heaviest = np.concatenate(
      [b.numbers_A.max(1) for b in batching.blocks(molecules[part])]
    )
    for i in np.flatnonzero(heaviest > last):
      beyond[pack.ids[rows[part][i]]] = int(heaviest[i])
  if beyond:
    name, number = min(beyond.items())
    limited = ', '.join(p.name for p in parts if p.max_number == last)
    raise ConfigError(
      f'config.representation: {limited} knows elements up to '
      f'{elements.SYMBOLS[last]}; {len(beyond)} molecules have others ({name}: '
      f'{elements.SYMBOLS[number]}). Leave them out with '
      "config.data.split='file', or take another input"
    )


def outside(config, pack, rows, molecules) -> dict[str, str]:
  """Returns the ids of molecules that do not fit into the box, with reasons."""
  representation = config.representation
  grid = Grid(representation.grid_size, representation.spacing)
  reason_of = {}
  if 'ligand' not in config.data.parts:
    return reason_of
  for part in rows:
    reasons = []
    for block in batching.blocks(molecules[part]):
      # Pockets always go on beyond the box: only ligands have to fit.
      is_ligand = block.groups_A == LIGAND
      reasons += box_coverage.outside(
        np.where(is_ligand, block.numbers_A, 0),
        block.coords_A3,
        grid,
        translate=config.augment.translate,
      )
    reason_of |= {
      pack.ids[row]: reason
      for row, reason in zip(rows[part], reasons, strict=True)
      if reason
    }
  return reason_of


def unseen(voxelizer, molecules) -> dict[str, int]:
  """Returns channels of atom types that are empty in training alone."""
  if 'atoms' not in voxelizer.kinds:
    return {}
  options = {
    'elements': voxelizer.options.elements,
    'groups': voxelizer.options.groups,
  }
  count = jax.jit(
    batched(
      lambda mol: fields.atom_counts(
        # Within the inscribed sphere an atom is seen in every orientation.
        mol,
        voxelizer.grid.extent / 2,
        **options,
      )
    )
  )
  count_C = {
    part: sum(
      np.sum(np.asarray(count(block)) > 0, axis=0)
      for block in batching.blocks(molecules[part])
    )
    for part in molecules
  }
  others_C = count_C['validation'] + count_C['test']
  names = fields.atom_channels(**options)
  return {
    name: int(others)
    for name, seen, others in zip(
      names, count_C['train'], others_C, strict=True
    )
    if not seen and others
  }


def remarks(config, pack: Pack, rows) -> list[str]:
  """Returns sentences on the labels and the split of a user's files."""
  data, lines = config.data, []
  if pack.unread_densities and density_source(config.representation):
    lines.append(
      f'{pack.unread_densities} densities of the files are not read: '
      f'config.representation.density={config.representation.density!r} '
      "calculates them, 'map' reads those of the files"
    )
  unmeasured = int(np.sum(splitting.unmeasured(pack, data)))
  if unmeasured:
    lines.append(
      f'{unmeasured} molecules have no value of {", ".join(data.targets)}, and '
      'are left out'
    )
  for name in data.targets:
    values = {part: pack.columns[name][r] for part, r in rows.items()}
    if any(np.isnan(v).any() for v in values.values()):
      counts = {part: int(np.isfinite(v).sum()) for part, v in values.items()}
      lines.append(
        f'{name} is measured for {counts["train"]} training, '
        f'{counts["validation"]} validation and {counts["test"]} test molecules'
      )
  if 'structure' in pack.columns:
    near = near_duplicates.count(pack, rows['train'], rows['test'])
    alike = near_duplicates.criterion(pack)
    lines.append(
      f'{near} of {len(rows["test"])} test molecules have a near-duplicate in '
      f'training (the same constitution, or the same atoms and {alike})'
    )
  return lines
