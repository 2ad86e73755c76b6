#!/usr/bin/env bash
# What a plugin does with an item: search, open, read and write metadata and notes. It leaves everything as it was: the
# metadata is written back unchanged, and its own note is deleted again.
#   sx-plugin-check.sh [--report] SERVICE SOURCE
set -euo pipefail
# shellcheck source=sx-checks.sh
. "$(dirname "$0")/sx-checks.sh"

if [ "${1:-}" = --report ]; then report=yes && shift; fi
service=${1:?the address of the API is missing}
source=${2:?the source is missing}
from=(--header "x-sx-source: $source")
send=("${from[@]}" --request POST --header 'content-type: application/json')

# An item that has metadata.
ask "/items?limit=50" "${from[@]}"
item=
for id in $(jq -r '.items[]?.id' <<<"$body"); do
  ask "/items/$id/meta" "${from[@]}"
  [ "$status" = 200 ] && item=$id && break
done
if [ -z "$item" ]; then
  check "an item with metadata is found" false "none of the first 50"
  finish
  exit
fi

ask "/items/$item" "${from[@]}"
check "an item can be opened" "$([ "$status" = 200 ] && holds '.uid != null')" "status $status, $body"
word=$(jq -r '.title // ""' <<<"$body" | cut -d' ' -f1)
ask /search "${from[@]}" --get --data-urlencode "q=$word"
check "a search finds it" "$(holds "[.items[]?.id] | index($item) != null")" "status $status"

ask "/items/$item/meta" "${from[@]}"
meta=$(jq -c '.meta' <<<"$body")
ask "/items/$item/meta" "${send[@]}" --data "$meta"
check "metadata can be written" "$([ "$status" = 200 ] && echo true)" "status $status, $body"
ask "/items/$item/meta" "${from[@]}"
check "metadata can be read back" "$(holds ".meta == $meta")" "status $status, $body"

ask "/items/$item/notes" "${send[@]}" --data '{"body": "a check of the cutover; it is deleted at once", "pinned": true}'
note=$(jq -r '.id? // empty' <<<"$body")
check "a note can be written" "$([ "$status" = 200 ] && [ -n "$note" ] && echo true)" "status $status, $body"
if [ -n "$note" ]; then
  ask "/items/$item/notes" "${from[@]}"
  check "the note can be read back, pinned" "$(holds "any(.notes[]?; .id == $note and .pinned)")" "status $status, $body"
  ask "/items/$item/notes/$note" "${from[@]}" --request DELETE
  check "the note can be deleted" "$([ "$status" = 200 ] && echo true)" "status $status, $body"
fi

finish
