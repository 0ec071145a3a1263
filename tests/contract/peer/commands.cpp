#include "tests/contract/peer/commands.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "tests/contract/protocol.hpp"

namespace vmsg::contract {
namespace {

using Arguments = Commands::Arguments;

Reply failed(int error) { return {.error = error, .words = {}}; }

Reply answer(Answer<std::vector<std::string>> words) {
  if (!words) return failed(words.error());
  return {.error = 0, .words = std::move(*words)};
}

Reply answer(const Answer<Port>& port) {
  if (!port) return failed(port.error());
  return {.error = 0, .words = {std::to_string(*port)}};
}

Reply event_answer(std::optional<Port> port) {
  return {.error = 0, .words = {port ? std::to_string(*port) : "none"}};
}

Reply event_answer(const std::optional<WatchEvent>& event) {
  if (!event) return {.error = 0, .words = {"none"}};
  return {.error = 0, .words = {event->path, event->token}};
}

const std::string& word(Arguments arguments, std::size_t index) {
  if (index >= arguments.size()) throw std::invalid_argument("too few arguments");
  return arguments[index];
}

template <class Number = std::uint32_t>
Number number(Arguments arguments, std::size_t index) {
  return to_number<Number>(word(arguments, index));
}

template <class Handle>
Handle* opened(Handle* handle, const char* call) {
  if (handle == nullptr) throw std::system_error(errno, std::generic_category(), call);
  return handle;
}

}  // namespace

Commands::Holdings::~Holdings() {
  for (const auto& [id, area] : areas) static_cast<void>(release(area));
}

Store& Commands::Holdings::the_store() {
  if (!store) store = std::make_unique<Store>();
  return *store;
}

Ports& Commands::Holdings::the_ports() {
  if (!ports) ports = std::make_unique<Ports>();
  return *ports;
}

xengnttab_handle* Commands::Holdings::the_gnttab() {
  if (!gnttab) gnttab.reset(opened(xengnttab_open(nullptr, 0), "xengnttab_open"));
  return gnttab.get();
}

xengntshr_handle* Commands::Holdings::the_gntshr() {
  if (!gntshr) gntshr.reset(opened(xengntshr_open(nullptr, 0), "xengntshr_open"));
  return gntshr.get();
}

std::byte* Commands::Holdings::at(Arguments area_and_offset) {
  const Area& area = areas.at(number<int>(area_and_offset, 0));
  return area.start + number<std::size_t>(area_and_offset, 1);
}

std::string Commands::Holdings::add(Area area) {
  areas.emplace(next_area, area);
  return std::to_string(next_area++);
}

int Commands::Holdings::release(const Area& area) {
  errno = 0;
  const int result = area.shared ? xengntshr_unshare(the_gntshr(), area.start, area.pages)
                                 : xengnttab_unmap(the_gnttab(), area.start, area.pages);
  return result == 0 ? 0 : errno;
}

const std::map<std::string, Commands::Handler>& Commands::handlers() {
  static const std::map<std::string, Handler> kHandlers{
      {"reset", &Commands::reset},                  // give back everything
      {"ping", &Commands::ping},                    //
      {"share", &Commands::share},                  // DOMID COUNT rw|ro -> AREA REF...
      {"share-notify", &Commands::share_notify},    // DOMID OFFSET|-1 PORT|-1 -> AREA REF
      {"map", &Commands::map},                      // DOMID REF rw|ro OFFSET|-1 PORT|-1 -> AREA
      {"release", &Commands::release},              // AREA (unshares or unmaps)
      {"fill", &Commands::fill},                    // AREA OFFSET LENGTH BYTE
      {"peek", &Commands::peek},                    // AREA OFFSET LENGTH -> HEX
      {"offer", &Commands::offer},                  // DOMID -> PORT
      {"bind", &Commands::bind},                    // DOMID REMOTE-PORT -> PORT
      {"unbind", &Commands::unbind},                // PORT
      {"notify", &Commands::notify},                // PORT COUNT
      {"unmask", &Commands::unmask},                // PORT
      {"next-event", &Commands::next_event},        // -> PORT|none
      {"event-fired", &Commands::event_fired},      // -> PORT|none, without waiting
      {"xs-read", &Commands::xs_read},              // PATH -> HEX
      {"xs-write", &Commands::xs_write},            // PATH HEX
      {"xs-write-long", &Commands::xs_write_long},  // PATH LENGTH
      {"xs-count-up", &Commands::xs_count_up},      // PATH N: writes 1, 2 ... N
      {"xs-create", &Commands::xs_create},          // PREFIX N -> CREATED; stops at the first error
      {"xs-mkdir", &Commands::xs_mkdir},            // PATH
      {"xs-rm", &Commands::xs_rm},                  // PATH
      {"xs-list", &Commands::xs_list},              // PATH -> NAME...
      {"xs-perms", &Commands::xs_perms},            // PATH -> PERM...
      {"xs-chmod", &Commands::xs_chmod},            // PATH PERM...
      {"xs-begin", &Commands::xs_begin},            // N -> STARTED; transactions that stay open
      {"xs-watch", &Commands::xs_watch},            // PATH TOKEN
      {"xs-watch-many", &Commands::xs_watch_many},  // PATH N -> SET; tokens 1, 2 ... N
      {"xs-next-event", &Commands::xs_next_event},  // -> PATH TOKEN | none
      {"xs-event-fired", &Commands::xs_event_fired},  // -> PATH TOKEN | none, without waiting
  };
  return kHandlers;
}

Reply Commands::run(const std::string& verb, Arguments arguments) {
  const auto found = handlers().find(verb);
  if (found == handlers().end()) throw std::invalid_argument("unknown verb " + verb);
  return (this->*found->second)(arguments);
}

Reply Commands::reset(Arguments) {
  mine_ = std::make_unique<Holdings>();
  return {};
}

Reply Commands::ping(Arguments) { return {}; }

Reply Commands::share(Arguments arguments) {
  const auto count = number<int>(arguments, 1);
  std::vector<std::uint32_t> references(static_cast<std::size_t>(count));
  errno = 0;
  void* const pages = xengntshr_share_pages(mine_->the_gntshr(), number(arguments, 0), count,
                                            references.data(), word(arguments, 2) == "rw");
  if (pages == nullptr) return failed(errno);

  Reply reply;
  reply.words.push_back(mine_->add({.start = static_cast<std::byte*>(pages),
                                    .pages = static_cast<std::uint32_t>(count),
                                    .shared = true}));
  for (const std::uint32_t reference : references) reply.words.push_back(std::to_string(reference));
  return reply;
}

Reply Commands::share_notify(Arguments arguments) {
  std::uint32_t reference = 0;
  errno = 0;
  void* const page =
      xengntshr_share_page_notify(mine_->the_gntshr(), number(arguments, 0), &reference, 1,
                                  static_cast<std::uint32_t>(number<int>(arguments, 1)),
                                  static_cast<evtchn_port_t>(number<int>(arguments, 2)));
  if (page == nullptr) return failed(errno);
  return {
      .error = 0,
      .words = {mine_->add({.start = static_cast<std::byte*>(page), .pages = 1, .shared = true}),
                std::to_string(reference)}};
}

Reply Commands::map(Arguments arguments) {
  const int protection = word(arguments, 2) == "rw" ? PROT_READ | PROT_WRITE : PROT_READ;
  errno = 0;
  void* const page = xengnttab_map_grant_ref_notify(
      mine_->the_gnttab(), number(arguments, 0), number(arguments, 1), protection,
      static_cast<std::uint32_t>(number<int>(arguments, 3)),
      static_cast<evtchn_port_t>(number<int>(arguments, 4)));
  if (page == nullptr) return failed(errno);
  return {
      .error = 0,
      .words = {mine_->add({.start = static_cast<std::byte*>(page), .pages = 1, .shared = false})}};
}

Reply Commands::release(Arguments arguments) {
  const auto found = mine_->areas.find(number<int>(arguments, 0));
  if (found == mine_->areas.end()) throw std::invalid_argument("no such area");
  const Area area = found->second;
  mine_->areas.erase(found);
  return failed(mine_->release(area));
}

Reply Commands::fill(Arguments arguments) {
  std::fill_n(mine_->at(arguments), number<std::size_t>(arguments, 2),
              std::byte{number<std::uint8_t>(arguments, 3)});
  return {};
}

Reply Commands::peek(Arguments arguments) {
  std::string bytes(number<std::size_t>(arguments, 2), '\0');
  std::memcpy(bytes.data(), mine_->at(arguments), bytes.size());
  return {.error = 0, .words = {to_hex(bytes)}};
}

Reply Commands::offer(Arguments arguments) {
  return answer(mine_->the_ports().offer_to(number(arguments, 0)));
}

Reply Commands::bind(Arguments arguments) {
  return answer(mine_->the_ports().bind(number(arguments, 0), number(arguments, 1)));
}

Reply Commands::unbind(Arguments arguments) {
  return failed(mine_->the_ports().unbind(number(arguments, 0)));
}

Reply Commands::notify(Arguments arguments) {
  for (auto left = number(arguments, 1); left > 0; --left)
    if (const int error = mine_->the_ports().notify(number(arguments, 0))) return failed(error);
  return {};
}

Reply Commands::unmask(Arguments arguments) {
  return failed(mine_->the_ports().unmask(number(arguments, 0)));
}

Reply Commands::next_event(Arguments) { return event_answer(mine_->the_ports().next_event()); }

Reply Commands::event_fired(Arguments) {
  return event_answer(mine_->the_ports().event_fired_so_far());
}

Reply Commands::xs_read(Arguments arguments) {
  const auto value = mine_->the_store().read(word(arguments, 0));
  if (!value) return failed(value.error());
  return {.error = 0, .words = {to_hex(*value)}};
}

Reply Commands::xs_write(Arguments arguments) {
  return failed(mine_->the_store().write(word(arguments, 0), from_hex(word(arguments, 1))));
}

Reply Commands::xs_write_long(Arguments arguments) {
  const std::string value(number<std::size_t>(arguments, 1), 'v');
  return failed(mine_->the_store().write(word(arguments, 0), value));
}

Reply Commands::xs_count_up(Arguments arguments) {
  const auto last = number(arguments, 1);
  for (std::uint32_t i = 1; i <= last; ++i) {
    const int error = mine_->the_store().write(word(arguments, 0), std::to_string(i));
    if (error != 0) return failed(error);
  }
  return {};
}

Reply Commands::xs_create(Arguments arguments) {
  const auto wanted = number(arguments, 1);
  std::uint32_t created = 0;
  int error = 0;
  while (created < wanted && error == 0) {
    error = mine_->the_store().write(word(arguments, 0) + std::to_string(created), "x");
    if (error == 0) ++created;
  }
  return {.error = error, .words = {std::to_string(created)}};
}

Reply Commands::xs_mkdir(Arguments arguments) {
  return failed(mine_->the_store().mkdir(word(arguments, 0)));
}

Reply Commands::xs_rm(Arguments arguments) {
  return failed(mine_->the_store().remove(word(arguments, 0)));
}

Reply Commands::xs_list(Arguments arguments) {
  return answer(mine_->the_store().list(word(arguments, 0)));
}

Reply Commands::xs_perms(Arguments arguments) {
  return answer(mine_->the_store().permissions(word(arguments, 0)));
}

Reply Commands::xs_chmod(Arguments arguments) {
  const Permissions permissions(arguments.begin() + 1, arguments.end());
  return failed(mine_->the_store().set_permissions(word(arguments, 0), permissions));
}

Reply Commands::xs_begin(Arguments arguments) {
  const auto wanted = number(arguments, 0);
  std::uint32_t started = 0;
  int error = 0;
  while (started < wanted && error == 0) {
    const auto transaction = mine_->the_store().begin();
    error = transaction ? 0 : transaction.error();
    if (error == 0) ++started;
  }
  return {.error = error, .words = {std::to_string(started)}};
}

Reply Commands::xs_watch(Arguments arguments) {
  return failed(mine_->the_store().watch(word(arguments, 0), word(arguments, 1)));
}

Reply Commands::xs_watch_many(Arguments arguments) {
  const auto wanted = number(arguments, 1);
  std::uint32_t set = 0;
  int error = 0;
  while (set < wanted && error == 0) {
    error = mine_->the_store().watch(word(arguments, 0), std::to_string(set + 1));
    if (error == 0) ++set;
  }
  return {.error = error, .words = {std::to_string(set)}};
}

Reply Commands::xs_next_event(Arguments) { return event_answer(mine_->the_store().next_event()); }

Reply Commands::xs_event_fired(Arguments) {
  return event_answer(mine_->the_store().event_fired_so_far());
}

}  // namespace vmsg::contract
