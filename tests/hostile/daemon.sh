# What the scripts of this folder share: expectations, and a vmsgd on the mock that may end by itself.
# Sourced, after scripts/on-mock.sh.
# shellcheck shell=bash

# shellcheck source=tests/support/expect.sh
. "$here/../support/expect.sh"
dom0() { in_domain 0 "$@"; }
nothing_left() { ! dom0 xenstore-ls -f / | grep -q virtio-msg; }

# start_daemon DOMAIN [ARGUMENT...]: waits until it serves, or has ended. Its process id is in $daemon,
# what it says goes to $log.
start_daemon() {
  log=$mock_work/vmsgd.log
  : >"$log"
  in_background "$1" vmsgd "${@:2}" 2>>"$log"
  daemon=$mock_pid
  wait_until 20 is_up
}
is_up() { grep -q 'serving domain' "$log" || is_over; }
is_over() { ! kill -0 "$daemon" 2>/dev/null; }
# end_daemon: its exit code, or 124 when it does not end.
end_daemon() {
  kill -TERM "$daemon" 2>/dev/null
  wait_until 20 is_over || return 124
  wait "$daemon"
}

# survive POINT DOMAIN [ARGUMENT...]: after a failure the daemon goes on, or has ended with 1 and said
# why; then another one is started, and counted in $ended. What it said is in $words.
ended=0
survive() {
  local code
  if ! is_over; then
    words=$(sed -n 's/.*\(error\|warning\): //p' "$log" | head -n 1)
    return
  fi
  wait "$daemon"
  code=$?
  ended=$((ended + 1))
  [ $code = 1 ] || fail "$1: the daemon ended with $code"
  words=$(sed -n 's/.* error: //p' "$log" | head -n 1)
  [ -n "$words" ] || fail "$1: the daemon ended without a word"
  start_daemon "${@:2}"
}
