#!/usr/bin/env bash
# Bootstraps the sources whose mapping is missing or invalid, and no other.
#   SX_POSTGRES_DSN=... SX_POSTGRES_ADMIN_DSN=... sx-bootstrap-missing.sh SOURCE
# SOURCE is one that must have a mapping.
set -euo pipefail

source=${1:?the source is missing}
found=$(sx_db registry --expect "$source")
jq -r '(.missing + .invalid)[]' <<<"$found" | while read -r broken; do
  sx_db pg-bootstrap --source "$broken"
done
