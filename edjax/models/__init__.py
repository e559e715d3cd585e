"""Voxel 3D CNNs: voxels in, predictions out."""

from edjax.models.network import Network
from edjax.models.registry import build_model

__all__ = ['Network', 'build_model']
