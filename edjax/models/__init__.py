"""Voxel 3D CNNs: voxels in, predictions out."""

from edjax.models.network import Network
from edjax.models.registry import (
  MODELS,
  Architecture,
  build_model,
  fields_of,
)

__all__ = ['MODELS', 'Architecture', 'Network', 'build_model', 'fields_of']
