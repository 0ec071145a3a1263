# Expectations of the tests of this folder, and how they end. Sourced.
# shellcheck shell=bash

failures=0
expect() { # WHAT COMMAND...
  local output
  if output=$("${@:2}" 2>&1); then
    echo "ok: $1"
  else
    printf '%s\n' "$output"
    echo "FAIL: $1 (${*:2})"
    failures=$((failures + 1))
  fi
}
expect_failure() { # WHAT WORDS COMMAND...: fails, and says so in these words
  local output
  if output=$("${@:3}" 2>&1); then
    echo "FAIL: $1: it succeeded: $output"
    failures=$((failures + 1))
  elif ! grep -qF -- "$2" <<<"$output"; then
    printf 'FAIL: %s: it says\n%s\n' "$1" "$output"
    failures=$((failures + 1))
  else
    echo "ok: $1"
  fi
}
equals() { [ "$1" = "$2" ] || { echo "wanted '$1', found '$2'" && false; }; }

finish() {
  echo "$failures failures"
  [ $failures = 0 ]
}
