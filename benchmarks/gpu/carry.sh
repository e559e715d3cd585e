#!/usr/bin/env bash
# Collects what benchmarks/gpu/gpu.sh needs beside Python 3.12, jax, flax, optax,
# orbax and torch, for a machine that reaches no package index:
#
#   benchmarks/gpu/carry.sh DIR ARCHIVE
#
# DIR gets the wheels, and ARCHIVE (QM9's dsgdb9nsd.xyz.tar.bz2, or a part of
# it) beside them; all of it must stay below LIMIT_MIB (64).
set -euo pipefail

if [ $# != 2 ]; then
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
directory=$1
limit=$((${LIMIT_MIB:-64} * 1048576))

mkdir -p "$directory"
rm -f "$directory"/*.whl
# No dependencies: numpy and what comes with jax are there.
names='ml_collections|absl-py|PyYAML|six|tblite|cffi|pycparser|tqdm'
pins=$(grep -iE "^($names)==" "$(dirname "$0")/../../requirements.txt")
# shellcheck disable=SC2086
python3 -m pip download --quiet --no-deps --only-binary=:all: \
  --implementation cp --python-version 3.12 --abi cp312 --abi abi3 --abi none \
  --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
  --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
  --platform any -d "$directory" $pins
cp "$2" "$directory/dsgdb9nsd.xyz.tar.bz2"
size=$(du -sb "$directory" | cut -f1)
if [ "$size" -gt "$limit" ]; then
  echo "$directory holds $size bytes, more than $limit" >&2
  exit 1
fi
du -ab "$directory" | sort -n
