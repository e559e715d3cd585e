"""Sums of Gaussians, whole or truncated, each added to the voxels near it.

A Gaussian that is narrow against the box is zero in most of it. Here each is
added in turn to a window of voxels. Windows have a few sizes, since shapes are
static; the largest is the whole grid, so that no width is too large. Gaussians
that reach no voxel, and padding, are not visited. What is left out of the sums
of `gaussians` is below the rounding of float32 beside the peak; nothing is left
out of those of `truncated_gaussians`, whose windows are about half as wide.

CPUs use this form, since rows of a window stay in the cache; accelerators want
the one matrix product of `gaussians`, or the whole layers of
`truncated_gaussians`. Under `vmap` one loop adds all atoms of a batch to the
batch's grids, so that nothing is cleared or copied for each molecule.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from edjax.grid import Grid
from edjax.kernels import gaussians, truncated_gaussians

# In standard deviations: there a Gaussian is 9e-8 of its peak, the rounding of
# float32.
_REACH = 5.7
# Edges of windows, voxels; the grid itself is the last one. Where the blur of
# the promolecule is tied to the spacing, 12 holds the narrowest Gaussians and
# 18 most. Each takes time to compile.
_EDGES = (12, 18, 24)
# Numbers in a row of a window from where on compiled loops are vectorised; a
# row that would be shorter is the whole row of the grid, except of truncated
# Gaussians, where a number takes as long as several.
_ROW = 48
# A matrix product does several times as many multiplications a second.
_SHARE = 0.25


def edge(
  sigma: float, grid: Grid, supersample: int = 1, truncated: bool = False
) -> int:
  """Counts the voxels along an edge of the window of a Gaussian.

  Args:
    sigma: its standard deviation, Å.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.
    truncated: whether it is one of `truncated_gaussians`.
  """
  reach = _reach(sigma, grid, supersample, truncated)
  return min(math.floor(2 * reach / grid.spacing) + 1, grid.size)


def pays(
  sigma: float, grid: Grid, channels: int, truncated: bool = False
) -> bool:
  """Returns whether windows are less work than the sums over all voxels.

  Args:
    sigma: a typical standard deviation, Å.
    grid: voxels.
    channels: how many there are.
    truncated: whether Gaussians are `truncated_gaussians`, of which a voxel is
      as much work in a window as elsewhere.
  """
  if truncated:
    return True
  window = edge(sigma, grid)
  row = _row(window, grid, channels)
  wide_enough = row * channels >= _ROW
  return wide_enough and window**2 * row <= _SHARE * grid.size**3


def splat_grid(
  coords_A3: jax.Array,
  weights_AC: jax.Array,
  sigma_A: jax.Array,
  grid: Grid,
  supersample: int = 1,
  sigma: float | None = None,
  truncated: bool = False,
) -> jax.Array:
  """Computes `gaussians.splat_grid`, up to float32 rounding of the peak.

  Args:
    coords_A3: centres, Å.
    weights_AC: integral of each centre's Gaussian in each channel.
    sigma_A: standard deviations, Å, above 0.
    grid: voxels.
    supersample: as in `gaussians.splat_grid`.
    sigma: the standard deviation where it is the same for all and known:
      there is then one size of windows.
    truncated: computes `truncated_gaussians.splat_grid` instead.

  Returns:
    vox_XYZC, weights per Å^3. Derivatives are those of sums over all voxels.
  """
  return _splat(
    grid, supersample, sigma, truncated, coords_A3, weights_AC, sigma_A
  )


def splat_grid_and_gradient(
  coords_A3: jax.Array,
  weights_AC: jax.Array,
  sigma_A: jax.Array,
  grid: Grid,
  supersample: int = 1,
) -> tuple[jax.Array, jax.Array]:
  """Computes `gaussians.splat_grid_and_gradient` likewise; see `splat_grid`.

  Returns:
    vox_XYZC, and its derivatives along x, y and z, [3, X, Y, Z, C].
  """
  return _splat_and_gradient(grid, supersample, coords_A3, weights_AC, sigma_A)


def _add_up(coords_A3, weights_AC, sigma_A, **options) -> tuple[jax.Array, ...]:
  """Calls `_windows` for one molecule, or under `vmap` for a batch."""

  @jax.custom_batching.custom_vmap
  def one(*terms):
    sums = _windows(*(x[None] for x in terms), **options)
    return tuple(x[0] for x in sums)

  @one.def_vmap
  def many(size, batched, *terms):
    terms = (
      x if is_batched else jnp.broadcast_to(x, (size, *x.shape))
      for x, is_batched in zip(terms, batched, strict=True)
    )
    sums = _windows(*terms, **options)
    return sums, (True,) * len(sums)

  return one(coords_A3, weights_AC, sigma_A)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2, 3))
def _splat(grid, supersample, sigma, truncated, coords_A3, weights_AC, sigma_A):
  return _add_up(
    coords_A3, weights_AC, sigma_A,
    grid=grid, supersample=supersample, sigma=sigma, slopes=False,
    truncated=truncated,
  )[0]  # fmt: skip


@_splat.defjvp
def _splat_jvp(grid, supersample, sigma, truncated, primals, tangents):
  sums = truncated_gaussians if truncated else gaussians

  def whole(*args):
    return sums.splat_grid(*args, grid, supersample)

  value = _splat(grid, supersample, sigma, truncated, *primals)
  return value, jax.jvp(whole, primals, tangents)[1]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _splat_and_gradient(grid, supersample, coords_A3, weights_AC, sigma_A):
  vox_XYZC, *slopes = _add_up(
    coords_A3, weights_AC, sigma_A,
    grid=grid, supersample=supersample, sigma=None, slopes=True,
    truncated=False,
  )  # fmt: skip
  return vox_XYZC, jnp.stack(slopes)


@_splat_and_gradient.defjvp
def _splat_and_gradient_jvp(grid, supersample, primals, tangents):
  def whole(*args):
    return gaussians.splat_grid_and_gradient(*args, grid, supersample)

  value = _splat_and_gradient(grid, supersample, *primals)
  return value, jax.jvp(whole, primals, tangents)[1]


def _windows(
  coords_BA3, weights_BAC, sigma_BA,
  *, grid, supersample, sigma, slopes, truncated,
):  # fmt: skip
  """Returns (vox_BXYZC,), with `slopes` followed by its three derivatives."""
  batch, atoms, channels = weights_BAC.shape
  n = grid.size
  coords_A3 = coords_BA3.reshape(-1, 3)
  weights_AC = weights_BAC.reshape(-1, channels)
  sigma_A = sigma_BA.reshape(-1)
  dtype = coords_A3.dtype
  if sigma is None:
    edges = (*(e for e in _EDGES if e < n), n)
  else:
    edges = (edge(sigma, grid, supersample, truncated),)
  reach_A = _reach(sigma_A, grid, supersample, truncated)
  border = (n - 1) / 2 * grid.spacing
  seen_A = jnp.all(jnp.abs(coords_A3) <= border + reach_A[:, None], axis=1)
  seen_A = seen_A & jnp.any(weights_AC != 0, axis=1)
  needed_A = jnp.floor(2 * reach_A / grid.spacing) + 1
  size_A = jnp.zeros(len(coords_A3), jnp.int32)
  for smaller in edges[:-1]:
    size_A = size_A + (needed_A > smaller).astype(jnp.int32)
  size_A = jnp.where(seen_A, size_A, len(edges))
  # Sort by window, so that each has one loop; atoms out of reach come last.
  size_A, order_A = jax.lax.sort(
    (size_A, jnp.arange(len(coords_A3), dtype=jnp.int32)), num_keys=1
  )
  rows_AF = jnp.concatenate(
    [coords_A3, sigma_A[:, None], reach_A[:, None]], axis=1
  )
  if truncated:
    weights_AC = weights_AC / gaussians.peak_to_integral(sigma_A)[:, None]
  longest = _row(edges[-1], grid, channels, truncated)
  tiled_AR = jnp.tile(weights_AC, (1, longest))
  vox = (jnp.zeros((batch, n, n, n * channels), dtype),) * (4 if slopes else 1)
  begin = jnp.zeros((), jnp.int32)
  for size, window in enumerate(edges):
    end = begin + jnp.sum(size_A == size, dtype=jnp.int32)
    row = _row(window, grid, channels, truncated)

    def add(i, vox, window=window, row=row):
      atom_F = rows_AF[order_A[i]]
      coords_3, reach = atom_F[:3], atom_F[4]
      first_3 = jnp.ceil((coords_3 - reach + border) / grid.spacing)
      last = jnp.asarray([n - window, n - window, n - row], dtype)
      first_3 = jnp.clip(first_3, 0, last)
      weights = tiled_AR[order_A[i], : row * channels]
      if truncated:
        d_3RS = _offsets(grid, supersample, coords_3, first_3, row, channels)
        shape_XYR = _truncated_shape(d_3RS / atom_F[3], window)
        terms = [shape_XYR * weights[None, None]]
      else:
        line = functools.partial(_line, atom_F[3], grid, supersample, slopes)
        x = line(coords_3[0], first_3[0], window)
        y = line(coords_3[1], first_3[1], window)
        z = line(coords_3[2], first_3[2], row, channels)
        factors = [(x[0], y[0], z[0])]
        if slopes:
          factors += [(x[1], y[0], z[0]), (x[0], y[1], z[0])]
          factors += [(x[0], y[0], z[1])]
        terms = [
          (x[:, None] * y[None, :])[:, :, None] * (z * weights)[None, None]
          for x, y, z in factors
        ]
      at = first_3.astype(jnp.int32)
      zero = jnp.zeros_like(at[0])
      molecule = order_A[i] // np.int32(atoms)
      at = (molecule, at[0], at[1], at[2] * channels if row < n else zero)
      shape = (1, window, window, row * channels)
      sums = []
      for old, term in zip(vox, terms, strict=True):
        new = jax.lax.dynamic_slice(old, at, shape) + term[None]
        sums.append(jax.lax.dynamic_update_slice(old, new, at))
      return tuple(sums)

    vox = jax.lax.fori_loop(begin, end, add, vox)
    begin = end
  return tuple(sums.reshape(batch, n, n, n, channels) for sums in vox)


def _line(sigma, grid, supersample, slopes, coord, first, count, copies=1):
  """Returns a 1-D Gaussian in a window, and its derivative.

  Each value is repeated `copies` times, once for each channel.
  """
  dtype = coord.dtype
  border = (grid.size * supersample - 1) / 2
  inside = np.arange(count * supersample).reshape(count, supersample)
  inside = np.repeat(inside, copies, axis=0)
  steps = first * supersample + jnp.asarray(inside, dtype)
  d = (steps - border) * (grid.spacing / supersample) - coord
  values = jnp.exp(-(d**2) * (0.5 / sigma**2))
  values = values / (math.sqrt(2 * math.pi) * sigma)
  lines = [values, values * d / sigma**2] if slopes else [values]
  return [jnp.mean(line, axis=1) for line in lines]


def _offsets(
  grid, supersample, coords_3, first_3, count, channels
) -> jax.Array:
  """Returns coordinates of a window relative to an atom, Å: [3, R, S].

  Those along z are repeated for each channel. The lines along x and y are
  shorter, and what follows them is not used: three lines at once are one loop.
  """
  dtype = coords_3.dtype
  border = (grid.size * supersample - 1) / 2
  inside = np.arange(count * channels * supersample).reshape(-1, supersample)
  along_z = np.repeat(inside[:count], channels, axis=0)
  inside = jnp.asarray(np.stack([inside, inside, along_z]), dtype)
  steps = first_3[:, None, None] * supersample + inside
  steps = (steps - border) * (grid.spacing / supersample)
  return steps - coords_3[:, None, None]


def _truncated_shape(t_3RS, window) -> jax.Array:
  """Returns a truncated Gaussian of peak 1 in a window: [X, Y, R].

  Where it is a Gaussian it is a product of factors: an exponential for every
  voxel and channel would take longer than all the rest.

  Args:
    t_3RS: `_offsets` in standard deviations.
    window: edge of the window, voxels.
  """

  def outer(operation, x_3RS):
    lines = x_3RS[0, :window], x_3RS[1, :window], x_3RS[2]
    return functools.reduce(operation.outer, lines)

  t2_3RS = t_3RS**2
  t2 = outer(jnp.add, t2_3RS)
  whole = outer(jnp.multiply, jnp.exp(-t2_3RS / 2))
  near = t2 <= truncated_gaussians.BEGIN**2
  values = jnp.where(near, whole, truncated_gaussians.tail(t2))
  return jnp.mean(values, axis=(1, 3, 5))


def _reach(sigma, grid: Grid, supersample: int, truncated: bool = False):
  """Returns the distance, Å, up to which sub-points of a voxel see a centre."""
  deviations = truncated_gaussians.END if truncated else _REACH
  return (
    deviations * sigma + (supersample - 1) / (2 * supersample) * grid.spacing
  )


def _row(
  window: int, grid: Grid, channels: int, truncated: bool = False
) -> int:
  """Counts the voxels along z of a window."""
  return window if truncated or window * channels >= _ROW else grid.size
