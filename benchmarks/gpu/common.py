"""Table, timing and operation counts of the GPU benchmark."""

import json
import os
import pathlib
import time
from typing import NamedTuple

import numpy as np

from benchmarks import timing

# Seconds for which something is repeated.
SECONDS = 3.0
COLUMNS = (
  'what', 'figure', 'unit', 'arithmetic floor', 'floor of bytes', 'remark',
)  # fmt: skip


class Part:
  """Shared by the parts: options, the table, files for later parts."""

  def __init__(self, options, title: str):
    self.work, self.tiny = options.work, options.tiny
    self.argument = options.argument
    self._title = title

  @property
  def pack(self) -> pathlib.Path:
    """Returns the path of the pack of QM9."""
    return self.work / 'pack'

  def table(self, columns=COLUMNS, notes=()) -> timing.Table:
    """Begins the part's table."""
    return timing.Table('gpu', self._title, notes, columns, append=True)

  def keep(self, name: str, facts: dict) -> None:
    """Writes facts for later parts."""
    (self.work / f'{name}.json').write_text(json.dumps(facts))

  def facts(self, name: str) -> dict:
    """Returns the facts of an earlier part; nothing where it failed."""
    path = self.work / f'{name}.json'
    return json.loads(path.read_text()) if path.exists() else {}

  def rate(self, name: str) -> float:
    """Returns a measured rate of the card; NaN where that part failed."""
    return self.facts('rates').get(name, float('nan'))

  def seconds(self) -> float:
    """Returns the seconds since the process began (Linux)."""
    # Field 22 of `man proc_pid_stat`; the second may hold spaces.
    stat = pathlib.Path('/proc/self/stat').read_text().rpartition(')')[2]
    began = int(stat.split()[19]) / os.sysconf('SC_CLK_TCK')
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began


def repeated(f, *args, seconds: float = SECONDS) -> float:
  """Measures seconds a call, of calls queued without waiting.

  Args:
    f: compiled; it runs once first.
    *args: on the device.
    seconds: about how long the calls take, together.
  """
  import jax

  jax.block_until_ready(f(*args))
  begin = time.perf_counter()
  jax.block_until_ready(f(*args))
  once = time.perf_counter() - begin
  count = max(1, min(50, int(seconds / 5 / max(once, 1e-6))))
  rounds = []
  for _ in range(5):
    begin = time.perf_counter()
    for _ in range(count):
      out = f(*args)
    jax.block_until_ready(out)
    rounds.append((time.perf_counter() - begin) / count)
  return float(np.median(rounds))


class Layer(NamedTuple):
  """Products of channels for each voxel of an output.

  Attributes:
    x: shape of the input.
    taps: products with the input's channels for one voxel of the output: 27 in
      a convolution of 3^3, 4 where offsets at one distance share a weight.
    out: shape of the output.
  """

  x: tuple[int, ...]
  taps: int
  out: tuple[int, ...]


def layers(model, vox_BXYZC) -> list[Layer]:
  """Lists a network's convolutions and its dense layers at voxels."""
  import jax
  from flax import linen as nn

  from edjax.models import conv, isotropic

  found = []

  def note(call, args, kwargs, context):
    out = call(*args, **kwargs)
    module, taps = context.module, 0
    if isinstance(module, conv.Conv3D):
      taps = module.kernel_size**3
    elif isinstance(module, isotropic.IsotropicConv3D):
      taps = len(isotropic.orbit_sizes(3 * module.block))
    elif isinstance(module, nn.Dense) and args[0].ndim == 5:
      taps = 1
    if taps and context.method_name == '__call__':
      found.append(Layer(args[0].shape, taps, out.shape))
    return out

  with nn.intercept_methods(note):
    jax.eval_shape(
      lambda x: model.init(jax.random.key(0), x, train=False), vox_BXYZC
    )
  return found


def forward_flops(layer: Layer) -> float:
  """Counts multiplications and additions of a layer's forward pass."""
  return 2.0 * np.prod(layer.out) * layer.taps * layer.x[-1]


def training_flops(all_layers) -> float:
  """Counts three forward passes, without the gradient of the first input."""
  total = 3 * sum(map(forward_flops, all_layers))
  return total - forward_flops(all_layers[0])


def training_bytes(all_layers, bytes_each: int = 2) -> float:
  """Counts the least bytes that three products a layer read and write.

  Each has an input-sized and an output-sized array; kernels, the gradient of
  the first input, and reuse between products are left out.
  """
  sizes = [np.prod(layer.x) + np.prod(layer.out) for layer in all_layers]
  return float(bytes_each * (3 * sum(sizes) - sizes[0]))
