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

# network_up GUEST INTERFACE-ADDRESS IP: loads the driver, brings eth0 up, and listens for iperf3.
network_up() {
	guest_do "$1" "modprobe virtio_net && driver_load && wait_for 20 test -e /sys/class/net/eth0 &&
		ip addr add $3/24 dev eth0 && ip link set eth0 up && wait_for 20 grep -q 1 /sys/class/net/eth0/carrier &&
		cat /sys/class/net/eth0/address && iperf3 -s -D"
	expect_equal "$1: the driver loads and brings its interface up" 0 $?
	expect_equal "$1: its address" "$2" "$(job_output "$1" "$JOB")"
}

# stream GUEST SERVER WHAT [FLAGS]: iperf3 from the guest, or with -R towards it, for $STREAM_SECONDS.
: "${STREAM_SECONDS:=2}"
stream() {
	guest_run "$1" "iperf3 -c $2 -t $STREAM_SECONDS ${4:-} >/tmp/stream; code=\$?; grep -E 'sender|receiver|error' /tmp/stream; exit \$code"
	expect_equal "$3" 0 $?
}

# come_and_go GUEST SPEC ROUNDS: a disk is attached and taken away while requests are under way.
come_and_go() {
	local guest=$1 round=0 said number load
	said=/local/domain/$(domid "$guest")/data/load
	guest_spawn "$guest" ". /test/lib.sh; . /test/linux.sh; load_every_disk"
	load=$JOB
	while [ $round -lt "$3" ]; do
		round=$((round + 1))
		number=$(attach "$guest" "$2") || fail "$guest: round $round: attach"
		expect "$guest: round $round: requests are under way" wait_node "$said" "under way $round" 60
		expect "$guest: round $round: detach by force" detach --force "$guest" "$number"
		expect "$guest: round $round: the disk is gone" wait_node "$said" "gone $round" 30
	done
	guest_run "$guest" "touch /tmp/stop"
	guest_join "$guest" "$load" 90
	expect_equal "$guest: the load ends" 0 $?
}

# What a kernel says when something is wrong, and what it says of grants that were not given back.
complaints='WARNING:|BUG:|Oops|general protection|Call Trace|still in use|deferring|still pending|g\.e\.|hung|given up|broke'

# guest_is_clean GUEST [BUT]: its kernel has not complained, apart from lines that match BUT.
guest_is_clean() {
	guest_run "$1" "dmesg | grep -E '$complaints' | grep -vE '${2:-^$}'"
	expect_equal "$1: complaints of the kernel" 1 $? # grep found none
}
# guest_forgets GUEST [BUT]: the same, and from here on its log has only what is new.
guest_forgets() {
	guest_run "$1" "dmesg -c >/tmp/seen; grep -E '$complaints' /tmp/seen | grep -vE '${2:-^$}'"
	expect_equal "$1: complaints of the kernel" 1 $?
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

# queue_has_sent NUMBER, queue_has_received NUMBER: a pair of queues of eth0 was at work. What later kernels
# tell of a queue's packets is not ethtool's; kicks and interrupts are, and tx_queue_1_kicks is tx1_kicks there.
queue_has_sent() { [ "$(ethtool -S eth0 | sed -nE "s/^ *tx(_queue_)?$1_kicks: //p")" -gt 0 ]; }
queue_has_received() { awk -v name="-input.$1\$" '$NF ~ name { for (i = 2; i < NF; i++) n += $i } END { exit !n }' /proc/interrupts; }

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

# busy DISK: two readers and a writer, each with a large request under way all the time, until one fails. dd starts
# at once, where fio takes seconds under emulation. The writer opens it once: by its name it would make a
# file in the place of a disk that has just gone.
busy() {
	local count
	count=$(($(cat "/sys/block/${1#/dev/}/size") / 128))
	for _ in 1 2; do
		while dd if="$1" of=/dev/null bs=64k iflag=direct; do :; done &
	done
	while dd if=/dev/zero of=/proc/self/fd/3 bs=64k count=$count oflag=direct conv=notrunc; do :; done 3<>"$1"
	wait
}

# load_every_disk: keeps each disk behind vda busy for as long as it is there, one at a time, until
# /tmp/stop. dom0 reads in data/load which one it is and how far: "under way N", then "gone N". A job for
# each question would take longer than what is asked about.
load_every_disk() {
	local count=0 disk load
	find_it() { for disk in /dev/vd[b-z]; do [ ! -b "$disk" ] || return 0; done && return 1; }
	is_gone_or_moved() { [ ! -b "$disk" ] || sectors_moved 2000; }
	until [ -e /tmp/stop ]; do
		if ! find_it; then
			usleep 20000
			continue
		fi
		count=$((count + 1)) sectors_before=""
		busy "$disk" >/dev/null 2>&1 &
		load=$!
		wait_for 60 is_gone_or_moved && [ -b "$disk" ] && xenstore-write data/load "under way $count"
		wait $load
		while [ -b "$disk" ]; do usleep 20000; done
		xenstore-write data/load "gone $count"
	done
}

# virtio_terminal: the device node of the virtio console. Xen's own is the first; nodes of others cannot be opened.
virtio_terminal() {
	local node
	for node in /dev/hvc[1-7]; do
		stty <"$node" >/dev/null 2>&1 && echo "$node" && return
	done
}
