# How this project builds its libraries, programs and tests: one place, so that the folders
# only say what they consist of.

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()

option(VMSG_WERROR "Treat warnings as errors" OFF)
set(VMSG_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize= takes them")
option(VMSG_COVERAGE "Count which lines and branches run (GCC)" OFF)
# The arm64 and fuzz builds need the pure layer alone.
option(VMSG_TRANSPORT_ONLY "Build transport/ and its tests, nothing that needs Xen" OFF)

# Most of what the compiler does for a source here are the headers of the standard library, Asio and
# GoogleTest, so several sources are compiled as one where nobody uses the result but tests: tests
# and what belongs to them, and everything under sanitizers. What is shipped is compiled one by one.
option(VMSG_UNITY "Compile tests several sources at a time" ON)
set(CMAKE_UNITY_BUILD_BATCH_SIZE 8)
if(VMSG_UNITY AND VMSG_SANITIZE AND NOT VMSG_FUZZ)
  set(CMAKE_UNITY_BUILD ON)
endif()

# vmsg_compile_alone(SOURCES...): these have names of their own that others of their target have too,
# or tests/fuzz/ brings what is in them itself.
function(vmsg_compile_alone)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

add_library(vmsg_warnings INTERFACE)
target_compile_options(vmsg_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wcast-align -Wdouble-promotion
  -Wformat=2 $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor -Wold-style-cast -Woverloaded-virtual>
  $<$<BOOL:${VMSG_WERROR}>:-Werror>)

if(VMSG_SANITIZE)
  # What GCC adds to the code for them makes it see uses that are none; other builds warn of real ones.
  target_compile_options(vmsg_warnings INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endif()

add_library(vmsg_base INTERFACE)
target_include_directories(vmsg_base INTERFACE ${PROJECT_SOURCE_DIR})
target_link_libraries(vmsg_base INTERFACE Threads::Threads)
target_compile_definitions(vmsg_base INTERFACE $<$<NOT:$<CONFIG:Debug>>:_FORTIFY_SOURCE=2>)
target_compile_options(vmsg_base INTERFACE -fstack-protector-strong)
if(VMSG_SANITIZE)
  target_compile_options(vmsg_base INTERFACE
    -fsanitize=${VMSG_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -U_FORTIFY_SOURCE)
  target_link_options(vmsg_base INTERFACE -fsanitize=${VMSG_SANITIZE})
endif()
if(VMSG_SANITIZE MATCHES thread)
  # ThreadSanitizer does not know fences. Asio's stand beside its mutex, which is what orders handlers.
  target_compile_definitions(vmsg_base INTERFACE BOOST_ASIO_DISABLE_FENCED_BLOCK)
endif()
if(VMSG_FUZZ)
  # libFuzzer sees where inputs get only in code that is compiled for it: the libraries too, not
  # just the targets. Without this it throws dice. What only plays the rest of the world
  # (VMSG_IS_SCENERY) is not what inputs are to get into.
  target_compile_options(vmsg_base INTERFACE
    $<$<NOT:$<BOOL:$<TARGET_PROPERTY:VMSG_IS_SCENERY>>>:-fsanitize=fuzzer-no-link>)
endif()
if(VMSG_COVERAGE)
  # Atomic: some devices have threads.
  target_compile_options(vmsg_base INTERFACE --coverage -fprofile-update=atomic)
  target_link_options(vmsg_base INTERFACE --coverage)
endif()

# vmsg_library(NAME SOURCES... [LINK targets...]): one static library a folder.
function(vmsg_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC vmsg_base ${arg_LINK} PRIVATE vmsg_warnings)
endfunction()

# vmsg_program(NAME SOURCES... [LINK targets...])
function(vmsg_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE vmsg_base ${arg_LINK} vmsg_warnings)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
endfunction()

# vmsg_test(NAME SOURCES... [LINK targets...] [LABELS ...]): a GoogleTest program, known to ctest
# test by test (see below). Labels: unit (default), mock, daemon.
function(vmsg_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LINK;LABELS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE vmsg_base ${arg_LINK} GTest::gmock_main vmsg_warnings)
  # What is tested is optimised as it is used; a test itself is compiled for half the time. With what
  # sanitizers put into it an optimiser takes longer than all else together, and finds no more for it.
  if(VMSG_SANITIZE)
    target_compile_options(${name} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O0>)
  else()
    target_compile_options(${name} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O1>)
  endif()
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  if(NOT arg_LABELS)
    set(arg_LABELS unit)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
  endif()
  if(CMAKE_CROSSCOMPILING OR VMSG_SANITIZE)
    # Where starting a process is most of a test, a program is one test.
    math(EXPR timeout "${arg_TIMEOUT} * 10")
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${timeout})
  else()
    gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST
      PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT})
  endif()
endfunction()
