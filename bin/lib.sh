# Shared by the scripts in bin/: says what it does, installs what is missing. Sourced, never run.
# shellcheck shell=bash

say() { printf '\033[1m%s\033[0m %s\n' "pointsman:" "$*" >&2; }
die() { say "$*"; exit 1; }

# need PACKAGE COMMAND...: makes sure that every COMMAND can be found, else installs the Debian PACKAGE.
need() {
  local package=$1 missing=() command
  shift
  for command in "$@"; do
    command -v "$command" >/dev/null 2>&1 || [ -x "$(pg_bin)/$command" ] || missing+=("$command")
  done
  [ ${#missing[@]} -eq 0 ] || install_package "$package" "${missing[*]}"
}

# install_package PACKAGE WHAT: installs the Debian PACKAGE, in which WHAT is.
install_package() {
  local package=$1 what=$2
  command -v apt-get >/dev/null 2>&1 || die "$what not found; install what your system calls \`$package\` and try again"
  [ "$(id -u)" = 0 ] || die "$what not found; run \`apt-get install $package\` as root and try again"
  say "installing the Debian package $package (for $what)"
  update_packages
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >&2 ||
    die "could not install $package; nothing was started"
}

# Reads Debian's lists of packages, once.
update_packages() {
  [ -z "${APT_UPDATED:-}" ] || return 0
  apt-get update -qq >&2 || die "apt-get update failed; check the package sources and try again"
  APT_UPDATED=1
}

# The folder with initdb, postgres and pg_ctl: Debian keeps them off the PATH. Prints nothing when there is none.
pg_bin() {
  local newest
  newest=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
  if [ -d "$newest" ]; then echo "$newest"; elif command -v pg_ctl >/dev/null 2>&1; then dirname "$(command -v pg_ctl)"; fi
}

# The server refuses to run as root: as root, run it as the unprivileged user `postgres` (made by the package).
as_server_user() {
  if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --init-groups env HOME="$PG_DIR" "$@"; else "$@"; fi
}

# start_postgres: a throw-away cluster on a free loopback port. Sets PG_DIR and PG_URL; stop_postgres ends it. It does
# not outlive the script, not even one that is killed: a keeper reads from a pipe that nobody but the script holds open,
# and ends the server when the pipe closes. Hence PG_LEASH, the pipe's number, must be closed for every program that is
# started meanwhile and could outlive the script: `program {PG_LEASH}>&-`.
start_postgres() {
  local bin port try
  bin=$(pg_bin)
  PG_DIR=$(mktemp -d /tmp/pointsman-test-XXXXXX)
  exec {PG_LEASH}> >(trap '' INT TERM HUP; cat >/dev/null; end_postgres)
  PG_KEEPER=$!
  [ "$(id -u)" = 0 ] && chown postgres:postgres "$PG_DIR"
  (cd "$PG_DIR" && as_server_user "$bin/initdb" -D "$PG_DIR/data" -U pointsman -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$PG_DIR/initdb.log" 2>&1) {PG_LEASH}>&- ||
    { cat "$PG_DIR/initdb.log" >&2; die "initdb failed"; }
  for try in 1 2 3 4 5 6 7 8 9 10; do
    port=$((20000 + (RANDOM % 12000)))
    if (cd "$PG_DIR" && as_server_user "$bin/pg_ctl" -D "$PG_DIR/data" -w -t 60 -s -l "$PG_DIR/server.log" \
      -o "-p $port -h 127.0.0.1 -k $PG_DIR -c fsync=off -c full_page_writes=off -c synchronous_commit=off -c max_connections=300 -c max_wal_size=4GB" start >&2) {PG_LEASH}>&-; then
      # Read by the script that sourced this file.
      # shellcheck disable=SC2034
      PG_URL="postgres://pointsman@127.0.0.1:$port/postgres"
      return 0
    fi
    [ "$try" = 10 ] && { tail -n 20 "$PG_DIR/server.log" >&2; die "the test PostgreSQL server did not start"; }
  done
}

# Lets the keeper end the server, and waits for it.
stop_postgres() {
  [ -n "${PG_KEEPER:-}" ] || return 0
  exec {PG_LEASH}>&-
  wait "$PG_KEEPER" || true
  PG_KEEPER=
}

# Ends the server and takes its files away.
end_postgres() {
  (cd / && as_server_user "$(pg_bin)/pg_ctl" -D "$PG_DIR/data" -m immediate -s stop >/dev/null 2>&1)
  rm -rf "$PG_DIR"
}
