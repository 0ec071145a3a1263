// The mock's libraries have the sonames, symbols and version nodes of Debian's: read from both by
// objdump and compared.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/mock-xen/process_for_test.hpp"

namespace vmsg::mock {
namespace {

using testing::IsEmpty;
using testing::Not;

std::vector<std::string> lines_of(const std::vector<std::string>& command) {
  ChildProcess tool(command, {});
  std::istringstream text(tool.read_all());
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  return lines;
}

/// "version symbol" of every function that the library defines.
std::set<std::string> functions_of(const std::string& library) {
  std::set<std::string> functions;
  for (const std::string& line : lines_of({"objdump", "-T", library})) {
    if (line.find(" g    DF .text") == std::string::npos) continue;
    std::istringstream words(line);
    std::vector<std::string> all;
    for (std::string word; words >> word;) all.push_back(word);
    functions.insert(all[all.size() - 2] + " " + all.back());
  }
  return functions;
}

/// The version nodes and what each inherits, as objdump prints them; without the numbers before.
std::vector<std::string> versions_of(const std::string& library) {
  std::vector<std::string> versions;
  bool inside = false;
  for (const std::string& line : lines_of({"objdump", "-p", library})) {
    if (line == "Version definitions:") {
      inside = true;
    } else if (inside && line.empty()) {
      break;
    } else if (inside) {
      versions.push_back(line);
    }
  }
  return versions;
}

std::string soname_of(const std::string& library) {
  for (const std::string& line : lines_of({"objdump", "-p", library})) {
    if (line.find("SONAME") == std::string::npos) continue;
    return line.substr(line.find_last_of(' ') + 1);
  }
  return {};
}

class SymbolVersions : public testing::TestWithParam<const char*> {
 protected:
  std::string real() const { return std::string(VMSG_REAL_LIBRARIES "/") + GetParam(); }
  std::string mock() const { return std::string(VMSG_MOCK_LIBRARIES "/") + GetParam(); }
};

TEST_P(SymbolVersions, FunctionsAndTheirVersionsAreDebians) {
  const std::set<std::string> real_functions = functions_of(real());

  ASSERT_THAT(real_functions, Not(IsEmpty()));
  EXPECT_EQ(functions_of(mock()), real_functions);
}

TEST_P(SymbolVersions, VersionNodesAreDebians) {
  const std::vector<std::string> real_versions = versions_of(real());

  ASSERT_THAT(real_versions, Not(IsEmpty()));
  EXPECT_EQ(versions_of(mock()), real_versions);
}

TEST_P(SymbolVersions, SonameIsDebians) { EXPECT_EQ(soname_of(mock()), soname_of(real())); }

INSTANTIATE_TEST_SUITE_P(Libraries, SymbolVersions,
                         testing::Values("libxenevtchn.so.1", "libxengnttab.so.1",
                                         "libxenstore.so.4"),
                         [](const testing::TestParamInfo<const char*>& library) {
                           const std::string name = library.param;
                           return name.substr(0, name.find('.'));
                         });

}  // namespace
}  // namespace vmsg::mock
