// One function for each request of the protocol. Each returns an errno that becomes the reply, or
// has replied itself and returns 0.
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <utility>

#include "tests/mock-xen/store/store_path.hpp"
#include "tests/mock-xen/store/store_state.hpp"

namespace vmsg::mock::store {
namespace {

// The payload as exactly one string.
Result<std::string_view, Errno> only_string(std::string_view payload) {
  if (payload.empty() || payload.find('\0') != payload.size() - 1) return std::unexpected(EINVAL);
  return payload.substr(0, payload.size() - 1);
}

// As C's atoi: what is no number is 0.
std::int32_t number_of(std::string_view text) {
  std::int32_t number = 0;
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  if (text.starts_with('+')) text.remove_prefix(1);
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

constexpr std::int32_t kDomidSelf = 0x7ff0;

bool is_domid(std::int32_t number) { return number >= 0 && number < kDomidSelf; }

}  // namespace

Errno State::handle(Connection& connection, std::string_view payload) {
  using Handler = Errno (State::*)(Connection&, std::string_view);
  struct Request {
    Handler handler = nullptr;
    bool is_privileged = false;
    bool ignores_transaction = false;
  };
  static constexpr std::array<Request, XS_TYPE_COUNT> kRequests = [] {
    std::array<Request, XS_TYPE_COUNT> requests{};
    requests[XS_CONTROL] = {&State::control, true};
    requests[XS_DIRECTORY] = {&State::directory};
    requests[XS_READ] = {&State::read_value};
    requests[XS_GET_PERMS] = {&State::get_permissions};
    requests[XS_WATCH] = {&State::watch, false, true};
    requests[XS_UNWATCH] = {&State::unwatch, false, true};
    requests[XS_TRANSACTION_START] = {&State::transaction_start};
    requests[XS_TRANSACTION_END] = {&State::transaction_end};
    requests[XS_INTRODUCE] = {&State::introduce_domain, true};
    requests[XS_RELEASE] = {&State::release_domain, true};
    requests[XS_GET_DOMAIN_PATH] = {&State::domain_path};
    requests[XS_WRITE] = {&State::write};
    requests[XS_MKDIR] = {&State::make_directory};
    requests[XS_RM] = {&State::remove_node};
    requests[XS_SET_PERMS] = {&State::set_permissions};
    requests[XS_IS_DOMAIN_INTRODUCED] = {&State::is_introduced, true};
    requests[XS_RESUME] = {&State::resume_domain, true};
    requests[XS_SET_TARGET] = {&State::set_target, true};
    requests[XS_RESET_WATCHES] = {&State::reset_watches};
    requests[XS_DIRECTORY_PART] = {&State::directory_part};
    return requests;
  }();

  const xsd_sockmsg& header = connection.header;
  if (header.type >= kRequests.size()) return ENOSYS;
  const Request& request = kRequests[header.type];
  if (request.handler == nullptr) return ENOSYS;
  if (request.is_privileged && !is_privileged(connection)) return EACCES;

  connection.transaction = nullptr;
  if (header.tx_id != 0 && !request.ignores_transaction) {
    const auto found = std::ranges::find(connection.transactions, header.tx_id,
                                         [](const auto& open) { return open->id(); });
    if (found == connection.transactions.end()) return ENOENT;
    connection.transaction = found->get();
  }
  const Errno error = (this->*request.handler)(connection, payload);
  connection.transaction = nullptr;
  return error;
}

Errno State::reply(Connection& connection, std::string_view payload) {
  if (payload.size() > XENSTORE_PAYLOAD_MAX) return E2BIG;
  const xsd_sockmsg& header = connection.header;
  send(connection, header.type, header.req_id, header.tx_id, payload);
  return 0;
}

Errno State::acknowledge(Connection& connection) {
  return reply(connection, std::string_view("OK\0", 3));
}

// --- Nodes.

Errno State::directory(Connection& connection, std::string_view payload) {
  const auto name = only_string(payload);
  if (!name) return name.error();
  std::string scratch;
  const auto path = absolute(connection, *name, scratch);
  if (!path) return path.error();
  const auto node = get(connection, *path, kAccessRead);
  if (!node) return node.error();
  return reply(connection, (*node)->children);
}

Errno State::directory_part(Connection& connection, std::string_view payload) {
  const std::vector<std::string_view> strings = strings_of(payload);
  if (strings.size() != 2) return EINVAL;
  std::string scratch;
  const auto path = absolute(connection, strings[0], scratch);
  if (!path) return path.error();
  const auto node = get(connection, *path, kAccessRead);
  if (!node) return node.error();

  const std::string_view children = (*node)->children;
  // A negative offset is one beyond the end.
  const auto offset = static_cast<std::uint32_t>(number_of(strings[1]));
  std::string part = std::to_string((*node)->generation);
  part.push_back('\0');

  // Whole names as long as there is room, and an empty one behind the last.
  std::string_view rest = offset < children.size() ? children.substr(offset) : "";
  const std::size_t room = XENSTORE_PAYLOAD_MAX - part.size() - 1;
  if (rest.size() > room) {
    rest = rest.substr(0, room);
    rest = rest.substr(0, rest.rfind('\0') + 1);
    part.append(rest);
  } else {
    part.append(rest).push_back('\0');
  }
  return reply(connection, part);
}

Errno State::read_value(Connection& connection, std::string_view payload) {
  const auto name = only_string(payload);
  if (!name) return name.error();
  std::string scratch;
  const auto path = absolute(connection, *name, scratch);
  if (!path) return path.error();
  const auto node = get(connection, *path, kAccessRead);
  if (!node) return node.error();
  return reply(connection, (*node)->value);
}

Errno State::write(Connection& connection, std::string_view payload) {
  const std::size_t end = payload.find('\0');
  if (end == std::string_view::npos) return EINVAL;
  const std::string_view value = payload.substr(end + 1);
  std::string scratch;
  const auto path = absolute(connection, payload.substr(0, end), scratch);
  if (!path) return path.error();

  const auto node = get(connection, *path, kAccessWrite);
  Errno error = 0;
  if (node) {
    Node changed = **node;
    changed.value = value;
    error = replace(connection, *path, std::move(changed));
  } else {
    error = node.error() == ENOENT ? create(connection, *path, value) : node.error();
  }
  if (error != 0) return error;
  fire(&connection, {.path = *path});
  return acknowledge(connection);
}

Errno State::make_directory(Connection& connection, std::string_view payload) {
  const auto name = only_string(payload);
  if (!name) return name.error();
  std::string scratch;
  const auto path = absolute(connection, *name, scratch);
  if (!path) return path.error();

  if (const auto node = get(connection, *path, kAccessWrite); !node) {
    if (node.error() != ENOENT) return node.error();
    if (const Errno error = create(connection, *path, {}); error != 0) return error;
    fire(&connection, {.path = *path});
  }
  return acknowledge(connection);
}

Errno State::remove_node(Connection& connection, std::string_view payload) {
  const auto name = only_string(payload);
  if (!name) return name.error();
  std::string scratch;
  const auto path = absolute(connection, *name, scratch);
  if (!path) return path.error();

  if (const auto node = get(connection, *path, kAccessWrite); !node) {
    // Gone already is as good, if its parent is there.
    if (node.error() != ENOENT) return node.error();
    const auto parent = read(connection, parent_path(*path));
    return parent ? acknowledge(connection) : parent.error();
  }
  if (*path == "/") return EINVAL;
  if (const Errno error = remove(connection, *path); error != 0) return error;
  return acknowledge(connection);
}

Errno State::get_permissions(Connection& connection, std::string_view payload) {
  const auto name = only_string(payload);
  if (!name) return name.error();
  std::string scratch;
  const auto path = absolute(connection, *name, scratch);
  if (!path) return path.error();
  const auto node = get(connection, *path, kAccessRead);
  if (!node) return node.error();
  return reply(connection, format_permissions((*node)->permissions));
}

Errno State::set_permissions(Connection& connection, std::string_view payload) {
  const std::vector<std::string_view> strings = strings_of(payload);
  if (strings.size() < 2) return EINVAL;
  if (!is_privileged(connection) && strings.size() - 1 > limits_.permissions_per_node) {
    return ENOSPC;
  }
  Permissions permissions;
  for (auto text = strings.begin() + 1; text != strings.end(); ++text) {
    const std::optional<Permission> permission = parse_permission(*text);
    if (!permission) return EINVAL;
    permissions.push_back(*permission);
    permissions.back().is_void = !exists(permission->domid);
  }
  if (permissions.front().is_void) return ENOENT;

  if (is_special_path(strings[0])) {
    const auto special = special_.find(strings[0]);
    if (special == special_.end() || !is_privileged(connection)) return EINVAL;
    special->second = std::move(permissions);
    return acknowledge(connection);
  }
  std::string scratch;
  const auto path = absolute(connection, strings[0], scratch);
  if (!path) return path.error();
  const auto node = get(connection, *path, kAccessWrite | kAccessOwner);
  if (!node) return node.error();
  if (!is_privileged(connection) && permissions.front().domid != (*node)->owner()) return EPERM;

  const Permissions before = (*node)->permissions;
  Node changed = **node;
  changed.permissions = std::move(permissions);
  if (const Errno error = replace(connection, *path, std::move(changed)); error != 0) {
    return error;
  }
  fire(&connection, {.path = *path, .before = &before});
  return acknowledge(connection);
}

// --- Watches.

Errno State::watch(Connection& connection, std::string_view payload) {
  const std::vector<std::string_view> strings = strings_of(payload);
  if (strings.size() != 2) return EINVAL;
  Watch watch;
  watch.token = strings[1];
  if (is_special_path(strings[0])) {
    if (strings[0].size() > XENSTORE_REL_PATH_MAX) return EINVAL;
    watch.path = strings[0];
  } else {
    std::string scratch;
    const auto path = absolute(connection, strings[0], scratch);
    if (!path) return path.error();
    watch.path = *path;
    if (!strings[0].starts_with('/')) watch.cut = home_path(connection.domid).size();
  }
  const auto is_same = [&](const Watch& other) {
    return other.path == watch.path && other.token == watch.token;
  };
  if (std::ranges::any_of(connection.watches, is_same)) return EEXIST;
  Domain& domain = domains_[connection.domid];
  if (!is_privileged(connection) && domain.watches > limits_.watches_per_domain) return E2BIG;

  ++domain.watches;
  connection.watches.push_back(watch);
  const Errno error = acknowledge(connection);
  // Once at the start, whether the node exists or not: the watcher looks and needs no other case.
  send_event(connection, watch, watch.path);
  return error;
}

Errno State::unwatch(Connection& connection, std::string_view payload) {
  const std::vector<std::string_view> strings = strings_of(payload);
  if (strings.size() != 2) return EINVAL;
  std::string scratch;
  const std::string_view path = joined(connection, strings[0], scratch);
  const auto found = std::ranges::find_if(connection.watches, [&](const Watch& watch) {
    return watch.path == path && watch.token == strings[1];
  });
  if (found == connection.watches.end()) return ENOENT;
  connection.watches.erase(found);
  --domains_[connection.domid].watches;
  return acknowledge(connection);
}

Errno State::reset_watches(Connection& connection, std::string_view /*payload*/) {
  drop_watches(connection);
  drop_transactions(connection);
  return acknowledge(connection);
}

// --- Transactions.

Errno State::transaction_start(Connection& connection, std::string_view /*payload*/) {
  if (connection.transaction != nullptr) return EBUSY;
  Domain& domain = domains_[connection.domid];
  if (!is_privileged(connection) && domain.transactions > limits_.transactions_per_domain) {
    return ENOSPC;
  }
  const auto is_taken = [&](std::uint32_t id) {
    return id == 0 || std::ranges::any_of(connection.transactions,
                                          [&](const auto& open) { return open->id() == id; });
  };
  while (is_taken(connection.next_transaction_id)) ++connection.next_transaction_id;
  const std::uint32_t id = connection.next_transaction_id++;
  connection.transactions.push_back(std::make_unique<Transaction>(id));
  ++domain.transactions;
  std::string text = std::to_string(id);
  text.push_back('\0');
  return reply(connection, text);
}

Errno State::transaction_end(Connection& connection, std::string_view payload) {
  const auto argument = only_string(payload);
  if (!argument || (*argument != "T" && *argument != "F")) return EINVAL;
  if (connection.transaction == nullptr) return ENOENT;

  const auto found = std::ranges::find(connection.transactions, connection.transaction,
                                       [](const auto& open) { return open.get(); });
  const std::unique_ptr<Transaction> ended = std::move(*found);
  connection.transactions.erase(found);
  --domains_[connection.domid].transactions;
  connection.transaction = nullptr;  // from here on changes and watch events are real
  if (*argument == "T") {
    if (ended->has_failed()) return ENOMEM;
    if (ended->created_nodes() && !is_privileged(connection) && is_over_quota(*ended)) {
      return ENOSPC;
    }
    if (const Errno error = commit(connection, *ended); error != 0) return error;
  }
  return acknowledge(connection);
}

// --- Domains.

Errno State::domain_path(Connection& connection, std::string_view payload) {
  const auto argument = only_string(payload);
  if (!argument) return argument.error();
  std::string path = home_path(static_cast<std::uint32_t>(number_of(*argument)));
  path.push_back('\0');
  return reply(connection, path);
}

Errno State::is_introduced(Connection& connection, std::string_view payload) {
  const auto argument = only_string(payload);
  if (!argument) return argument.error();
  const std::int32_t domid = number_of(*argument);
  const auto found = is_domid(domid) ? domains_.find(static_cast<DomId>(domid)) : domains_.end();
  const bool introduced =
      domid == kDomidSelf || (found != domains_.end() && found->second.is_introduced);
  return reply(connection, std::string_view(introduced ? "T" : "F", 2));
}

Errno State::introduce_domain(Connection& connection, std::string_view payload) {
  const std::vector<std::string_view> strings = strings_of(payload);
  if (strings.size() < 3) return EINVAL;
  const std::int32_t domid = number_of(strings[0]);
  if (number_of(strings[2]) <= 0 || !is_domid(domid)) return EINVAL;
  if (!exists(static_cast<std::uint32_t>(domid))) return ENOENT;
  introduce(static_cast<DomId>(domid));
  return acknowledge(connection);
}

Errno State::release_domain(Connection& connection, std::string_view payload) {
  const auto argument = only_string(payload);
  if (!argument) return argument.error();
  const std::int32_t domid = number_of(*argument);
  if (!is_domid(domid) || domid == 0) return EINVAL;
  const auto found = domains_.find(static_cast<DomId>(domid));
  if (found == domains_.end() || !found->second.is_introduced) return ENOENT;
  release(static_cast<DomId>(domid));
  return acknowledge(connection);
}

Errno State::resume_domain(Connection& connection, std::string_view payload) {
  const auto argument = only_string(payload);
  if (!argument) return argument.error();
  const std::int32_t domid = number_of(*argument);
  if (!is_domid(domid) || domid == 0) return EINVAL;
  if (!exists(static_cast<std::uint32_t>(domid))) return ENOENT;
  return acknowledge(connection);
}

Errno State::set_target(Connection& connection, std::string_view payload) {
  const std::vector<std::string_view> strings = strings_of(payload);
  if (strings.size() < 2) return EINVAL;
  const std::int32_t domid = number_of(strings[0]);
  const std::int32_t target = number_of(strings[1]);
  if (!is_domid(domid) || !is_domid(target)) return EINVAL;
  if (!exists(static_cast<std::uint32_t>(domid)) || !exists(static_cast<std::uint32_t>(target))) {
    return ENOENT;
  }
  domains_[static_cast<DomId>(domid)].target = static_cast<DomId>(target);
  return acknowledge(connection);
}

Errno State::control(Connection& connection, std::string_view payload) {
  const std::vector<std::string_view> strings = strings_of(payload);
  if (strings.empty()) return EINVAL;
  if (strings[0] == "check" || strings[0] == "print") return acknowledge(connection);
  if (strings[0] == "help") {
    static constexpr char kHelp[] = "commands:\n  check\n  print <string>\n  help\n";
    return reply(connection, std::string_view(kHelp, sizeof kHelp));
  }
  return EINVAL;
}

}  // namespace vmsg::mock::store
