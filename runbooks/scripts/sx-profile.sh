#!/usr/bin/env bash
# Moves one profile of the SX application between its modes. Every action may be repeated.
#   sx-profile.sh configured HOME            says whether the PostgreSQL credentials are configured; only looks
#   sx-profile.sh candidate HOME UNIT        starts UNIT.candidate, in POSTGRES_PRIMARY mode and without traffic
#   sx-profile.sh discard HOME UNIT          stops UNIT.candidate
#   sx-profile.sh freeze HOME                refuses writes, at once
#   sx-profile.sh thaw HOME                  takes writes again
#   sx-profile.sh switch HOME UNIT RUN       keeps api.env for RUN, sets POSTGRES_PRIMARY, restarts UNIT
#   sx-profile.sh back HOME UNIT RUN         puts the api.env of before RUN back, restarts UNIT, takes writes again
# HOME is the profile's directory; the mode lives in its api.env. `sx-service` restarts units: where systemd does,
# put a program of that name in front that calls systemctl.
set -euo pipefail

action=${1:?what to do is missing}
home=${2:?the directory of the profile is missing}
unit=${3:-}
run=${4:-}
env=$home/api.env
kept=$env.before-$run

fail() { echo "$*" >&2; exit 1; }
need() { [ -n "$unit" ] || fail "$action needs the unit; nothing was done"; }
[ -r "$env" ] || fail "$env cannot be read; nothing was done"

# write_mode FROM TO MODE: a copy of an environment file with another mode, whole or not at all.
write_mode() {
  local new
  new=$(mktemp "$home/.env.XXXXXX")
  { sed '/^SX_DB_BACKEND_MODE=/d' "$1"; echo "SX_DB_BACKEND_MODE=$3"; } >"$new"
  mv "$new" "$2"
}

case $action in
  configured)
    for name in SX_POSTGRES_DSN SX_POSTGRES_ADMIN_DSN; do
      grep -q "^$name=." "$env" || fail "$name is not set in $env"
    done
    echo "the PostgreSQL credentials are configured" ;;
  candidate)
    need
    write_mode "$env" "$home/candidate.env" POSTGRES_PRIMARY
    sx-service restart "$unit.candidate" ;;
  discard)
    need
    sx-service stop "$unit.candidate"
    rm -f "$home/candidate.env" ;;
  freeze) : >"$home/read-only" && echo "writes are refused" ;;
  thaw) rm -f "$home/read-only" && echo "writes are taken" ;;
  switch)
    need
    [ -n "$run" ] || fail "switch needs the run's id; nothing was done"
    # Only once: repeated, it would keep what it has set itself. Moved into place, so that it is whole or not there.
    if [ ! -e "$kept" ]; then
      new=$(mktemp "$home/.env.XXXXXX")
      cat "$env" >"$new"
      mv "$new" "$kept"
    fi
    write_mode "$env" "$env" POSTGRES_PRIMARY
    sx-service restart "$unit" ;;
  back)
    need
    if [ -n "$run" ] && [ -e "$kept" ]; then
      write_mode "$kept" "$env" SQLITE
    else
      write_mode "$env" "$env" SQLITE
    fi
    sx-service restart "$unit"
    rm -f "$home/read-only" ;;
  *) fail "there is no action $action; nothing was done" ;;
esac
