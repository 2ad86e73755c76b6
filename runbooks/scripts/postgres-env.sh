# Sets libpq's variables from an address, so that psql and pg_restore need no argument that others could read.
# Sourced, never run:  . postgres-env.sh; use_postgres postgres://user:password@host:port/database
# shellcheck shell=bash

# %40 and the like, as URLs write them.
decoded() { printf '%b' "${1//%/\\x}"; }

use_postgres() {
  local rest login address host_port
  rest=${1#*://}
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
}
