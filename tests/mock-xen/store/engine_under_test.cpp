#include "tests/mock-xen/store/engine_under_test.hpp"

#include <cstring>
#include <span>
#include <stdexcept>

namespace vmsg::mock::store {

EngineUnderTest::EngineUnderTest(StoreLimits limits)
    : engine_(
          [this](ConnectionId id, std::span<const std::byte> bytes) {
            StoreMessage message;
            std::memcpy(&message.header, bytes.data(), sizeof message.header);
            message.payload.resize(bytes.size() - sizeof message.header);
            std::memcpy(message.payload.data(), bytes.data() + sizeof message.header,
                        message.payload.size());
            arrived_[id].push_back(std::move(message));
          },
          limits) {}

void EngineUnderTest::introduce(std::uint16_t domid) { engine_.domain_introduced(domid); }

void EngineUnderTest::release(std::uint16_t domid) {
  engine_.domain_released(domid);
  close(std::to_string(domid));
}

ConnectionId EngineUnderTest::id_of(const std::string& connection) {
  const auto [entry, is_new] = ids_.emplace(connection, next_id_);
  if (is_new) {
    engine_.connect(next_id_++, static_cast<std::uint16_t>(std::stoi(connection)));
  }
  return entry->second;
}

void EngineUnderTest::send(const std::string& connection, const StoreMessage& message) {
  std::string bytes(sizeof message.header, '\0');
  std::memcpy(bytes.data(), &message.header, sizeof message.header);
  bytes.append(message.payload);
  if (!engine_.receive(id_of(connection), std::as_bytes(std::span(bytes)))) {
    throw std::runtime_error("the engine dropped the connection");
  }
}

StoreMessage EngineUnderTest::next(const std::string& connection) {
  std::deque<StoreMessage>& queue = arrived_[id_of(connection)];
  if (queue.empty()) throw std::runtime_error("nothing was sent to " + connection);
  StoreMessage message = std::move(queue.front());
  queue.pop_front();
  return message;
}

bool EngineUnderTest::has_message(const std::string& connection) {
  return !arrived_[id_of(connection)].empty();
}

void EngineUnderTest::close(const std::string& connection) {
  const auto found = ids_.find(connection);
  if (found == ids_.end()) return;
  engine_.disconnect(found->second);
  arrived_.erase(found->second);
  ids_.erase(found);
}

}  // namespace vmsg::mock::store
