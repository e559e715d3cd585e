#!/usr/bin/env bash
# Everything that makes sense on a GPU, in one call of under 9 minutes:
#
#   benchmarks/gpu/gpu.sh CARRIED RESULTS [--tiny]
#
# CARRIED is what benchmarks/gpu/carry.sh collected; gpu.md is written into
# RESULTS row by row. The machine has Python 3.12, jax, flax, optax, orbax and
# torch. --tiny makes all parts small enough for a CPU; its figures mean
# nothing. PYTHON and TORCH_PYTHON name other interpreters than python3, WORK a
# directory for the pack and the like, PARTS some of the parts alone, TOTAL the
# seconds after which the last part ends.
set -u -o pipefail

if [ $# -lt 2 ]; then
  sed -n '2,13s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
carried=$(realpath "$1")
mkdir -p "$2"
results=$(realpath "$2")
tiny=${3:-}
cd "$(dirname "$0")/../.." || exit
python=${PYTHON:-python3}
torch_python=${TORCH_PYTHON:-$python}
work=${WORK:-$(mktemp -d)}
mkdir -p "$work"

# PyTorch runs beside JAX's leftovers: nobody takes the whole memory at once.
export XLA_PYTHON_CLIENT_PREALLOCATE=false
# What is compiled here is not to be found compiled already.
export JAX_COMPILATION_CACHE_DIR="$work/compiled"
export TORCHINDUCTOR_CACHE_DIR="$work/inductor"
export PYTHONUNBUFFERED=1
if [ ! -d "$work/site" ]; then
  "$python" -m pip install --quiet --no-index --no-deps --no-compile \
    --disable-pip-version-check --target "$work/site" "$carried"/*.whl || exit
fi
export PYTHONPATH="$work/site"

failed=0
slower=1
if [ -n "$tiny" ]; then
  slower=10 # a CPU takes its time to compile
fi
total=$((slower * ${TOTAL:-530}))
# part SECONDS NAME MODULE ARGUMENTS: one that fails does not stop the others.
part() {
  local limit=$((slower * $1)) name=$2 interpreter=$3
  shift 3
  if [ -n "${PARTS:-}" ] && [[ " $PARTS " != *" $name "* ]]; then
    return
  fi
  local begin=$SECONDS status=0
  if [ $((total - SECONDS)) -lt "$limit" ]; then
    limit=$((total > SECONDS ? total - SECONDS : 1))
  fi
  timeout --kill-after=5 "$limit" "$interpreter" -m "$@" --work "$work" \
    --results "$results" $tiny || status=$?
  if [ $status != 0 ]; then
    failed=1
    printf '\n%s ended with status %s after %s s (124: its limit of %s s).\n' \
      "$name" "$status" "$((SECONDS - begin))" "$limit" |
      tee -a "$results/gpu.md"
  fi
  echo "[$name: $((SECONDS - begin)) s; $SECONDS s in all]" >&2
}

printf '# On a GPU\n' >"$results/gpu.md"
part 40 rates "$python" benchmarks.gpu.main rates
part 90 data "$python" benchmarks.gpu.main data "$carried/dsgdb9nsd.xyz.tar.bz2"
part 150 full "$python" benchmarks.gpu.main train qm9_density:full
part 50 full-torch "$torch_python" benchmarks.peers.gpu_torch qm9_density:full
# XLA puts channels first in 3-D convolutions; benchmarks.gpu.ahead_of_time shows it.
XLA_FLAGS="--xla_gpu_force_conv_nhwc=true ${XLA_FLAGS:-}" part 50 full-last \
  "$python" benchmarks.gpu.main throughput qm9_density:full --label 'channels last'
part 45 convs "$python" benchmarks.gpu.main convs qm9_density:full
part 110 real "$python" benchmarks.gpu.main real qm9_density:full
part 45 launch "$python" benchmarks.gpu.main launch qm9_density:full
part 80 default "$python" benchmarks.gpu.main train qm9_density:qm9_cpu
part 35 default-torch "$torch_python" benchmarks.peers.gpu_torch \
  qm9_density:qm9_cpu
part 60 atoms "$python" benchmarks.gpu.main throughput qm9_atoms:full
exit $failed
