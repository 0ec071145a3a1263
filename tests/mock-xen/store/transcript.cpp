#include "tests/mock-xen/store/transcript.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>

namespace vmsg::mock::store {
namespace {

constexpr std::string_view kArrow = "->";

struct NamedType {
  std::string_view name;
  xsd_sockmsg_type type;
};

constexpr std::array kTypes = {
    NamedType{"CONTROL", XS_CONTROL},
    NamedType{"DIRECTORY", XS_DIRECTORY},
    NamedType{"READ", XS_READ},
    NamedType{"GET_PERMS", XS_GET_PERMS},
    NamedType{"WATCH", XS_WATCH},
    NamedType{"UNWATCH", XS_UNWATCH},
    NamedType{"TRANSACTION_START", XS_TRANSACTION_START},
    NamedType{"TRANSACTION_END", XS_TRANSACTION_END},
    NamedType{"INTRODUCE", XS_INTRODUCE},
    NamedType{"RELEASE", XS_RELEASE},
    NamedType{"GET_DOMAIN_PATH", XS_GET_DOMAIN_PATH},
    NamedType{"WRITE", XS_WRITE},
    NamedType{"MKDIR", XS_MKDIR},
    NamedType{"RM", XS_RM},
    NamedType{"SET_PERMS", XS_SET_PERMS},
    NamedType{"WATCH_EVENT", XS_WATCH_EVENT},
    NamedType{"ERROR", XS_ERROR},
    NamedType{"IS_DOMAIN_INTRODUCED", XS_IS_DOMAIN_INTRODUCED},
    NamedType{"RESUME", XS_RESUME},
    NamedType{"SET_TARGET", XS_SET_TARGET},
    NamedType{"RESTRICT", static_cast<xsd_sockmsg_type>(XS_SET_TARGET + 1)},
    NamedType{"RESET_WATCHES", XS_RESET_WATCHES},
    NamedType{"DIRECTORY_PART", XS_DIRECTORY_PART},
    NamedType{"UNKNOWN", XS_TYPE_COUNT},
};

std::string trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(" \t") - first + 1));
}

std::vector<std::string> words_of(std::string_view text) {
  std::istringstream stream{std::string(text)};
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

unsigned number_in(std::string_view text) {
  unsigned number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// [x*9] and \0.
std::string unescaped(std::string_view word) {
  std::string out;
  for (std::size_t i = 0; i < word.size(); ++i) {
    if (word.substr(i).starts_with("\\0")) {
      out.push_back('\0');
      ++i;
    } else if (word[i] == '[' && word.find(']', i) != std::string_view::npos) {
      const std::size_t end = word.find(']', i);
      const std::size_t star = word.find('*', i);
      const std::string_view unit = word.substr(i + 1, star - i - 1);
      for (unsigned n = number_in(word.substr(star + 1)); n > 0; --n) out.append(unit);
      i = end;
    } else {
      out.push_back(word[i]);
    }
  }
  return out;
}

// Long runs of one character as [x*9], so that what a transcript says of them can be read.
std::string escaped(std::string_view bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < bytes.size();) {
    const std::size_t end = std::min(bytes.find_first_not_of(bytes[i], i), bytes.size());
    std::string one(1, bytes[i]);
    if (bytes[i] == '\0') {
      one = "\\0";
    } else if (bytes[i] < ' ' || bytes[i] > '~') {
      const auto byte = static_cast<unsigned char>(bytes[i]);
      one = std::string("\\x") + kHex[byte >> 4] + kHex[byte & 15];
    }
    if (end - i > 8) {
      out.append("[" + one + "*" + std::to_string(end - i) + "]");
    } else {
      for (std::size_t n = i; n < end; ++n) out.append(one);
    }
    i = end;
  }
  return out.empty() ? "''" : out;
}

std::string replaced(std::string text, const std::string& number) {
  for (std::size_t at = text.find('#'); at != std::string::npos; at = text.find('#')) {
    text.replace(at, 1, number);
  }
  return text;
}

class Player {
 public:
  explicit Player(StoreUnderTest& store) : store_(store) {}

  std::string play(const Transcript& transcript) {
    for (const std::string& line : transcript.lines) {
      if (line.starts_with("event ")) continue;
      play_line(line);
    }
    return std::move(out_);
  }

 private:
  void play_line(const std::string& line) {
    const std::size_t arrow = line.find(kArrow);
    if (line.starts_with('#')) {
      out_.append(line).append("\n");
    } else if (arrow != std::string::npos) {
      play_request(trimmed(std::string_view(line).substr(0, arrow)));
    } else {
      play_directive(line);
    }
  }

  void play_directive(const std::string& line) {
    const std::vector<std::string> words = words_of(line);
    const auto domid = static_cast<std::uint16_t>(number_in(words.at(1)));
    if (words.at(0) == "introduce") {
      store_.introduce(domid);
      used_.insert(words.at(1));
    } else if (words.at(0) == "release") {
      store_.release(domid);
      used_.erase(words.at(1));
    } else if (words.at(0) == "close") {
      store_.close(words.at(1));
      used_.erase(words.at(1));
    } else {
      throw std::runtime_error("no such directive: " + line);
    }
    out_.append(line).append("\n");
    collect_events();
    write_events();
  }

  void play_request(const std::string& request) {
    std::vector<std::string> words = words_of(request);
    unsigned times = 1;
    const bool repeats = words.at(0) == "repeat";
    if (repeats) {
      times = number_in(words.at(1));
      words.erase(words.begin(), words.begin() + 2);
    }
    std::string reply;
    for (unsigned i = 1; i <= times; ++i) {
      const std::string one = ask(words, std::to_string(i));
      if (i > 1 && one != reply) {
        reply.append(", from " + std::to_string(i) + " on " + one);
        break;
      }
      reply = one;
    }
    out_.append(request).append(" -> ").append(reply).append("\n");
    collect_events();
    if (repeats) events_.clear();
    write_events();
  }

  std::string ask(const std::vector<std::string>& words, const std::string& number) {
    const std::size_t at = words.at(0).find('@');
    const std::string connection = words.at(0).substr(0, at);
    std::string operation = words.at(1);
    const bool is_raw = operation.ends_with('!');
    if (is_raw) operation.pop_back();
    const auto* type = std::ranges::find(kTypes, operation, &NamedType::name);
    if (type == kTypes.end()) throw std::runtime_error("no such operation: " + operation);

    StoreMessage message;
    message.header.type = type->type;
    message.header.req_id = ++request_id_;
    if (at != std::string::npos) message.header.tx_id = number_in(words.at(0).substr(at + 1));
    for (std::size_t i = 2; i < words.size(); ++i) {
      const bool is_value = type->type == XS_WRITE && i == words.size() - 1 && i > 2;
      const std::string word = replaced(words[i], number);
      if (word != "''") message.payload.append(unescaped(word));
      if (!is_raw && !is_value) message.payload.push_back('\0');
    }
    message.header.len = static_cast<std::uint32_t>(message.payload.size());
    used_.insert(connection);
    store_.send(connection, message);
    return text_of(reply_to(connection, message.header.req_id), message.header);
  }

  static std::string text_of(const StoreMessage& reply, const xsd_sockmsg& request) {
    if (reply.header.tx_id != request.tx_id) return "a reply of another transaction";
    if (reply.header.type == XS_ERROR) return reply.payload.c_str();
    if (reply.header.type != request.type) return "a reply of another type";
    if (reply.payload == std::string_view("OK\0", 3)) return "OK";
    std::string payload = reply.payload;
    if (request.type == XS_DIRECTORY_PART) {
      payload.replace(0, payload.find('\0'), "generation");
    }
    return escaped(payload);
  }

  StoreMessage reply_to(const std::string& connection, std::uint32_t request) {
    for (;;) {
      StoreMessage message = store_.next(connection);
      if (message.header.type != XS_WATCH_EVENT) {
        if (message.header.req_id == request) return message;
        throw std::runtime_error("a reply to no request");
      }
      const std::string path = message.payload.c_str();
      const std::string token = message.payload.substr(path.size() + 1).c_str();
      events_[connection].push_back(escaped(path) + " " + escaped(token));
    }
  }

  // Events are in front of the reply to anything asked later.
  void collect_events() {
    for (const std::string& connection : used_) {
      StoreMessage message;
      message.payload = std::string("0\0", 2);
      message.header = {.type = XS_GET_DOMAIN_PATH, .req_id = ++request_id_, .tx_id = 0, .len = 2};
      store_.send(connection, message);
      reply_to(connection, message.header.req_id);
    }
  }

  // By connection; in the order of arrival within one.
  void write_events() {
    for (const auto& [connection, events] : events_) {
      for (const std::string& event : events) {
        out_.append("event ").append(connection).append(" ").append(event).append("\n");
      }
    }
    events_.clear();
  }

  StoreUnderTest& store_;
  std::string out_;
  std::set<std::string> used_;
  std::map<std::string, std::vector<std::string>> events_;
  std::uint32_t request_id_ = 0;
};

}  // namespace

std::vector<Transcript> parse_transcripts(std::string_view text) {
  std::vector<Transcript> transcripts;
  std::istringstream stream{std::string(text)};
  for (std::string raw; std::getline(stream, raw);) {
    const std::string line = trimmed(raw);
    if (line.starts_with("== ")) {
      transcripts.push_back({.name = trimmed(line.substr(3)), .lines = {}});
    } else if (!line.empty() && !transcripts.empty()) {
      transcripts.back().lines.push_back(line);
    }
  }
  return transcripts;
}

std::vector<Transcript> load_transcripts(const std::string& directory) {
  std::set<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    files.insert(entry.path());
  }
  std::vector<Transcript> all;
  for (const auto& file : files) {
    std::ostringstream text;
    text << std::ifstream(file).rdbuf();
    for (Transcript& transcript : parse_transcripts(text.str())) {
      all.push_back(std::move(transcript));
    }
  }
  return all;
}

std::string expected_text(const Transcript& transcript) {
  std::string text;
  for (const std::string& line : transcript.lines) {
    const std::size_t arrow = line.find(kArrow);
    if (line.starts_with('#') || arrow == std::string::npos) {
      text.append(line).append("\n");
      continue;
    }
    text.append(trimmed(std::string_view(line).substr(0, arrow)))
        .append(" -> ")
        .append(trimmed(std::string_view(line).substr(arrow + kArrow.size())))
        .append("\n");
  }
  return text;
}

std::string play(const Transcript& transcript, StoreUnderTest& store) {
  return Player(store).play(transcript);
}

}  // namespace vmsg::mock::store
