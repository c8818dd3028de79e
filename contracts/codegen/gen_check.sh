#!/bin/sh
# Fails and names the files if gen/ differs from the output of `buf generate`.
set -eu
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
buf generate --output "$fresh"
diff --recursive --brief --exclude=__pycache__ "$fresh/gen" gen || {
    echo "gen/ is stale: run make gen" >&2
    exit 1
}
