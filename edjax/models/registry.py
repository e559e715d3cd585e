"""The networks by name, and the fields of `config.model` that each reads."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple

from flax import linen as nn

from edjax.models.cnn3d import CNN3DHead, CNN3DTrunk
from edjax.models.layers import Head
from edjax.models.network import Network
from edjax.models.resnet3d import ResNetTrunk


class Architecture(NamedTuple):
  """The parts of a network; their fields are fields of `config.model`.

  A field's type says what it may be: bool, str, Literal, int, float or
  tuple[int, ...], the numbers with bounds as in `Annotated[int, 1]` (1 or more)
  and `Annotated[float, 0, 0.99]`. One with a default may be left out.

  Attributes:
    trunk: module, (vox_BXYZC, train) -> features_BF; None: the network has
      none. It may have a method `check(grid_3)`, which raises ValueError for a
      grid that it cannot read.
    head: module with a field num_targets beside those of `config.model`,
      (features_BF, moments_BF or None, train) -> pred_BT.
    input_moments: whether the head sees the input's moments; None: as
      `config.model.input_moments` says.
  """

  trunk: type[nn.Module] | None
  head: type[nn.Module] = Head
  input_moments: bool | None = None


MODELS: dict[str, Architecture] = {
  'cnn3d': Architecture(CNN3DTrunk, CNN3DHead, input_moments=False),
  'moments': Architecture(None, input_moments=True),
  'resnet3d': Architecture(ResNetTrunk),
}
# Fields of modules that are no fields of `config.model`.
_OTHERS = {'num_targets', 'parent', 'name'}


class Field(NamedTuple):
  """A field of `config.model`: its type, and its default where it has one."""

  hint: Any
  default: Any = dataclasses.MISSING


def fields_of(name: str) -> dict[str, Field]:
  """Returns the fields of `config.model` that a network reads."""
  architecture = MODELS[name]
  fields = {}
  for part in filter(None, (architecture.trunk, architecture.head)):
    fields |= _fields(part)
  if architecture.input_moments is None:
    fields['input_moments'] = Field(bool)
  return fields


def _fields(module: type[nn.Module]) -> dict[str, Field]:
  hints = typing.get_type_hints(module, include_extras=True)
  return {
    field.name: Field(hints[field.name], field.default)
    for field in dataclasses.fields(module)
    if field.name not in _OTHERS
  }


def build_model(config_model: Mapping, num_targets: int) -> Network:
  """Returns the network that a configuration describes.

  Args:
    config_model: `config.model`: name, and `fields_of` it.
    num_targets: number of values predicted per example.

  Returns:
    A Flax module, called with (vox_BXYZC, train) and giving pred_BT.

  Raises:
    ValueError: for an unknown name.
  """
  name = config_model['name']
  if name not in MODELS:
    raise ValueError(
      f'model.name must be one of {sorted(MODELS)}, got {name!r}.'
    )
  trunk, head, input_moments = MODELS[name]
  if input_moments is None:
    input_moments = config_model['input_moments']

  def build(part, **others):
    fields = {field: config_model[field] for field in _fields(part)}
    return part(**fields, **others)

  return Network(
    trunk and build(trunk), build(head, num_targets=num_targets), input_moments
  )
