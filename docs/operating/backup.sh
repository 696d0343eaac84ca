#!/bin/sh
# Copies the append-only file of a running server, on the machine of the server:
#
#   REDISCLI_AUTH=… CLI="valkey-cli -p 6379" sh backup.sh /backups/2026-11-30
#
# No rewrite may replace its files meanwhile. Commands go on: a copy ends with one of them, and the last one may be cut
# off, which the server drops when it loads the copy.
set -eu
cli=${CLI:-valkey-cli}
target=$1

value_of() { $cli CONFIG GET "$1" | tail -n 1; }
is_rewriting() { $cli INFO persistence | grep -Eq '^aof_rewrite_(in_progress|scheduled):1'; }

percentage=$(value_of auto-aof-rewrite-percentage)
trap '$cli CONFIG SET auto-aof-rewrite-percentage "$percentage" > /dev/null' EXIT
$cli CONFIG SET auto-aof-rewrite-percentage 0 > /dev/null
seconds=0
while is_rewriting; do
    [ "$seconds" -lt 3600 ] || { echo "the rewrite of the append-only file does not end" >&2; exit 1; }
    sleep 1
    seconds=$((seconds + 1))
done
mkdir "$target"
cp -pR "$(value_of dir)/$(value_of appenddirname)" "$target/"
