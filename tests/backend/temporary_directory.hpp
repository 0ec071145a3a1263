// A directory that is gone with the test.
#pragma once

#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>

namespace vmsg::test {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string form = std::filesystem::temp_directory_path() / "vmsg-test-XXXXXX";
    if (::mkdtemp(form.data()) == nullptr) {
      std::cerr << "no temporary directory\n";
      std::abort();
    }
    path_ = form;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace vmsg::test
