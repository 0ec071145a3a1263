#include "xenbus-glue/watches.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "xenbus-glue/numbers.hpp"
#include "xenbus-glue/store_connection.hpp"

namespace vmsg::xen {
namespace {

constexpr std::size_t kPathField = 0;  // of what xs_check_watch returns
constexpr std::size_t kTokenField = 1;

/// `path` without what is more than `depth` levels below `watched`.
std::string_view cut(std::string_view path, const Path& watched, std::size_t depth) {
  const auto below = watched.below(path);
  if (!below || below->empty()) return path;
  std::size_t end = path.size() - below->size();  // where the first level below begins
  for (std::size_t level = 0; level < depth; ++level) {
    end = path.find('/', end);
    if (end == std::string_view::npos) return path;
    ++end;
  }
  return path.substr(0, end - 1);
}

}  // namespace

Watch::Watch(Watch&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)), token_(other.token_) {}

Watch& Watch::operator=(Watch&& other) noexcept {
  if (this != &other) {
    cancel();
    owner_ = std::exchange(other.owner_, nullptr);
    token_ = other.token_;
  }
  return *this;
}

void Watch::cancel() {
  Watches* const owner = std::exchange(owner_, nullptr);
  if (owner != nullptr) owner->cancel(token_);
}

Watches::Watches(Store& store, Limits limits) : store_(store), limits_(limits) {}

Watches::~Watches() { VMSG_INVARIANT(entries_.empty()); }

int Watches::fd() const { return xs_fileno(store_.owned_->handle); }

Result<Watch, XenError> Watches::watch(const Path& path, Handler handler, std::size_t depth) {
  const std::uint64_t token = next_token_++;
  if (!xs_watch(store_.owned_->handle, path.c_str(), std::to_string(token).c_str())) {
    return std::unexpected(XenError{XenCall::kStoreWatch, errno, std::nullopt});
  }
  entries_.emplace(token, Entry{.path = path,
                                .handler = std::make_shared<Handler>(std::move(handler)),
                                .depth = depth,
                                .paths = {}});
  return Watch(this, token);
}

void Watches::cancel(std::uint64_t token) {
  const auto entry = entries_.find(token);
  VMSG_INVARIANT(entry != entries_.end());
  // An unwatch that fails leaves a watch whose events count as stale from now on.
  static_cast<void>(
      xs_unwatch(store_.owned_->handle, entry->second.path.c_str(), std::to_string(token).c_str()));
  if (entry->second.is_dirty) std::erase(dirty_, token);
  entries_.erase(entry);
}

Result<bool, XenError> Watches::turn() {
  const auto more_events = take_events();
  if (!more_events) return std::unexpected(more_events.error());
  for (std::size_t i = 0; i < limits_.reports_per_turn && !dirty_.empty(); ++i) report_one();
  return *more_events || !dirty_.empty();
}

Result<bool, XenError> Watches::take_events() {
  for (std::size_t i = 0; i < limits_.events_per_turn; ++i) {
    const std::unique_ptr<char*, decltype(&std::free)> event(xs_check_watch(store_.owned_->handle),
                                                             &std::free);
    if (!event && (errno == EAGAIN || errno == EINTR)) return false;
    if (!event) return std::unexpected(XenError{XenCall::kStoreReadWatch, errno, std::nullopt});
    ++metrics_.events;
    note(event.get()[kPathField], event.get()[kTokenField]);
  }
  return true;
}

void Watches::note(std::string_view path, std::string_view token) {
  const auto number = parse_decimal<std::uint64_t>(token);
  const auto found = number ? entries_.find(*number) : entries_.end();
  if (found == entries_.end()) {
    ++metrics_.stale;
    return;
  }
  Entry& entry = found->second;
  if (entry.is_dirty) {
    ++metrics_.merged;
  } else {
    entry.is_dirty = true;
    dirty_.push_back(*number);
  }
  if (entry.is_everything) return;
  path = cut(path, entry.path, entry.depth);
  if (std::ranges::find(entry.paths, path) != entry.paths.end()) return;
  if (entry.paths.size() == WatchReport::kMaxPaths) {
    entry.is_everything = true;
    entry.paths.clear();
    return;
  }
  entry.paths.emplace_back(path);
}

void Watches::report_one() {
  const std::uint64_t token = dirty_.front();
  dirty_.pop_front();
  const auto found = entries_.find(token);
  VMSG_INVARIANT(found != entries_.end());  // cancel() takes a token out of dirty_
  Entry& entry = found->second;
  entry.is_dirty = false;
  const std::vector<std::string> paths = std::exchange(entry.paths, {});
  const bool is_everything = std::exchange(entry.is_everything, false);
  const std::shared_ptr<Handler> handler = entry.handler;  // it may cancel its own watch
  ++metrics_.reports;
  (*handler)({.paths = paths, .is_everything = is_everything});
}

}  // namespace vmsg::xen
