# shellcheck shell=sh
# What the tests of the Linux guest driver share, in dom0 and in guests. After lib.sh.

# ---- in dom0 ---------------------------------------------------------------------------------------

nothing_left() { ! xenstore-ls -f / | grep -q virtio-msg; }

vmsgd_start() {
	vmsgd --log-level info "$@" >>/run/test/vmsgd.log 2>&1 &
	VMSGD=$!
}
vmsgd_stop() {
	expect "everything of ours leaves xenstore" wait_for 5 nothing_left
	kill "$VMSGD"
	wait "$VMSGD"
	expect_equal "exit code of vmsgd" 0 $?
	grep -E ' (error|warning|info): ' /run/test/vmsgd.log
	expect_equal "errors in the log" 0 "$(grep -c ' error: ' /run/test/vmsgd.log)"
	expect_equal "zombies" "" "$(xl list | grep null)"
}

# guest_do GUEST COMMAND...: guest_run with the functions of these two files.
guest_do() {
	local name=$1
	shift
	guest_run "$name" ". /test/lib.sh; . /test/linux.sh; $*"
}

# What a kernel says when something is wrong, and what it says of grants that were not given back.
complaints='WARNING:|BUG:|Oops|general protection|Call Trace|still in use|deferring|still pending|g\.e\.|hung|given up|broke'

# guest_is_clean GUEST [BUT]: its kernel has not complained, apart from lines that match BUT.
guest_is_clean() {
	guest_run "$1" "dmesg | grep -E '$complaints' | grep -vE '${2:-^$}'"
	expect_equal "$1: complaints of the kernel" 1 $? # grep found none
}
dom0_is_clean() {
	dmesg | grep -E "$complaints" | grep -vE "${1:-^$}"
	expect_equal "dom0: complaints of the kernel" 0 "$(dmesg | grep -E "$complaints" | grep -cvE "${1:-^$}")"
}

# ---- in a guest ------------------------------------------------------------------------------------

driver_load() { modprobe virtio_ring && insmod /vmsg/files/virtio_msg_xen.ko "$@"; }

# tree_sums: one line a file below this folder, its checksum and name.
tree_sums() { find . -type f ! -path './lost+found*' -exec md5sum {} + | sort -k 2; }

# fs_fill DISK: an ext4 file system with a copy of the kernel's modules; their sums in /tmp/sums.
fs_fill() {
	mkdir -p /mnt
	mkfs.ext4 -q -F "$1" && mount -t ext4 "$1" /mnt && cp -r /lib/modules /mnt/copy && sync &&
		(cd /mnt && tree_sums) >/tmp/sums && umount /mnt && fsck.ext4 -f -n "$1"
}

# fs_round_trip DISK: the same, then the files as they are read back from the disk.
fs_round_trip() {
	fs_fill "$1" && echo 3 >/proc/sys/vm/drop_caches && mount -t ext4 "$1" /mnt &&
		(cd /mnt && tree_sums) >/tmp/again && umount /mnt && cmp /tmp/sums /tmp/again &&
		(cd /lib && find modules -type f -exec md5sum {} + | sed 's|  modules|  ./copy|' | sort -k 2) | cmp - /tmp/sums
}
