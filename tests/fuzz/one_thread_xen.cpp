#include "tests/fuzz/one_thread_xen.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "tests/mock-xen/segment.hpp"
#include "tests/mock-xen/store/store_handle.hpp"

namespace vmsg::mock {
namespace {

std::vector<std::uint32_t>& entered_domains() {
  static std::vector<std::uint32_t> domains;
  return domains;
}

void must(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

// ---- the world ----------------------------------------------------------------------------------

OneThreadXen& OneThreadXen::world() {
  // Not destroyed: handles of static objects may be closed after it would be.
  static auto& world = *new OneThreadXen;
  return world;
}

OneThreadXen::OneThreadXen()
    : hypervisor_(Hypervisor::create()),
      store_([this](ConnectionId id, std::span<const std::byte> message) {
        const auto found = connections_.find(static_cast<std::uint32_t>(id));
        if (found != connections_.end() && found->second.receive) found->second.receive(message);
      }) {
  must(hypervisor_ != nullptr);
  store_.domain_introduced(0);
  store_.populate_home(0);
}

void OneThreadXen::create_domain(std::uint32_t domid, bool driver_domain) {
  must(hypervisor_->create_domain(domid) == 0);
  store_.populate_home(static_cast<std::uint16_t>(domid), driver_domain);
  store_.domain_introduced(static_cast<std::uint16_t>(domid));
}

void OneThreadXen::destroy_domain(std::uint32_t domid) {
  must(hypervisor_->destroy_domain(domid) == 0);
  std::vector<std::uint32_t> of_domain;
  for (const auto& [id, connection] : connections_) {
    if (connection.domid == domid) of_domain.push_back(id);
  }
  for (const std::uint32_t id : of_domain) disconnect_store(id);
  store_.domain_released(static_cast<std::uint16_t>(domid));
}

std::vector<std::string> OneThreadXen::what_is_left(std::uint32_t domid) const {
  std::vector<std::string> lines = hypervisor_->held(static_cast<std::uint16_t>(domid));
  const StoreLeftovers store = store_.what_is_left(static_cast<std::uint16_t>(domid));
  lines.push_back(std::to_string(store.connections) + " connections to the store");
  lines.push_back(std::to_string(store.transactions) + " transactions");
  lines.insert(lines.end(), store.watches.begin(), store.watches.end());
  return lines;
}

std::uint32_t OneThreadXen::connect_store(std::uint32_t domid) {
  if (!hypervisor_->is_alive(domid)) return 0;
  const std::uint32_t id = next_connection_++;
  connections_[id] = {.domid = domid, .receive = {}};
  store_.connect(id, static_cast<std::uint16_t>(domid));
  return id;
}

void OneThreadXen::disconnect_store(std::uint32_t connection) {
  if (connections_.erase(connection) != 0) store_.disconnect(connection);
}

void OneThreadXen::set_receiver(std::uint32_t connection, Receiver receiver) {
  connections_.at(connection).receive = std::move(receiver);
}

int OneThreadXen::ask_before(std::uint32_t domid, Call call) {
  if (!before_call || std::exchange(is_asking_, true)) return 0;
  const int error = before_call(domid, call);
  is_asking_ = false;
  return error;
}

// ---- in place of client.cpp ---------------------------------------------------------------------

std::optional<Endpoint> current_endpoint() {
  if (entered_domains().empty()) {
    errno = ENOENT;
    return std::nullopt;
  }
  return Endpoint{.socket = {}, .domid = entered_domains().back()};
}

// NOLINTNEXTLINE(performance-unnecessary-value-param): it is declared so
ScopedEndpoint::ScopedEndpoint(Endpoint endpoint) { entered_domains().push_back(endpoint.domid); }

ScopedEndpoint::~ScopedEndpoint() { entered_domains().pop_back(); }

std::unique_ptr<Client> Client::connect(Service service, Call opening) {
  const auto endpoint = current_endpoint();
  if (!endpoint) return nullptr;
  OneThreadXen& world = OneThreadXen::world();
  if (const int error = world.ask_before(endpoint->domid, opening); error != 0) {
    errno = error;
    return nullptr;
  }
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private
  std::unique_ptr<Client> client(new Client);
  client->domid_ = endpoint->domid;
  client->pid_ = ::getpid();
  if (service == Service::kStore) {
    client->hello_.handle_id = world.connect_store(endpoint->domid);
    client->hello_.error = client->hello_.handle_id == 0 ? ENXIO : 0;
  } else {
    auto opened = world.hypervisor().open_handle(service, endpoint->domid,
                                                 static_cast<std::uint32_t>(client->pid_));
    client->hello_.error = opened.error;
    if (opened.handle != nullptr) {
      client->hello_.handle_id = opened.handle->id;
      client->hello_.handle_slot = opened.handle->slot;
      client->fd_ = 0;  // says that this is a handle of the hypervisor's
    }
    if (opened.fd) client->extra_fd_ = ::fcntl(opened.fd.get(), F_DUPFD_CLOEXEC, 0);
  }
  if (client->hello_.error != 0) {
    errno = client->hello_.error;
    return nullptr;
  }
  Segment& segment = world.hypervisor().segment();
  const DomainArea& area = *segment.find_domain(endpoint->domid);
  client->hello_.domain_slot = segment.slot_of(area);
  client->incarnation_ = area.incarnation.load(std::memory_order_acquire);
  client->segment_ = std::shared_ptr<Segment>(&segment, [](Segment*) {});
  return client;
}

Client::~Client() {
  if (extra_fd_ >= 0) ::close(extra_fd_);
  if (hello_.error != 0 || segment_ == nullptr) return;
  OneThreadXen& world = OneThreadXen::world();
  if (fd_ < 0) {
    world.disconnect_store(hello_.handle_id);
  } else {
    world.hypervisor().close_handle(hello_.handle_id);
    world.hypervisor().settle();
  }
}

int Client::injected(Call call) const { return OneThreadXen::world().ask_before(domid_, call); }

bool Client::call(Request request, const void* in, Reply& reply, void* out, std::size_t out_size,
                  int* fd) {
  Hypervisor& hypervisor = OneThreadXen::world().hypervisor();
  Handle* const handle = hypervisor.find_handle(hello_.handle_id);
  if (handle == nullptr) {
    errno = ENXIO;  // its domain was destroyed
    return false;
  }
  const Hypervisor::Answer answer = hypervisor.serve(
      *handle, request, std::span(static_cast<const std::byte*>(in), request.payload));
  hypervisor.settle();
  reply = answer.reply;
  reply.payload = static_cast<std::uint32_t>(answer.payload.size());
  if (reply.error != 0 || reply.payload > out_size) {
    errno = reply.error != 0 ? reply.error : EIO;
    return false;
  }
  if (reply.payload != 0) std::memcpy(out, answer.payload.data(), reply.payload);
  if (fd != nullptr) *fd = answer.fd < 0 ? -1 : ::fcntl(answer.fd, F_DUPFD_CLOEXEC, 0);
  return true;
}

void say_not_mocked(const char*) { errno = ENOSYS; }

// A fuzzer makes calls fail without end: nobody reads of it.
void log_error(xentoollog_logger*, const char*, const char*, int error) { errno = error; }

// ---- in place of store_handle.cpp ---------------------------------------------------------------

namespace store {
StoreHandle::StoreHandle(std::unique_ptr<Client> client, bool filters_unwatched)
    : client_(std::move(client)), filters_unwatched_(filters_unwatched) {
  OneThreadXen::world().set_receiver(
      client_->handle_id(), [this](std::span<const std::byte> whole) {
        Message message;
        std::memcpy(&message.header, whole.data(), sizeof(message.header));
        const auto body = whole.subspan(sizeof(message.header));
        std::string text(body.size(), '\0');
        if (!body.empty()) std::memcpy(text.data(), body.data(), body.size());
        message.body = Buffer::copy_of(text);
        if (message.header.type == XS_WATCH_EVENT) {
          queue_event(std::move(message.body));
        } else {
          replies_.push_back(std::move(message));
        }
      });
}

StoreHandle::~StoreHandle() { close_pipe(); }

void StoreHandle::abandon() {}

bool StoreHandle::start_reader() { return true; }

std::optional<Buffer> StoreHandle::talk(xsd_sockmsg_type type, xs_transaction_t transaction,
                                        std::span<const std::string_view> parts) {
  std::vector<std::byte> message(sizeof(xsd_sockmsg));
  for (const std::string_view part : parts) {
    const auto bytes = std::as_bytes(std::span(part));
    message.insert(message.end(), bytes.begin(), bytes.end());
  }
  const std::size_t length = message.size() - sizeof(xsd_sockmsg);
  if (length > XENSTORE_PAYLOAD_MAX) {
    errno = E2BIG;
    return std::nullopt;
  }
  const xsd_sockmsg header = {.type = static_cast<std::uint32_t>(type),
                              .req_id = 0,
                              .tx_id = transaction,
                              .len = static_cast<std::uint32_t>(length)};
  std::memcpy(message.data(), &header, sizeof(header));
  OneThreadXen& world = OneThreadXen::world();
  if (!world.is_connected(client_->handle_id())) {
    errno = EBADF;
    return std::nullopt;
  }
  must(world.store().receive(client_->handle_id(), message));
  must(!replies_.empty());
  Message reply = std::move(replies_.front());
  replies_.pop_front();
  if (reply.header.type == XS_ERROR) {
    errno = error_of_name(reply.body.bytes.get());
    return std::nullopt;
  }
  must(reply.header.type == header.type);
  return std::move(reply.body);
}

}  // namespace store
}  // namespace vmsg::mock
