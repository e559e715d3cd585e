"""A trunk of convolutions and a head.

Every network is called as `model.apply({'params': p}, vox_BXYZC, train=...,
rngs={'dropout': key})` and returns pred_BT in float32. There are no running
statistics: parameters are all that a network consists of.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from edjax.models.input_moments import power_moments
from edjax.models.standardise import Whiten


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

  def check(self, size: int) -> None:
    """Raises ValueError where the trunk cannot read grids of this edge."""
    if hasattr(self.trunk, 'check'):
      self.trunk.check((size,) * 3)

  def features(self, vox_BXYZC: jax.Array, train: bool) -> jax.Array:
    """Returns features_BF of the trunk in float32.

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
    """Returns the moments as the head sees them; None where it sees none."""
    if not self.input_moments:
      return None
    return self.whiten(power_moments(vox_BXYZC))

  def read_out(
    self, features_BF: jax.Array, vox_BXYZC: jax.Array, train: bool
  ) -> jax.Array:
    """Returns pred_BT from features of the trunk and the input's moments."""
    return self.head(features_BF, self.moments(vox_BXYZC), train)

  def __call__(self, vox_BXYZC: jax.Array, train: bool) -> jax.Array:
    """Returns pred_BT. Raises what `features` raises."""
    return self.read_out(self.features(vox_BXYZC, train), vox_BXYZC, train)
