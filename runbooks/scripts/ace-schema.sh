#!/usr/bin/env bash
# Applies a schema file to the ACE framework's PostgreSQL database, whole or not at all.
#   ACE_POSTGRES_DSN=postgres://user:password@host:port/database ace-schema.sh SCHEMA.sql
# The address goes to psql by environment: an argument could be read by every user of the machine.
set -euo pipefail
# shellcheck source=postgres-env.sh
. "$(dirname "$0")/postgres-env.sh"

schema=${1:?the schema file is missing}
use_postgres "${ACE_POSTGRES_DSN:?ACE_POSTGRES_DSN is not set}"

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --single-transaction --file "$schema"
psql --no-psqlrc --tuples-only --no-align --command 'SELECT version_num FROM alembic_version'
