#!/bin/sh
# breaking.sh BASE: fails if the contracts break those of the git ref BASE; skips if BASE or its contracts are missing.
set -eu
base=$(mktemp -d)
trap 'rm -rf "$base"' EXIT
if ! git archive --format=tar "$1" proto buf.yaml > "$base/base.tar" 2>/dev/null; then
    echo "skipped: this clone has no git ref $1 with contracts; fetch it, or name another one, as in BASE=origin/main"
    exit 0
fi
# buf needs every module of buf.yaml in the archive, but third_party/ is not in git.
tar --append --file "$base/base.tar" third_party
buf breaking --against "$base/base.tar"
