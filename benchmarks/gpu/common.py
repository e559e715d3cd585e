"""Table, timing and operation counts of the GPU benchmark."""

import json
import os
import pathlib
import time

import numpy as np

from benchmarks import timing

# Seconds for which something is repeated.
SECONDS = 3.0
COLUMNS = (
  'what', 'figure', 'unit', 'arithmetic floor', 'floor of bytes',
  'share or ratio',
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


def layers(model, vox_BXYZC) -> list[tuple]:
  """Lists (input shape, kernel edge, output shape) of convolutions."""
  import jax
  from flax import linen as nn

  from edjax.models import conv

  shapes = []

  def note(call, args, kwargs, context):
    out = call(*args, **kwargs)
    module = context.module
    if isinstance(module, conv.Conv3D) and context.method_name == '__call__':
      x_shape, edge = args[0].shape, module.kernel_size
      if module.blocks:  # a product of channels
        x_shape, edge = (*out.shape[:4], edge**3 * x_shape[4]), 1
      shapes.append((x_shape, edge, out.shape))
    return out

  with nn.intercept_methods(note):
    jax.eval_shape(
      lambda x: model.init(jax.random.key(0), x, train=False), vox_BXYZC
    )
  return shapes


def forward_flops(layer) -> float:
  """Counts multiplications and additions of a layer's forward pass."""
  x, edge, out = layer
  return 2.0 * np.prod(out) * edge**3 * x[-1]


def training_flops(all_layers) -> float:
  """Counts three forward passes, without the gradient of the first input."""
  total = 3 * sum(map(forward_flops, all_layers))
  return total - forward_flops(all_layers[0])


def training_bytes(all_layers, bytes_each: int = 2) -> float:
  """Counts the least bytes that three products a layer read and write.

  Each has an input-sized and an output-sized array; kernels, the gradient of
  the first input, and reuse between products are left out.
  """
  sizes = [np.prod(x) + np.prod(out) for x, _, out in all_layers]
  return float(bytes_each * (3 * sum(sizes) - sizes[0]))


def both(f, first: bool):
  """Makes a layer forward and backward; the first without input gradient."""
  import jax

  def run(x, kernel, grad):
    out, pull_back = jax.vjp(f, x, kernel)
    grad_x, grad_kernel = pull_back(grad)
    return (out, grad_kernel) if first else (out, grad_x, grad_kernel)

  return run
