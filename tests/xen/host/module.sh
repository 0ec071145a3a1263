# shellcheck shell=bash disable=SC2154  # variables of run
# The Linux guest driver, built for a kernel whose headers were unpacked, not installed. Nothing is
# written into the tree. Sourced by run after image.sh; needs $here $top $out and note().

# unpack_headers VERSION PACKAGE...: unpacks header packages into the cache, prints the folder for make -C.
unpack_headers() {
	local kver=$1 files to
	shift
	to=$cache/headers-$kver
	if [ ! -e "$to/done" ]; then
		files=$(package_files "headers-$kver" "$@") || return 1
		rm -rf "$to"
		# shellcheck disable=SC2086
		unpack_packages "$to" $files || return 1
		# The packages expect to be installed.
		sed -i "s| /usr/src/| $to/usr/src/|" "$to/usr/src/linux-headers-$kver/Makefile"
		touch "$to/done"
	fi
	echo "$to/usr/src/linux-headers-$kver"
}

# kernel_headers: those of the images' kernel.
kernel_headers() {
	local kver
	build_base || return 1
	kver=$(cat "$base/kver")
	unpack_headers "$kver" "linux-headers-$kver" "linux-headers-${kver%-*}-common" \
		"linux-kbuild-$(cut -d. -f1-2 <<<"$kver")"
}

# choose_guest_kernel SUITE: guests get the newest kernel of that Debian suite and the driver built for it,
# both by tests/linux-guest/build-kernels. Sets guest_kernel_dir, guest_kernel_version, and flavour, by
# which images with such guests are told from the others.
choose_guest_kernel() {
	note "fetching the kernel of $1, building the guest driver for it"
	"$top/tests/linux-guest/build-kernels" --image "$1" >&6 || return 1
	guest_kernel_dir=${VMSG_LINUX_GUEST_DIR:-$top/build/linux-guest}/$1
	guest_kernel_version=$(cat "$guest_kernel_dir/image.version") || return 1
	flavour=.$1
}

# unpack_guest_kernel ROOT: its files, with /lib where modprobe looks for it, and ROOT/vmlinuz, which has
# its place in /boot, and beside the modules in later kernels.
unpack_guest_kernel() {
	local file
	mkdir -p "$1"
	cp -a "$guest_kernel_dir/image/." "$1/" || return 1
	[ -e "$1/lib" ] || ln -s usr/lib "$1/lib"
	for file in "$1/boot/vmlinuz-$guest_kernel_version" "$1/lib/modules/$guest_kernel_version/vmlinuz"; do
		[ ! -e "$file" ] || mv "$file" "$1/vmlinuz"
	done
	[ -e "$1/vmlinuz" ] || {
		note "no vmlinuz of $guest_kernel_version in $guest_kernel_dir/image"
		return 1
	}
	depmod -b "$1" "$guest_kernel_version"
}

# guest_kernel_module: the driver that was built for it, as build_module leaves it: prints its path.
guest_kernel_module() {
	strip --strip-debug -o "$guest_kernel_dir/virtio_msg_xen.ko" "$guest_kernel_dir/root/module/virtio_msg_xen.ko" &&
		echo "$guest_kernel_dir/virtio_msg_xen.ko"
}

# build_module HEADERS [MAKE-ARGUMENT...]: prints the path of virtio_msg_xen.ko. A warning is an error.
build_module() {
	local headers=$1 sources=$top/tools/linux-guest key to
	shift
	key=$({
		echo "$headers" "$@"
		cat "$sources"/* "$top/transport/virtio_msg_xen.h" "$here/host/module.sh"
	} | hash_of)
	to=$out/images/module-$key
	if ! in_use "$to"; then
		forget_old module 5
		note "building the guest driver for ${headers##*/linux-headers-}"
		rm -rf "$to"
		mkdir -p "$to"
		cp "$sources"/* "$top/transport/virtio_msg_xen.h" "$to/"
		if ! make -C "$headers" M="$to" "$@" modules >"$to/build.log" 2>&1 ||
			grep -qiE 'warning' "$to/build.log"; then
			grep -iE -A5 'warning|error' "$to/build.log" >&2
			note "the guest driver does not build without warnings: see $to/build.log"
			return 1
		fi
		strip --strip-debug "$to/virtio_msg_xen.ko"
		touch "$to/done"
	fi
	echo "$to/virtio_msg_xen.ko"
}
