#!/bin/sh
# breaking.sh [BASE]: fails if the contracts break those of the git ref BASE, or if there is no BASE with contracts.
# Without an argument, BASE is main, and the check is skipped in a clone without a branch main.
set -eu
ref=${1:-main}
base=$(mktemp -d)
trap 'rm -rf "$base"' EXIT
if ! git archive --format=tar "$ref" proto buf.yaml > "$base/base.tar" 2>/dev/null; then
    if [ $# -gt 0 ]; then
        echo "BASE=$ref: this clone has no such git ref with contracts. Fetch it first." >&2
        exit 1
    fi
    echo "skipped: this clone has no git ref main with contracts. Name another one, as in BASE=origin/main."
    exit 0
fi
# buf needs every module of buf.yaml in the archive, but third_party/ is not in git.
tar --append --file "$base/base.tar" third_party
status=0
buf breaking --against "$base/base.tar" || status=1
# Finds the changes of policies, rules and events, which buf does not see.
python -m contracts diff "$ref" || status=1
exit $status
