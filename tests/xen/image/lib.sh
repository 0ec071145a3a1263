# shellcheck shell=sh
# What tests in dom0 are written with. A test is a script t-NAME that sources this; it fails when it
# exits with something else than 0 or when an expectation failed. Every wait has a limit.
: "${GUEST_MEMORY:=$(cat /guest/memory 2>/dev/null)}" "${GUEST_VCPUS:=1}" "${GUEST_KERNEL:=/guest/vmlinux}" "${GUEST_CMDLINE:=}"
console_of() { echo "/var/log/xen/console/guest-$1.log"; }

# ---- saying things ---------------------------------------------------------------------------------

# pump SOURCE: standard input to the console, line by line, for the host to sort.
pump() {
	# In awk because the shell's read takes a system call per byte, which is slow under emulation.
	awk -v source="$1" '{
		getline up <"/proc/uptime"; close("/proc/uptime"); sub(/ .*/, "", up)
		print "@@ " source " " up " " $0; fflush()
	}'
}

mark() { echo "== $*"; }
fail() {
	echo "FAIL: $*"
	: >/run/test/failed
	return 1
}
die() {
	fail "$*"
	exit 1
}

# expect WHAT COMMAND...: the test fails, and goes on, if the command does not succeed.
expect() {
	local what=$1 output code
	shift
	output=$("$@" 2>&1)
	code=$?
	[ $code = 0 ] && {
		echo "ok: $what"
		return 0
	}
	[ -z "$output" ] || echo "$output"
	fail "$what ($*: exit code $code)"
}

# expect_not WHAT COMMAND...: the other way round.
expect_not() {
	local what=$1
	shift
	if "$@" >/dev/null 2>&1; then fail "$what ($* succeeded)"; else echo "ok: $what"; fi
}

# expect_equal WHAT WANTED FOUND
expect_equal() {
	if [ "$2" = "$3" ]; then echo "ok: $1: $3"; else fail "$1: wanted \"$2\", found \"$3\""; fi
}

# ---- waiting ---------------------------------------------------------------------------------------

# wait_for SECONDS COMMAND...: until the command succeeds. The seconds are those of a machine that does
# nothing else, so they count as tries; four times as many of the clock are the end.
wait_for() {
	local left=$(($1 * 20)) up end
	read -r up _ </proc/uptime
	end=$((${up%.*} + 4 * $1))
	shift
	until "$@" >/dev/null 2>&1; do
		left=$((left - 1))
		read -r up _ </proc/uptime
		[ $left -gt 0 ] && [ "${up%.*}" -le $end ] || return 1
		usleep 50000
	done
}
node_is() { [ "$(xenstore-read "$1" 2>/dev/null)" = "$2" ]; }
# wait_node PATH VALUE SECONDS: it looks when something changes there, since under emulation looking all
# the time would take most of dom0.
wait_node() { guest_job node "$1" "$2" "$3"; }
is_gone() { ! xl domid "$1"; }
wait_gone() { wait_for "$2" is_gone "$1"; } # GUEST SECONDS

# ---- guests ----------------------------------------------------------------------------------------

# domid NAME: of a guest that guest_create has started, running or not.
domid() {
	local id
	read -r id <"/run/test/$1.domid" && echo "$id"
}

# pvh_words: for the kernel of a PVH guest, which else spends most of its boot looking for hardware of a
# PC, with an exit to Xen for each port that it reads. clearcpuid=4: as if there were no TSC, or it
# reads a timer chip that is not there 100000 times to find out how fast the TSC is. It goes by Xen's
# clock anyway. lpj: how fast it loops when it waits, which it cannot measure at that point.
pvh_words="pci=noearly clearcpuid=4 lpj=4000000"
[ ! -e /guest/another-kernel ] || pvh_words="" # later ones warn of a missing TSC

# guest_config NAME TYPE: a configuration on standard output, more lines for it on standard input.
# The clock is native because Xen does not trust that of an emulated cpu, and would be asked for every
# reading of it: a PVH guest's fio took four times as long.
guest_config() {
	local words=$GUEST_CMDLINE
	[ "$2" != pvh ] || words="$pvh_words $words"
	cat <<-X
		name = "$1"
		type = "$2"
		memory = $GUEST_MEMORY
		vcpus = $GUEST_VCPUS
		kernel = "$GUEST_KERNEL"
		ramdisk = "/guest/guest.cpio"
		extra = "console=hvc0 rootfstype=ramfs quiet mitigations=off cryptomgr.notests=1 panic=1 $words"
		on_poweroff = "destroy"
		on_reboot = "destroy"
		on_crash = "destroy"
		tsc_mode = "native"
	X
	[ "$2" != pvh ] || echo 'cpus = "1"' # not on QEMU's first cpu: host/boot.sh says why
	cat
}

# How guests begin, if nobody says otherwise: paused, so that one that falls at once has a domid.
paused="xl create -q -p"
# guest_begin NAME: a domain as guest_create has left it written down.
guest_begin() {
	local name=$1 create
	create=$(cat "/run/test/$name.create")
	$create "/run/test/$name.cfg" </dev/null || {
		cat "/var/log/xen/xl-$name.log" /var/log/xen/xen-hotplug.log 2>/dev/null
		fail "xl create of $name"
		return 1
	}
	xl domid "$name" >"/run/test/$name.domid"
	echo 0 >"/run/test/$name.jobs"
	[ "$create" != "$paused" ] || xl unpause "$name"
}

# guest_create NAME [pv|pvh] [<<extra configuration]: starts a guest and does not wait for it.
# $GUEST_CREATE is another command than xl create to do so.
guest_create() {
	local name=$1 log
	log=$(console_of "$1")
	if [ -t 0 ] || [ "$(readlink /proc/self/fd/0)" = /dev/null ]; then
		guest_config "$1" "${2:-pv}" </dev/null
	else
		guest_config "$1" "${2:-pv}"
	fi >"/run/test/$1.cfg"
	: >"$log"
	rm -f "/run/test/$1".quiet.*
	echo "${GUEST_CREATE:-$paused}" >"/run/test/$name.create"
	guest_begin "$name" || return 1
	tail -n +1 -f "$log" 2>/dev/null | guest_pump "$name" >/dev/console 2>/dev/null &
}

# guest_pump NAME: the guest's console for the host; the agent's marks go, quiet jobs are left out.
guest_pump() {
	awk -v source="$1" '
		/^@[0-9]+=/ {next}
		/^@[0-9]+[|] / {
			job = substr($0, 2, index($0, "|") - 2)
			if ((getline x <("/run/test/" source ".quiet." job)) >= 0) {
				close("/run/test/" source ".quiet." job)
				next
			}
			$0 = substr($0, index($0, "|") + 2)
		}
		{
			getline up <"/proc/uptime"; close("/proc/uptime"); sub(/ .*/, "", up)
			print "@@ " source " " up " " $0; fflush()
		}'
}

# fell_in_boot NAME: whether the kernel of a PVH guest died of a triple fault before it had said a word,
# which is about QEMU (host/boot.sh) and not about what is tested.
fell_in_boot() { xl dmesg | grep -q "d$(domid "$1")v[0-9]* Triple fault"; }
# guest_wait NAME [SECONDS]: until the guest takes commands.
guest_wait() {
	local id tries=3
	while :; do
		id=$(domid "$1")
		guest_job node "/local/domain/$id/data/agent/state" ready "${2:-90}" "$id" && return 0
		tries=$((tries - 1))
		[ $tries -gt 0 ] && ! xenstore-exists "/local/domain/$id" && fell_in_boot "$1" || break
		echo "note: $1 died of a triple fault while it booted: once more"
		guest_begin "$1" || return 1
	done
	tail -n 5 "$(console_of "$1")"
	fail "$1 does not answer"
}

has_rebooted() {
	local id
	id=$(xl domid "$1") && [ "$id" != "$(domid "$1")" ] && node_is "/local/domain/$id/name" "$1"
}
# guest_rebooted NAME [SECONDS]: until a guest that is to reboot has another domid, which counts from now on.
guest_rebooted() {
	wait_for "${2:-60}" has_rebooted "$1" || return 1
	xl domid "$1" >"/run/test/$1.domid"
}

# guest_start NAME [pv|pvh] [<<extra configuration]: create and wait.
guest_start() { guest_create "$@" && guest_wait "$1"; }

# guest_spawn NAME COMMAND...: starts a shell command in the guest; its number is then in $JOB.
guest_spawn() {
	local name=$1
	shift
	read -r JOB <"/run/test/$name.jobs"
	JOB=$((JOB + 1))
	echo $JOB >"/run/test/$name.jobs"
	[ -z "${QUIET:-}" ] || : >"/run/test/$name.quiet.$JOB"
	guest_job spawn "$(domid "$name")" "$JOB" "$*"
}

# guest_join NAME JOB [SECONDS]: waits for a spawned command and returns its exit code; 124 if it
# does not end, 125 if the guest is gone.
guest_join() { guest_job join "$(domid "$1")" "$2" "$(console_of "$1")" "${3:-60}"; }

# job_output NAME JOB: what a job has printed.
job_output() { tr -d '\r' <"$(console_of "$1")" | sed -n "s/^@$2| //p"; }

# guest_run NAME COMMAND...: runs a shell command in the guest; its output appears as the guest's.
guest_run() {
	guest_spawn "$@" && guest_join "$1" "$JOB" "${SECONDS_LIMIT:-60}"
}

# guest_output NAME COMMAND...: the same, with the output on standard output.
guest_output() {
	local code
	guest_spawn "$@"
	guest_join "$1" "$JOB" "${SECONDS_LIMIT:-60}"
	code=$?
	job_output "$1" "$JOB"
	return $code
}

# guest_get NAME FILE DESTINATION: copies a file out of the guest, by its console.
guest_get() {
	local sum
	QUIET=1 guest_output "$1" "base64 '$2' && md5sum <'$2'" >"/run/test/get.$1" || return
	sum=$(tail -n 1 "/run/test/get.$1")
	sed '$d' "/run/test/get.$1" | base64 -d >"$3"
	[ "$(md5sum <"$3")" = "$sum" ] || fail "guest_get $1 $2: damaged on the way"
}

# guest_stop NAME [SECONDS]: an orderly end. guest_destroy NAME: at once.
guest_stop() {
	guest_spawn "$1" "poweroff -f"
	wait_gone "$1" "${2:-30}" || fail "$1 does not stop"
}
guest_destroy() { xl destroy "$1"; }

# ---- network ---------------------------------------------------------------------------------------

# bridge_up [NAME [ADDRESS/BITS]]
bridge_up() {
	local name=${1:-xenbr0}
	ip link add "$name" type bridge || return 1
	echo 0 >"/sys/class/net/$name/bridge/forward_delay"
	ip addr add "${2:-10.9.0.1/24}" dev "$name"
	ip link set "$name" up
}

# guest_network NAME ADDRESS/BITS [INTERFACE]
guest_network() {
	guest_run "$1" "modprobe xen-netfront; . /test/lib.sh; i=${3:-eth0}
		wait_for 20 test -e /sys/class/net/\$i && ip addr add $2 dev \$i && ip link set \$i up &&
		wait_for 20 grep -q 1 /sys/class/net/\$i/carrier"
}

# ---- programs --------------------------------------------------------------------------------------

# gtest PROGRAM [ARGUMENT...]: runs a GoogleTest program in dom0, its XML goes to the results.
gtest() {
	local program=$1
	shift
	"$program" --gtest_output="xml:$RESULTS/$program.xml" "$@" || fail "$program"
}
