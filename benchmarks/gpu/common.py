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
  """What the parts share: options, the table, files for later parts."""

  def __init__(self, options, title: str):
    self.work, self.tiny = options.work, options.tiny
    self.argument = options.argument
    self._title = title

  @property
  def pack(self) -> pathlib.Path:
    """Where the pack of QM9 lies."""
    return self.work / 'pack'

  def table(self, columns=COLUMNS, notes=()) -> timing.Table:
    """Begins the part's table."""
    return timing.Table('gpu', self._title, notes, columns, append=True)

  def keep(self, name: str, facts: dict) -> None:
    """Leaves facts for later parts."""
    (self.work / f'{name}.json').write_text(json.dumps(facts))

  def found(self, name: str) -> dict:
    """What an earlier part left; nothing where it failed."""
    path = self.work / f'{name}.json'
    return json.loads(path.read_text()) if path.exists() else {}

  def rate(self, name: str) -> float:
    """A measured rate of the card; NaN where that part failed."""
    return self.found('rates').get(name, float('nan'))

  def seconds(self) -> float:
    """Since the process began (Linux)."""
    # Field 22 of `man proc_pid_stat`; the second may hold spaces.
    stat = pathlib.Path('/proc/self/stat').read_text().rpartition(')')[2]
    began = int(stat.split()[19]) / os.sysconf('SC_CLK_TCK')
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began


def repeated(f, *args, seconds: float = SECONDS) -> float:
  """Seconds a call, of calls that follow each other without waiting.

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
  """(input shape, kernel edge, stride, output shape) of each convolution."""
  import jax
  from flax import linen as nn

  from edjax.models import conv

  found = []

  def note(call, args, kwargs, context):
    out = call(*args, **kwargs)
    module = context.module
    if isinstance(module, conv.Conv3D) and context.method_name == '__call__':
      stride = module.strides
      found.append((args[0].shape, module.kernel_size, stride, out.shape))
    return out

  with nn.intercept_methods(note):
    jax.eval_shape(
      lambda x: model.init(jax.random.key(0), x, train=False), vox_BXYZC
    )
  return found


def forward_flops(layer) -> float:
  """Multiplications and additions of a layer's forward pass."""
  x, edge, _, out = layer
  return 2.0 * np.prod(out) * edge**3 * x[-1]


def training_flops(all_layers) -> float:
  """Three times the forward pass, but nothing asks for the input's gradient."""
  total = 3 * sum(map(forward_flops, all_layers))
  return total - forward_flops(all_layers[0])


def training_bytes(all_layers, bytes_each: int = 2) -> float:
  """The least that three products a layer read and write, kernels left out.

  Each has an input-sized and an output-sized array; nothing is kept on the
  chip from one to the next. Nothing asks for the input's gradient.
  """
  sizes = [np.prod(x) + np.prod(out) for x, _, _, out in all_layers]
  return float(bytes_each * (3 * sum(sizes) - sizes[0]))


def both(f, first: bool):
  """A layer forwards and backwards; of the first one, without its input's."""
  import jax

  def run(x, kernel, grad):
    out, pull_back = jax.vjp(f, x, kernel)
    grad_x, grad_kernel = pull_back(grad)
    return (out, grad_kernel) if first else (out, grad_x, grad_kernel)

  return run
