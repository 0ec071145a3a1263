# Expectations of the tests that are shell scripts, and how these end. Sourced.
# shellcheck shell=bash

failures=0
failed=() # what finish() says again, where whoever sees only the end of the output finds it

fail() { # WORD...
  echo "FAIL: $*"
  failures=$((failures + 1))
  failed+=("$*")
}
expect() { # WHAT COMMAND...
  local output
  if output=$("${@:2}" 2>&1); then
    echo "ok: $1"
  else
    printf '%s\n' "$output"
    fail "$1 (${*:2})"
  fi
}
expect_failure() { # WHAT WORDS COMMAND...: fails, and says so in these words
  local output
  if output=$("${@:3}" 2>&1); then
    fail "$1: it succeeded: $output"
  elif ! grep -qF -- "$2" <<<"$output"; then
    fail "$1: it says"$'\n'"$output"
  else
    echo "ok: $1"
  fi
}
equals() { [ "$1" = "$2" ] || { echo "wanted '$1', found '$2'" && false; }; }
contains() { grep -qF -- "$1" <<<"$2" || { printf '%s\n' "no '$1' in:" "$2" && false; }; }

finish() { # [WORDS]: the test's exit code
  [ $failures = 0 ] || printf 'failed: %s\n' "${failed[@]}"
  echo "${1:+$1, }$failures failures"
  [ $failures = 0 ]
}
