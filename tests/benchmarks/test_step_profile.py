"""The operations that a profile of a step counts as products."""

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.speed import step_profile


def test_products_are_told_from_passes():
  def f(x, w, kernel):
    y = jax.nn.relu(x @ w) - x.mean()
    grid = lax.conv_general_dilated(
      y.reshape(1, 16, 16, 64), kernel, (1, 1), 'SAME',
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )  # fmt: skip
    return jnp.sort(grid.sum((1, 2)))

  args = jnp.ones((256, 64)), jnp.ones((64, 64)), jnp.ones((3, 3, 64, 64))
  program = jax.jit(f).lower(*args).compile().as_text()
  names = step_profile.product_names(program)
  entry = program[program.index('ENTRY') :]
  # The product and the convolution by the names that a profile has; newer XLA
  # makes one operation of them.
  operations = {name for name in names if f'%{name} = ' in entry}
  assert 1 <= len(operations) <= 2
  run = jax.jit(f)
  jax.block_until_ready(run(*args))
  seconds = step_profile.operations(
    lambda: jax.block_until_ready(run(*args)), steps=2
  )
  assert all(seconds[name] > 0 for name in operations)
  others = {name: s for name, s in seconds.items() if name not in names}
  assert any('sort' in name for name in others)


def test_without_products_there_are_none():
  program = jax.jit(jnp.sin).lower(jnp.ones(8)).compile().as_text()
  assert step_profile.product_names(program) == set()
