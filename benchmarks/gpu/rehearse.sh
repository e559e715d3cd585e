#!/usr/bin/env bash
# Rehearses both calls of docs/gpu.md on a CPU, with the versions of a card:
#
#   benchmarks/gpu/rehearse.sh DIR CARRIED
#
# CARRIED is what benchmarks/gpu/carry.sh collected. DIR gets an environment, which
# is kept, and the tables in speed/ and science/. PYTHON312 names Python 3.12,
# TORCH_PYTHON an interpreter that has PyTorch and numpy: without it pip installs
# PyTorch, with CUDA unless it is given an index of CPU builds.
set -euo pipefail

if [ $# != 2 ]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
mkdir -p "$1"
directory=$(realpath "$1")
carried=$(realpath "$2")
cd "$(dirname "$0")/../.."
export PYTHON="$directory/venv/bin/python" WORK="$directory/work"
if [ ! -x "$PYTHON" ]; then
  "${PYTHON312:-python3.12}" -m venv "$directory/venv"
fi
mapfile -t pins < <(grep -E '^(flax|optax|orbax-checkpoint)==' requirements.txt)
[ -n "${TORCH_PYTHON:-}" ] || pins+=('torch==2.11.*')
"$PYTHON" -m pip install --quiet jax==0.11.2 "${pins[@]}"
rm -rf "$WORK" "$directory/speed" "$directory/science"
status=0
for call in speed science; do
  benchmarks/gpu/gpu.sh "$call" "$carried" "$directory/$call" --tiny || status=1
done
exit $status
