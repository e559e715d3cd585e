"""Networks that turn voxel grids into predictions.

Every network is called as `model.apply({'params': p}, vox_BXYZC, train=...,
rngs={'dropout': key})` and returns pred_BT in float32. There are no running
statistics: parameters are all that a network consists of.

An amount of matter has to reach the head, so only what a residual block adds is
normalised: features are sums over voxels of what is not. `input_moments` gives
the head the input's own sums and moments as well.
"""

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from edjax.conv import Conv3D
from edjax.isotropic import IsotropicConv3D
from edjax.kernels import numerics

KERNELS = ('isotropic', 'free')
DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}

# Voxels along an edge of which four valid convolutions and two max-pools of
# cnn3d leave one.
CNN3D_MIN_SIZE = 16

# A molecule fills about a quarter of its box: with these factors the sum and
# the moments of features of size 1 inside the molecule have size 1. Radii are
# in half edges of the box, and r^2 averages 0.2 over a molecule.
_SUM_FACTOR = 4.0
_FIRST_FACTOR = 10.0
_SECOND_FACTOR = 20.0
# Voxels of vacuum have features near zero. Without a floor of this size,
# dividing by their root mean square makes their noise as large as the signal.
_RMS_EPSILON = 1e-2
# Stands for the deviation of a feature that does not vary.
_SMALLEST_STD = 1e-6
# Twice the powers of the input that a network sees: 0.5, 1, 1.5, 2, 3.
_HALF_POWERS = (1, 2, 3, 4, 6)
# Smallest eigenvalue of a correlation matrix that counts in full, over the
# largest one.
_FLOOR = 1e-5
# How many examples it takes to know the size of one direction: the smallest
# directions of fewer examples look smaller than they are (Marchenko and Pastur
# 1967), and scaled to unit size they would be huge on examples not seen.
_EXAMPLES_PER_DIRECTION = 4
# Standard deviations at which a feature is held: where an example lies that
# alone of 256 has something. A channel that training hardly touches (an element
# that reaches into the box from outside, say) would else be thousands of its
# deviations away in a molecule that holds it in full.
_LIMIT = 16.0


def spatial_moments(vox_BXYZC: jax.Array) -> jax.Array:
  """Sum, dipole and second moment of every channel, each of size about 1.

  With r in half edges of the box from its centre and < > the mean over
  voxels: 4 <f>, 10 |<f r>|, 20 <f r^2>. All are unchanged by a rotation of
  what is in the box, and linear in the amount of matter.

  Args:
    vox_BXYZC: values on a grid; computed in at least float32.

  Returns:
    Shape (batch, 3 * channels): sums, first moments, second moments.
  """
  vox_BXYZC = jnp.asarray(vox_BXYZC)
  dtype = jnp.promote_types(vox_BXYZC.dtype, jnp.float32)
  (along_z,) = _one_by_one((vox_BXYZC.astype(dtype),))
  return _moments(*along_z)


def _weighted(field: jax.Array, axis: int) -> tuple[jax.Array, ...]:
  """A field times 1, r and r^2, r along an axis in half edges of the box."""
  n = field.shape[axis]
  r = (2 * jnp.arange(n, dtype=field.dtype) + 1 - n) / n
  r = r.reshape([-1 if i == axis else 1 for i in range(field.ndim)])
  return field, field * r, field * r**2


def _one_by_one(fields):
  """Means along z of each field times 1, z and z^2: [B, X, Y, C] each."""
  return tuple(
    tuple(part.mean(3) for part in _weighted(field, 3)) for field in fields
  )


def _at_once(fields):
  """`_one_by_one` as one reduction, in which a TPU reads the fields once."""
  parts = [part for field in fields for part in _weighted(field, 3)]
  zeros = [jnp.zeros((), part.dtype) for part in parts]
  sums = jax.lax.reduce(
    parts,
    zeros,
    lambda a, b: [x + y for x, y in zip(a, b, strict=True)],
    (3,),
  )
  n = fields[0].shape[3]
  means = [x / n for x in sums]
  return tuple(tuple(means[i : i + 3]) for i in range(0, len(means), 3))


@jax.custom_jvp
def _along_z(fields):
  """`_one_by_one`, in the form that suits the platform.

  XLA reads the voxels once for every reduction on a TPU (benchmarks/compiled.py
  with --plain). On GPUs, where it joins some, a reduction of many operands has
  all of them written out first.
  """
  return jax.lax.platform_dependent(fields, tpu=_at_once, default=_one_by_one)


@_along_z.defjvp
def _along_z_jvp(primals, tangents):
  return _along_z(*primals), _one_by_one(*tangents)  # linear


def _moments(means_BXYC, times_z_BXYC, times_z2_BXYC) -> jax.Array:
  """`spatial_moments` of what is summed along z already."""
  first_B3C = [times_z_BXYC.mean((1, 2))]
  second_BC = times_z2_BXYC.mean((1, 2))
  means = means_BXYC
  for axis in (2, 1):
    _, once, twice = _weighted(means, axis)
    others = tuple(range(1, axis))
    first_B3C.append(once.mean(axis).mean(others))
    second_BC += twice.mean(axis).mean(others)
    means = means.mean(axis)
  norm_BC = numerics.safe_norm(jnp.stack(first_B3C), axis=0)
  return jnp.concatenate(
    [
      _SUM_FACTOR * means,
      _FIRST_FACTOR * norm_BC,
      _SECOND_FACTOR * second_BC,
    ],
    axis=-1,
  )


def powers(vox_BXYZC: jax.Array) -> tuple[jax.Array, ...]:
  """Powers 0.5, 1, 1.5, 2 and 3 of the input, sign(x) |x|^p.

  A density's integral only counts electrons; integrals of its powers tell
  elements and bonds apart, as density functionals do (the local exchange
  energy is an integral of rho^(4/3)).

  Args:
    vox_BXYZC: values on a grid.

  Returns:
    One array of the same shape for each power, at least float32.
  """
  dtype = jnp.promote_types(vox_BXYZC.dtype, jnp.float32)
  vox_BXYZC = vox_BXYZC.astype(dtype)
  sign_BXYZC = jnp.sign(vox_BXYZC)
  # 0 is left to the sign: the slope of a root at 0 is infinite.
  size_BXYZC = jnp.abs(jnp.where(vox_BXYZC == 0, 1, vox_BXYZC))
  signed_root_BXYZC = sign_BXYZC * jnp.sqrt(size_BXYZC)
  # Powers of fractions take ten times as long as products and roots.
  return tuple(
    size_BXYZC ** (halves // 2)
    * (signed_root_BXYZC if halves % 2 else sign_BXYZC)
    for halves in _HALF_POWERS
  )


def power_moments(vox_BXYZC: jax.Array) -> jax.Array:
  """`spatial_moments` of `powers` of the input.

  Args:
    vox_BXYZC: values on a grid.

  Returns:
    Shape (batch, 3 * channels * powers), at least float32.
  """
  moments = [_moments(*m) for m in _along_z(powers(vox_BXYZC))]
  return jnp.concatenate(moments, axis=-1)


def _standardised(module: nn.Module, x_BF: jax.Array, inverse) -> jax.Array:
  """Shift, scale and hold features by constants of the batch that `init` gets.

  Args:
    module: that keeps them, as 'shift' and 'scale' without a gradient.
    x_BF: features; a batch of one gives shift 0 and scale 1.
    inverse: (mean_F, std_F) -> the scale of a larger batch.
  """

  def shift(key):
    del key
    return x_BF.mean(0) if len(x_BF) > 1 else jnp.zeros_like(x_BF[0])

  def scale(key):
    if len(x_BF) == 1:
      return jnp.ones_like(x_BF[0])
    return inverse(shift(key), x_BF.std(0))

  shift_F = jax.lax.stop_gradient(module.param('shift', shift))
  scale_F = jax.lax.stop_gradient(module.param('scale', scale))
  return jnp.clip((x_BF - shift_F[None]) * scale_F[None], -_LIMIT, _LIMIT)


class Whiten(nn.Module):
  """Features made uncorrelated and of unit size.

  Mean and correlations are those of the batch that `init` is called with
  (data-dependent initialisation, Salimans and Kingma 2016, arXiv 1602.07868);
  without whitening a gradient method hardly moves along the small directions
  of features as correlated as moments are. Directions below `_FLOOR` of the
  largest stay small: they would be noise. Of more directions than a quarter of
  the batch, the smallest are left out; so is a feature that does not vary. One
  that is further than `_LIMIT` deviations from its mean counts as that far.
  From a batch of one nothing can be learned: mean 0, deviation 1. The constants
  lie among the parameters but have no gradient.
  """

  @nn.compact
  def __call__(self, x_BF: jax.Array) -> jax.Array:
    """Returns the same shape."""

    def inverse(mean_F, std_F):
      varies_F = std_F > 1e-3 * jnp.abs(mean_F) + 1e-6
      return jnp.where(varies_F, 1 / jnp.where(varies_F, std_F, 1), 0)

    z_BF = _standardised(self, x_BF, inverse)

    def matrix(key):
      del key
      if len(z_BF) == 1:
        return jnp.eye(z_BF.shape[1], dtype=z_BF.dtype)
      correlation_FF = jnp.einsum(
        'bf,bg->fg', z_BF, z_BF, precision=numerics.HIGHEST
      )
      correlation_FF /= len(z_BF)
      values_F, vectors_FF = jnp.linalg.eigh(correlation_FF)  # ascending
      floor = _FLOOR * jnp.maximum(values_F[-1], 1e-6)
      size_F = 1 / jnp.sqrt(jnp.maximum(values_F, 0) + floor)
      known = max(len(z_BF) // _EXAMPLES_PER_DIRECTION, 1)
      size_F = jnp.where(
        jnp.arange(len(size_F)) >= len(size_F) - known, size_F, 0
      )
      return vectors_FF * size_F[None, :]

    matrix_FF = jax.lax.stop_gradient(self.param('matrix', matrix))
    return jnp.dot(z_BF, matrix_FF, precision=numerics.HIGHEST)


def note_activity(module: nn.Module, x_BXYZC: jax.Array, name: str) -> None:
  """Keeps how much each channel varies, where `apply` asks for 'activity'.

  With `mutable=['activity']` the standard deviation of each channel over
  voxels and examples is there, and nothing is computed otherwise.

  Args:
    module: the one that calls.
    x_BXYZC: what a nonlinearity gave.
    name: of the layer, within the module.
  """
  if module.is_mutable_collection('activity') and not module.is_initializing():
    std_C = x_BXYZC.astype(jnp.float32).std((0, 1, 2, 3))
    module.sow('activity', name, std_C, reduce_fn=lambda _, new: new)


class Standardise(nn.Module):
  """Features of mean 0 and deviation 1 in the batch that `init` is called with.

  Data-dependent initialisation (Salimans and Kingma 2016, arXiv 1602.07868).
  From a batch of one nothing can be learned: mean 0, deviation 1. The constants
  lie among the parameters but have no gradient.
  """

  @nn.compact
  def __call__(self, x_BF: jax.Array) -> jax.Array:
    """Returns the same shape."""

    return _standardised(self, x_BF, lambda _, std: 1 / (std + _SMALLEST_STD))


class Powers(nn.Module):
  """`powers` of every channel, of unit size in the batch that `init` is given.

  What tells elements apart in a density are its peaks, and a convolution over
  blocks of voxels would average them away: it has to see them raised. Size is
  the root mean square over voxels and examples. The constants lie among the
  parameters but have no gradient.
  """

  @nn.compact
  def __call__(self, vox_BXYZC: jax.Array) -> jax.Array:
    """Returns shape (batch, x, y, z, powers * channels)."""
    raised_BXYZC = jnp.concatenate(powers(vox_BXYZC), axis=-1)

    def scale(key):
      del key
      square_C = jnp.square(raised_BXYZC).mean((0, 1, 2, 3))
      return 1 / (jnp.sqrt(square_C) + _SMALLEST_STD)

    scale_C = jax.lax.stop_gradient(self.param('scale', scale))
    return raised_BXYZC * scale_C.reshape((1,) * 4 + (-1,))


class Convolution(nn.Module):
  """A convolution of 3^3 voxels by kind of kernel.

  Attributes:
    kind: 'isotropic' or 'free'.
    features: channels out.
    block: edge of the blocks of voxels of which the output has one each.
    dtype: of the computation and the output.
  """

  kind: str
  features: int
  block: int
  dtype: Any

  @nn.compact
  def __call__(self, x_BXYZC: jax.Array) -> jax.Array:
    """Returns shape (batch, x / block, y / block, z / block, features)."""
    if self.kind == 'isotropic':
      conv = IsotropicConv3D(self.features, self.block, self.dtype, name='conv')
      return conv(x_BXYZC)
    conv = Conv3D(self.features, 3, dtype=self.dtype, name='conv')
    return conv(space_to_depth(x_BXYZC, self.block))


class ResidualBlock(nn.Module):
  """x + conv(silu(norm(conv(silu(norm(x)))))), full pre-activation.

  He et al. 2016, arXiv 1603.05027. SiLU, because a rectifier that a large step
  has turned off has no gradient any more and stays off. The norm is the root
  mean square over the channels of a voxel; x itself is never normalised, so
  that the amount of matter stays in it.

  Attributes:
    kind: of the kernels, see `Convolution`.
    dtype: of the computation.
  """

  kind: str
  dtype: Any

  @nn.compact
  def __call__(self, x_BXYZC: jax.Array) -> jax.Array:
    """Returns the same shape."""
    width = x_BXYZC.shape[-1]
    h = x_BXYZC
    for i in range(2):
      norm = nn.RMSNorm(_RMS_EPSILON, dtype=self.dtype, name=f'norm_{i}')
      h = nn.silu(norm(h))
      note_activity(self, h, f'silu_{i}')
      h = Convolution(self.kind, width, 1, self.dtype, name=f'conv_{i}')(h)
    return x_BXYZC + h


class Head(nn.Module):
  """Two-layer perceptron on all features plus a linear map of them.

  Attributes:
    num_targets: T.
    width: hidden units.
    dropout: rate in the hidden layer.
  """

  num_targets: int
  width: int
  dropout: float

  @nn.compact
  def __call__(
    self, features_BF: jax.Array, moments_BF: jax.Array | None, train: bool
  ) -> jax.Array:
    """Returns pred_BT. It starts at 0, the mean of standardised targets."""
    if moments_BF is not None:
      features_BF = jnp.concatenate([features_BF, moments_BF], axis=-1)
    from_zero = functools.partial(
      nn.Dense, self.num_targets, kernel_init=nn.initializers.zeros
    )
    linear_BT = from_zero(use_bias=False, name='linear')(features_BF)
    h_BF = nn.silu(nn.Dense(self.width, name='hidden')(features_BF))
    h_BF = nn.Dropout(self.dropout, deterministic=not train)(h_BF)
    return from_zero(name='out')(h_BF) + linear_BT


class Network(nn.Module):
  """Voxels -> features of the trunk -> predictions of the head.

  The two halves are methods of their own, so that one can be replaced: what
  the convolutions contribute is seen by giving the head other features.

  Attributes:
    trunk: (vox_BXYZC, train) -> features_BF; None: no features at all.
    head: (features_BF, moments_BF or None, train) -> pred_BT.
    input_moments: whether the head also sees the input's `power_moments`,
      whitened by the batch that `init` gets.
  """

  trunk: nn.Module | None
  head: nn.Module
  input_moments: bool

  def setup(self):
    if self.input_moments:
      self.whiten = Whiten()

  def features(self, vox_BXYZC: jax.Array, train: bool) -> jax.Array:
    """What the trunk says of each grid, features_BF in float32.

    Raises:
      ValueError: for a grid that the trunk cannot read.
    """
    if vox_BXYZC.ndim != 5:
      raise ValueError(
        'A network takes vox_BXYZC (batch, x, y, z, channels), got shape '
        f'{vox_BXYZC.shape}.'
      )
    if self.trunk is None:
      return jnp.zeros((len(vox_BXYZC), 0))
    return self.trunk(vox_BXYZC, train)

  def moments(self, vox_BXYZC: jax.Array) -> jax.Array | None:
    """The input's moments as the head sees them; None where it sees none."""
    if not self.input_moments:
      return None
    return self.whiten(power_moments(vox_BXYZC))

  def read_out(
    self, features_BF: jax.Array, vox_BXYZC: jax.Array, train: bool
  ) -> jax.Array:
    """pred_BT from features of the trunk, and from the input's moments."""
    return self.head(features_BF, self.moments(vox_BXYZC), train)

  def __call__(self, vox_BXYZC: jax.Array, train: bool) -> jax.Array:
    """Returns pred_BT. Raises what `features` raises."""
    return self.read_out(self.features(vox_BXYZC, train), vox_BXYZC, train)


class ResNetTrunk(nn.Module):
  """Residual network whose every stage is read out voxel by voxel.

  After each stage a small layer is applied at every voxel and summed over the
  grid, so that what belongs to a molecule as a sum over its parts (energies,
  polarisabilities) is one of local terms, as in networks on atoms (SchNet:
  Schuett et al. 2017, arXiv 1706.08566). Stages see 1, 2, 4, ... times as far.

  Attributes:
    widths: channels of each stage; a stage halves the grid of the one before.
    blocks: residual blocks of each stage.
    local: features of a voxel that are summed, in each stage.
    kernels: 'isotropic' (weights depend on distance, see `IsotropicConv3D`; a
      stage averages over 2^3 voxels) or 'free' (a stage begins with a
      convolution of 2^3 voxels).
    stem: edge of the blocks of voxels that become channels first; 1: none.
    input_powers: whether it sees `Powers` of the input, or the input alone.
    dtype: of all but parameters and sums, which are float32.
  """

  widths: tuple[int, ...]
  blocks: tuple[int, ...]
  local: int
  kernels: str
  stem: int
  input_powers: bool
  dtype: Any

  @nn.compact
  def __call__(self, vox_BXYZC: jax.Array, train: bool) -> jax.Array:
    """Returns features_BF, standardised by the batch that `init` gets.

    Raises:
      ValueError: where the grid cannot be halved as often as it must be.
    """
    del train
    shrink = self.stem * 2 ** (len(self.widths) - 1)
    if any(n % shrink for n in vox_BXYZC.shape[1:4]):
      raise ValueError(
        f'grid_size must be a multiple of {shrink} for stem={self.stem} and '
        f'{len(self.widths)} stages; the grid is {vox_BXYZC.shape[1:4]}.'
      )
    x = Powers(name='powers')(vox_BXYZC) if self.input_powers else vox_BXYZC
    x = x.astype(self.dtype)
    sums_BF = []
    stages = zip(self.widths, self.blocks, strict=True)
    for i, (width, count) in enumerate(stages):
      # Enter the stage: its grid, its channels.
      if i == 0:
        x = Convolution(
          self.kernels, width, self.stem, self.dtype, name='stem'
        )(x)
      elif self.kernels == 'isotropic':
        x = nn.Dense(width, dtype=self.dtype, name=f'down_{i}')(mean_pool(x))
      else:
        x = Conv3D(width, 2, strides=2, dtype=self.dtype, name=f'down_{i}')(x)
      for j in range(count):
        x = ResidualBlock(self.kernels, self.dtype, name=f'block_{i}_{j}')(x)
      # Read it out.
      h = nn.silu(nn.Dense(self.local, dtype=self.dtype, name=f'local_{i}')(x))
      note_activity(self, h, f'silu_{i}')
      sums_BF.append(h.astype(jnp.float32).mean((1, 2, 3)))
    return Standardise(name='standardise')(jnp.concatenate(sums_BF, axis=-1))


class CNN3DTrunk(nn.Module):
  """Convolutions of ATOM3D's 3DCNN: 32-64-128-256, kernel 3, two max-pools.

  Townshend et al. 2021, arXiv 2012.04035, examples/{lba,smp}/cnn3d. Rectified
  and max-pooled values are the same in either order; pooling first is cheaper
  and leaves no ties to the gradient of the maximum.

  Attributes:
    dtype: of all but parameters, which are float32.
  """

  dtype: Any

  @nn.compact
  def __call__(self, vox_BXYZC: jax.Array, train: bool) -> jax.Array:
    """Returns features_BF, the voxels that are left.

    Raises:
      ValueError: where nothing is left of the grid after the last pooling.
    """
    if min(vox_BXYZC.shape[1:4]) < CNN3D_MIN_SIZE:
      raise ValueError(
        f'cnn3d needs grid_size >= {CNN3D_MIN_SIZE} (four valid convolutions '
        f'and two max-pools); the grid is {vox_BXYZC.shape[1:4]}.'
      )
    x = vox_BXYZC.astype(self.dtype)
    for i, width in enumerate((32, 64, 128, 256)):
      x = Conv3D(width, 3, padding='VALID', dtype=self.dtype)(x)
      if i % 2:
        x = max_pool(x)
      x = nn.Dropout(0.1, deterministic=not train)(nn.relu(x))
      note_activity(self, x, f'relu_{i}')
    return x.reshape(len(x), -1)


class CNN3DHead(nn.Module):
  """The dense layers of ATOM3D's 3DCNN, 512 hidden units.

  Attributes:
    num_targets: T.
    dtype: of all but parameters and the output layer, which are float32.
  """

  num_targets: int
  dtype: Any

  @nn.compact
  def __call__(
    self, features_BF: jax.Array, moments_BF: None, train: bool
  ) -> jax.Array:
    """Returns pred_BT."""
    del moments_BF
    x_BF = nn.relu(nn.Dense(512, dtype=self.dtype, name='hidden')(features_BF))
    x_BF = nn.Dropout(0.25, deterministic=not train)(x_BF)
    return nn.Dense(self.num_targets, name='out')(x_BF.astype(jnp.float32))


def space_to_depth(vox_BXYZC: jax.Array, block: int) -> jax.Array:
  """Turns blocks of voxels into channels.

  Args:
    vox_BXYZC: edges are multiples of `block`.
    block: voxels along an edge of a block.

  Returns:
    Shape (batch, x / block, y / block, z / block, block^3 * channels).
  """
  if block == 1:
    return vox_BXYZC
  batch, nx, ny, nz, channels = vox_BXYZC.shape
  x = vox_BXYZC.reshape(
    batch, nx // block, block, ny // block, block, nz // block, block, channels
  ).transpose(0, 1, 3, 5, 2, 4, 6, 7)
  return x.reshape(*x.shape[:4], -1)


def mean_pool(x_BXYZC: jax.Array) -> jax.Array:
  """Twice the mean over blocks of 2^3 voxels.

  Of values that hardly vary in a block this doubles the size, of independent
  ones it leaves two thirds; without the factor deep stages would be silent.

  Args:
    x_BXYZC: edges are even.

  Returns:
    Shape (batch, x / 2, y / 2, z / 2, channels).
  """
  return sum(_corners(x_BXYZC)) / 4


@jax.custom_vjp
def max_pool(x_BXYZC: jax.Array) -> jax.Array:
  """Maximum over blocks of 2^3 voxels; a last odd voxel is dropped.

  Voxels that share the maximum share its gradient, as with `jnp.max`. Written
  out voxel by voxel, with its gradient: those of a reduction, and of a window
  even more, take four times as long on CPU. Reverse mode only.

  Args:
    x_BXYZC: at least two voxels along each axis.

  Returns:
    Shape (batch, x // 2, y // 2, z // 2, channels).
  """
  return functools.reduce(jnp.maximum, _corners(x_BXYZC))


def _corners(x_BXYZC):
  """The eight voxels of each block, as eight grids."""
  nx, ny, nz = (n - n % 2 for n in x_BXYZC.shape[1:4])
  return [
    x_BXYZC[:, i:nx:2, j:ny:2, k:nz:2]
    for i, j, k in itertools.product((0, 1), repeat=3)
  ]


def _max_pool_forward(x_BXYZC):
  out = max_pool(x_BXYZC)
  return out, (x_BXYZC, out)


def _max_pool_backward(residuals, grad):
  x_BXYZC, out = residuals
  equal = sum((c == out).astype(grad.dtype) for c in _corners(x_BXYZC))
  odd = [n % 2 for n in x_BXYZC.shape[1:4]]

  def spread(a_BXYZC):
    batch, nx, ny, nz, channels = a_BXYZC.shape
    blocks = jnp.broadcast_to(
      a_BXYZC[:, :, None, :, None, :, None, :],
      (batch, nx, 2, ny, 2, nz, 2, channels),
    )
    blocks = blocks.reshape(batch, 2 * nx, 2 * ny, 2 * nz, channels)
    return jnp.pad(blocks, [(0, 0), *((0, n) for n in odd), (0, 0)])

  return (jnp.where(x_BXYZC == spread(out), spread(grad / equal), 0),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _make_cnn3d(config: Mapping, num_targets: int) -> nn.Module:
  dtype = DTYPES[config['dtype']]
  return Network(CNN3DTrunk(dtype), CNN3DHead(num_targets, dtype), False)


def _make_head(config: Mapping, num_targets: int) -> nn.Module:
  return Head(num_targets, config['head_width'], config['dropout'])


def _make_moments(config: Mapping, num_targets: int) -> nn.Module:
  return Network(None, _make_head(config, num_targets), True)


def _make_resnet3d(config: Mapping, num_targets: int) -> nn.Module:
  widths, blocks = tuple(config['widths']), tuple(config['blocks'])
  kernels = config['kernels']
  if not widths or len(widths) != len(blocks):
    raise ValueError(
      f'model.widths={widths} and model.blocks={blocks} must have one entry '
      'per stage.'
    )
  if kernels not in KERNELS:
    raise ValueError(
      f'model.kernels must be one of {KERNELS}, got {kernels!r}.'
    )
  for name in ('stem', 'local'):
    if config[name] < 1:
      raise ValueError(f'model.{name} must be 1 or more, got {config[name]}.')
  trunk = ResNetTrunk(
    widths=widths,
    blocks=blocks,
    local=config['local'],
    kernels=kernels,
    stem=config['stem'],
    input_powers=config['input_powers'],
    dtype=DTYPES[config['dtype']],
  )
  head = _make_head(config, num_targets)
  return Network(trunk, head, config['input_moments'])


MODELS: dict[str, Callable[[Mapping, int], nn.Module]] = {
  'cnn3d': _make_cnn3d,
  'moments': _make_moments,
  'resnet3d': _make_resnet3d,
}


def build_model(config_model: Mapping, num_targets: int) -> nn.Module:
  """The network that a configuration describes.

  Args:
    config_model: `config.model`: name, widths, blocks, local, kernels, stem,
      head_width, dropout, dtype, input_powers, input_moments. `cnn3d` reads
      name and dtype alone: its recipe is fixed; `moments` reads head_width and
      dropout.
    num_targets: number of values predicted per example.

  Returns:
    A Flax module, called with (vox_BXYZC, train) and giving pred_BT.

  Raises:
    ValueError: for an unknown name (of network, dtype, kernels)
      or values that do not fit together; the message names the field.
  """
  name, dtype = config_model['name'], config_model['dtype']
  if name not in MODELS:
    raise ValueError(
      f'model.name must be one of {sorted(MODELS)}, got {name!r}.'
    )
  if dtype not in DTYPES:
    raise ValueError(
      f'model.dtype must be one of {sorted(DTYPES)}, got {dtype!r}.'
    )
  if num_targets < 1:
    raise ValueError(f'num_targets must be 1 or more, got {num_targets}.')
  return MODELS[name](config_model, num_targets)
