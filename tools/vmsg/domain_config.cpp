#include "tools/vmsg/domain_config.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "tools/vmsg/small_file.hpp"

extern "C" {
#include <libxlutil.h>
}

// libxlutil's archive is linked, and not its shared library, which is bound to one release of Xen
// and would bring libxenlight along. Of libxenlight the parser needs this one function, for a call
// that we never make.
extern "C" void libxl_defbool_set(libxl_defbool* /*value*/, bool /*on*/) { std::abort(); }

namespace vmsg::tool {
namespace {

/// Where libxlutil says what is wrong: lines in memory.
class Report {
 public:
  Report() : stream_(open_memstream(&text_, &size_)) {}
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;
  ~Report() {
    if (stream_ != nullptr) static_cast<void>(std::fclose(stream_));
    std::free(text_);  // NOLINT(cppcoreguidelines-no-malloc): open_memstream's
  }

  [[nodiscard]] FILE* stream() const { return stream_; }

  /// What was said since the last call, a problem a line.
  std::vector<Problem> take(const std::string& file) {
    static_cast<void>(std::fflush(stream_));
    std::string_view rest(text_, size_);
    rest.remove_prefix(taken_);
    taken_ = size_;
    std::vector<Problem> problems;
    while (!rest.empty()) {
      const auto end = rest.find('\n');
      std::string_view line = rest.substr(0, end);
      rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
      if (line.empty() || problems.size() >= kMostProblems) continue;
      Problem problem{.where = file, .what = {}, .hint = {}};
      // "guest.cfg:3: config parsing error near ...": the place goes to the place.
      if (line.starts_with(file + ":")) {
        const auto colon = line.find(": ", file.size());
        if (colon != std::string_view::npos) {
          problem.where = line.substr(0, colon);
          line.remove_prefix(colon + 2);
        }
      }
      constexpr std::string_view kWarning = "warning: ";
      if (line.starts_with(kWarning)) line.remove_prefix(kWarning.size());
      problem.what = printable(line, kMostWords);
      problems.push_back(std::move(problem));
    }
    return problems;
  }

 private:
  static constexpr std::size_t kMostProblems = 5;
  static constexpr std::size_t kMostWords = 200;

  char* text_ = nullptr;
  std::size_t size_ = 0;
  std::size_t taken_ = 0;
  FILE* stream_;
};

struct ConfigDeleter {
  void operator()(XLU_Config* config) const { xlu_cfg_destroy(config); }
};
using Config = std::unique_ptr<XLU_Config, ConfigDeleter>;

void append(std::vector<Problem>& all, std::vector<Problem> more) {
  all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

std::vector<std::string> read_list(const Config& config, const char* key, const std::string& file,
                                   Report& report, std::vector<Problem>& problems) {
  XLU_ConfigList* list = nullptr;
  int count = 0;
  std::vector<std::string> entries;
  const int result = xlu_cfg_get_list(config.get(), key, &list, &count, 0);
  if (result == ESRCH) return entries;
  if (result != 0) {
    for (Problem& problem : report.take(file)) {
      problem.hint = fmt::format("{} = [ 'type=...', 'type=...' ]", key);
      problems.push_back(std::move(problem));
    }
    return entries;
  }
  for (int i = 0; i < count; ++i) {
    const char* entry = xlu_cfg_get_listitem(list, i);
    if (entry == nullptr) {
      problems.push_back({.where = fmt::format("{}: {} entry {}", file, key, i + 1),
                          .what = "a list stands where text is expected",
                          .hint = "one string in quotes a device: 'type=...,key=value'"});
      entries.emplace_back();
      continue;
    }
    entries.emplace_back(entry);
  }
  return entries;
}

}  // namespace

std::string to_text(const Problem& problem) {
  std::string text = fmt::format("{}: {}", problem.where, problem.what);
  if (!problem.hint.empty()) text += fmt::format("\n    hint: {}", problem.hint);
  return text;
}

Result<DomainConfig, std::vector<Problem>> parse_domain_config(std::string_view text,
                                                               std::string file) {
  Report report;
  const Config config(report.stream() == nullptr ? nullptr
                                                 : xlu_cfg_init(report.stream(), file.c_str()));
  if (config == nullptr) {
    return std::unexpected(
        std::vector<Problem>{{.where = file, .what = "out of memory", .hint = {}}});
  }
  if (xlu_cfg_readdata(config.get(), text.data(), static_cast<int>(text.size())) != 0) {
    auto problems = report.take(file);
    if (problems.empty()) problems.push_back({.where = file, .what = "cannot be read", .hint = {}});
    if (!problems.back().hint.empty()) return std::unexpected(std::move(problems));
    problems.back().hint = "xl would refuse this file as well; see xl.cfg(5)";
    return std::unexpected(std::move(problems));
  }

  DomainConfig domain{.file = std::move(file), .name = {}, .virtio_msg = {}, .virtio = {}};
  std::vector<Problem> problems;
  const char* name = nullptr;
  if (xlu_cfg_get_string(config.get(), "name", &name, 0) == 0) domain.name = name;
  append(problems, report.take(domain.file));
  domain.virtio_msg = read_list(config, "virtio_msg", domain.file, report, problems);
  domain.virtio = read_list(config, "virtio", domain.file, report, problems);
  if (!problems.empty()) return std::unexpected(std::move(problems));
  return domain;
}

Result<DomainConfig, std::vector<Problem>> read_domain_config(
    const std::string& file, std::span<const std::string> settings) {
  // libxlutil's own reader ends the process when the file is a folder.
  auto text = read_small_file(file);
  if (!text) {
    return std::unexpected(
        std::vector<Problem>{{.where = file, .what = std::move(text).error(), .hint = {}}});
  }
  for (const std::string& setting : settings) *text += "\n" + setting;
  *text += '\n';
  return parse_domain_config(*text, file);
}

}  // namespace vmsg::tool
