# shellcheck shell=sh
# What the tests of the Linux guest driver share, in dom0 and in guests. After lib.sh.

# ---- in dom0 ---------------------------------------------------------------------------------------

. /test/service.sh

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

# Under emulation, on a busy machine, a backend may be slow without being stuck.
driver_load() { modprobe virtio_ring && insmod /vmsg/files/virtio_msg_xen.ko request_timeout=60 reset_timeout=60 "$@"; }

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

# is_on FEATURE..., is_off FEATURE...: offloads of eth0.
is_on() { all_are on "$@"; }
is_off() { all_are off "$@"; }
all_are() {
	local wanted=$1 feature
	shift
	ethtool -k eth0 >/tmp/features
	for feature; do grep -q "^$feature: $wanted" /tmp/features || { cat /tmp/features && return 1; }; done
}

# queue_packets rx|tx NUMBER: how many of them one queue of eth0 has carried.
queue_packets() { ethtool -S eth0 | sed -n "s/^ *$1_queue_$2_packets: //p"; }

tcp_bad_checksums() { awk '/^Tcp: [0-9]/ {print $16}' /proc/net/snmp; }

# receive ADDRESS PORT: what a listener sends, as soon as there is one; its checksum.
receive() {
	until nc "$1" "$2" </dev/null >/tmp/received; do usleep 100000; done
	md5sum </tmp/received
}

# find_disk: the device node of the only disk.
find_disk() { ls /dev/vd[a-z] 2>/dev/null | grep -m 1 .; }

# sectors_moved COUNT: whether the disks have moved that many since the first call.
sectors_moved() {
	now=$(cat /sys/block/vd*/stat | awk '{sum += $3 + $7} END {print sum + 0}')
	: "${sectors_before:=$now}"
	[ "$now" -gt $((sectors_before + $1)) ]
}

# virtio_terminal: the device node of the virtio console. Xen's own is the first; nodes of others cannot be opened.
virtio_terminal() {
	local node
	for node in /dev/hvc[1-7]; do
		stty <"$node" >/dev/null 2>&1 && echo "$node" && return
	done
}
