#!/usr/bin/env bash
# Applies a schema file to the ACE framework's PostgreSQL database, whole or not at all.
#   ACE_POSTGRES_DSN=postgres://user:password@host:port/database ace-schema.sh SCHEMA.sql
# The address goes to psql by environment: an argument could be read by every user of the machine.
set -euo pipefail

schema=${1:?the schema file is missing}
: "${ACE_POSTGRES_DSN:?ACE_POSTGRES_DSN is not set}"

# %40 and the like, as URLs write them.
decoded() { printf '%b' "${1//%/\\x}"; }

rest=${ACE_POSTGRES_DSN#*://}
rest=${rest%%\?*}
login=${rest%@*}
address=${rest##*@}
host_port=${address%%/*}
PGUSER=$(decoded "${login%%:*}")
case $login in *:*) PGPASSWORD=$(decoded "${login#*:}") && export PGPASSWORD ;; esac
PGHOST=${host_port%%:*}
case $host_port in *:*) PGPORT=${host_port##*:} ;; *) PGPORT=5432 ;; esac
PGDATABASE=$(decoded "${address#*/}")
export PGUSER PGHOST PGPORT PGDATABASE PGCONNECT_TIMEOUT=10

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --single-transaction --file "$schema"
psql --no-psqlrc --tuples-only --no-align --command 'SELECT version_num FROM alembic_version'
