"""Sums of a few random Gaussians."""

import jax.numpy as jnp
import numpy as np


def random_gaussians(seed=0, n=6, channels=3, dtype=np.float32):
  """Draws coords_A3, weights_AC and sigma_A."""
  rng = np.random.default_rng(seed)
  coords = rng.normal(size=(n, 3))
  weights = rng.normal(size=(n, channels))
  sigma = rng.uniform(0.3, 1.2, n)
  return tuple(jnp.asarray(x, dtype) for x in (coords, weights, sigma))
