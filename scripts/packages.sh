# The Debian 12 packages that each job needs, by name. Sourced by scripts/setup.
# shellcheck shell=bash disable=SC2034

# Build everything and run the tests that need no Xen.
packages_build="g++ cmake ninja-build pkg-config ccache git curl
  libxen-dev libboost1.81-dev libfmt-dev libcli11-dev liburing-dev libnbd-dev
  libtomlplusplus-dev libseccomp-dev nlohmann-json3-dev
  googletest libgtest-dev libgmock-dev libbenchmark-dev xenstore-utils mandoc man-db bsdextrautils
  qemu-utils e2fsprogs iproute2 python3"

# tools/check: formatting and static analysis.
packages_check="clang-format-19 clang-tidy-19 clang-19 libclang-rt-19-dev shellcheck"

# Fuzzing.
packages_fuzz="clang-19 libclang-rt-19-dev"

# What the fuzz targets get to.
packages_coverage="gcovr"

# The pure layer for arm64, and its unit tests.
packages_arm64="g++-aarch64-linux-gnu qemu-user-static"

# ./bench: what is measured beside ours, and what counts system calls.
packages_bench="fio qemu-system-common linux-perf python3"

# Debian packages (./package), installed and removed in a fresh root.
packages_package="debhelper dh-dkms dpkg-dev lintian fakeroot debootstrap"

# Real Xen under QEMU. What runs inside is fetched by tests/xen/, never installed.
packages_xen="qemu-system-x86 cpio xz-utils binutils kmod gcc-12 make"
