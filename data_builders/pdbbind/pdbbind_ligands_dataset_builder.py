"""TFDS builder of PDBbind's ligands without their proteins."""

from data_builders.pdbbind import (
  examples,
  manifest,
  pdbbind_dataset_builder,
  sources,
)
from data_builders.pdbbind.readers import ligand, types


class Builder(pdbbind_dataset_builder.Builder, skip_registration=True):
  """Bound ligands of one SDF file; see README.md."""

  name = 'edjax_pdbbind_ligands'
  _function = 'data_builders.pdbbind.complexes:from_ligand'
  _cluster = staticmethod(examples.each_alone)

  def _sources(self) -> sources.Sources:
    return sources.ligands_in(self._manual_dir, self._settings)

  def _jobs(self, inputs: sources.Sources):
    rows, jobs = {}, []
    for entry, one in ligand.read_ligand_set(inputs.index):
      row = rows[entry.pdb_id] = manifest.row(entry)
      if entry.pdb_id in inputs.excluded:
        reason = inputs.excluded[entry.pdb_id]
        row |= {'status': 'excluded', 'reason': reason}
      elif isinstance(one, types.ComplexError):
        row |= {'status': 'unreadable', 'reason': str(one)}
      else:
        jobs.append((one, entry, self._options))
    return rows, jobs
