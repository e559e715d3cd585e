"""Times edjax's 3-D convolution on CPU, layer by layer, against PyTorch's.

  python -m benchmarks.speed.conv [--peers DIR] [--repeats N]

The layers of the networks in benchmarks/speed/network.py; kernel 3, batch 16,
float32. Forward, then forward and gradients of input and kernel. XLA's own
convolution is there for comparison, and the floor that matrix products set:
the same number of products in one large matrix product. So is what bfloat16
could do: PyTorch's, and products of bfloat16 in JAX (`columns`).
"""

import argparse
import itertools
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import timing
from edjax.models.conv import conv3d
from edjax.runtime import malloc

BATCH = 16
# edge, channels in, channels out, padding
CASES = (
  (24, 5, 32, 'VALID'),
  (22, 32, 64, 'VALID'),
  (10, 64, 128, 'VALID'),
  (8, 128, 256, 'VALID'),
  (24, 1, 32, 'SAME'),
  (24, 5, 32, 'SAME'),
  (12, 32, 64, 'SAME'),
  (6, 64, 128, 'SAME'),
  (3, 128, 256, 'SAME'),
  (12, 40, 32, 'SAME'),
  (6, 64, 64, 'SAME'),
  (3, 128, 128, 'SAME'),
)
_FLOOR_EDGE = 2048


def stock(x_BXYZC, kernel_XYZCF, padding):
  return lax.conv_general_dilated(
    x_BXYZC,
    kernel_XYZCF,
    (1, 1, 1),
    padding,
    dimension_numbers=('NDHWC', 'DHWIO', 'NDHWC'),
  )


def columns(x_BXYZC, kernel_XYZCF, padding):
  """Convolves by three products of bfloat16 over columns of nine shifts.

  Sums are float32. Two examples at a time stay in the cache. Of the forms that
  were tried this was the fastest or within 10 % of it: all 27 shifts in one
  product, 3 in each of nine, 9 with the outputs shifted, rows of padding that
  make a shift a slice; 1, 2, 4 and 16 examples at a time.
  """
  pad = (1, 1) if padding == 'SAME' else (0, 0)
  c_out = kernel_XYZCF.shape[-1]
  kernel_XNF = _rounded(kernel_XYZCF).reshape(3, -1, c_out)

  def convolve(x_BXYZC):
    x = jnp.pad(_rounded(x_BXYZC), ((0, 0), pad, pad, pad, (0, 0)))
    nx, ny, nz = (n - 2 for n in x.shape[1:4])
    shifts = itertools.product(range(3), repeat=2)
    shifted = [x[:, :, j : j + ny, k : k + nz] for j, k in shifts]
    x_BXYZN = jnp.concatenate(shifted, axis=-1)
    return sum(
      jnp.dot(
        x_BXYZN[:, i : i + nx],
        kernel_XNF[i],
        preferred_element_type=jnp.float32,
      )
      for i in range(3)
    )

  pairs = x_BXYZC.reshape(-1, 2, *x_BXYZC.shape[1:])
  out = lax.map(convolve, pairs)
  return out.reshape(-1, *out.shape[2:])


def _rounded(x):
  """Rounds to bfloat16, ties away from zero, faster than XLA does on a CPU."""
  bits = lax.bitcast_convert_type(x, jnp.uint32) + jnp.uint32(1 << 15)
  return lax.bitcast_convert_type((bits >> 16).astype(jnp.uint16), jnp.bfloat16)


def gradient(f, padding):
  def run(x, kernel, grad):
    pull_back = jax.vjp(lambda x, k: f(x, k, padding), x, kernel)[1]
    return pull_back(grad)

  return run


def forward(f, padding):
  return lambda x, kernel, grad: f(x, kernel, padding)


def deviation(actual, expected):
  actual = np.concatenate([np.ravel(a) for a in jax.tree.leaves(actual)])
  expected = np.ravel(expected)
  return f'{np.abs(actual - expected).max() / np.abs(expected).max():.0e}'


def layer(torch, half, scratch, case, repeats, table):
  n, c_in, c_out, padding = case
  n_out = n if padding == 'SAME' else n - 2
  rng = np.random.default_rng(0)
  shapes = {
    'x': (BATCH, n, n, n, c_in),
    'kernel': (3, 3, 3, c_in, c_out),
    'grad': (BATCH, n_out, n_out, n_out, c_out),
  }
  arrays = {
    name: rng.normal(size=shape).astype(np.float32)
    for name, shape in shapes.items()
  }
  path = scratch / 'layer.npz'
  np.savez(path, **arrays)
  args = [jnp.asarray(a) for a in arrays.values()]
  products = BATCH * n_out**3 * 27 * c_in * c_out
  square = jnp.ones((_FLOOR_EDGE, _FLOOR_EDGE))
  for what, make, times in (('forward', forward, 1), ('gradient', gradient, 3)):
    question = {'path': str(path), 'padding': padding, 'wanted': what}
    torch.prepare('convolution', **question)
    half.prepare('convolution', **question, dtype='bfloat16')
    expected = torch.save(scratch / 'out.npy')
    ours = make(conv3d, padding)
    error = deviation(jax.jit(ours)(*args), expected)
    contestants = {
      'edjax': timing.jitted(ours, *args),
      'torch': torch.seconds,
      'stock': timing.jitted(make(stock, padding), *args),
      'product': timing.jitted(jnp.matmul, square, square),
      'half': half.seconds,
    }
    if what == 'forward':
      contestants['columns'] = timing.jitted(make(columns, padding), *args)
    seconds = timing.in_turn(contestants, repeats)
    floor = seconds['product'] * times * products / _FLOOR_EDGE**3
    table.row(
      f'{n}^3 {c_in} -> {c_out} {padding}',
      'forward' if what == 'forward' else 'forward, backward',
      1e3 * seconds['edjax'],
      1e3 * seconds['torch'],
      1e3 * seconds['stock'],
      1e3 * floor,
      seconds['edjax'] / seconds['torch'],
      error,
      1e3 * seconds['half'],
      1e3 * seconds['columns'] if 'columns' in seconds else '',
    )


def main():
  malloc.keep()  # as launch.py does
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--peers', type=pathlib.Path, default='peers')
  parser.add_argument('--repeats', type=int, default=9)
  options = parser.parse_args()
  with (
    timing.Peer(options.peers, 'torch') as torch,
    timing.Peer(options.peers, 'torch') as half,
    tempfile.TemporaryDirectory() as scratch,
  ):
    table = timing.Table(
      'conv',
      '3-D convolution on CPU',
      [
        timing.machine(torch),
        f'Batch {BATCH}, kernel 3, float32, ms. PyTorch: Conv3d, '
        'channels_last_3d. Stock: lax.conv_general_dilated. Products: the '
        'same arithmetic in one matrix product in XLA; fewer products are '
        'needed from 16 channels on (edjax/models/conv.py). The deviation is '
        'over the largest value. Last: with bfloat16 in PyTorch, and in JAX by '
        'products over columns of nine shifts, sums in float32.',
      ],
      (
        'layer', 'what', 'edjax', 'PyTorch', 'stock', 'products',
        'edjax / PyTorch', 'deviation from PyTorch', 'PyTorch bfloat16',
        'columns bfloat16',
      ),
    )  # fmt: skip
    for case in CASES:
      layer(torch, half, pathlib.Path(scratch), case, options.repeats, table)


if __name__ == '__main__':
  main()
