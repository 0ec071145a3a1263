// A table for a terminal: columns as wide as their contents.
#pragma once

#include <string>
#include <vector>

namespace vmsg::tool {

class Table {
 public:
  enum class Align : unsigned char { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// One text a column; missing ones are empty.
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

  /// Lines that end with a newline, without trailing blanks.
  [[nodiscard]] std::string to_text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace vmsg::tool
