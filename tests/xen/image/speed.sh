# shellcheck shell=sh
# What the measurements of tests/bench/xen share, in dom0. After linux.sh.

: "${VMSG_TEST_ROUNDS:=5}" "${VMSG_TEST_SECONDS:=3}"
# For trying things out: arguments of vmsgd, parameters of the guest's module, vmsgd's priority and policy.
: "${VMSG_TEST_DAEMON:=}" "${VMSG_TEST_MODULE:=}" "${VMSG_TEST_NICE:=-10}" "${VMSG_TEST_POLICY:=batch}"

vmsgd_answers() { vmsg list; }
# vmsgd_first: starts vmsgd with the priority and the scheduling policy that its unit gives it.
vmsgd_first() {
	# shellcheck disable=SC2086
	vmsgd_start $VMSG_TEST_DAEMON
	expect "vmsgd answers" wait_for 60 vmsgd_answers
	# shellcheck disable=SC2046
	renice -n "$VMSG_TEST_NICE" -p $(ls "/proc/$VMSGD/task") >/dev/null
	chrt "--$VMSG_TEST_POLICY" -a -p 0 "$VMSGD" >/dev/null
}

# guest_quiet COMMAND: its output.
guest_quiet() {
	guest_spawn g "$1"
	guest_join g "$JOB" $((VMSG_TEST_SECONDS + 8)) && job_output g "$JOB"
}

# with_busy COMMAND: a command for a guest that says after COMMAND's output, on a line of its own, how much
# of the guest's processor was in use meanwhile, in per cent.
with_busy() {
	printf '%s' "ticks() { awk '/^cpu / {print \$2 + \$3 + \$4 + \$7 + \$8 + \$9, \$5 + \$6}' /proc/stat; }
		before=\$(ticks); $1; after=\$(ticks)
		echo \"\$before \$after\" | awk '{print 100 * (\$3 - \$1) / (\$3 - \$1 + \$4 - \$2)}'"
}

# figure CASE WHO UNIT NUMBER: what ./bench xen makes its table of.
figure() {
	case $4 in
	'' | 0 | *[!0-9.]*) fail "$1, $2: \"$4\" is no figure" ;;
	*) printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$4" "$3" | tee -a "$RESULTS/figures" ;;
	esac
}
