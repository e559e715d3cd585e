"""Records for predictions are those of the datasets, without values."""

import gemmi
import numpy as np
import pytest
from support import made_up_complexes as made_up
from support import made_up_ligands

import data_builders
from data_builders.own import new_complexes
from data_builders.pdbbind import complexes
from data_builders.pdbbind.readers.types import ComplexError
from edjax import datasets

# What no prediction knows: values, and what other complexes decide.
OF_DATASETS = {'pk', 'cluster', 'year', 'resolution', 'ic50', 'approximate'}


def records_of(builder):
  source = builder.as_data_source(split='molecules')
  return {record['example_id'].decode(): record for record in source}


def assert_same(found, expected):
  """Compares all that both have, but for what only a dataset knows."""
  names = expected.keys() - OF_DATASETS
  assert names <= found.keys()
  assert {'positions', 'index', 'orbitals', 'map_values'} <= names
  for name in names:
    value = expected[name]
    if isinstance(value, bytes):
      value = value.decode()
    # Of a process with another number of threads, to which RDKit's molecules
    # of a set have gone with places in float32.
    if name in ('orbitals', 'positions'):
      np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5)
    else:
      np.testing.assert_array_equal(found[name], value, err_msg=name)


def write_map(path, points=48, edge=48.0):
  """A crystal's map: a wave along x."""
  grid = gemmi.FloatGrid(points, points, points)
  grid.set_unit_cell(gemmi.UnitCell(edge, edge, edge, 90, 90, 90))
  grid.spacegroup = gemmi.SpaceGroup('P 1')
  x = np.arange(points) * edge / points
  grid.array[...] = np.cos(2 * np.pi * x / 12)[:, None, None]
  ccp4 = gemmi.Ccp4Map()
  ccp4.grid = grid
  ccp4.update_ccp4_header()
  ccp4.write_ccp4_map(str(path))


@pytest.mark.parametrize('variant', ['hydrogens', 'orbitals', 'maps'])
def test_complexes_are_those_of_pdbbind(tmp_path, variant):
  """Of a table that names the files of PDBbind's folders, in any case."""
  manual = tmp_path / 'pdbbind'
  ids = made_up.write_set(manual, count=2)
  lines = ['id,protein,ligand,map']
  for name in ids:
    write_map(manual / f'{name}.ccp4')
    folder = f'pdbbind/{name}/{name}'
    lines.append(
      f'{name.upper()},{folder}_protein.pdb,{folder}_ligand.sdf,'
      f'pdbbind/{name}.ccp4'
    )
  (tmp_path / 'new.csv').write_text('\n'.join([*lines, '']))
  # A wave is no density of the atoms, and P 1 may be no crystal.
  settings = {'min_map_at_atoms': -10.0, 'map_periodic': 'yes'}
  built = data_builders.build(
    'pdbbind', tmp_path / 'data', manual_dir=manual, workers=1,
    variant=variant, settings=settings,
  )  # fmt: skip
  options = complexes.options_of(
    variant, {**datasets.DATASETS['pdbbind'].settings, **settings}
  )
  jobs = new_complexes.of_complexes(tmp_path / 'new.csv', options, lower=True)
  assert jobs.ids == [name.upper() for name in ids]
  expected = records_of(built)
  for name, job in zip(ids, jobs.arguments, strict=True):
    made = new_complexes.calculate(*job)
    assert_same(made.example, expected[name])
    assert not made.notes


def test_what_is_odd_about_a_complex_is_noted(tmp_path):
  """A cut pocket, and a ligand whose bonds RDKit refuses."""
  (tmp_path / 'p_pocket.pdb').write_text(made_up.protein(0))
  bare = made_up_ligands.embedded('CCO', hydrogens=False)
  atoms = made_up_ligands.moved(made_up_ligands.tables(bare)[0], 5)
  (tmp_path / 'l.sdf').write_text(
    made_up_ligands.sdf(atoms, [(1, 2, 3), (2, 3, 3)])
  )
  (tmp_path / 'new.csv').write_text('protein,ligand\np_pocket.pdb,l.sdf\n')
  options = complexes.options_of(
    'orbitals', datasets.DATASETS['pdbbind'].settings
  )
  jobs = new_complexes.of_complexes(tmp_path / 'new.csv', options)
  made = new_complexes.calculate(*jobs.arguments[0])
  assert made.example['n_orbitals'] == 0
  assert 'no GFN2-xTB orbitals of the ligand (' in made.notes
  assert 'the protein was cut: it fills' in made.notes


@pytest.mark.parametrize('variant', ['heavy', 'orbitals'])
def test_ligands_are_those_of_pdbbind_ligands(tmp_path, variant):
  """Of the same file; ids are the property that the dataset has."""
  block = ''
  for i, smiles in enumerate(made_up.SMILES[:3]):
    tags = f'>  <PDB_ID>\n1AA{i}\n\n>  <pK>\n{4 + i}\n\n'
    block += made_up.ligand(smiles).replace('$$$$', f'{tags}$$$$')
  (tmp_path / 'ligands.sdf').write_text(block)
  built = data_builders.build(
    'pdbbind_ligands', tmp_path / 'data', manual_dir=tmp_path, workers=1,
    variant=variant,
  )  # fmt: skip
  options = complexes.options_of(variant, {})
  jobs = new_complexes.of_ligands(tmp_path / 'ligands.sdf', options)
  assert jobs.ids == ['1AA0', '1AA1', '1AA2']
  expected = records_of(built)
  for name, job in zip(jobs.ids, jobs.arguments, strict=True):
    made = new_complexes.calculate_ligand(*job)
    assert_same(made.example, expected[name.lower()])


def test_ligands_that_cannot_be_read(tmp_path):
  options = complexes.options_of('heavy', {})
  (tmp_path / 'two.sdf').write_text(
    made_up.ligand('CCO') + made_up.ligand('CCN').replace(' C ', ' Q ')
  )
  jobs = new_complexes.of_ligands(tmp_path / 'two.sdf', options)
  assert jobs.ids == ['two_0001', 'two_0002']
  with pytest.raises(ComplexError, match=r'two\.sdf, record 2'):
    new_complexes.calculate_ligand(*jobs.arguments[1])
  (tmp_path / 'a.csv').write_text('smiles\nC\n')
  with pytest.raises(ValueError, match=r'a\.csv is no file of bound ligands'):
    new_complexes.of_ligands(tmp_path / 'a.csv', options)
  with pytest.raises(FileNotFoundError, match='there is no'):
    new_complexes.of_ligands(tmp_path / 'none.sdf', options)
