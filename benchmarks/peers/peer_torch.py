"""PyTorch's convolutions, networks and ATOM3D's recipe, on CPU.

Tensors are channels_last_3d, the faster format on CPU, and AdamW is the fused
one. Parameters come from edjax, in a file, so that the numbers of both can be
compared; they stay a dictionary with Flax's names.
"""

import os

import numpy as np
import torch
from isotropic_torch import powers, tied_kernel
from torch.nn import functional

PACKAGES = ['torch']
_LAST = torch.channels_last_3d
# Deviations at which `edjax.models` holds a feature.
_LIMIT = 16.0

torch.set_num_threads(len(os.sched_getaffinity(0)))


def _volume(x_BXYZC):
  return (
    torch.from_numpy(x_BXYZC).movedim(-1, 1).contiguous(memory_format=_LAST)
  )


def _kernel(kernel_XYZCF):
  kernel = torch.from_numpy(kernel_XYZCF).permute(4, 3, 0, 1, 2)
  return kernel.contiguous(memory_format=_LAST)


def convolution(path, padding, wanted, dtype='float32'):
  """Runs one layer 'forward', or its 'gradient' of input and kernel."""
  dtype = getattr(torch, dtype)
  with np.load(path) as file:
    x, kernel = _volume(file['x']).to(dtype), _kernel(file['kernel']).to(dtype)
    grad = _volume(file['grad']).to(dtype)
  pad = 'same' if padding == 'SAME' else 'valid'

  def forward():
    with torch.no_grad():
      out = functional.conv3d(x, kernel, padding=pad)
    return out.movedim(1, -1)

  def gradient():
    out = functional.conv3d(x, kernel, padding=pad)
    grads = torch.autograd.grad(out, (x, kernel), grad)
    layouts = (0, 2, 3, 4, 1), (2, 3, 4, 1, 0)
    return lambda: np.concatenate(
      [
        g.permute(layout).float().reshape(-1).numpy()
        for g, layout in zip(grads, layouts, strict=True)
      ]
    )

  if wanted == 'forward':
    return forward
  x.requires_grad_()
  kernel.requires_grad_()
  return gradient


class _Parameters:
  """Flax parameters, 'a/b/kernel' -> array, as tensors in PyTorch's layout."""

  def __init__(self, path, constants=('whiten', 'standardise', 'unit_size')):
    self.tensors, self.input = {}, {}
    with np.load(path) as file:
      for name, value in file.items():
        if name.startswith('params/'):
          name = name.removeprefix('params/')
          if value.ndim == 5:
            tensor = _kernel(value)
          elif value.ndim == 2:
            tensor = torch.from_numpy(value.T.copy())
          else:
            tensor = torch.from_numpy(value)
          learned = not set(name.split('/')) & set(constants)
          self.tensors[name] = tensor.requires_grad_(learned)
        else:
          self.input[name] = torch.from_numpy(value)

  def __getitem__(self, name):
    return self.tensors[name]

  def learned(self):
    return [t for t in self.tensors.values() if t.requires_grad]

  def gradient(self):
    """Returns all gradients in Flax's order and layout, as one vector."""
    parts = []
    for tensor in self.tensors.values():
      grad = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
      if grad.ndim == 5:
        grad = grad.permute(2, 3, 4, 1, 0)
      parts.append((grad.T if grad.ndim == 2 else grad).reshape(-1).numpy())
    return np.concatenate(parts)

  def conv(self, name, x, **kwargs):
    return functional.conv3d(
      x, self[f'{name}/kernel'], self[f'{name}/bias'], **kwargs
    )

  def isotropic(self, name, x, block=1):
    """Computes `edjax.models.isotropic`; gradients are those of the shells."""
    kernel = tied_kernel(self[f'{name}/kernel'], block)
    return functional.conv3d(
      x,
      kernel.contiguous(memory_format=_LAST),
      self[f'{name}/bias'],
      padding='same',
    )

  def pointwise(self, name, x):
    """Applies a dense layer at each voxel."""
    return self.dense(name, x.movedim(1, -1)).movedim(-1, 1)

  def dense(self, name, x):
    bias = self.tensors.get(f'{name}/bias')
    return functional.linear(x, self[f'{name}/kernel'], bias)


def _cnn3d(p, x, train):
  """Computes ATOM3D's 3DCNN, as edjax's 'cnn3d'."""
  for i in range(4):
    x = functional.relu(p.conv(f'trunk/Conv3D_{i}', x), inplace=True)
    if i % 2:
      x = functional.max_pool3d(x, 2)
    x = functional.dropout(x, 0.1, train)
  # Flax flattens with channels last.
  x = x.movedim(1, -1).reshape(len(x), -1)
  x = functional.relu(p.dense('head/hidden', x))
  return p.dense('head/out', functional.dropout(x, 0.25, train))


def _blocks(p, x, train):
  """Computes four blocks of convolution, relu, max-pool; mean, one layer."""
  del train
  for i in range(4):
    x = functional.relu(p.conv(f'Conv3D_{i}', x, padding='same'), inplace=True)
    x = functional.max_pool3d(x, 2) if i < 3 else x
  return p.dense('Dense_0', x.mean((2, 3, 4)))


def _moments(x):
  """Computes `edjax.models.input_moments.spatial_moments` of x_BCXYZ."""
  total, first, second = x.mean((2, 3, 4)), 0, 0
  for axis in (2, 3, 4):
    others = tuple({2, 3, 4} - {axis})
    profile = x.mean(others)
    n = x.shape[axis]
    r = (2 * torch.arange(n) + 1 - n) / n
    first = first + (profile * r).mean(-1) ** 2
    second = second + (profile * r**2).mean(-1)
  return torch.cat([4 * total, 10 * first.sqrt(), 20 * second], 1)


def _resnet3d(p, vox, train):
  """Computes edjax's 'resnet3d', with the parts that have parameters."""
  raised = powers(vox)
  x = torch.cat(raised, 1)
  batch, channels, n = x.shape[:3]
  x = x * p['trunk/unit_size/scale'].reshape(-1, 1, 1, 1)
  x = x.reshape(batch, channels, n // 2, 2, n // 2, 2, n // 2, 2)
  x = x.permute(0, 3, 5, 7, 1, 2, 4, 6).reshape(batch, -1, *(n // 2,) * 3)
  x = p.isotropic('trunk/stem/conv', x.contiguous(memory_format=_LAST), 2)
  sums = []
  for i in range(3):
    if i:
      # Twice the mean, as `edjax.models.downsampling.mean_pool`.
      x = p.pointwise(f'trunk/down_{i}', 2 * functional.avg_pool3d(x, 2))
    if f'trunk/block_{i}_0/norm_0/scale' in p.tensors:
      h = x
      for j in range(2):
        h = functional.silu(_rms(p, f'trunk/block_{i}_0/norm_{j}', h))
        h = p.isotropic(f'trunk/block_{i}_0/conv_{j}/conv', h)
      x = x + h
    local = functional.silu(p.pointwise(f'trunk/local_{i}', x))
    sums.append(local.mean((2, 3, 4)))
  features = _standardised(p, 'trunk/standardise', torch.cat(sums, 1))
  if 'whiten/matrix' in p.tensors:
    moments = torch.cat([_moments(x) for x in raised], 1)
    moments = _standardised(p, 'whiten', moments)
    moments = functional.linear(moments, p['whiten/matrix'])
    features = torch.cat([features, moments], 1)
  h = functional.silu(p.dense('head/hidden', features))
  h = functional.dropout(h, 0.1, train)
  return p.dense('head/out', h) + p.dense('head/linear', features)


def _rms(p, name, x):
  """Flax's RMSNorm over channels: epsilon 1e-2."""
  size = (x.square().mean(1, keepdim=True) + 1e-2).rsqrt()
  return x * (size * p[f'{name}/scale'].view(1, -1, 1, 1, 1))


def _standardised(p, name, x):
  x = (x - p[f'{name}/shift']) * p[f'{name}/scale']
  return x.clamp(-_LIMIT, _LIMIT)


_NETWORKS = {'cnn3d': _cnn3d, 'blocks': _blocks, 'resnet3d': _resnet3d}


def _optimizer(p):
  return torch.optim.AdamW(p.learned(), lr=1e-3, weight_decay=1e-4, fused=True)


def network(path, name, wanted, autocast=False):
  """Runs a network's 'step' or, without dropout, its 'gradient'.

  `autocast` is PyTorch's own way to bfloat16: parameters stay float32.
  """
  p = _Parameters(path)
  vox = p.input['vox'].movedim(-1, 1).contiguous(memory_format=_LAST)
  labels = p.input['labels']
  optimizer = _optimizer(p)

  def run():
    optimizer.zero_grad()
    with torch.autocast('cpu', torch.bfloat16, autocast):
      prediction = _NETWORKS[name](p, vox, wanted == 'step')
    functional.mse_loss(prediction.float(), labels).backward()
    if wanted == 'step':
      optimizer.step()
    return p.gradient() if wanted == 'gradient' else None

  return run


def _turned(coords_BA3, generator):
  """Turns every molecule at random."""
  q = torch.randn(len(coords_BA3), 4, generator=generator)
  w, x, y, z = functional.normalize(q, dim=1).unbind(1)
  rows = [
    1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
    2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
    2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
  ]  # fmt: skip
  return coords_BA3 @ torch.stack(rows, 1).reshape(-1, 3, 3).mT


def _nearest(coords_BA3, onehot_BAC, size, spacing):
  """Sets one in the voxel that holds an atom, per element: ATOM3D's grid."""
  batch, _, channels = onehot_BAC.shape
  voxel = torch.floor(coords_BA3 / spacing + size / 2).long()
  inside = ((voxel >= 0) & (voxel < size)).all(-1) & onehot_BAC.any(-1)
  x, y, z = voxel[inside].unbind(-1)
  b = torch.arange(batch)[:, None].expand_as(inside)[inside]
  grid = torch.zeros(batch, size, size, size, channels)
  grid[b, x, y, z, onehot_BAC.argmax(-1)[inside]] = 1
  return grid.movedim(-1, 1)


def _gaussian(coords_BA3, onehot_BAC, size, spacing):
  """Sums Gaussians of 0.5 Å, as products of three 1-D Gaussians."""
  centres_X = (torch.arange(size) - (size - 1) / 2) * spacing
  d_BA3X = coords_BA3[..., None] - centres_X
  g_BA3X = torch.exp(-2 * d_BA3X**2)
  xy = g_BA3X[:, :, 0, :, None] * g_BA3X[:, :, 1, None, :]
  z = g_BA3X[:, :, 2, :, None] * onehot_BAC[:, :, None, :]
  batch, _, channels = onehot_BAC.shape
  grid = xy.flatten(2).mT @ z.flatten(2)
  return grid.reshape(batch, size, size, size, channels).movedim(-1, 1)


def recipe(path, gridding, size, spacing, batch):
  """Runs a step of ATOM3D's 3DCNN end to end: turn, grid, train.

  `gridding` is 'nearest' or 'gaussian'. All molecules are in memory, padded,
  and gridded a batch at a time, which is faster than ATOM3D's data frames.
  """
  p = _Parameters(path)
  grid = {'nearest': _nearest, 'gaussian': _gaussian}[gridding]
  coords, onehot = p.input['coords'], p.input['onehot']
  labels = p.input['labels']
  optimizer = _optimizer(p)
  generator = torch.Generator().manual_seed(0)

  def run():
    rows = torch.randint(len(coords), (batch,), generator=generator)
    turned = _turned(coords[rows], generator)
    vox = grid(turned, onehot[rows], size, spacing)
    vox = vox.contiguous(memory_format=_LAST)
    optimizer.zero_grad()
    loss = functional.mse_loss(_cnn3d(p, vox, True), labels[rows])
    loss.backward()
    optimizer.step()

  return run
