"""3-D convolution that is fast on CPU and stock everywhere else.

XLA's CPU backend calls an optimised kernel for 2-D convolutions only. The CPU
lowering here therefore folds the x axis of a 3-D convolution away:

- where the kernel has 3 offsets along x and the channels are many, two
  neighbouring outputs come from four 2-D convolutions over y and z instead of
  six: Winograd's minimal filter F(2, 3) (Lavin and Gray 2016, arXiv
  1509.09308) along x. Its rounding error is that of the plain sum, unlike that
  of the larger filters, F(4, 3) has five times as much, and of filters along
  more axes, which move more bytes than they save products here;
- else the batch and x become the batch of one 2-D convolution, and the
  kernel's x offsets become channels: of the input where it has fewer channels
  than the output, of the output otherwise (the smaller copy);
- the input gradient is the same operation on the mirrored kernel;
- the weight gradient is one 2-D convolution too (four in the minimal form), of
  the input with the output's gradient as its kernel, channels and batch
  exchanged. Written out in the canonical layout it keeps the fast kernel
  inside `lax.scan`, where the gradient that XLA derives itself falls back to a
  scalar loop;
- where the whole batch would fall out of the cache, the minimal form and weight
  gradients take a few examples at a time.

Kernels of 1x1x1 are matrix products, and so are those of blocks of voxels,
which become channels first; there are no other strides.

benchmarks/speed/conv.py measures this. On other platforms
`lax.conv_general_dilated` and its own derivatives are used. The choice is made
when the program is lowered (`lax.platform_dependent`), so one traced function
serves any platform.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen import dtypes
from jax import lax

from edjax.models.downsampling import space_to_depth

_DIMS_3D = ('NDHWC', 'DHWIO', 'NDHWC')
_DIMS_2D = ('NHWC', 'HWIO', 'NHWC')
_PADDINGS = ('SAME', 'VALID')

# Channels, in and out, from which fewer products pay for the transforms.
_MINIMAL_CHANNELS = 16
# Channels of a 2-D convolution's input are read this many at a time.
_LANES = 4
# Bytes of intermediate planes that are left in one piece, and of those that
# are computed at a time where there are more: caches hold 1 to 32 MB.
_WHOLE_BYTES = 16 * 2**20
_CHUNK_BYTES = {'direct': 12 * 2**20, 'minimal': 2 * 2**20}

Pads = tuple[tuple[int, int], ...]


def conv3d(
  x_BXYZC: jax.Array,
  kernel_XYZCF: jax.Array,
  padding: str = 'SAME',
) -> jax.Array:
  """Cross-correlates a batch of grids with a kernel, as `nn.Conv` does.

  Reverse mode only (`jax.grad`, `jax.vjp`); a `jax.jvp` raises.

  Args:
    x_BXYZC: input, shape (batch, nx, ny, nz, channels in).
    kernel_XYZCF: shape (kx, ky, kz, channels in, channels out), of the same
      dtype.
    padding: 'SAME' or 'VALID', with the meaning that lax gives them.

  Returns:
    out_BXYZF, with the grid of the input for 'SAME', in the input's dtype.
    bfloat16 and float16 are accumulated in float32.

  Raises:
    ValueError: for a wrong rank, other channels or dtype than the kernel's, an
      unknown padding, or a grid smaller than the kernel under 'VALID'.
  """
  if x_BXYZC.ndim != 5 or kernel_XYZCF.ndim != 5:
    raise ValueError(
      'conv3d takes x_BXYZC and kernel_XYZCF, both of rank 5; got shapes '
      f'{x_BXYZC.shape} and {kernel_XYZCF.shape}.'
    )
  if x_BXYZC.shape[-1] != kernel_XYZCF.shape[-2]:
    raise ValueError(
      f'The input has {x_BXYZC.shape[-1]} channels, the kernel '
      f'{kernel_XYZCF.shape[-2]}.'
    )
  if x_BXYZC.dtype != kernel_XYZCF.dtype:
    raise ValueError(
      f'The input is {x_BXYZC.dtype}, the kernel {kernel_XYZCF.dtype}; cast '
      'one of them.'
    )
  if padding not in _PADDINGS:
    raise ValueError(f'padding must be one of {_PADDINGS}, got {padding!r}.')
  sizes, kernel_sizes = x_BXYZC.shape[1:4], kernel_XYZCF.shape[:3]
  if padding == 'VALID' and any(
    n < k for n, k in zip(sizes, kernel_sizes, strict=True)
  ):
    raise ValueError(
      f'A grid of {sizes} voxels is smaller than the kernel {kernel_sizes}; '
      "use a larger grid or padding='SAME'."
    )
  pads = tuple(lax.padtype_to_pads(sizes, kernel_sizes, (1, 1, 1), padding))
  return _conv3d(x_BXYZC, kernel_XYZCF, pads)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv3d(x_BXYZC, kernel_XYZCF, pads):
  return lax.platform_dependent(
    x_BXYZC,
    kernel_XYZCF,
    cpu=functools.partial(_cpu, pads=pads),
    default=functools.partial(_stock, pads=pads),
  )


def _conv3d_forward(x_BXYZC, kernel_XYZCF, pads):
  return _conv3d(x_BXYZC, kernel_XYZCF, pads), (x_BXYZC, kernel_XYZCF)


def _conv3d_backward(pads, residuals, grad_BXYZF):
  def pull_back(f):
    def run(x_BXYZC, kernel_XYZCF, grad_BXYZF):
      f_static = functools.partial(f, pads=pads)
      return jax.vjp(f_static, x_BXYZC, kernel_XYZCF)[1](grad_BXYZF)

    return run

  return lax.platform_dependent(
    *residuals, grad_BXYZF, cpu=pull_back(_cpu), default=pull_back(_stock)
  )


_conv3d.defvjp(_conv3d_forward, _conv3d_backward)


def _stock(x_BXYZC, kernel_XYZCF, pads):
  return lax.conv_general_dilated(
    x_BXYZC, kernel_XYZCF, (1, 1, 1), pads, dimension_numbers=_DIMS_3D
  )


def _cpu(x_BXYZC, kernel_XYZCF, pads):
  # XLA's CPU backend widens half precision in any case; doing it here keeps
  # the sums over kernel offsets in float32 as well.
  compute = jnp.promote_types(x_BXYZC.dtype, jnp.float32)
  x, kernel = x_BXYZC.astype(compute), kernel_XYZCF.astype(compute)
  if kernel.shape[:3] == (1, 1, 1) and pads == ((0, 0),) * 3:
    out = x @ kernel[0, 0, 0]
  else:
    out = _unit_stride(x, kernel, pads)
  return out.astype(x_BXYZC.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _unit_stride(x_BXYZC, kernel_XYZCF, pads):
  form, chunk = _plan(x_BXYZC.shape, kernel_XYZCF.shape, pads, x_BXYZC.dtype)
  if form == 'direct':  # a loop's copies cost more than the cache saves
    return _direct(x_BXYZC, kernel_XYZCF, pads)
  if chunk == len(x_BXYZC):
    return _minimal(x_BXYZC, kernel_XYZCF, pads)
  out = lax.map(
    lambda x: _minimal(x, kernel_XYZCF, pads), _in_chunks(x_BXYZC, chunk)
  )
  return out.reshape(-1, *out.shape[2:])


def _plan(x_shape, kernel_shape, pads, dtype):
  """Returns the form, and how many examples are computed at a time."""
  batch, nx, ny, nz, c_in = x_shape
  kx, ky, kz, _, c_out = kernel_shape
  nx_out = nx + sum(pads[0]) - kx + 1
  plane_in = ny * nz * c_in
  plane_out = (ny + sum(pads[1]) - ky + 1) * (nz + sum(pads[2]) - kz + 1)
  plane_out *= c_out
  # Transforms cost more than they save where channels are few.
  if kx == 3 and nx_out >= 2 and min(c_in, c_out) >= _MINIMAL_CHANNELS:
    form, size = 'minimal', 4 * math.ceil(nx_out / 2) * (plane_in + plane_out)
  elif c_in <= c_out:
    form, size = 'direct', nx_out * (kx * plane_in + plane_out)
  else:
    form, size = 'direct', nx * (plane_in + kx * plane_out)
  size *= dtype.itemsize
  if batch * size <= _WHOLE_BYTES:
    return form, batch
  most = max(_CHUNK_BYTES[form] // size, 1)
  return form, max(
    c for c in range(1, batch + 1) if not batch % c and c <= most
  )


def _in_chunks(x_B, chunk):
  return x_B.reshape(-1, chunk, *x_B.shape[1:])


def _direct(x_BXYZC, kernel_XYZCF, pads):
  kx, ky, kz, c_in, c_out = kernel_XYZCF.shape
  batch, _, ny, nz, _ = x_BXYZC.shape
  x_padded = _pad_axis(x_BXYZC, 1, pads[0])
  nx_out = x_padded.shape[1] - kx + 1
  if c_in <= c_out:
    # Channels that are no multiple of _LANES are gathered one by one.
    spare = -kx * c_in % _LANES
    shifts = _windows(x_padded, 1, kx, nx_out)
    shifts.append(jnp.zeros((*shifts[0].shape[:-1], spare), x_BXYZC.dtype))
    kernel = kernel_XYZCF.transpose(1, 2, 0, 3, 4)
    kernel = kernel.reshape(ky, kz, kx * c_in, c_out)
    out = _conv2d(
      jnp.concatenate(shifts, axis=-1).reshape(-1, ny, nz, kx * c_in + spare),
      _pad_axis(kernel, 2, (0, spare)),
      pads[1:],
    )
    return out.reshape(batch, nx_out, *out.shape[1:])
  out = _conv2d(
    x_BXYZC.reshape(-1, ny, nz, c_in),
    kernel_XYZCF.transpose(1, 2, 3, 0, 4).reshape(ky, kz, c_in, kx * c_out),
    pads[1:],
  )
  out = _pad_axis(out.reshape(batch, -1, *out.shape[1:]), 1, pads[0])
  parts = _windows(out, 1, kx, nx_out)
  return sum(
    part[..., i * c_out : (i + 1) * c_out] for i, part in enumerate(parts)
  )


def _minimal(x_BXYZC, kernel_XYZCF, pads):
  """Convolves by four 2-D convolutions for two outputs along x, not six."""
  nx_out = x_BXYZC.shape[1] + sum(pads[0]) - 2
  outs = [
    _conv2d(v.reshape(-1, *v.shape[2:]), u, pads[1:])
    for v, u in zip(
      _minimal_input(x_BXYZC, pads[0], nx_out),
      _minimal_kernel(kernel_XYZCF),
      strict=True,
    )
  ]
  pair = jnp.stack(
    [outs[0] + outs[1] + outs[2], outs[1] - outs[2] + outs[3]], 1
  )
  pair = pair.reshape(len(x_BXYZC), -1, *pair.shape[1:])
  out = pair.reshape(len(x_BXYZC), -1, *pair.shape[3:])
  return out[:, :nx_out]


def _minimal_input(x_BXYZC, pad, nx_out):
  pairs = math.ceil(nx_out / 2)
  high = 2 * pairs + 2 - x_BXYZC.shape[1] - pad[0]
  x = _pad_axis(x_BXYZC, 1, (pad[0], high))
  d = [lax.slice_in_dim(x, i, i + 2 * pairs - 1, 2, 1) for i in range(4)]
  return d[0] - d[2], d[1] + d[2], d[2] - d[1], d[3] - d[1]


def _minimal_kernel(kernel_XYZCF):
  first, middle, last = kernel_XYZCF
  half = 0.5 * (first + last)
  return first, half + 0.5 * middle, half - 0.5 * middle, last


def _unit_stride_forward(x_BXYZC, kernel_XYZCF, pads):
  return _unit_stride(x_BXYZC, kernel_XYZCF, pads), (x_BXYZC, kernel_XYZCF)


def _unit_stride_backward(pads, residuals, grad_BXYZF):
  x_BXYZC, kernel_XYZCF = residuals
  kernel_sizes = kernel_XYZCF.shape[:3]
  mirrored = kernel_XYZCF[::-1, ::-1, ::-1].swapaxes(3, 4)
  mirrored_pads = tuple(
    (k - 1 - low, k - 1 - high)
    for k, (low, high) in zip(kernel_sizes, pads, strict=True)
  )
  grad_x = _unit_stride(grad_BXYZF, mirrored, mirrored_pads)
  return grad_x, _kernel_gradient(x_BXYZC, grad_BXYZF, kernel_sizes, pads)


_unit_stride.defvjp(_unit_stride_forward, _unit_stride_backward)


def _kernel_gradient(x_BXYZC, grad_BXYZF, kernel_sizes, pads):
  kernel_shape = (*kernel_sizes, x_BXYZC.shape[-1], grad_BXYZF.shape[-1])
  form, chunk = _plan(x_BXYZC.shape, kernel_shape, pads, x_BXYZC.dtype)
  gradient = functools.partial(
    _GRADIENT[form], kernel_sizes=kernel_sizes, pads=pads
  )
  if chunk == len(x_BXYZC):
    return gradient(x_BXYZC, grad_BXYZF)

  def add(total, x_and_grad):
    return total + gradient(*x_and_grad), None

  chunks = _in_chunks(x_BXYZC, chunk), _in_chunks(grad_BXYZF, chunk)
  return lax.scan(add, jnp.zeros(kernel_shape, x_BXYZC.dtype), chunks)[0]


def _direct_gradient(x_BXYZC, grad_BXYZF, kernel_sizes, pads):
  """Returns the gradient of a kernel: one 2-D convolution over y and z.

  Channels in take the place of the batch, batch and x that of the channels,
  and the gradient is the kernel; what comes out has the kernel's y and z.
  """
  kx, ky, kz = kernel_sizes
  _, nx_out, ny_out, nz_out, c_out = grad_BXYZF.shape
  _, nx, ny, nz, c_in = x_BXYZC.shape
  x_CYZBX = x_BXYZC.transpose(4, 2, 3, 0, 1)
  grad_YZBXF = grad_BXYZF.transpose(2, 3, 0, 1, 4)
  if c_in <= c_out:
    x_padded = _pad_axis(x_CYZBX, 4, pads[0])
    x_shifts = jnp.concatenate(_windows(x_padded, 4, kx, nx_out), axis=0)
    out = _conv2d(
      x_shifts.reshape(kx * c_in, ny, nz, -1),
      grad_YZBXF.reshape(ny_out, nz_out, -1, c_out),
      pads[1:],
    )
    out = out.reshape(kx, c_in, ky, kz, c_out)
    return out.transpose(0, 2, 3, 1, 4)
  low, high = pads[0]
  grad_padded = _pad_axis(grad_YZBXF, 3, (kx - 1 - low, kx - 1 - high))
  shifts = _windows(grad_padded, 3, kx, nx)[::-1]
  out = _conv2d(
    x_CYZBX.reshape(c_in, ny, nz, -1),
    jnp.concatenate(shifts, axis=-1).reshape(ny_out, nz_out, -1, kx * c_out),
    pads[1:],
  )
  return out.reshape(c_in, ky, kz, kx, c_out).transpose(3, 1, 2, 0, 4)


def _minimal_gradient(x_BXYZC, grad_BXYZF, kernel_sizes, pads):
  nx_out = grad_BXYZF.shape[1]
  grad = _pad_axis(grad_BXYZF, 1, (0, nx_out % 2))
  even, odd = grad[:, ::2], grad[:, 1::2]
  parts = [
    # An x axis of length 1: batch and pairs are its batch.
    _direct_gradient(
      v.reshape(-1, 1, *v.shape[2:]),
      e.reshape(-1, 1, *e.shape[2:]),
      (1, *kernel_sizes[1:]),
      ((0, 0), *pads[1:]),
    )[0]
    for v, e in zip(
      _minimal_input(x_BXYZC, pads[0], nx_out),
      (even, even + odd, even - odd, odd),
      strict=True,
    )
  ]
  half = 0.5 * (parts[1] + parts[2])
  return jnp.stack(
    [parts[0] + half, 0.5 * (parts[1] - parts[2]), half + parts[3]]
  )


_GRADIENT = {'direct': _direct_gradient, 'minimal': _minimal_gradient}


def _conv2d(x, kernel, pads):
  return lax.conv_general_dilated(
    x, kernel, (1, 1), pads, dimension_numbers=_DIMS_2D
  )


def _pad_axis(x, axis, pad):
  return jnp.pad(x, [pad if i == axis else (0, 0) for i in range(x.ndim)])


def _windows(x, axis, count, size):
  return [lax.slice_in_dim(x, i, i + size, axis=axis) for i in range(count)]


def _kernel_init(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Draws as `nn.Conv` does (LeCun normal), but a matrix: the same numbers.

  XLA compiles the drawing for every new shape; on a CPU that takes four times
  as long for the five axes of a kernel as for two.
  """
  matrix = math.prod(shape[:-1]), shape[-1]
  return nn.linear.default_kernel_init(key, matrix).reshape(shape)


class Conv3D(nn.Module):
  """`nn.Conv` on grids: the same parameters and numbers, faster on CPU.

  Parameters are 'kernel' (kx, ky, kz, channels in, features) and 'bias'
  (features,), as `nn.Conv` names and shapes them, in float32.

  Attributes:
    features: channels out.
    kernel_size: edge of the kernel, a cube.
    padding: 'SAME' or 'VALID'.
    blocks: whether the output has one voxel for each block of kernel_size^3,
      the stride of `nn.Conv`; edges of the grid are multiples of it.
    dtype: of the computation and the output; None takes the widest of the
      input and the parameters.
  """

  features: int
  kernel_size: int = 3
  padding: str = 'SAME'
  blocks: bool = False
  dtype: Any = None

  @nn.compact
  def __call__(self, x_BXYZC: jax.Array) -> jax.Array:
    """Returns out_BXYZF."""
    edges = (self.kernel_size,) * 3
    shape = (*edges, x_BXYZC.shape[-1], self.features)
    kernel = self.param('kernel', _kernel_init, shape)
    bias = self.param('bias', nn.initializers.zeros, (self.features,))
    x_BXYZC, kernel, bias = dtypes.promote_dtype(
      x_BXYZC, kernel, bias, dtype=self.dtype
    )
    if self.blocks:
      x_BXYZC = space_to_depth(x_BXYZC, self.kernel_size)
      kernel = kernel.reshape(1, 1, 1, -1, self.features)
    out = conv3d(x_BXYZC, kernel, self.padding)
    return out + bias.reshape((1,) * 4 + (-1,))
