// The engine as a store to play transcripts to.
#pragma once

#include <deque>
#include <map>
#include <string>

#include "tests/mock-xen/store/store_engine.hpp"
#include "tests/mock-xen/store/transcript.hpp"

namespace vmsg::mock::store {

class EngineUnderTest : public StoreUnderTest {
 public:
  explicit EngineUnderTest(StoreLimits limits = {});

  void introduce(std::uint16_t domid) override;
  void release(std::uint16_t domid) override;
  void send(const std::string& connection, const StoreMessage& message) override;
  StoreMessage next(const std::string& connection) override;
  void close(const std::string& connection) override;

  [[nodiscard]] StoreEngine& engine() { return engine_; }
  [[nodiscard]] ConnectionId id_of(const std::string& connection);
  [[nodiscard]] bool has_message(const std::string& connection);

 private:
  std::map<ConnectionId, std::deque<StoreMessage>> arrived_;
  std::map<std::string, ConnectionId> ids_;
  ConnectionId next_id_ = 1;
  StoreEngine engine_;
};

}  // namespace vmsg::mock::store
