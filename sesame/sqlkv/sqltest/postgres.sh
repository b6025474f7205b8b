#!/bin/sh
# A PostgreSQL server for the tests, in a temporary directory and on a Unix
# socket in it. Prints "ready DIRECTORY" once it answers, runs until its
# standard input ends, which is also when the tests die, and cleans up.
# Exits with 3 if there is no PostgreSQL and it cannot be installed.
set -eu

find_bin() {
	for dir in $(ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin 2>/dev/null | sort -rV) $(dirname "$(command -v initdb || echo /none/)"); do
		if [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ] && [ -x "$dir/pg_isready" ]; then
			echo "$dir"
			return
		fi
	done
}

bin=$(find_bin)
if [ -z "$bin" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	{
		apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql
	} >&2 || true
	bin=$(find_bin)
fi
if [ -z "$bin" ]; then
	echo 'no PostgreSQL here: install the package postgresql' >&2
	exit 3
fi

# It refuses to run as root.
as=
dir=$(mktemp -d /tmp/sqltest-postgres.XXXXXX)
if [ "$(id -u)" = 0 ]; then
	chown postgres "$dir"
	as="setpriv --reuid=postgres --regid=$(id -g postgres) --clear-groups"
fi
cd "$dir"

server=
stop() {
	if [ -n "$server" ]; then
		$as "$bin/pg_ctl" -D "$dir/data" stop -m fast >/dev/null 2>&1 || kill "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
	fi
	cd /
	rm -rf "$dir"
}
trap stop EXIT
trap 'exit 1' INT TERM HUP

$as "$bin/initdb" -D "$dir/data" -U sotto -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$dir/initdb.log" 2>&1 || {
	cat "$dir/initdb.log" >&2
	exit 1
}
# All settings that matter to transactions are PostgreSQL's defaults. No power
# fails during the tests, so nothing is synced.
$as "$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c fsync=off >"$dir/server.log" 2>&1 </dev/null &
server=$!
tries=0
until "$bin/pg_isready" -q -h "$dir" -U sotto; do
	tries=$((tries + 1))
	if [ "$tries" -gt 300 ] || ! kill -0 "$server" 2>/dev/null; then
		cat "$dir/server.log" >&2
		exit 1
	fi
	sleep 0.2
done
echo "ready $dir"
cat >/dev/null
