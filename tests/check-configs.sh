#!/usr/bin/env bash
# Has the program itself check every gateway configuration that the repository ships.
set -euo pipefail
cd "$(dirname "$0")/.."

shopt -s nullglob
configs=(config/gateway*.yaml)
[ ${#configs[@]} -gt 0 ] || { echo 'no config/gateway*.yaml found' >&2; exit 1; }
for config in "${configs[@]}"; do
    echo "tollgate check --config $config"
    "${CARGO_TARGET_DIR:-target}/debug/tollgate" check --config "$config"
done
