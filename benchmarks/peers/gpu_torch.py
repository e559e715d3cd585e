"""Times the same network in PyTorch, on the same atom types.

  python -m benchmarks.peers.gpu_torch CONFIG --work DIR [--results DIR]

Reads the files that `benchmarks.gpu.main train CONFIG` left in DIR (molecules,
sizes, weights and their predictions) and appends to gpu.md: the deviations of
voxels and network with the same weights, and whole training steps in bfloat16
autocast, channels last, as they are and compiled. Needs PyTorch and numpy
alone.
"""

import argparse
import json
import math
import pathlib
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import timing
from benchmarks.peers.isotropic_torch import orbits_of, powers, tied_kernel

_NUMBERS = {'H': 1, 'C': 6, 'N': 7, 'O': 8, 'F': 9}
# Deviations at which `edjax.models` holds a feature.
_LIMIT = 16.0
_EPSILON = 1e-2
_SECONDS = 3.0


def random_rotations(count: int, device) -> torch.Tensor:
  """Draws uniform rotations, [B, 3, 3], from normal quaternions."""
  q_4B = functional.normalize(torch.randn(4, count, device=device), dim=0)
  w, x, y, z = q_4B
  rows = [
    [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
    [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
    [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
  ]
  return torch.stack([torch.stack(row, -1) for row in rows], -2)


class Gridder:
  """Gaussians at atoms, a channel for each element: edjax's 'atoms'.

  A Gaussian is a product along the axes, so that the sum over atoms is one
  product of matrices, as in `edjax.kernels.gaussians`.
  """

  def __init__(self, facts: dict, device):
    shape = facts['representation']
    self._size, self._cut = shape['grid_size'], shape['supersample']
    self._width = shape['widths']['atoms']
    points = torch.arange(self._size * self._cut, device=device) + 0.5
    centre = self._size * self._cut / 2
    self._points = shape['spacing'] / self._cut * (points - centre)
    others = len(shape['elements'])
    self._channel = torch.full((119,), others, device=device)
    for channel, symbol in enumerate(shape['elements']):
      self._channel[_NUMBERS[symbol]] = channel
    scales = torch.tensor(facts['scales'], device=device)
    self._scales = scales.view(-1, 1, 1, 1)

  def __call__(self, numbers_BA, coords_BA3) -> torch.Tensor:
    """Returns [B, C, X, Y, Z]."""
    apart = (self._points - coords_BA3[..., None]) / self._width
    lines = torch.exp(-0.5 * apart**2)
    lines = lines.unflatten(-1, (self._size, self._cut)).mean(-1)
    x, y, z = lines.unbind(2)
    types = functional.one_hot(self._channel[numbers_BA], len(self._scales))
    types = types * (numbers_BA > 0)[..., None]
    left = torch.einsum('bac,bax->bcxa', types.to(x.dtype), x)
    right = (y[..., None] * z[:, :, None]).flatten(2)
    out = torch.bmm(left.flatten(1, 2), right)
    return out.view(*left.shape[:3], *y.shape[2:], -1) / self._scales


class RMSNorm(nn.Module):
  """Over the channels of a voxel."""

  def __init__(self, width: int):
    super().__init__()
    self.scale = nn.Parameter(torch.ones(width))

  def forward(self, x):
    last = x.permute(0, 2, 3, 4, 1)
    scale = self.scale.to(x.dtype)  # of one dtype: otherwise it is not fused
    last = functional.rms_norm(last, last.shape[-1:], scale, _EPSILON)
    return last.permute(0, 4, 1, 2, 3)


class Isotropic(nn.Module):
  """`edjax.models.isotropic.IsotropicConv3D`: orbits have the parameters."""

  def __init__(self, channels: int, width: int, block: int = 1):
    super().__init__()
    self.block = block
    orbit, count = orbits_of(block)
    self.register_buffer('orbit', orbit)
    self.register_buffer('count', count)
    std = 1 / math.sqrt(len(count) * channels)
    self.kernel = nn.Parameter(std * torch.randn(len(count), channels, width))
    self.bias = nn.Parameter(torch.zeros(width))

  def forward(self, x):
    kernel = tied_kernel(self.kernel, self.block, (self.orbit, self.count))
    kernel = kernel.contiguous(memory_format=torch.channels_last_3d)
    return functional.conv3d(x, kernel, self.bias, padding=1)


class Pointwise(nn.Linear):
  """A dense layer at each voxel of [B, C, X, Y, Z]."""

  def forward(self, x):
    return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Block(nn.Module):
  """x + conv(silu(norm(conv(silu(norm(x))))))."""

  def __init__(self, width: int):
    super().__init__()
    self.norms = nn.ModuleList([RMSNorm(width), RMSNorm(width)])
    self.convs = nn.ModuleList([Isotropic(width, width) for _ in range(2)])

  def forward(self, x):
    h = x
    for norm, conv in zip(self.norms, self.convs, strict=True):
      h = conv(functional.silu(norm(h)))
    return x + h


class Stage(nn.Module):
  """Enters a grid, changes it, and sums it up: (voxels, features)."""

  def __init__(self, enter: nn.Module, width: int, blocks: int, local: int):
    super().__init__()
    self.enter = enter
    self.blocks = nn.Sequential(*[Block(width) for _ in range(blocks)])
    self.local = Pointwise(width, local)

  def forward(self, x):
    x = self.blocks(self.enter(x))
    local = functional.silu(self.local(x))
    return x, local.float().mean((2, 3, 4))


class Standardise(nn.Module):
  """Shift, scale and limits that are not learned."""

  def __init__(self, width: int):
    super().__init__()
    self.register_buffer('shift', torch.zeros(width))
    self.register_buffer('scale', torch.ones(width))

  def forward(self, x):
    return ((x - self.shift) * self.scale).clamp(-_LIMIT, _LIMIT)


class ResNet3D(nn.Module):
  """edjax's 'resnet3d' with isotropic kernels, and powers of the input."""

  def __init__(self, model: dict, channels: int, targets: int):
    super().__init__()
    if model['kernels'] != 'isotropic' or model['input_moments']:
      raise ValueError(f'a network that is not here: {model}')
    raised = channels * len(powers(torch.zeros(1)))
    self.register_buffer('scale', torch.ones(raised))
    self.stem, local = model['stem'], model['local']
    self.stages = nn.ModuleList()
    before = raised
    counts = zip(model['widths'], model['blocks'], strict=True)
    for i, (width, count) in enumerate(counts):
      enter = (
        Pointwise(before, width) if i else Isotropic(before, width, self.stem)
      )
      self.stages.append(Stage(enter, width, count, local))
      before = width
    features = local * len(self.stages)
    self.standardise = Standardise(features)
    self.linear = nn.Linear(features, targets, bias=False)
    self.hidden = nn.Linear(features, model['head_width'])
    self.dropout = nn.Dropout(model['dropout'])
    self.out = nn.Linear(model['head_width'], targets)

  def forward(self, vox):
    """Takes [B, C, X, Y, Z]."""
    with torch.autocast(vox.device.type, enabled=False):
      x = torch.cat(powers(vox.float()), 1) * self.scale.reshape(-1, 1, 1, 1)
      x = x.to(vox.dtype)
    b, c, n, _, _ = x.shape
    s, m = self.stem, n // self.stem
    x = x.reshape(b, c, m, s, m, s, m, s).permute(0, 2, 4, 6, 3, 5, 7, 1)
    x = x.reshape(b, m, m, m, -1).permute(0, 4, 1, 2, 3)
    sums = []
    for i, stage in enumerate(self.stages):
      # Twice the mean, as `edjax.models.downsampling.mean_pool`.
      x, total = stage(2 * functional.avg_pool3d(x, 2) if i else x)
      sums.append(total)
    with torch.autocast(vox.device.type, enabled=False):
      features = self.standardise(torch.cat(sums, 1))
      h = functional.silu(self.hidden(features))
      return self.out(self.dropout(h)) + self.linear(features)


def load(net: ResNet3D, params: dict) -> None:
  """Copies weights of Flax: dense kernels are [in, out]."""

  def copy(module, name):
    for key, value in params.items():
      path, _, field = key.rpartition('/')
      if path != name:
        continue
      if isinstance(module, nn.Linear) and field == 'kernel':
        field, value = 'weight', value.T
      getattr(module, field).copy_(torch.from_numpy(value))

  with torch.no_grad():
    for i, stage in enumerate(net.stages):
      copy(stage.enter, f'trunk/down_{i}' if i else 'trunk/stem/conv')
      for j, block in enumerate(stage.blocks):
        for k in range(2):
          copy(block.norms[k], f'trunk/block_{i}_{j}/norm_{k}')
          copy(block.convs[k], f'trunk/block_{i}_{j}/conv_{k}/conv')
      copy(stage.local, f'trunk/local_{i}')
    net.scale.copy_(torch.from_numpy(params['trunk/unit_size/scale']))
    copy(net.standardise, 'trunk/standardise')
    for name in ('linear', 'hidden', 'out'):
      copy(getattr(net, name), f'head/{name}')


def deviation(facts, arrays, device) -> float:
  """Returns the difference of both networks over the largest output."""
  wanted, vox = arrays['wanted'], arrays['vox']
  net = ResNet3D(facts['model'], vox.shape[-1], wanted.shape[-1])
  params = {
    name.removeprefix('param:'): arrays[name]
    for name in arrays.files
    if name.startswith('param:')
  }
  load(net, params)
  net = net.to(device).eval()
  vox = torch.from_numpy(vox).to(device).permute(0, 4, 1, 2, 3)
  with torch.no_grad():
    return apart(net(vox), wanted)


def deviation_of_voxels(facts, arrays, device) -> float:
  """Returns the difference of both programs' voxels over the largest one."""
  wanted = arrays['vox'].transpose(0, 4, 1, 2, 3)
  numbers, coords = (
    torch.from_numpy(arrays[name][: len(wanted)]).to(device)
    for name in ('numbers', 'coords')
  )
  return apart(Gridder(facts, device)(numbers.long(), coords), wanted)


def apart(got: torch.Tensor, wanted: np.ndarray) -> float:
  """Returns the largest difference over the largest number."""
  return float(np.abs(got.cpu().numpy() - wanted).max() / np.abs(wanted).max())


class Training:
  """Whole steps: turning, gridding, network, AdamW, average of the weights."""

  def __init__(self, facts, arrays, device, compiled: bool):
    self._device, self._batch = device, facts['batch']
    self._half = facts['model']['dtype'] == 'bfloat16'
    self._numbers = torch.from_numpy(arrays['numbers']).long().to(device)
    self._coords = torch.from_numpy(arrays['coords']).to(device)
    self._labels = torch.from_numpy(arrays['labels']).to(device)
    gridder, channels = Gridder(facts, device), arrays['vox'].shape[-1]
    net = ResNet3D(facts['model'], channels, self._labels.shape[1]).to(device)
    net = net.to(memory_format=torch.channels_last_3d)
    self._params = list(net.parameters())
    self._average = [p.detach().clone() for p in self._params]
    self._optimizer = torch.optim.AdamW(
      self._params, lr=1e-3, weight_decay=1e-4, fused=device.type == 'cuda'
    )
    self._net = torch.compile(net) if compiled else net
    self._grid = torch.compile(gridder) if compiled else gridder

  def voxels(self):
    """Voxels and labels of a random batch, each molecule turned."""
    rows = torch.randint(
      len(self._numbers), (self._batch,), device=self._device
    )
    turns = random_rotations(self._batch, self._device)
    coords = torch.einsum('bij,baj->bai', turns, self._coords[rows])
    return self._grid(self._numbers[rows], coords), self._labels[rows]

  def step(self):
    """Queues one step."""
    with torch.no_grad():
      vox, labels = self.voxels()
    with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
      loss = functional.huber_loss(self._net(vox), labels)
    loss.backward()
    nn.utils.clip_grad_norm_(self._params, 1.0)
    self._optimizer.step()
    self._optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
      torch._foreach_lerp_(self._average, self._params, 1e-3)
    return loss


def seconds_of(f, device) -> tuple[float, float]:
  """Measures the seconds of the first call, and of each following one."""

  def wait():
    if device.type == 'cuda':
      torch.cuda.synchronize()

  begin = time.perf_counter()
  f()
  wait()
  first = time.perf_counter() - begin
  for _ in range(2):
    f()
  wait()
  count, begin = 0, time.perf_counter()
  while count < 3 or time.perf_counter() - begin < _SECONDS:
    f()
    count += 1
    if count % 10 == 0:
      wait()
  wait()
  return first, (time.perf_counter() - begin) / count


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('argument')
  parser.add_argument('--work', type=pathlib.Path, required=True)
  parser.add_argument('--results', type=pathlib.Path, default=timing.RESULTS)
  parser.add_argument('--tiny', action='store_true')
  options = parser.parse_args()
  timing.RESULTS = options.results
  name = options.argument
  facts = json.loads((options.work / f'peer-{name}.json').read_text())
  arrays = np.load(options.work / f'peer-{name}.npz')
  device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
  ours = json.loads((options.work / f'train-{name}.json').read_text())
  table = timing.Table(
    'gpu',
    f'PyTorch, network and input of {name}',
    [
      f'PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, '
      f'on {device.type}.'
    ],
    ('what', 'figure', 'unit', 'edjax is faster by'),
    append=True,
  )
  # Deviations are measured without TensorFloat-32, speed with it.
  torch.set_float32_matmul_precision('highest')
  torch.backends.cudnn.allow_tf32 = False
  for what, deviates in (
    ('voxels', deviation_of_voxels),
    ('network', deviation),
  ):
    table.row(
      f'deviation of the {what}', deviates(facts, arrays, device),
      'of the largest number', '',
    )  # fmt: skip
  torch.set_float32_matmul_precision('high')
  torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
  for compiled in (False, True):
    how = 'torch.compile' if compiled else 'as written'
    training = Training(facts, arrays, device, compiled)
    first, seconds = seconds_of(training.step, device)
    table.row(f'first step, {how}', first, 's', '')
    table.row(f'a step, {how}', 1e3 * seconds, 'ms', seconds / ours['seconds'])
    table.row(
      f'throughput, {how}', facts['batch'] / seconds, 'molecules/s',
      seconds / ours['seconds'],
    )  # fmt: skip
    with torch.no_grad():
      _, gridding = seconds_of(training.voxels, device)
    table.row(f'gridding alone, {how}', 1e3 * gridding, 'ms', '')


if __name__ == '__main__':
  main()
