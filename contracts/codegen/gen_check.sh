#!/bin/sh
# gen_check.sh WORKSPACE...: fails and names the files if gen/ of a workspace differs from the output of `buf generate`.
set -eu
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
for workspace in "$@"; do
    (cd "$workspace" && buf generate --output "$fresh/$workspace")
    diff --recursive --brief --exclude=__pycache__ "$fresh/$workspace/gen" "$workspace/gen" || {
        echo "$workspace/gen is stale: run make gen" >&2
        exit 1
    }
done
