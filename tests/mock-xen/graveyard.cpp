// Connections that outlive their handles: see graveyard.hpp.
#include "tests/mock-xen/graveyard.hpp"

#include <mutex>
#include <utility>
#include <vector>

namespace vmsg::mock {

void bury(std::unique_ptr<Client> client) {
  static std::mutex mutex;
  // Never destroyed: the connections end with the process, not with its static objects.
  static auto& graves = *new std::vector<std::unique_ptr<Client>>;
  Reply reply;
  client->call({.op = Op::kHandleClosed}, nullptr, reply, nullptr, 0, nullptr);
  const std::lock_guard lock(mutex);
  graves.push_back(std::move(client));
}

}  // namespace vmsg::mock
