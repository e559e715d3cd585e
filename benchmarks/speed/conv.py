"""Times edjax's 3-D convolution on CPU, layer by layer, against PyTorch's.

  python -m benchmarks.speed.conv [--peers DIR] [--repeats N]

The layers of the networks in benchmarks/speed/network.py; kernel 3, batch 16,
float32. Forward, then forward and gradients of input and kernel. XLA's own
convolution is there for comparison, and the floor that matrix products set:
the same number of products in one large matrix product.
"""

import argparse
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


def layer(torch, scratch, case, repeats, table):
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
    torch.prepare('convolution', path=str(path), padding=padding, wanted=what)
    expected = torch.save(scratch / 'out.npy')
    ours = make(conv3d, padding)
    error = deviation(jax.jit(ours)(*args), expected)
    seconds = timing.in_turn(
      {
        'edjax': timing.jitted(ours, *args),
        'torch': torch.seconds,
        'stock': timing.jitted(make(stock, padding), *args),
        'product': timing.jitted(jnp.matmul, square, square),
      },
      repeats,
    )
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
    )


def main():
  malloc.keep()  # as launch.py does
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--peers', type=pathlib.Path, default='peers')
  parser.add_argument('--repeats', type=int, default=9)
  options = parser.parse_args()
  with (
    timing.Peer(options.peers, 'torch') as torch,
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
        'over the largest value.',
      ],
      (
        'layer', 'what', 'edjax', 'PyTorch', 'stock', 'products',
        'edjax / PyTorch', 'deviation from PyTorch',
      ),
    )  # fmt: skip
    for case in CASES:
      layer(torch, pathlib.Path(scratch), case, options.repeats, table)


if __name__ == '__main__':
  main()
