#!/usr/bin/env bash
# Measures edjax on a GPU, in two calls on one machine (docs/gpu.md):
#
#   benchmarks/gpu/gpu.sh speed|science CARRIED RESULTS [--tiny]
#
# CARRIED is what benchmarks/gpu/carry.sh collected; tables are appended to gpu.md
# in RESULTS row by row. The machine has Python 3.12, jax, flax, optax, orbax and
# torch. --tiny makes all parts small enough for a CPU; its figures mean nothing.
# PYTHON and TORCH_PYTHON name other interpreters than python3, WORK the directory
# that `speed` fills for `science`.
set -u -o pipefail

if [ $# -lt 3 ]; then
  sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
call=$1
carried=$(realpath "$2")
mkdir -p "$3" "${WORK:=/tmp/edjax-gpu}"
results=$(realpath "$3")
work=$(realpath "$WORK")
tiny=${4:-}
cd "$(dirname "$0")/../.." || exit
python=${PYTHON:-python3}

# PyTorch runs beside JAX's leftovers: nobody takes the whole memory at once.
export XLA_PYTHON_CLIENT_PREALLOCATE=false
# Small programs are kept, too: compiling them again takes each process seconds.
export JAX_COMPILATION_CACHE_DIR="$work/compiled"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
export TORCHINDUCTOR_CACHE_DIR="$work/inductor"
export PYTHONUNBUFFERED=1 PYTHONPATH="$work/site"
if [ ! -d "$work/site" ]; then
  "$python" -m pip install --quiet --no-index --no-deps --no-compile \
    --disable-pip-version-check --target "$work/site" "$carried"/*.whl || exit
fi

failed=0
slower=1
if [ -n "$tiny" ]; then
  slower=10 # a CPU takes its time to compile
fi
say() {
  failed=1
  printf '\n%s\n' "$*" | tee -a "$results/gpu.md"
}
# part SECONDS NAME MODULE ARGUMENTS: one that fails does not stop the others.
part() {
  local limit=$((slower * $1)) name=$2 begin=$SECONDS status=0
  local left=$((slower * total - SECONDS))
  shift 2
  if [ "$left" -lt 15 ]; then
    say "$name did not start: $left s were left."
    return
  fi
  limit=$((limit < left ? limit : left))
  timeout --kill-after=5 "$limit" "$python" -m "$@" --work "$work" \
    --results "$results" $tiny || status=$?
  if [ $status != 0 ]; then
    say "$name ended with status $status after $((SECONDS - begin)) s (124:" \
      "its limit of $limit s)."
  fi
  echo "[$name: $((SECONDS - begin)) of $limit s; $SECONDS s in all]" >&2
}

gpu=benchmarks.gpu.main
if [ "$call" = speed ]; then
  total=430
  printf '# On a GPU\n' >"$results/gpu.md"
  part 30 rates $gpu rates
  part 80 data $gpu data "$carried/dsgdb9nsd.xyz.tar.bz2"
  part 75 atoms $gpu train qm9_atoms:full
  part 65 full $gpu train qm9_density:full
  part 50 plan $gpu plan
  python=${TORCH_PYTHON:-$python} part 70 torch benchmarks.peers.gpu_torch qm9_atoms:full
  part 50 convs $gpu convs qm9_density:full
else
  total=330
  for arm in atoms density atoms_density promolecule; do
    part 68 "$arm" $gpu arm "$arm"
  done
  JAX_PLATFORMS=cpu part 25 after $gpu after
  part 33 launch $gpu launch qm9_density:full
fi
exit $failed
