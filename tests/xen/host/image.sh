# shellcheck shell=bash disable=SC2154  # variables of run
# Images. The initramfs of dom0 and that of a guest are chains of cpio archives, which the kernel
# unpacks one over the other:
#
#   base      Debian's parts: busybox, libraries, modules, xl and friends    (packages, modules.list)
#   parts     optional Debian programs, each an archive of its own           (parts/NAME)
#   payload   what was built from the tree, and the files of tests/xen       (changes all the time)
#
# Each archive lives under build/xen/images in a folder named after the hash of what went into it.
# Archives stay uncompressed: unpacking is what costs time under emulation.
# Sourced by run; needs $here $top $cache $out $build and note().

xen_version=4.17
libdir=usr/lib/x86_64-linux-gnu

hash_of() { sha256sum | cut -c1-16; }

# in_use IMAGE: whether it is complete; if so, it counts as new again.
in_use() { [ -e "$1/done" ] && touch "$1" "$1/done"; }

# forget_old PREFIX COUNT: removes all but the newest of a kind.
forget_old() {
	find "$out/images" -maxdepth 1 -name "$1-*" -printf '%T@ %p\n' | sort -rn | tail -n "+$(($2 + 1))" |
		cut -d' ' -f2- | xargs -r rm -rf
}

# make_cpio ROOT FILE
make_cpio() {
	(cd "$1" && find . -print0 | LC_ALL=C sort -z |
		cpio -0 -o -H newc --quiet --reproducible --owner 0:0) >"$2"
}

# needed_libraries ROOT: sonames that the ELF files below ROOT name.
needed_libraries() {
	find "$1" -type f \( -perm -u+x -o -name '*.so*' \) ! -name '*.ko' -print0 |
		xargs -0 -r objdump -p 2>/dev/null | awk '/NEEDED/{print $2}' | LC_ALL=C sort -u
}

# add_libraries ROOT PKG [HAVE]: copies from PKG the libraries that ROOT needs, until nothing is
# missing; those listed in the file HAVE are there already.
add_libraries() {
	local root=$1 pkg=$2 have=${3:-/dev/null} changed=1 name file
	mkdir -p "$root/$libdir"
	while [ $changed = 1 ]; do
		changed=0
		for name in $(needed_libraries "$root"); do
			[ -e "$root/$libdir/$name" ] && continue
			grep -qxF "$name" "$have" && continue
			file=$(find "$pkg/lib" "$pkg/usr/lib" -name "$name" -print -quit 2>/dev/null)
			[ -n "$file" ] || {
				note "no package provides $name"
				return 1
			}
			cp -L "$file" "$root/$libdir/$name"
			changed=1
		done
	done
}

# add_modules PKG KVER dom0|guest ROOT
add_modules() {
	local pkg=$1 kver=$2 role=$3 root=$4 where name file list=()
	while read -r where name; do
		case $where in '' | '#'*) continue ;; all) ;; *) [ "$where" = "$role" ] || continue ;; esac
		file=$(modprobe -d "$pkg" -S "$kver" --show-depends "$name" 2>&1) || {
			note "module $name: $file"
			return 1
		}
		mapfile -t -O ${#list[@]} list < <(sed -n 's/^insmod \([^ ]*\).*/\1/p' <<<"$file")
	done <"$here/modules.list"
	for file in "${list[@]}"; do
		name=/lib/modules/${file#*/lib/modules/}
		install -D -m644 "$pkg$name" "$root$name"
		case $name in *.xz) xz -df "$root$name" ;; esac # busybox need not know how
	done
	cp "$pkg/lib/modules/$kver"/modules.{builtin,builtin.modinfo,order} "$root/lib/modules/$kver/"
	depmod -b "$root" "$kver"
}

# common_root PKG ROOT: what dom0 and guests share.
common_root() {
	local pkg=$1 root=$2 applet file
	mkdir -p "$root"/{bin,sbin,etc,proc,sys,dev,run,tmp,root,lib/modules,lib64,usr/bin,usr/sbin,var/lib,var/log,test,vmsg/bin} \
		"$root/$libdir"
	ln -s /run "$root/var/run"
	ln -s /run/lock "$root/var/lock"
	ln -s "/$libdir" "$root/lib/x86_64-linux-gnu"
	cp "$pkg/bin/busybox" "$root/bin/busybox"
	for applet in $("$pkg/bin/busybox" --list-full); do
		mkdir -p "$root/${applet%/*}"
		[ -e "$root/$applet" ] || ln -s /bin/busybox "$root/$applet"
	done
	for file in chmod exists list ls read rm watch write; do
		cp "$pkg/usr/bin/xenstore-$file" "$root/usr/bin/"
	done
	cp "$pkg/usr/bin/strace" "$root/usr/bin/"
	cp -L "$pkg/lib64/ld-linux-x86-64.so.2" "$root/lib64/"
	# Programs of the payload need these two; libgcc_s is dlopened by pthread_cancel (libxl).
	for file in libgcc_s.so.1 libstdc++.so.6; do
		cp -L "$(find "$pkg/lib" "$pkg/usr/lib" -name "$file" -print -quit)" "$root/$libdir/"
	done
	for file in libxenevtchn.so.1 libxengnttab.so.1 libxenstore.so.4 libxenforeignmemory.so.1; do
		cp -L "$pkg/$libdir/$file" "$root/$libdir/"
	done
	ln -s /test/init "$root/init"
	echo "root::0:0:root:/root:/bin/sh" >"$root/etc/passwd"
	echo "root:x:0:" >"$root/etc/group"
}

# build_base: sets base=DIRECTORY with xen.elf, vmlinux, kver, dom0.cpio, guest.cpio. Guests have dom0's
# kernel, or the one that --guest-kernel has asked for (module.sh).
build_base() {
	local names=() line files key work pkg kver guest_pkg guest_kver xenbin file
	while read -r line; do
		case $line in '' | '#'*) continue ;; @kernel) line=$(kernel_package) ;; esac
		[ -n "$line" ] && names+=("$line")
	done <"$here/packages.list"
	files=$(package_files base "${names[@]}") || return 1
	key=$({
		echo "$files" "${guest_kernel_version:-}"
		cat "$here/modules.list" "$here/host/image.sh"
	} | hash_of)
	base=$out/images/base$flavour-$key
	if in_use "$base"; then return 0; fi
	forget_old "base$flavour" 1

	note "building the base image (kept for the next runs)"
	work=$out/work-$$
	pkg=$work/pkg
	rm -rf "$work" "$base"
	mkdir -p "$work" "$base"
	# shellcheck disable=SC2086
	unpack_packages "$pkg" $files || return 1
	kver=$(ls "$pkg/lib/modules")
	depmod -b "$pkg" "$kver"
	gunzip -c "$pkg/boot/xen-$xen_version-amd64.gz" >"$base/xen.elf" # ELF32, multiboot: what qemu -kernel takes
	unpack_kernel "$pkg/boot/vmlinuz-$kver" "$base/vmlinux" || return 1
	guest_pkg=$pkg guest_kver=$kver
	mkdir -p "$work/dom0/guest"
	if [ -n "$flavour" ]; then
		guest_pkg=$work/guest-pkg guest_kver=$guest_kernel_version
		unpack_guest_kernel "$guest_pkg" || return 1
		touch "$work/dom0/guest/another-kernel"
		unpack_kernel "$guest_pkg/vmlinuz" "$work/dom0/guest/vmlinux" || return 1
	else
		cp "$base/vmlinux" "$work/dom0/guest/vmlinux"
	fi

	common_root "$pkg" "$work/guest"
	add_modules "$guest_pkg" "$guest_kver" guest "$work/guest" || return 1
	add_libraries "$work/guest" "$pkg" || return 1

	common_root "$pkg" "$work/dom0"
	add_modules "$pkg" "$kver" dom0 "$work/dom0" || return 1
	xenbin=usr/lib/xen-$xen_version/bin
	for file in xl xenstored xenconsoled xenconsole xen-init-dom0 libxl-save-helper lsevtchn xenstore-control xen-diag; do
		install -D "$pkg/$xenbin/$file" "$work/dom0/$xenbin/$file"
		ln -sf "/$xenbin/$file" "$work/dom0/usr/sbin/$file"
	done
	cp -a "$pkg/etc/xen" "$work/dom0/etc/"
	cp "$pkg/bin/bash" "$work/dom0/bin/bash"
	for file in flock stat; do # busybox has no flock, and another stat
		rm -f "$work/dom0/usr/bin/$file" "$work/dom0/bin/$file"
		install "$pkg/usr/bin/$file" "$work/dom0/usr/bin/$file"
	done
	add_libraries "$work/dom0" "$pkg" || return 1

	make_cpio "$work/guest" "$base/guest.cpio"
	cp "$base/guest.cpio" "$work/dom0/guest/base.cpio"
	make_cpio "$work/dom0" "$base/dom0.cpio"
	ls "$work/guest/$libdir" >"$base/guest.libraries"
	ls "$work/dom0/$libdir" >"$base/dom0.libraries"
	echo "$kver" >"$base/kver"
	echo "$files" >"$base/packages"
	rm -rf "$work"
	touch "$base/done"
}

# unpack_kernel BZIMAGE VMLINUX: once here rather than under emulation, where Xen (for dom0) and
# libxenguest (for each guest) take 3 to 6 s for it. Where the compressed kernel is, the head says (the
# x86 boot protocol: setup_sects, payload_offset).
unpack_kernel() {
	local at packer
	at=$((($(od -An -tu1 -j497 -N1 "$1") + 1) * 512 + $(od -An -tu4 -j584 -N4 "$1")))
	case $(od -An -tx1 -j$at -N4 "$1") in
	' fd 37 7a 58') packer=xz ;;
	' 28 b5 2f fd') packer=zstd ;;
	*)
		note "${1##*/} is packed in a way that is not known here"
		return 1
		;;
	esac
	command -v $packer >/dev/null || {
		note "${1##*/} needs $packer"
		return 1
	}
	# It complains about what follows, having written all of it.
	tail -c +$((at + 1)) "$1" | $packer -dcq >"$2" 2>/dev/null
	readelf -h "$2" >/dev/null && strip -s "$2"
}

# build_part NAME: sets part=DIRECTORY with dom0.cpio and/or guest.cpio. parts/NAME is a shell
# fragment that sets packages (and closure=1 to take what they depend on), dom0_files, guest_files.
build_part() {
	local name=$1 packages=() closure=0 files key work role file list
	# shellcheck disable=SC2034  # by name, in the loop below
	local dom0_files=() guest_files=()
	# shellcheck source=/dev/null
	. "$here/parts/$name"
	if [ "$closure" = 1 ]; then
		mapfile -t packages < <(package_closure "${packages[@]}" | grep -vxE 'gcc-12-base|iso-codes|debconf.*')
	fi
	files=$(package_files "part-$name" "${packages[@]}") || return 1
	key=$({
		echo "$files" "$base"
		cat "$here/parts/$name" "$here/host/image.sh"
	} | hash_of)
	part=$out/images/part$flavour-$name-$key
	if in_use "$part"; then return 0; fi
	forget_old "part$flavour-$name" 1

	note "building the image part $name (kept for the next runs)"
	work=$out/work-$$
	rm -rf "$work" "$part"
	mkdir -p "$work" "$part"
	# shellcheck disable=SC2086
	unpack_packages "$work/pkg" $files || return 1
	for role in dom0 guest; do
		list="${role}_files[@]"
		list=("${!list}")
		[ ${#list[@]} -gt 0 ] || continue
		mkdir -p "$work/$role"
		for file in "${list[@]}"; do
			(cd "$work/pkg" && cp -a --parents "${file#/}" "$work/$role/") || return 1
		done
		add_libraries "$work/$role" "$work/pkg" "$base/$role.libraries" || return 1
		make_cpio "$work/$role" "$part/$role.cpio"
	done
	rm -rf "$work"
	touch "$part/done"
}
