# The two libraries that transport/ and its tests need, for a machine that is not this one: fmt from
# its headers, which Debian keeps apart from any architecture, and GoogleTest from its sources.
set(VMSG_CROSS_INCLUDE ${PROJECT_BINARY_DIR}/cross-include)
file(MAKE_DIRECTORY ${VMSG_CROSS_INCLUDE})
# By a link and not by -I/usr/include: this machine's C headers must not be seen.
file(CREATE_LINK /usr/include/fmt ${VMSG_CROSS_INCLUDE}/fmt SYMBOLIC)

add_library(fmt::fmt INTERFACE IMPORTED GLOBAL)
target_include_directories(fmt::fmt SYSTEM INTERFACE ${VMSG_CROSS_INCLUDE})
target_compile_definitions(fmt::fmt INTERFACE FMT_HEADER_ONLY)

if(VMSG_TESTS)
  set(INSTALL_GTEST OFF)
  add_subdirectory(/usr/src/googletest ${PROJECT_BINARY_DIR}/googletest EXCLUDE_FROM_ALL SYSTEM)
  foreach(library gtest gtest_main gmock gmock_main)
    if(NOT TARGET GTest::${library})
      add_library(GTest::${library} ALIAS ${library})
    endif()
  endforeach()
endif()
