# A mock Xen for scripts: sourced by ./demo and by tests that run whole programs. Shell functions:
#   mock_start BUILD_DIR   a broker of its own, and domain 0; ended when the script exits
#   mock_domain ID [NAME]  one more domain
#   in_domain ID CMD...    runs an unmodified program as that domain
# shellcheck shell=bash

mock_start() {
  mock_build=$(cd "$1" && pwd)
  mock_work=$(mktemp -d)
  export XEN_MOCK=$mock_work/xen
  mock_pids=()
  trap mock_stop EXIT
  mkfifo "$mock_work/says"
  "$mock_build/bin/xen-mock" serve --socket "$XEN_MOCK" >"$mock_work/says" &
  mock_pids+=($!)
  exec {mock_says}<"$mock_work/says"
  local ready
  read -r -t 20 ready <&"$mock_says" || {
    echo "the mock's broker does not come up: ${ready:-}" >&2
    return 1
  }
}

mock_stop() {
  local pid
  # The latest first: the broker is the last to go.
  for ((pid = ${#mock_pids[@]} - 1; pid >= 0; pid--)); do
    kill "${mock_pids[pid]}" 2>/dev/null || true
    wait "${mock_pids[pid]}" 2>/dev/null || true
  done
  rm -rf "$mock_work"
}

mock_domain() {
  "$mock_build/bin/xen-mock" domain create "$1"
  [ -z "${2:-}" ] || in_domain 0 xenstore-write "/local/domain/$1/name" "$2"
}

# Each domain's vmsgd has a control socket of its own, where that domain's vmsg looks for it.
in_domain() {
  VMSG_SOCKET=$mock_work/vmsgd-$1.sock XEN_MOCK_DOMID=$1 LD_LIBRARY_PATH=$mock_build/mock-xen "${@:2}"
}

# in_background ID CMD...: the same, ended with the mock; its process id is in $mock_pid.
in_background() {
  VMSG_SOCKET=$mock_work/vmsgd-$1.sock XEN_MOCK_DOMID=$1 LD_LIBRARY_PATH=$mock_build/mock-xen "${@:2}" &
  mock_pid=$!
  mock_pids+=("$mock_pid")
}

# wait_until SECONDS CMD...: until the command succeeds; looks again every 50 ms.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || return 1
    read -r -t 0.05 <> <(:) || true
  done
}
