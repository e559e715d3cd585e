"""Runs every reader on mutated real files: a result, or an error by name.

  python -m benchmarks.robustness.fuzz --data DIR \
    [--cases 100000] [--readers sdf pdb]

DIR has qm9/, pdbbind/ and maps/ with real files. A case is a reader, a file
and a seed; the seed decides what is changed in the file. A reader must return
finite numbers, or raise an error of edjax (a ValueError, or FileNotFoundError)
that names the file, its record or the field. Anything else is a finding:
another exception, a number that is not finite, more than 10 s, more than 2 GiB,
the end of the process. Findings are printed with their seeds, and

  python -m benchmarks.robustness.fuzz --data DIR --only READER SEED

shows one again.
"""

import argparse
import collections
import importlib
import json
import pathlib
import queue
import random
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from benchmarks import timing

SECONDS, GIB = 10.0, 2.0

# Reader -> share of the cases: quick ones have more.
SHARES = {
  'qm9_record': 20, 'qm9_archive': 4, 'sdf': 12, 'mol2': 12, 'pocket': 8,
  'protein': 3, 'pdb_entry': 4, 'mmcif_entry': 3, 'index': 8, 'index_csv': 4,
  'split_json': 6, 'split_csv': 4, 'casf': 2, 'ccp4': 5, 'mtz': 3, 'cube': 3,
  'sf_mmcif': 2, 'cube_field': 2,
  'config': 6, 'checkpoint': 1,
}  # fmt: skip

# Replacements of numbers.
_EXTREMES = (
  b'nan', b'NaN', b'inf', b'-inf', b'1e999', b'1e308', b'-1', b'0', b'1e-320',
  b'99999999999999999999', b'2147483648', b'4294967296', b'-2147483649', b'',
  b'0x10', b'1_0', b'1,5', b'\xc2\xb2', b'***',
)  # fmt: skip


def mutate(content: bytes, others: list[bytes], draw: random.Random) -> bytes:
  """Makes one to six changes of a file, most of them small.

  Args:
    content: of the file.
    others: contents that pieces may come from.
    draw: decides.
  """
  data = bytearray(content)
  for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
    if not data:
      break
    at = draw.randrange(len(data))
    end = min(len(data), at + draw.choice((1, 4, 16, 80, 1000)))
    kind = draw.randrange(10)
    if kind == 0:
      data[at] ^= 1 << draw.randrange(8)
    elif kind == 1:
      data[at:end] = bytes(draw.randrange(256) for _ in range(end - at))
    elif kind == 2:
      del data[at:end]
    elif kind == 3:
      data[at:at] = data[at:end] * draw.choice((1, 1, 2, 50))
    elif kind == 4:
      del data[at:]
    elif kind == 5:
      _replace_token(data, at, draw)
    elif kind == 6:
      _exchange_lines(data, draw)
    elif kind == 7:
      other = draw.choice(others)
      begin = draw.randrange(len(other) + 1)
      data[at:at] = other[begin : begin + draw.choice((10, 100, 2000))]
    elif kind == 8:
      data[at:end] = draw.choice((b'\0', b' ', b'\n', b'\xff', b'"')) * (
        end - at
      )
    else:  # a word of a binary header
      word = min(len(data) - 4, 4 * draw.randrange(64))
      if word >= 0:
        value = draw.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 0x7FC00000))
        data[word : word + 4] = value.to_bytes(4, 'little')
  return bytes(data)


def _replace_token(data: bytearray, at: int, draw) -> None:
  """Replaces a token in the text by an extreme number."""
  blanks = b' \t\n\r,;'
  while at < len(data) and data[at] in blanks:
    at += 1
  begin = at
  while begin and data[begin - 1] not in blanks:
    begin -= 1
  end = at
  while end < len(data) and data[end] not in blanks:
    end += 1
  token = draw.choice(_EXTREMES)
  # Columns of fixed width stay where they are, mostly.
  data[begin:end] = token.rjust(end - begin) if draw.random() < 0.8 else token


def _exchange_lines(data: bytearray, draw) -> None:
  lines = bytes(data).split(b'\n')
  i, j = (draw.randrange(len(lines)) for _ in range(2))
  if draw.random() < 0.3:
    lines[i] = lines[j]
  lines[i], lines[j] = lines[j], lines[i]
  data[:] = b'\n'.join(lines)


class Readers:
  """Each takes (directory for files, mutated content, draw); gives numbers.

  Args:
    data: directory of real files.
  """

  def __init__(self, data: pathlib.Path):
    self._data = data
    self._pdbbind = data / 'pdbbind'
    self._corpus = {}

  def files(self, reader: str) -> list[tuple[str, bytes]]:
    """Returns names and contents of small real files of a reader."""
    if reader not in self._corpus:
      corpus = list(getattr(self, f'_{reader}_files')())
      if not corpus:
        raise SystemExit(f'{self._data} has no file for {reader}')
      self._corpus[reader] = corpus
    return self._corpus[reader]

  def run(self, reader: str, seed: int, directory: pathlib.Path):
    """Runs one case: yields the path that an error must name, then numbers."""
    draw = random.Random(f'{reader} {seed}')
    files = self.files(reader)
    name, content = draw.choice(files)
    changed = mutate(content, [c for _, c in files], draw)
    if seed < len(files):  # as they are, first
      name, changed = files[seed]
    path = directory / name
    path.write_bytes(changed)
    yield path
    yield from getattr(self, f'_{reader}')(path)

  def _some(self, pattern: str, most: int, count: int = 12):
    """Contents of small files; gzipped ones are unpacked."""
    import gzip

    contents = []
    for path in sorted(self._data.glob(pattern)):
      content = path.read_bytes()
      if content[:2] == b'\x1f\x8b':
        content = gzip.decompress(content)
      if len(content) <= most:
        contents.append((path.name.removesuffix('.gz'), content))
      if len(contents) == count:
        break
    return contents

  def _qm9_record_files(self):
    import tarfile

    with tarfile.open(self._data / 'qm9' / 'dsgdb9nsd.xyz.tar.bz2') as archive:
      for member in archive:
        if member.isfile():
          name = pathlib.PurePosixPath(member.name).name
          yield name, archive.extractfile(member).read()
          if int(name[10:16]) > 60:
            return

  def _qm9_record(self, path):
    from data_builders.qm9 import parse

    text = path.read_bytes().decode('ascii', errors='replace')
    record = parse.parse_xyz(text, path.name)
    yield record.coords
    yield list(record.targets.values())

  def _qm9_archive_files(self):
    import io
    import tarfile

    for kind in ('', ':bz2', ':gz'):
      buffer = io.BytesIO()
      with tarfile.open(fileobj=buffer, mode=f'w{kind}') as archive:
        for name, content in self.files('qm9_record')[:8]:
          info = tarfile.TarInfo(name)
          info.size = len(content)
          archive.addfile(info, io.BytesIO(content))
      yield f'archive{kind.replace(":", ".")}.tar', buffer.getvalue()

  def _qm9_archive(self, path):
    from data_builders.qm9 import archive

    for record in archive.read(path):
      yield record.coords
      yield list(record.targets.values())

  def _sdf_files(self):
    return self._some('pdbbind/*/*_ligand.sdf', 20_000)

  def _sdf(self, path):
    return self._ligand(path, 'ligand_sdf')

  def _mol2_files(self):
    return self._some('pdbbind/*/*_ligand.mol2', 20_000)

  def _mol2(self, path):
    return self._ligand(path, 'ligand_mol2')

  def _ligand(self, path, field):
    from data_builders.pdbbind.readers import ligand, types

    files = types.Files(path.name[:4])._replace(**{field: path})
    one = ligand.read_ligand(files)
    yield one.atoms.coords
    # The others are NaN for a molecule that RDKit refuses.
    yield list(ligand.descriptors(one.molecule, one.atoms).values())[:2]

  def _pocket_files(self):
    return self._some('pdbbind/*/*_pocket.pdb', 60_000)

  def _pocket(self, path):
    return self._complex(path, 'pocket')

  def _protein_files(self):
    return self._some('pdbbind/*/*_protein.pdb*', 250_000, 4)

  def _protein(self, path):
    return self._complex(path, 'protein')

  def _complex(self, path, field):
    from data_builders.pdbbind import complexes
    from data_builders.pdbbind.readers import types

    pdb_id = path.name[:4]
    folder = self._pdbbind / pdb_id
    files = types.Files(
      pdb_id, ligand_sdf=folder / f'{pdb_id}_ligand.sdf'
    )._replace(**{field: path})
    entry = types.Entry(pdb_id, '', 5.0, 'Kd', '=', 2.0, 2000, 'index:1')
    return self._numbers(complexes.read(files, entry, complexes.Options()))

  @staticmethod
  def _numbers(item):
    yield item.coords
    yield item.b_factors
    yield [item.row['shortest_contact'], item.row['box_filled']]

  def _pdb_entry_files(self):
    import gemmi

    for name, content in self.files('mmcif_entry'):
      block = gemmi.cif.read_string(content.decode())[0]
      structure = gemmi.make_structure_from_block(block)
      structure.setup_entities()
      yield name.replace('.cif', '.pdb'), structure.make_pdb_string().encode()

  def _pdb_entry(self, path):
    return self._entry(path)

  def _mmcif_entry_files(self):
    return self._some('maps/xray/*.cif', 300_000)

  def _mmcif_entry(self, path):
    return self._entry(path)

  def _entry(self, path):
    from data_builders.pdbbind import complexes
    from data_builders.pdbbind.readers import types

    code = {'3nzd': 'D2Q', '3str': '3LI'}[path.name[:4]]
    files = types.Files(path.name[:4], structure=path)
    entry = types.Entry(path.name[:4], code, 5.0, '', '=', 2.0, 2000, 'index:1')
    return self._numbers(complexes.read(files, entry, complexes.Options()))

  def _index_files(self):
    for name, content in self._some('pdbbind/index/INDEX_*data*', 10**7):
      lines = content.split(b'\n')[:60]
      yield name, b'\n'.join(lines)
    # As release 2020R1, without the column of -log.
    lines = [re.sub(rb'  [\d.]+(  \S+=)', rb'\1', line) for line in lines]
    yield 'INDEX_general_PL.2020R1.lst', b'\n'.join(lines)

  def _index(self, path):
    from data_builders.pdbbind.readers import index

    table = index.read_index(path)
    yield [e.pk for e in table.entries]

  def _index_csv_files(self):
    from data_builders.pdbbind.readers import index

    path = sorted((self._pdbbind / 'index').glob('INDEX_refined_data*'))[0]
    rows = [
      f'{e.pdb_id},{e.pk},{e.resolution},{e.year},{e.ligand},Ki'
      for e in index.read_index(path).entries[:60]
    ]
    head = 'pdbid,pk,resolution,year,ligand,measure'
    yield 'index.csv', '\n'.join([head, *rows, '']).encode()
    # HiQBind's table, of values and units.
    for name, content in self._some('pdbbind/index/*.csv', 10**7):
      yield name, b'\n'.join(content.split(b'\n')[:60])

  def _index_csv(self, path):
    return self._index(path)

  def _split_json_files(self):
    ids = {
      'train': ['gdb_000001', 'gdb_000002', 4],
      'validation': ['gdb_000003'],
      'test': ['gdb_000005'],
    }
    yield 'split.json', json.dumps(ids, indent=1).encode()

  def _split_json(self, path):
    from edjax.data import molecule_splits

    ids = [f'gdb_{i:06d}' for i in range(1, 7)]
    split = molecule_splits.make_split(
      'file', ids=ids, heavy_atoms=[5] * 6, seed=0, path=str(path),
      fractions=(0.1, 0.1), uncharacterized=None,
    )  # fmt: skip
    yield [len(ids) for ids in split.parts.values()]

  def _split_csv_files(self):
    # As LP-PDBBind's, which is not everywhere.
    rows = [
      f'{10 + i}a{"sbc"[i % 3]},{part},True,True,False,False'
      for i, part in enumerate(('train', 'train', 'val', 'test', '') * 4)
    ]
    head = ',new_split,CL1,CL2,CL3,covalent'
    yield 'LP_PDBBind.csv', '\n'.join([head, *rows, '']).encode()

  def _split_csv(self, path):
    from edjax.data import complex_splits

    yield [len(complex_splits.read(path)['train'])]

  def _casf_files(self):
    return self._some('pdbbind/splits/casf*.txt', 10**6)

  def _casf(self, path):
    from edjax.data import pdb_ids

    yield [len(pdb_ids.read_ids(path))]

  def _ccp4_files(self):
    yield from self._some('maps/cryoem/*.map', 10**6)

  def _ccp4(self, path):
    return self._map(path)

  def _mtz_files(self):
    return self._some('maps/xray/*phases.mtz*', 10**6)

  def _mtz(self, path):
    return self._map(path)

  def _sf_mmcif_files(self):
    """Yields the MTZ files' coefficients in mmCIF."""
    import gemmi

    for name, content in self._mtz_files():
      with tempfile.NamedTemporaryFile(suffix='.mtz') as file:
        file.write(content)
        file.flush()
        mtz = gemmi.read_mtz_file(file.name)
      text = gemmi.MtzToCif().write_cif_to_string(mtz)
      yield f'{pathlib.Path(name).stem}-sf.cif', text.encode()

  def _sf_mmcif(self, path):
    return self._map(path)

  @staticmethod
  def _map(path):
    import numpy as np

    from data_builders.density_maps import crystal_maps

    crystal_map = crystal_maps.read_map(path)
    # Near to the corner where a box begins.
    centre = np.asarray(crystal_map.origin) + 3 * crystal_map.spacing
    cube = crystal_maps.cut_cube(crystal_map, centre, 4.0, crystal_map.spacing)
    yield cube.values

  def _cube_files(self):
    """Yields densities of every fourth point, so that heads change often."""
    import numpy as np

    for name, content in self._some('maps/cube/acrolein*.cube*', 10**7):
      lines = content.decode().split('\n')
      axes = [line.split() for line in lines[3:6]]
      shape = tuple(int(axis[0]) for axis in axes)
      values = np.array(' '.join(lines[14:]).split(), float).reshape(shape)
      coarse = values[::4, ::4, ::4]
      for i, (axis, size) in enumerate(zip(axes, coarse.shape, strict=True)):
        steps = ' '.join(f'{4 * float(step):.6f}' for step in axis[1:])
        lines[3 + i] = f'{size} {steps}'
      numbers = '\n'.join(f'{value:.5E}' for value in coarse.ravel())
      yield name, '\n'.join([*lines[:14], numbers, '']).encode()

  def _cube(self, path):
    from data_builders import cube_files

    cube = cube_files.read_cube(path)
    yield from (cube.numbers, cube.coords, cube.electrons)
    yield from vars(cube.density_map).values()

  def _cube_field_files(self):
    return self._some('maps/cube/h2o-elf.cube', 10**6)

  def _cube_field(self, path):
    from data_builders import cube_files

    field = cube_files.read_field(path, periodic=True)
    yield from (field.numbers, field.coords)
    yield from vars(field.density_map).values()

  def _config_files(self):
    from configs import qm9_density
    from edjax import config as configuration

    flat = configuration.flatten(qm9_density.get_config('smoke'))
    lines = [f'{name}={value!r}' for name, value in flat.items()]
    yield 'config.txt', '\n'.join(lines).encode()

  def _config(self, path):
    """Sets every field of a configuration, some with another value or name."""
    import ast

    from configs import qm9_density
    from edjax import config as configuration

    config = qm9_density.get_config('smoke')
    # By hand, as in a notebook: a flag of another type does not get so far.
    with config.unlocked(), config.ignore_type():
      for line in path.read_bytes().decode(errors='replace').splitlines():
        name, _, text = line.partition('=')
        try:
          value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
          value = text
        *parents, last = name.split('.')
        node = config
        for parent in parents:
          if not isinstance(node.get(parent), type(config)):
            raise ValueError(f'config.{name} has no place')
          node = node[parent]
        node[last] = value
    yield [configuration.resolve(config).train.steps_per_call]

  def _checkpoint_files(self):
    from edjax.runtime import checkpoint

    root = pathlib.Path(tempfile.mkdtemp())
    self._saved = root, self._state()
    with checkpoint.Checkpoints(root) as checkpoints:
      for step in (1, 2):
        checkpoints.save('latest', step, self._saved[1], {'best_step': None})
    newest = root / 'checkpoints' / 'latest' / '2'
    for file in sorted(newest.rglob('*')):
      if file.is_file():
        name = str(file.relative_to(newest)).replace('/', '|')
        yield name, file.read_bytes()

  @staticmethod
  def _state():
    import numpy as np

    rng = np.random.default_rng(0)
    return {'a': rng.normal(size=(99, 50)), 'b': {'c': np.arange(7)}}

  def _checkpoint(self, path):
    """Damages a file of the newest of two checkpoints; numbers must stay."""
    import shutil

    import numpy as np

    from edjax.runtime import checkpoint

    root, state = self._saved
    copy = path.parent / 'run'
    shutil.copytree(root, copy)
    newest = copy / 'checkpoints' / 'latest' / '2'
    shutil.copyfile(path, newest / path.name.replace('|', '/'))
    try:
      with checkpoint.Checkpoints(copy) as checkpoints:
        step, tree, _ = checkpoints.resume(state, 'last')
    finally:
      shutil.rmtree(copy)
    if not all(
      np.array_equal(x, y)
      for x, y in ((tree['a'], state['a']), (tree['b']['c'], state['b']['c']))
    ):
      raise RuntimeError('other numbers than were saved')
    if step == 1:  # the damage was seen
      raise ValueError(f'{path.name}: the one before is taken')
    yield [step]


def outcome(readers: Readers, reader: str, seed: int, directory) -> str:
  """Returns 'result', 'refused', or what is wrong."""
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  verdict = _attempt(readers, reader, seed, directory)
  after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  if after - before > GIB * 2**20:
    return f'memory: {(after - before) / 2**20:.1f} GiB, then {verdict}'
  return verdict


def _attempt(readers, reader, seed, directory) -> str:
  import numpy as np

  case = readers.run(reader, seed, directory)
  path = next(case)
  try:
    for numbers in case:
      if not np.isfinite(np.asarray(numbers, np.float64)).all():
        return 'silent: a number that is not finite'
  except (ValueError, FileNotFoundError) as error:
    if seed < len(readers.files(reader)):
      return f'refused: {error}'
    # Errors on an archive name the record in it.
    names = path.name, 'dsgdb9nsd_', 'config.'
    ours = any(name in str(error) for name in names)
    return 'refused' if ours else f'unnamed: {type(error).__name__}: {error}'
  except MemoryError:
    return 'memory: MemoryError'
  except Exception as error:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return (
      f'exception: {type(error).__name__}: {error} '
      f'({pathlib.Path(last.filename).name}:{last.lineno})'
    )
  finally:
    path.unlink(missing_ok=True)
  return 'result'


def serve(data: str, reader: str, first: int, last: int) -> None:
  """Runs cases of one reader in a process of its own; prints a line each."""
  import os

  lines = os.fdopen(os.dup(1), 'w')
  with open(os.devnull, 'w') as nowhere:  # output of libraries
    os.dup2(nowhere.fileno(), 1)
    os.dup2(nowhere.fileno(), 2)
  limit = int(3 * GIB * 2**30)
  readers = Readers(pathlib.Path(data))
  readers.files(reader)
  for module in ('rdkit.Chem', 'gemmi', 'numpy'):
    importlib.import_module(module)
  resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
  with tempfile.TemporaryDirectory() as directory:
    for seed in range(first, last):
      verdict = outcome(readers, reader, seed, pathlib.Path(directory))
      if seed < len(readers.files(reader)) and verdict != 'result':
        # A reader that refuses real files proves nothing by refusing others.
        verdict = f'unchanged, yet {verdict}'
      print(seed, ' '.join(verdict.split())[:300], file=lines, flush=True)


def watched(data: str, reader: str, cases: int):
  """Yields (seed, outcome) of every case, even if the process dies."""
  seed = 0
  while seed < cases:
    with _server(data, reader, seed, cases) as process:
      lines = queue.Queue()
      threading.Thread(target=_pump, args=(process, lines)).start()
      wait = 60.0  # imports and the corpus
      while seed < cases:
        try:
          line = lines.get(timeout=wait)
        except queue.Empty:
          line = f'{seed} hang: more than {wait:.0f} s'
          process.kill()
        if line is None:
          process.kill()
          line = f'{seed} crash: the process ended with {process.wait()}'
        number, _, verdict = line.rstrip('\n').partition(' ')
        yield int(number), verdict
        seed, wait = int(number) + 1, SECONDS
        if verdict.startswith(('hang', 'crash')):
          break
      process.kill()


def _server(data: str, reader: str, first: int, last: int):
  return subprocess.Popen(
    [sys.executable, '-m', 'benchmarks.robustness.fuzz', '--data', data,
     '--serve', reader, str(first), str(last)],
    stdout=subprocess.PIPE, text=True,
  )  # fmt: skip


def _pump(process, lines: queue.Queue) -> None:
  for line in process.stdout:
    lines.put(line)
  lines.put(None)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--data', required=True)
  parser.add_argument('--cases', type=int, default=100_000)
  parser.add_argument('--readers', nargs='*', default=list(SHARES))
  parser.add_argument('--only', nargs=2, metavar=('READER', 'SEED'))
  parser.add_argument('--serve', nargs=3, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.serve:
    reader, first, last = options.serve
    serve(options.data, reader, int(first), int(last))
    return
  if options.only:
    reader, seed = options.only
    with tempfile.TemporaryDirectory() as directory:
      case = Readers(pathlib.Path(options.data)).run(
        reader, int(seed), pathlib.Path(directory)
      )
      print(*case)
    return
  _all(options)


def _all(options) -> None:
  table = timing.Table(
    'fuzz',
    'Readers on mutated files',
    [timing.machine(packages=('numpy', 'rdkit', 'gemmi'))],
    ('reader', 'cases', 'results', 'refused by name', 'findings', 'seconds'),
  )
  whole = sum(SHARES[r] for r in options.readers)
  findings, total = {}, 0
  for reader in options.readers:
    cases = -(-options.cases * SHARES[reader] // whole)
    counts, begun = collections.Counter(), time.monotonic()
    for seed, verdict in watched(options.data, reader, cases):
      counts[verdict if verdict in ('result', 'refused') else 'finding'] += 1
      if verdict not in ('result', 'refused'):
        kind = verdict.partition(':')[0]
        findings.setdefault((reader, verdict[:60]), (seed, verdict))
        print(f'{reader} {seed}: {verdict}', file=sys.stderr, flush=True)
        counts[kind] += 1
    total += cases
    table.row(
      reader, cases, counts['result'], counts['refused'], counts['finding'],
      round(time.monotonic() - begun),
    )  # fmt: skip
  table.text('', f'{total} cases, {len(findings)} kinds of findings.')
  for (reader, _), (seed, verdict) in findings.items():
    table.text(f'- {reader}, seed {seed}: {verdict}')
  raise SystemExit(bool(findings))


if __name__ == '__main__':
  main()
