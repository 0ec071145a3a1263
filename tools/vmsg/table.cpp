#include "tools/vmsg/table.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace vmsg::tool {

std::string Table::to_text() const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t width = columns_[i].title.size();
    for (const auto& row : rows_) width = std::max(width, i < row.size() ? row[i].size() : 0);
    widths.push_back(width);
  }
  std::string text;
  const auto add_line = [&](const auto& cell) {
    std::string line;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (i > 0) line += "  ";
      line += columns_[i].align == Align::kLeft ? fmt::format("{:<{}}", cell(i), widths[i])
                                                : fmt::format("{:>{}}", cell(i), widths[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  };
  add_line([&](std::size_t i) { return columns_[i].title; });
  for (const auto& row : rows_) {
    add_line([&](std::size_t i) { return i < row.size() ? row[i] : std::string{}; });
  }
  return text;
}

}  // namespace vmsg::tool
