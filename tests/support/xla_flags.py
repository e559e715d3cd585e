"""Flags of XLA for small programs, most of whose time is compilation."""

import importlib.metadata

# The last level of optimisation takes half of the time, and the division of
# each program among threads a fifth of the rest.
QUICK = (
  '--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1'
)
# So do newer emitters of fused loops two fifths. Later versions have no others,
# and end on a flag that they do not know.
if importlib.metadata.version('jaxlib').startswith('0.10.'):
  QUICK += ' --xla_cpu_use_fusion_emitters=false'


def on_devices(count: int) -> str:
  """Returns the flags for so many forced CPU devices."""
  return f'--xla_force_host_platform_device_count={count} {QUICK}'
