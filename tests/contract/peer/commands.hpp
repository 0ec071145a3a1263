// What a peer can be asked to do with Xen, and everything it holds because it was asked. Knows
// nothing about how requests arrive or how the process is kept alive (main.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tests/contract/abi/handles.hpp"
#include "tests/contract/abi/ports.hpp"
#include "tests/contract/abi/store.hpp"

namespace vmsg::contract {

struct Reply {
  int error = 0;  // errno
  std::vector<std::string> words;
};

class Commands {
 public:
  using Arguments = std::span<const std::string>;

  // Throws on a request that makes no sense: a mistake in the tests, not a finding about Xen.
  Reply run(const std::string& verb, Arguments arguments);

 private:
  // Pages this process shares or has mapped; `shared` says which library gives them back.
  struct Area {
    std::byte* start;
    std::uint32_t pages;
    bool shared;
  };
  // Everything a request can leave behind. Handles are opened when first needed, because not every
  // place that runs the store's contract has event channels and grants.
  struct Holdings {
    Holdings() = default;
    Holdings(const Holdings&) = delete;
    Holdings& operator=(const Holdings&) = delete;
    ~Holdings();

    Store& the_store();
    Ports& the_ports();
    xengnttab_handle* the_gnttab();
    xengntshr_handle* the_gntshr();
    std::byte* at(Arguments area_and_offset);
    std::string add(Area area);
    int release(const Area& area);

    std::unique_ptr<Store> store;
    std::unique_ptr<Ports> ports;
    GnttabHandle gnttab;
    GntshrHandle gntshr;
    std::map<int, Area> areas;
    int next_area = 1;
  };
  using Handler = Reply (Commands::*)(Arguments);

  static const std::map<std::string, Handler>& handlers();

  Reply reset(Arguments);
  Reply ping(Arguments);

  Reply share(Arguments);
  Reply share_notify(Arguments);
  Reply map(Arguments);
  Reply release(Arguments);
  Reply fill(Arguments);
  Reply peek(Arguments);

  Reply offer(Arguments);
  Reply bind(Arguments);
  Reply unbind(Arguments);
  Reply notify(Arguments);
  Reply unmask(Arguments);
  Reply next_event(Arguments);
  Reply event_fired(Arguments);

  Reply xs_read(Arguments);
  Reply xs_write(Arguments);
  Reply xs_write_long(Arguments);
  Reply xs_count_up(Arguments);
  Reply xs_create(Arguments);
  Reply xs_mkdir(Arguments);
  Reply xs_rm(Arguments);
  Reply xs_list(Arguments);
  Reply xs_perms(Arguments);
  Reply xs_chmod(Arguments);
  Reply xs_begin(Arguments);
  Reply xs_watch(Arguments);
  Reply xs_watch_many(Arguments);
  Reply xs_next_event(Arguments);
  Reply xs_event_fired(Arguments);

  std::unique_ptr<Holdings> mine_ = std::make_unique<Holdings>();
};

}  // namespace vmsg::contract
