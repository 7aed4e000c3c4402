#!/usr/bin/env bash
# Runs a command in the folder of every module of the workspace; fails when it failed in any of them.
set -u
cd "$(dirname "$0")/.."
failed=()
while read -r dir; do
	echo "== ${dir#"$PWD"/}"
	(cd "$dir" && "$@") || failed+=("${dir#"$PWD"/}")
done < <(go list -f '{{.Dir}}' -m)
if ((${#failed[@]})); then
	echo "failed in: ${failed[*]}" >&2
	exit 1
fi
