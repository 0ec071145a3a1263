# shellcheck shell=sh
# What the tests of the service share, in dom0. After lib.sh.

# A machine with other work to do is slow, not wrong.
attach() { vmsg attach --timeout 60 "$@"; }
detach() { vmsg detach --timeout 60 "$@"; }
bus_of() { echo "/local/domain/0/backend/virtio-msg/$(domid "$1")/0"; }
wait_connected() { wait_node "$(bus_of "$1")/state" 4 60; }
nothing_left() { ! xenstore-ls -f / | grep -q virtio-msg; }

vmsgd_start() {
	"${VMSGD_PROGRAM:-vmsgd}" --log-level info "$@" >>/run/test/vmsgd.log 2>&1 &
	VMSGD=$!
}
vmsgd_stop() {
	expect "everything of ours leaves xenstore" wait_for 60 nothing_left
	kill "$VMSGD"
	wait "$VMSGD"
	expect_equal "exit code of vmsgd" 0 $?
	grep -E ' (error|warning|info): ' /run/test/vmsgd.log
	expect_equal "errors in the log" 0 "$(grep -c ' error: ' /run/test/vmsgd.log)"
	# A page that is still mapped keeps its domain.
	expect_equal "zombies" "" "$(xl list | grep null)"
}

# What the daemon has: kB of memory; descriptors; event channels of dom0.
vmsgd_memory() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$VMSGD/status"; }
vmsgd_holds() { echo "$(find "/proc/$VMSGD/fd" -type l | wc -l) descriptors, $(lsevtchn 0 | wc -l) ports"; }
