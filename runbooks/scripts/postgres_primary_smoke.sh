#!/usr/bin/env bash
# Smoke checks of an SX API in POSTGRES_PRIMARY mode. It only reads.
#   postgres_primary_smoke.sh [--report] SERVICE SOURCE OTHER_SOURCE
# SERVICE is the API's address, SOURCE the profile that was moved, OTHER_SOURCE another one in the same database.
# shellcheck disable=SC2016 # $source in a condition is jq's
set -euo pipefail
# shellcheck source=sx-checks.sh
. "$(dirname "$0")/sx-checks.sh"

if [ "${1:-}" = --report ]; then report=yes && shift; fi
service=${1:?the address of the API is missing}
source=${2:?the source is missing}
other=${3:?the other source is missing}

ask /health
check "health is reachable" "$([ "$status" = 200 ] && holds '.ok')" "status $status, $body"
check "the backend is postgres_primary" "$(holds '.backend == "postgres_primary"')" "$(jq -c '.backend?' <<<"$body")"

ask /stats --header "x-sx-source: $source"
check "the source is routed by header" "$(holds '.source_id == $source and .items > 0')" "status $status, $body"
ask "/stats?source_id=$source"
check "the source is routed by query" "$(holds '.source_id == $source and .items > 0')" "status $status, $body"

ask "/stats?source_id=$other" --header "x-sx-source: $source"
check "a header and a query that differ are refused" "$([ "$status" = 409 ] && echo true)" "status $status, $body"
ask "/stats" --header "x-sx-source: no_such_source"
check "an unknown source is refused" "$([ "$status" = 404 ] && echo true)" "status $status, $body"

# Both lists from their beginning: a row that stands in both belongs to somebody else in one of them.
uids() { jq -r '.items[]?.uid' <<<"$body" 2>/dev/null | sort; }
ask "/items?limit=500" --header "x-sx-source: $source"
own=$(uids)
check "the source's items can be listed" "$([ -n "$own" ] && echo true)" "status $status"
ask "/items?limit=500" --header "x-sx-source: $other"
foreign=$(uids)
check "the other source's items can be listed" "$([ -n "$foreign" ] && echo true)" "status $status"
both=$(comm -12 <(echo "$own") <(echo "$foreign") | sed '/^$/d')
check "no item of one source shows in another" "$([ -z "$both" ] && echo true)" "in both: $(head -n 3 <<<"$both" | tr '\n' ' ')"

finish
