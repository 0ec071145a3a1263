#include "tools/vmsg/guest_configs.hpp"

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>

namespace vmsg::tool {
namespace {

namespace fs = std::filesystem;

/// More files than that are no folder of configurations.
constexpr std::size_t kMostFiles = 10'000;

std::vector<fs::path> files_in(const std::string& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error);
       !error && entry != fs::directory_iterator() && files.size() < kMostFiles;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const bool is_leftover =
        name.starts_with('.') || name.ends_with('~') || name.find(".dpkg-") != std::string::npos;
    if (!is_leftover && fs::is_regular_file(entry->path(), error)) files.push_back(entry->path());
    error.clear();
  }
  std::ranges::sort(files);
  return files;
}

}  // namespace

std::optional<GuestConfigs::Found> GuestConfigs::find(std::string_view name,
                                                      std::vector<Problem>& problems) const {
  std::optional<Found> found;
  std::set<fs::path> seen;  // /etc/xen/auto is mostly links to /etc/xen
  for (const std::string& folder : folders_) {
    for (const fs::path& file : files_in(folder)) {
      std::error_code error;
      const fs::path real = fs::canonical(file, error);
      if (error || !seen.insert(real).second) continue;
      auto config = read_domain_config(file.string());
      if (!config) {
        if (file.stem().string() == name) {
          problems.insert(problems.end(), config.error().begin(), config.error().end());
        }
        continue;
      }
      if (config->name != name) continue;
      if (found) {
        found->others.push_back(file.string());
      } else {
        found = Found{.config = std::move(*config), .others = {}};
      }
    }
  }
  return found;
}

}  // namespace vmsg::tool
