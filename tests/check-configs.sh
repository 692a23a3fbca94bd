#!/usr/bin/env bash
# Has the program itself check every gateway configuration that the repository ships, and run every
# test of its policies.
set -euo pipefail
cd "$(dirname "$0")/.."

# What a deployment has in its environment. A configuration that needs more fails here until it is
# stated, which is when its documentation is written too.
export DATABASE_URL=postgres://gateway@127.0.0.1/gateway
export LOGIN_PEPPER=a-pepper-for-accounts-of-32-bytes-and-more
export REDIS_URL=redis://127.0.0.1
export SUPABASE_URL=https://project.example.com
export SUPABASE_JWT_SECRET=0123456789abcdef0123456789abcdef
export SUPABASE_PUBLISHABLE_KEY=sb_publishable_0123456789abcdef
export SUPABASE_SECRET_KEY=sb_secret_0123456789abcdef
export TOLLGATE_DEMO_UPSTREAM=127.0.0.1:3000
export TOLLGATE_DEMO_SECRET=0123456789abcdef0123456789abcdef

tollgate=${CARGO_TARGET_DIR:-target}/debug/tollgate

for config in config/*.yaml config/demo/*.yaml policies/*/gateway.yaml; do
    # Directories and policies are checked with the gateway that names them.
    grep -q '^policies:' "$config" || continue
    echo "tollgate check --config $config"
    "$tollgate" check --config "$config"
done

echo "tollgate test policies lua-free-rules"
"$tollgate" test policies lua-free-rules
