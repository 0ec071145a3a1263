# shellcheck shell=bash disable=SC2034,SC2154  # variables of run, and for run
# One boot of Xen under QEMU: start it, sort what comes out of its console, and always end it.
# Sourced by run; needs $base $out $share $verbose $scale and note().

# qemu_command DOM0_MEMORY GUEST_MEMORY INITRD KERNEL_WORDS: sets the array qemu. Why these options:
# - qemu64 with npt (Debian's Xen has no shadow paging: PVH needs it) and rdrand (without it every xl
#   create waits 3 s for random numbers). "max" and others crash dom0 or Xen.
# - PVH guests (image/lib.sh) keep off cpu 0: whenever any cpu loads its FPU state, QEMU (7.2 at least)
#   clears a bit in the flags of its first cpu, without a lock. When that one enters or leaves a guest at
#   that moment, it loses where it is: guests died of triple faults, or never heard of an interrupt again.
# - one pinned vcpu for dom0: half the time per event-channel round trip, and steadier.
# - thread=multi on one host cpu would mean 40 ms per round trip.
# - rootfstype=ramfs: the initramfs may take more than the half of memory that tmpfs would allow it.
# - cryptomgr.notests=1: else each kernel tests its ciphers for a second or two, guests too (image/lib.sh).
# - a large serial_tx_buffer: Xen drops console output that does not fit.
qemu_command() {
	local dom0=$1 guests=$2 initrd=$3 words=$4 thread=multi
	[ "$(nproc)" -gt 1 ] || thread=single
	local xen="com1=115200,8n1 console=com1 serial_tx_buffer=1m loglvl=warning guest_loglvl=warning"
	xen="$xen dom0_mem=${dom0}M,max:${dom0}M dom0_max_vcpus=1 dom0_vcpus_pin spec-ctrl=no xpti=0 smt=0"
	local linux="console=hvc0 rootfstype=ramfs quiet panic=1 mitigations=off cryptomgr.notests=1 $words"
	qemu=(qemu-system-x86_64 -accel "tcg,thread=$thread" -cpu "qemu64,+npt,+rdrand" -smp 2
		-m $((dom0 + guests + 256)) -display none -nic none -no-reboot
		-virtfs "local,path=$share,mount_tag=host,security_model=none"
		-kernel "$base/xen.elf" -append "$xen ${XEN_EXTRA:-}"
		# A comma would begin the next module: QEMU wants those that are meant doubled.
		-initrd "$base/vmlinux ${linux//,/,,},$initrd")
}

seconds() { printf '%s' "$((10#${EPOCHREALTIME%[.,]*} - started_at))"; }

# show SOURCE TEXT: a line for people. What kernels say of themselves goes to the log only.
show() {
	if [ -n "$current" ]; then printf '%-10s| %s\n' "$1" "$2" >>"$share/results/$current/output.log"; fi
	if [ "$quiet" = 1 ] || { [ "$verbose" = 0 ] && [[ $2 =~ ^\[\ *[0-9]+\.[0-9]{6}\] ]]; }; then return; fi
	printf '[%4ds] %-10s| %s\n' "$(seconds)" "$1" "$2"
}

# starved: for how many seconds QEMU's threads, all together, have waited for a cpu.
starved() {
	local pid file ns sum=0
	read -r pid 2>/dev/null <"$share/qemu.pid" || pid=none
	for file in "/proc/$pid/task"/*/schedstat; do
		if read -r _ ns _ 2>/dev/null <"$file"; then sum=$((sum + ns)); fi
	done
	echo $((sum / 1000000000))
}

# allow SECONDS: a new time limit, from now on. Time for which the machine was ready to run and had to
# wait because of other load does not count, so that a busy host makes tests slow and not wrong. But
# however busy, ten times the limit is the end.
allow() {
	allowed=$1 allowed_since=$(seconds) starved_before=$(starved)
}
is_over() {
	local wall used
	wall=$(($(seconds) - allowed_since))
	[ $wall -ge "$allowed" ] || return 1
	used=$((wall - $(starved) + starved_before))
	[ $used -ge "$allowed" ] || [ $wall -ge $((allowed * 10)) ]
}

# end_test WHY: the runner, when it sees that file, gathers logs and goes on with the next one.
end_test() {
	over=1
	echo "$1" >"$share/over.new" && mv "$share/over.new" "$share/over.$current"
	allow $((120 * scale))
}

# boot_tests INITRD DOM0_MEMORY GUEST_MEMORY: runs the tests of $share/plan. Sets, per test that
# began, took[NAME] and code[NAME], "died" for the one during which the machine went away, and
# fell[NAME], a domain of which Xen says that it died of a triple fault: what the test still says is
# worth nothing, so it is ended, unless guest_wait begins the guest again. Returns 0
# if the runner came to its end, 1 if the machine died or ran out of time in a test, 3 if dom0 never came up.
boot_tests() {
	local initrd=$1 qemu allowed allowed_since starved_before checked=0 over fell_since status line rest text source up partial="" ready=0 stopped=0 ended="" began=0 pid fd
	qemu_command "$2" "$3" "$initrd" ""
	current=""
	: >"$share/console.log"
	exec {fd}< <(exec timeout -k 5 "$((36000 * scale))" "${qemu[@]}" -pidfile "$share/qemu.pid" -monitor none -serial stdio </dev/null 2>&1)
	pid=$!
	trap 'kill $pid; exit 130' INT TERM HUP
	allow $((120 * scale))
	while :; do
		if [ "$(seconds)" -gt $checked ] && is_over; then
			if [ -z "$current" ] || [ "$over" = 1 ]; then
				ended="no progress within the time limit: the machine is taken down"
				break
			fi
			end_test "the time limit is over"
		elif [ -n "$current" ] && [ "$over" = 0 ] && [ -n "${fell[$current]:-}" ] &&
			[ $(($(seconds) - fell_since)) -gt $((30 * scale)) ]; then
			end_test "${fell[$current]} died of a triple fault"
		fi
		checked=$(seconds)
		status=0
		IFS= read -r -t 1 -u "$fd" line || status=$?
		if [ $status -gt 0 ]; then
			if [ $status -le 128 ]; then break; fi # the end of QEMU; above 128: nothing came in a second
			partial+=$line
			continue
		fi
		line=$partial${line%%$'\r'*}
		partial=""
		printf '%4d %s\n' "$(seconds)" "$line" >>"$share/console.log"
		if [[ $line =~ \(XEN\)\ (d[0-9]+)v[0-9]+\ Triple\ fault ]] && [ -n "$current" ]; then
			fell[$current]=${BASH_REMATCH[1]} fell_since=$(seconds)
		fi
		case $line in
		*'@@ '*) ;;
		*)
			if [ "$verbose" = 1 ] && [ -n "$line" ]; then show console "$line"; fi
			continue
			;;
		esac
		rest=${line#*'@@ '}
		source=${rest%% *} rest=${rest#* }
		up=${rest%% *} text=${rest#* }
		if [ "$source" != "!" ]; then
			# guest_wait has begun it again, so that fall excuses nothing.
			if [[ $text == "note: "*" died of a triple fault while it booted"* ]]; then unset "fell[$current]"; fi
			show "$source" "$text"
			continue
		fi
		case $text in
		ready*)
			ready=1
			note "dom0 is up after ${up} s: Linux ${text#ready }"
			allow $((60 * scale))
			;;
		infrastructure*) note "$text" ;;
		note*) note "${text#note }" ;;
		begin*)
			read -r _ current rest <<<"$text"
			began=$(seconds) over=0
			unset "fell[$current]"
			code[$current]=died
			mkdir -p "$share/results/$current"
			: >"$share/results/$current/output.log"
			note "$current (at most $rest s)"
			allow "$rest"
			;;
		end*)
			took[$current]=$(($(seconds) - began))
			code[$current]=$(cat "$share/results/$current/code" 2>/dev/null)
			if [ "${code[$current]}" = 0 ]; then note "$current: passed"; else note "$current: FAILED (${code[$current]})"; fi
			current=""
			allow $((60 * scale))
			;;
		stop*)
			stopped=1
			allow $((30 * scale))
			;;
		esac
	done
	kill "$pid" 2>/dev/null
	exec {fd}<&-
	wait "$pid" 2>/dev/null
	trap - INT TERM HUP
	[ -z "$ended" ] || note "$ended"
	if [ -n "$current" ]; then
		took[$current]=$(($(seconds) - began))
		note "$current: FAILED (the machine died or hung during it)"
		cp "$share/console.log" "$share/results/$current/"
		current=""
		return 1
	fi
	if [ $ready = 0 ]; then return 3; fi
	[ $stopped = 1 ] || return 1
}

# boot_shell INITRD DOM0_MEMORY GUEST_MEMORY: a console in dom0 on this terminal.
boot_shell() {
	local qemu
	qemu_command "$2" "$3" "$1" "interactive"
	"${qemu[@]}" -serial mon:stdio
}
