# Xen's three C libraries. Everything that uses them compiles against Debian's headers; which
# library answers is decided at the last link: programs take the real ones (and meet the mock by
# LD_LIBRARY_PATH), unit tests take the mock's static build, `xen_mock_static`.
find_package(PkgConfig REQUIRED)
pkg_check_modules(XENEVTCHN REQUIRED IMPORTED_TARGET xenevtchn)
pkg_check_modules(XENGNTTAB REQUIRED IMPORTED_TARGET xengnttab)
pkg_check_modules(XENSTORE REQUIRED IMPORTED_TARGET xenstore)

add_library(vmsg_xen_libraries INTERFACE)
target_link_libraries(vmsg_xen_libraries INTERFACE
  PkgConfig::XENEVTCHN PkgConfig::XENGNTTAB PkgConfig::XENSTORE)
