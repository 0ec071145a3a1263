// Watches of xenstore in bounded memory, however fast somebody writes (XSA-349): events are taken
// from the library in bounded turns and merged into one dirty entry a watch. A handler hears that
// something below its path changed, and looks; it never hears how often.
//
// For a plain loop; asio_watches.hpp puts it on an io_context. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "xenbus-glue/store.hpp"

namespace vmsg::xen {

class Watches;

/// What changed since the handler of a watch ran last.
struct WatchReport {
  static constexpr std::size_t kMaxPaths = 16;

  /// Each path once, in the order of their first change, as xenstored names them: below the
  /// watched path and written like it (relative when that was relative), cut to the watch's depth.
  std::span<const std::string> paths;
  /// More than kMaxPaths changed: look at everything below the watched path.
  bool is_everything = false;
};

/// A watch that is set. Move-only; unset when destroyed, and its handler does not run any more.
/// Must not outlive its Watches.
class Watch {
 public:
  Watch() = default;
  Watch(Watch&& other) noexcept;
  Watch& operator=(Watch&& other) noexcept;
  ~Watch() { cancel(); }

  [[nodiscard]] bool is_set() const { return owner_ != nullptr; }
  void cancel();

 private:
  friend class Watches;
  Watch(Watches* owner, std::uint64_t token) : owner_(owner), token_(token) {}

  Watches* owner_ = nullptr;
  std::uint64_t token_ = 0;
};

struct WatchMetrics {
  std::uint64_t events = 0;   // taken from the library
  std::uint64_t merged = 0;   // of these, merged into a report that was due already
  std::uint64_t stale = 0;    // of these, for a watch that is gone
  std::uint64_t reports = 0;  // handlers called
};

class Watches {
 public:
  using Handler = std::function<void(const WatchReport&)>;

  static constexpr std::size_t kAnyDepth = std::numeric_limits<std::size_t>::max();

  struct Limits {
    std::size_t events_per_turn = 1024;
    std::size_t reports_per_turn = 64;
  };

  /// `store` outlives this. Only one Watches a Store.
  explicit Watches(Store& store) : Watches(store, Limits{}) {}
  Watches(Store& store, Limits limits);
  Watches(const Watches&) = delete;
  Watches& operator=(const Watches&) = delete;
  ~Watches();

  /// Readable when events wait in the library. Owned by the library. -1 when it has none.
  [[nodiscard]] int fd() const;

  /// Sets a watch on a node and everything below. xenstored reports every new watch once at once.
  /// A handler that looks at directories `depth` levels below the node as a whole says so: then
  /// all changes within one of them are one path.
  [[nodiscard]] Result<Watch, XenError> watch(const Path& path, Handler handler,
                                              std::size_t depth = kAnyDepth);

  /// One turn: takes at most `events_per_turn` events, calls at most `reports_per_turn` handlers,
  /// in the order in which their watches got dirty. True when there is more to do now, whether fd()
  /// says so or not. Handlers may set and cancel watches, also their own.
  [[nodiscard]] Result<bool, XenError> turn();

  [[nodiscard]] const WatchMetrics& metrics() const { return metrics_; }
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  friend class Watch;
  struct Entry {
    Path path;
    std::shared_ptr<Handler> handler;
    std::size_t depth = kAnyDepth;
    std::vector<std::string> paths;
    bool is_everything = false;
    bool is_dirty = false;
  };

  void cancel(std::uint64_t token);
  Result<bool, XenError> take_events();
  void note(std::string_view path, std::string_view token);
  void report_one();

  Store& store_;
  Limits limits_;
  std::uint64_t next_token_ = 1;
  std::unordered_map<std::uint64_t, Entry> entries_;
  std::deque<std::uint64_t> dirty_;  // each token at most once
  WatchMetrics metrics_;
};

}  // namespace vmsg::xen
