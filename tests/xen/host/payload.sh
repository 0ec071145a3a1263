# shellcheck shell=bash disable=SC2154  # variables of run
# The payload: what was built from the tree and the files of tests/xen, as one more archive over the
# base image; and the whole initramfs put together. Sourced by run after image.sh.

# find_program NAME: prints the path of a built program that payload.list covers.
find_program() {
	local line file
	while read -r line; do
		case $line in '' | '#'*) continue ;; esac
		for file in "$build"/$line; do
			if [ "${file##*/}" = "$1" ] && [ -f "$file" ] && [ -x "$file" ]; then
				echo "$file"
				return 0
			fi
		done
	done <"$here/payload.list"
	return 1
}

# all_programs: names of everything in payload.list that has been built.
all_programs() {
	local line file
	while read -r line; do
		case $line in '' | '#'*) continue ;; esac
		for file in "$build"/$line; do
			if [ -f "$file" ] && [ -x "$file" ] && readelf -h "$file" >/dev/null 2>&1; then
				echo "${file##*/}"
			fi
		done
	done <"$here/payload.list" | LC_ALL=C sort -u
}

# What runs in dom0 alone, unless a test names it in "# guest-programs:". What it needs would take more
# of a guest's memory than small guests have.
dom0_programs='vmsgd vmsg lying-vmsgd'

# in_guests NAME GUEST_PROGRAMS
in_guests() {
	case " $2 " in *" $1 "*) return 0 ;; esac
	case " $dom0_programs " in *" $1 "*) return 1 ;; esac
}

# add_program ROOT NAME: the program (stripped) and the libraries it needs that the base does not have.
add_program() {
	local root=$1 name=$2 library path
	path=$(find_program "$name")
	mkdir -p "$root/vmsg/bin" "$root/$libdir"
	strip -o "$root/vmsg/bin/$name" --strip-unneeded "$path" || return 1
	while read -r library path; do
		grep -qxF "$library" "$base/guest.libraries" || cp -Ln "$path" "$root/$libdir/$library"
	done < <(ldd "$path" 2>/dev/null | sed -n 's/^\s*\(\S*\) => \(\/\S*\) .*/\1 \2/p')
}

# build_payload PROGRAMS FILES GUEST_PROGRAMS: sets payload=DIRECTORY with payload.cpio: the programs
# with their libraries, the files, the modules (built by build_modules), and the files of tests/xen;
# and with dom0.cpio, the programs of dom0's own.
build_payload() {
	local programs=$1 files=$2 guest_programs=$3 name path paths=() key root
	for name in $programs; do
		paths+=("$(find_program "$name")")
	done
	for name in $files; do
		paths+=("$top/$name")
	done
	paths+=("${modules[@]}")
	key=$({
		echo "$base" "$programs" "$files" "$guest_programs"
		cat "$here"/host/payload.sh "${paths[@]}"
		cat "$here"/image/* "$tests_dir"/t-*
		ls "$here"/image/* "$tests_dir"/t-*
	} | hash_of)
	payload=$out/images/payload-$key
	if in_use "$payload"; then return 0; fi
	forget_old payload 5 # they change with every build

	root=$out/work-$$
	rm -rf "$root" "$payload"
	mkdir -p "$payload" "$root/vmsg/bin" "$root/vmsg/files" "$root/test" "$root/dom0"
	for name in $programs; do
		if in_guests "$name" "$guest_programs"; then
			add_program "$root" "$name" || return 1
		else
			add_program "$root/dom0" "$name" || return 1
		fi
	done
	make_cpio "$root/dom0" "$payload/dom0.cpio"
	rm -rf "$root/dom0"
	for name in $files; do
		cp "$top/$name" "$root/vmsg/files/" || return 1
	done
	for path in "${modules[@]}"; do
		cp "$path" "$root/vmsg/files/" || return 1
	done
	cp "$here"/image/* "$tests_dir"/t-* "$root/test/" || return 1
	chmod +x "$root"/test/{init,runner} "$root"/test/t-*
	make_cpio "$root" "$payload/payload.cpio"
	rm -rf "$root"
	touch "$payload/done"
}

# assemble FILE PARTS: the initramfs of dom0, with that of the guests in it.
assemble() {
	local file=$1 name dom0=() guest=() root
	root=$out/work-$$
	rm -rf "$root"
	mkdir -p "$root/guest"
	for name in $2; do
		build_part "$name" || return 1
		if [ -e "$part/dom0.cpio" ]; then dom0+=("$part/dom0.cpio"); fi
		if [ -e "$part/guest.cpio" ]; then guest+=("$part/guest.cpio"); fi
	done
	mkdir -p "$root/guest"
	cat "${guest[@]}" "$payload/payload.cpio" >"$root/guest/top.cpio"
	make_cpio "$root" "$root.cpio"
	cat "$base/dom0.cpio" "${dom0[@]}" "$payload"/{payload,dom0}.cpio "$root.cpio" >"$file"
	rm -rf "$root" "$root.cpio"
}
