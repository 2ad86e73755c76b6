# What the checks of the SX application have in common. Sourced, never run.
# The script that sources this sets `service` (the API's address) and `source`.
#
# Every check is told on standard error as it is made. At the end the standard output gets one JSON value,
# {"checks": [{"name", "ok", "found"}], "failing": [NAME]}, and the exit status is 1 if one failed; with `report=yes` it is 0,
# for whoever reads `failing`.
# shellcheck shell=bash
# shellcheck disable=SC2154

results=()
failed=0
report=no

# check NAME CONDITION FOUND: CONDITION is `true` or `false`.
check() {
  local ok=false
  [ "$2" = true ] && ok=true
  if $ok; then echo "ok    $1" >&2; else echo "FAIL  $1: $3" >&2 && failed=$((failed + 1)); fi
  results+=("$(jq -nc --arg name "$1" --argjson ok "$ok" --arg found "$3" '{name: $name, ok: $ok, found: $found}')")
}

finish() {
  printf '%s\n' "${results[@]}" | jq -sc '{checks: ., failing: map(select(.ok | not).name)}'
  [ "$failed" -eq 0 ] || [ "$report" = yes ]
}

# ask PATH [CURL OPTION...]: sets `status` (000 without an answer) and `body` (JSON, else null).
ask() {
  local path=$1 answer
  shift
  answer=$(curl --silent --noproxy '*' --max-time 10 --write-out '\n%{http_code}' "$@" "$service$path") || true
  status=${answer##*$'\n'}
  body=${answer%$'\n'*}
  jq -e . >/dev/null 2>&1 <<<"$body" || body=null
  [ -n "$status" ] || status=000
}

# holds JQ_CONDITION: whether the body fulfils it; prints `true` or `false`.
holds() { jq -r --arg source "$source" "($1) == true" <<<"$body" 2>/dev/null || echo false; }
