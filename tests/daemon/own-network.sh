# A Linux network of its own for a script that has bridges and TAP interfaces: sourced.
#   own_network SCRIPT [ARG...]        runs the script again in a network namespace, unless it is in one
#   own_bridge NAME ADDRESS/BITS MTU   makes a bridge that is up, and looks whether TAP interfaces can be made
# shellcheck shell=bash

own_network() {
  [ -z "${VMSG_OWN_NETWORK:-}" ] || return 0
  export VMSG_OWN_NETWORK=1
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(--user --map-root-user)
  exec unshare --net "${as_root[@]}" bash "$@"
  echo "FAIL: no network namespace can be made here (unshare --net): it takes root or user namespaces"
  exit 1
}

own_bridge() {
  if ! { ip link set lo up && ip link add "$1" mtu "$3" type bridge forward_delay 0 mcast_snooping 0 &&
    ip addr add "$2" dev "$1" && ip link set "$1" up; }; then
    echo "FAIL: no bridge can be made in the network namespace"
    exit 1
  fi
  if [ ! -c /dev/net/tun ]; then
    echo "FAIL: there is no /dev/net/tun"
    exit 1
  fi
}
