"""The networks by name."""

from collections.abc import Callable, Mapping

from flax import linen as nn

from edjax.models.cnn3d import make_cnn3d
from edjax.models.layers import DTYPES, make_head
from edjax.models.network import Network
from edjax.models.resnet3d import make_resnet3d


def make_moments(config: Mapping, num_targets: int) -> nn.Module:
  """The head on the moments of the input, without a trunk."""
  return Network(None, make_head(config, num_targets), True)


MODELS: dict[str, Callable[[Mapping, int], nn.Module]] = {
  'cnn3d': make_cnn3d,
  'moments': make_moments,
  'resnet3d': make_resnet3d,
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
