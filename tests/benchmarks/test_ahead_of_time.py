"""Reading compiled programs, for benchmarks/gpu/ahead_of_time.py."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.gpu import ahead_of_time

CONV = (
  '  %c.1 = (bf16[2,4,8]{2,1,0}, u8[16]{0}) custom-call(%x, %w), '
  'custom_call_target="__cudnn$convForward"\n'
)
PROGRAM = (
  '%inner (a: f32[9]) -> f32[9] {\n'
  '  %a = f32[9]{0} parameter(0)\n'
  '  ROOT %n = f32[9]{0} negate(%a)\n'
  '}\n'
  '\n'
  'ENTRY %main (x: bf16[2,4,8]) -> f32[3] {\n'
  '  %x = bf16[2,4,8]{2,1,0} parameter(0)\n'
  '  %w = bf16[4,4]{1,0} parameter(1)\n' + CONV + '  %g.1 = '
  'bf16[2,4,8]{2,1,0} get-tuple-element(%c.1), index=0\n'
  '  %d.1 = f32[3]{0} custom-call(%g.1), custom_call_target="__cublas$gemm"\n'
  '  %r.1_reduce = f32[3]{0} fusion(%d.1, %g.1), kind=kInput, calls=%inner\n'
  '  ROOT %f.1 = f32[3]{0} fusion(%d.1), kind=kLoop, calls=%inner\n'
  '}\n'
)


def test_traffic_counts_what_kernels_read_and_write():
  found = ahead_of_time.traffic(PROGRAM)
  x, w, out = 2 * 64, 2 * 16, 4 * 3
  assert found == {
    'convolutions': x + w + (x + 16),
    'matrix products': x + out,
    'reductions': out + x + out,
    'others': out + out,
  }
  # What is inside of a computation that is called does not count again.
  longer = PROGRAM.replace('f32[9]{0} negate', 'f32[900]{0} negate')
  assert ahead_of_time.traffic(longer) == found


def test_traffic_of_a_program_of_the_compiler():
  """A sum of two arrays, once through memory."""
  n = 1024
  f = jax.jit(lambda a, b: jnp.sin(a) + jnp.cos(b))
  text = f.lower(jnp.zeros(n), jnp.zeros(n)).compile().as_text()
  assert sum(ahead_of_time.traffic(text).values()) == 3 * 4 * n


def test_embedded_molecules_take_the_place_of_qm9():
  options = type('Options', (), {'batch': 8, 'data_dir': '', 'manual_dir': ''})
  whole = ahead_of_time.configuration('qm9_density:full', options)
  assert whole.data.name == 'qm9_mini'
  assert (whole.train.batch_size, whole.train.steps_per_call) == (8, 1)
  small = ahead_of_time.configuration('qm9_density:full', options, 16)
  assert small.representation.grid_size == 16
  assert small.representation.spacing * 16 == pytest.approx(
    whole.representation.spacing * whole.representation.grid_size
  )
