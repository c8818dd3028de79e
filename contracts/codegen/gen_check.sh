#!/bin/sh
# Fails, naming the files, when gen/ is not what `buf generate` makes of proto/.
set -eu
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
buf generate --output "$fresh"
diff --recursive --brief --exclude=__pycache__ "$fresh/gen" gen || {
    echo "gen/ is stale: run make gen" >&2
    exit 1
}
