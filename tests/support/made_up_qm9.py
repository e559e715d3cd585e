"""Records and archives in the format of QM9, made up."""

import io
import tarfile

from edjax.chem.elements import SYMBOLS

# Hand-made geometries; every property is made up. Only the layout is QM9's.
SHAPES = {
  'C': ([6, 1, 1, 1, 1], [[0, 0, 0], [0.63, 0.63, 0.63], [0.63, -0.63, -0.63],
                          [-0.63, 0.63, -0.63], [-0.63, -0.63, 0.63]]),
  'N': ([7, 1, 1, 1], [[0, 0, 0.1], [0.94, 0, -0.27], [-0.47, 0.81, -0.27],
                       [-0.47, -0.81, -0.27]]),
  'O': ([8, 1, 1], [[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]]),
  'F': ([9, 1], [[0, 0, 0], [0, 0, 0.92]]),
  'C#N': ([6, 7, 1], [[0, 0, 0], [0, 0, 1.15], [0, 0, -1.07]]),
}  # fmt: skip


def record_text(index, smiles):
  numbers, positions = SHAPES[smiles]
  made_up = [0.1 * index + 0.01 * i for i in range(15)]
  lines = [
    str(len(numbers)),
    '\t'.join(['gdb ' + str(index), *(f'{v:.6f}' for v in made_up), '']),
    *(
      '\t'.join([SYMBOLS[z], *(f'{x: .10f}' for x in xyz), ' 0.000000'])
      for z, xyz in zip(numbers, positions, strict=True)
    ),
    '\t'.join(['1000.0'] * (3 * len(numbers) - 6)),
    f'{smiles}\t{smiles}\t',
    'InChI=1S/made-up\tInChI=1S/made-up',
  ]
  return '\n'.join(lines) + '\n'


def texts_some_odd(count):
  """Returns index -> text of molecules, of which xTB refuses every third."""
  texts = {
    i: record_text(i, list(SHAPES)[i % len(SHAPES)])
    for i in range(1, count + 1)
  }
  for i in range(3, count + 1, 3):
    lines = record_text(i, 'O').splitlines()
    del lines[3]  # one hydrogen less: an odd number of electrons
    texts[i] = '\n'.join(['2', *lines[1:]]) + '\n'
  return texts


def write_archive(path, texts):
  """texts: index -> text."""
  with tarfile.open(path, 'w:bz2') as archive:
    for index, text in texts.items():
      info = tarfile.TarInfo(f'dsgdb9nsd_{index:06d}.xyz')
      info.size = len(text.encode())
      archive.addfile(info, io.BytesIO(text.encode()))
