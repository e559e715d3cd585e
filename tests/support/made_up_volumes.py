"""Fields on small boxes that have no symmetry and lie off the origin."""

import dataclasses

import numpy as np

from edjax.export import Box, Volume

# A box that begins below 0 along two axes, with edges of three lengths.
BOX = Box(start=(-7, 13, -401), shape=(5, 8, 6), spacing=0.2)
NUMBERS = np.array([7, 6, 1])  # of an even number of electrons, for PySCF
# Å, from the first point; bonds that programs take for bonds.
PLACES = np.array([[0.11, 0.23, 0.37], [0.31, 1.37, 0.91], [0.97, 0.53, 1.13]])


def random_volume(unit='e/Å^3', **changes):
  """Returns values of many sizes and both signs, with three atoms."""
  rng = np.random.default_rng(0)
  exponents = rng.uniform(-12, 3, BOX.shape)
  signs = rng.choice([-1, 1], BOX.shape)
  fields = {
    'name': 'density',
    'unit': unit,
    'about': 'density=xtb',
    'values_XYZ': (signs * 10**exponents).astype(np.float32),
    'box': BOX,
    'numbers_A': NUMBERS,
    'coords_A3': BOX.origin_3 + PLACES,
    'groups_A': np.zeros(3, int),
  }
  return Volume(**fields | changes)


def gaussian_volume(name, place_3, width, around, unit=''):
  """Returns a Gaussian of peak 1 at a place.

  Args:
    name: of the field.
    place_3: of its centre, Å.
    width: standard deviation, Å.
    around: a `Volume` whose box and atoms it shares.
    unit: of the field.
  """
  box = around.box
  axes = [
    box.origin_3[i] + box.spacing * np.arange(box.shape[i]) for i in range(3)
  ]
  factors = [
    np.exp(-0.5 * ((x - at) / width) ** 2)
    for x, at in zip(axes, place_3, strict=True)
  ]
  values_XYZ = np.einsum('x,y,z->xyz', *factors).astype(np.float32)
  return dataclasses.replace(
    around, name=name, unit=unit, about='', values_XYZ=values_XYZ
  )
