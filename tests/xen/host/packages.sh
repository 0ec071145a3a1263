# shellcheck shell=bash disable=SC2154  # variables of run
# Debian packages for the images: resolve versions, download into the cache, unpack. Nothing is
# installed on the host. Sourced by run; needs $cache and note().

# kernel_package: the versioned package behind linux-image-amd64.
kernel_package() {
	apt-cache depends linux-image-amd64 2>/dev/null |
		sed -n 's/^ *Depends: \(linux-image-[0-9].*-amd64\)$/\1/p' | head -n1
}

# package_closure PACKAGE...: the packages and everything they depend on, one a line.
package_closure() {
	apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
		--no-replaces --no-enhances "$@" | grep '^[a-z]' | grep -v ':' | LC_ALL=C sort -u
}

# package_files SET PACKAGE...: prints the .deb file names (they carry the versions) of a set of
# packages and sees to it that they are in the cache. Without a network the newest complete set of
# that name in the cache serves.
package_files() {
	local set=$1 manifest missing=()
	shift
	mkdir -p "$cache/debs" "$cache/sets"
	manifest=$(apt-get -o APT::Sandbox::User=root download --print-uris "$@" 2>/dev/null |
		awk '{print $2}' | LC_ALL=C sort -u) || manifest=
	if [ -n "$manifest" ]; then
		local file
		for file in $manifest; do
			[ -s "$cache/debs/$file" ] || missing+=("$file")
		done
		if [ ${#missing[@]} = 0 ] || download_packages "$set" "${missing[@]}"; then
			printf '%s\n' "$manifest" >"$cache/sets/$set.new"
			mv "$cache/sets/$set.new" "$cache/sets/$set"
			printf '%s\n' "$manifest"
			return 0
		fi
	fi
	if [ -s "$cache/sets/$set" ]; then
		note "cannot download packages: using the cached set \"$set\" of $(date -r "$cache/sets/$set" +%F)"
		cat "$cache/sets/$set"
		return 0
	fi
	note "cannot download the packages of \"$set\", and the cache has none; has apt-get update been run?"
	return 1
}

# download_packages SET FILE...: FILE is NAME_VERSION_ARCH.deb as apt-get names it.
download_packages() {
	local set=$1 file name version specs=()
	shift
	note "downloading $# packages ($set)"
	for file in "$@"; do
		name=${file%%_*}
		version=${file#*_}
		version=${version%_*}
		specs+=("$name=${version//%3a/:}")
	done
	(
		flock 9
		cd "$cache/debs" &&
			apt-get -o APT::Sandbox::User=root -q download "${specs[@]}" >"$cache/download.log" 2>&1
	) 9>"$cache/lock" || {
		tail -n 3 "$cache/download.log" >&2
		return 1
	}
}

# unpack_packages DIRECTORY FILE...
unpack_packages() {
	local to=$1 file
	shift
	mkdir -p "$to"
	for file in "$@"; do
		dpkg-deb -x "$cache/debs/$file" "$to" || return 1
	done
}
