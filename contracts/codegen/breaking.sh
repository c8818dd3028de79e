#!/bin/sh
# breaking.sh BASE: fails when the contracts break those of the git ref BASE; skips where BASE or its contracts are missing.
set -eu
base=$(mktemp -d)
trap 'rm -rf "$base"' EXIT
if ! git archive --format=tar "$1" proto buf.yaml > "$base/base.tar" 2>/dev/null; then
    echo "no contracts in git ref $1 to compare with: skipped"
    exit 0
fi
# buf wants every module of buf.yaml in the archive, and third_party/ is not in git.
tar --append --file "$base/base.tar" third_party
buf breaking --against "$base/base.tar"
