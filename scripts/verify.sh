#!/usr/bin/env bash
# Checks what a reviewer would: the generated code is that of the protobuf files, contracts are only added to, modules are
# tidy, everything is formatted, and each service builds without the workspace, as its image does.
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/.tools

fail() { echo "verify: $1" >&2; exit 1; }

if [ -n "$(git status --porcelain -- proto)" ]; then
	git status --short -- proto
	fail "proto: generated code differs from what is committed; run 'make proto' and commit"
fi

unformatted=$(git ls-files '*.go' | xargs gofmt -l)
[ -z "$unformatted" ] || fail "not formatted (make fmt): $unformatted"

# The contract as it was: on main for a branch, one commit back on main itself.
base=$(git merge-base HEAD origin/main 2>/dev/null || true)
if [ -z "$base" ] || [ "$base" = "$(git rev-parse HEAD)" ]; then
	base=$(git rev-parse -q --verify 'HEAD~1' || true)
fi
if [ -n "$base" ] && git cat-file -e "$base:proto/buf.yaml" 2>/dev/null; then
	(cd proto && "$tools/buf" breaking --against "../.git#ref=$base,subdir=proto") || fail "proto: a contract was changed, not added to"
fi

while read -r dir; do
	(cd "$dir" && GOWORK=off go mod tidy -diff >/dev/null) || fail "$dir: go.mod is not tidy; run 'GOWORK=off go mod tidy' there"
	(cd "$dir" && GOWORK=off go build -o /dev/null ./... ) || fail "$dir: does not build alone"
done < <(go list -f '{{.Dir}}' -m)
echo "verify: ok"
