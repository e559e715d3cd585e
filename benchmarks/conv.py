"""Time of edjax's 3-D convolution on CPU, forward and backward.

  python -m benchmarks.conv

Prints processor time (which other programs on the machine inflate less than
elapsed time) of one gradient with respect to input and kernel, next to the
stock convolution and inside `lax.scan`, as a Markdown table.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from edjax.conv import conv3d

# edge, channels in, channels out
CASES = (
  (24, 1, 32),
  (24, 32, 64),
  (12, 8, 32),
  (12, 32, 32),
  (12, 32, 64),
  (12, 64, 128),
  (6, 64, 64),
  (6, 128, 256),
)


def stock(x_BXYZC, kernel_XYZCF):
  return lax.conv_general_dilated(
    x_BXYZC,
    kernel_XYZCF,
    (1, 1, 1),
    'SAME',
    dimension_numbers=('NDHWC', 'DHWIO', 'NDHWC'),
  )


def gradient(f):
  return jax.grad(lambda x, k: (f(x, k) ** 2).sum(), argnums=(0, 1))


def in_scan(f, length):
  def run(x, k):
    def body(carry, _):
      step = gradient(f)(*carry)
      return jax.tree.map(lambda a, b: a - 1e-9 * b, carry, step), None

    return lax.scan(body, (x, k), None, length=length)[0]

  return run


def seconds(f, args, repeats):
  """Least processor time of several calls, after one that compiles."""
  f = jax.jit(f)
  jax.block_until_ready(f(*args))
  times = []
  for _ in range(repeats):
    start = time.process_time()
    jax.block_until_ready(f(*args))
    times.append(time.process_time() - start)
  return min(times)


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--batch', type=int, default=16)
  parser.add_argument('--repeats', type=int, default=4)
  options = parser.parse_args()
  rng = np.random.default_rng(0)
  print(
    '| grid | channels | stock ms | edjax ms | ratio | in scan, ms a step |'
  )
  print('|---|---|---|---|---|---|')
  for n, c_in, c_out in CASES:
    args = [
      jnp.asarray(rng.normal(size=shape), jnp.float32)
      for shape in ((options.batch, n, n, n, c_in), (3, 3, 3, c_in, c_out))
    ]
    ours = seconds(gradient(conv3d), args, options.repeats)
    theirs = seconds(gradient(stock), args, options.repeats)
    # The stock gradient is left out here: it takes minutes.
    scan = seconds(in_scan(conv3d, 3), args, 2) / 3
    print(
      f'| {n}^3 | {c_in} -> {c_out} | {theirs * 1e3:.0f} | {ours * 1e3:.0f} '
      f'| {theirs / ours:.1f} | {scan * 1e3:.0f} |',
      flush=True,
    )


if __name__ == '__main__':
  main()
