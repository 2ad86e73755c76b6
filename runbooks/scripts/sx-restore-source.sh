#!/usr/bin/env bash
# Puts one source back to what a snapshot holds of it: its schema and its row in the registry, in one transaction.
# Other sources are not touched: they may have gone on since.
#   SX_POSTGRES_ADMIN_DSN=postgres://... sx-restore-source.sh SNAPSHOT SOURCE EVIDENCE
# SNAPSHOT is a dump of the whole database in the custom format. If it does not hold the source, the source is gone
# afterwards. What is there now is dumped to the file EVIDENCE first, as far as it can be.
set -euo pipefail
# shellcheck source=postgres-env.sh
. "$(dirname "$0")/postgres-env.sh"

snapshot=${1:?the snapshot is missing}
source=${2:?the source is missing}
evidence=${3:?the file for the evidence is missing}
[[ $source =~ ^[a-z0-9_]{1,40}$ ]] || { echo "$source is no source; nothing was done" >&2; exit 1; }
[ -r "$snapshot" ] || { echo "the snapshot $snapshot cannot be read; nothing was done" >&2; exit 1; }
use_postgres "${SX_POSTGRES_ADMIN_DSN:?SX_POSTGRES_ADMIN_DSN is not set}"
schema=src_$source
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -e "$evidence" ]; then
  echo "the evidence of an earlier attempt is kept: $evidence"
elif pg_dump --format=custom --schema="$schema" --file="$work/evidence"; then
  mv "$work/evidence" "$evidence"
  echo "what was there before is kept in $evidence"
else
  echo "what was there before could not be dumped; the restore goes on without"
fi

# Everything of the schema, the schema and its privileges included; nothing if the snapshot has none of it.
pg_restore --list "$snapshot" | { grep -w -- "$schema" || true; } >"$work/list"
pg_restore --use-list="$work/list" --file="$work/schema.sql" "$snapshot"
pg_restore --data-only --schema=sx_registry --table=sources --file="$work/registry.sql" "$snapshot"
awk -F '\t' -v source="$source" '
  /^COPY / { copying = 1; print; next }
  /^\\\.$/ { if (copying) print; copying = 0; next }
  copying && $1 == source' "$work/registry.sql" >"$work/mapping.sql"
{
  echo 'DROP SCHEMA IF EXISTS :"schema" CASCADE;'
  registered=$(psql --no-psqlrc --tuples-only --no-align --command "SELECT to_regclass('sx_registry.sources') IS NOT NULL")
  if [ "$registered" = t ]; then
    echo "DELETE FROM sx_registry.sources WHERE source_id = :'source';"
  fi
} >"$work/clear.sql"
if ! grep -q "^DELETE" "$work/clear.sql"; then : >"$work/mapping.sql"; fi

psql --no-psqlrc --quiet --output=/dev/null --set ON_ERROR_STOP=1 --single-transaction \
  --set schema="$schema" --set source="$source" \
  --file "$work/clear.sql" --file "$work/schema.sql" --file "$work/mapping.sql"
echo "the source $source is what the snapshot holds of it: $(wc -l <"$work/list") objects"
