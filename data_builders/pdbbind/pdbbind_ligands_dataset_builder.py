"""TFDS builder of PDBbind's ligands without their proteins."""

from data_builders.pdbbind import (
  complexes,
  ligand,
  manifest,
  pdbbind_dataset_builder,
  sources,
  types,
)


class Builder(pdbbind_dataset_builder.Builder):
  """Ligands as they are bound, out of one SDF file; see README.md."""

  name = 'edjax_pdbbind_ligands'

  def _sources(self) -> sources.Sources:
    return sources.ligands_in(self._manual_dir)

  def _read(self, found: sources.Sources):
    rows, jobs = {}, []
    for entry, one in ligand.read_ligand_set(found.index):
      row = rows[entry.pdb_id] = manifest.row(entry)
      if entry.pdb_id in found.excluded:
        row |= {'status': 'excluded', 'reason': found.excluded[entry.pdb_id]}
      elif isinstance(one, types.ComplexError):
        row |= {'status': 'unreadable', 'reason': str(one)}
      else:
        jobs.append((entry, one, self._options))
    results = complexes.in_workers(
      'from_ligand', jobs, self._workers, 'ligands'
    )
    entries = [entry for entry, _, _ in jobs]
    return rows, pdbbind_dataset_builder.note_outcomes(rows, entries, results)

  def _clusters(self, kept, found):
    """Nothing is known of their proteins: each is on its own."""
    del found
    return {item.entry.pdb_id: item.entry.pdb_id for item in kept}, {
      'clusters': len(kept)
    }
