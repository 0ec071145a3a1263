#include "transport/device_queue.hpp"

#include <algorithm>
#include <limits>

#include "transport/packed_device_queue.hpp"
#include "transport/split_device_queue.hpp"

namespace vmsg {
namespace {

constexpr std::size_t kWordsPerDescriptor = vring::kDescriptorSize / sizeof(std::uint64_t);
constexpr std::size_t kTableStorageWords = std::size_t{64} * 1024 / sizeof(std::uint64_t);

std::optional<QueueError> find_fault(const QueueOptions& options) {
  if (const auto fault = find_area_fault(options.format, options.size, options.areas)) return fault;
  if (options.max_chain_segments == 0 || options.max_chain_segments > kMaxQueueSize) {
    return QueueError{QueueFault::kBadLimit, options.max_chain_segments};
  }
  if (options.max_in_flight > options.size) {
    return QueueError{QueueFault::kBadLimit, options.max_in_flight};
  }
  return std::nullopt;
}

std::uint32_t in_flight_limit(const QueueOptions& options) {
  return options.max_in_flight == 0 ? options.size : options.max_in_flight;
}

}  // namespace

Result<std::unique_ptr<DeviceQueue>, QueueError> DeviceQueue::create(const QueueOptions& options) {
  if (const auto fault = find_fault(options)) return std::unexpected(*fault);
  if (options.format == QueueFormat::kPacked) return std::make_unique<PackedDeviceQueue>(options);
  return std::make_unique<SplitDeviceQueue>(options);
}

DeviceQueue::DeviceQueue(const QueueOptions& options)
    : areas_(options.areas),
      size_(options.size),
      event_idx_(options.event_idx),
      indirect_(options.indirect),
      in_order_(options.in_order),
      pool_(in_flight_limit(options), options.max_chain_segments),
      max_in_flight_(in_flight_limit(options)),
      is_head_busy_(options.size, 0) {
  turn_.reserve(max_in_flight_);
  done_.reserve(max_in_flight_);
  if (in_order_) order_.resize(max_in_flight_);
  if (indirect_) {
    tables_.reserve(max_in_flight_);
    table_outcomes_.resize(max_in_flight_);
    max_table_words_ = std::size_t{options.max_chain_segments} * kWordsPerDescriptor;
    table_words_.resize(std::max(max_table_words_,
                                 std::min(kTableStorageWords, max_table_words_ * max_in_flight_)));
  }
}

DeviceQueue::~DeviceQueue() { drop_turn(); }

Result<std::size_t, QueueError> DeviceQueue::take_heads(CopyBatch& fetch, const GuestRef& guest,
                                                        std::size_t max) {
  if (error_) return std::unexpected(*error_);
  // A chain that still lies in the last turn's span would be lost.
  VMSG_INVARIANT(std::ranges::all_of(turn_, &Chain::is_empty));
  turn_.clear();
  tables_.clear();
  table_words_used_ = 0;

  fetch_ = &fetch;
  guest_ = guest;
  const auto error = read_heads(max);
  fetch_ = nullptr;
  if (error) return std::unexpected(fail(*error));
  return turn_.size();
}

std::optional<QueueError> DeviceQueue::want_table(const ChainBuilder& chain,
                                                  const Descriptor& descriptor) {
  if (!indirect_) return QueueError{QueueFault::kIndirectOff, descriptor.flags};
  if (descriptor.length == 0 || descriptor.length % vring::kDescriptorSize != 0) {
    return QueueError{QueueFault::kBadTableLength, descriptor.length};
  }
  const std::uint32_t entries = descriptor.length / vring::kDescriptorSize;
  if (entries > chain.left()) {
    return QueueError{QueueFault::kChainTooLong, std::uint64_t{entries} + chain.used()};
  }
  const auto address = GrantAddress::parse(descriptor.address);
  if (!address) return QueueError{QueueFault::kBadAddress, descriptor.address};
  if (!address->holds(descriptor.length)) {
    return QueueError{QueueFault::kRangeEnd, descriptor.address};
  }

  // can_begin() made sure of room for max_segments() entries.
  const std::size_t words = std::size_t{entries} * kWordsPerDescriptor;
  CopyOutcome& outcome = table_outcomes_[tables_.size()];
  outcome = CopyOutcome::kOk;
  tables_.push_back({chain, table_words_used_, words});
  fetch_->add(guest_, *address,
              std::as_writable_bytes(std::span(table_words_).subspan(table_words_used_, words)),
              outcome);
  table_words_used_ += words;
  return std::nullopt;
}

std::optional<QueueError> DeviceQueue::end_chain(ChainBuilder& chain, std::uint32_t head,
                                                 std::uint32_t descriptors) {
  if (is_head_busy_[head] != 0) return QueueError{QueueFault::kIdInFlight, head};
  // A driver frees ring entries only when their chain was used, so it can never have more of them
  // out than there are.
  if (descriptors > size_ - ring_entries_busy_) {
    return QueueError{QueueFault::kTooManyInFlight,
                      std::uint64_t{ring_entries_busy_} + descriptors};
  }
  chain.finish();
  ChainRecord& record = chain.record();
  record.head = static_cast<std::uint16_t>(head);
  record.descriptors = static_cast<std::uint16_t>(descriptors);
  ring_entries_busy_ += descriptors;
  is_head_busy_[head] = 1;
  ++in_flight_;
  turn_.push_back(pool_.wrap(record));
  if (in_order_) {
    order_[(order_first_ + order_count_) % order_.size()] = &record;
    ++order_count_;
  }
  return std::nullopt;
}

Result<std::span<Chain>, QueueError> DeviceQueue::finish_take() {
  if (error_) return std::unexpected(*error_);
  for (std::size_t i = 0; i < tables_.size(); ++i) {
    PendingTable& table = tables_[i];
    if (table_outcomes_[i] != CopyOutcome::kOk) {
      return std::unexpected(
          fail({QueueFault::kTableUnreadable, static_cast<std::uint64_t>(table_outcomes_[i])}));
    }
    const auto words =
        std::span<const std::uint64_t>(table_words_).subspan(table.first_word, table.words);
    if (const auto error = read_table(table.chain, words)) return std::unexpected(fail(*error));
    table.chain.finish();
  }
  tables_.clear();
  return std::span<Chain>(turn_);
}

void DeviceQueue::complete(Chain&& chain, std::uint32_t written) {
  ChainRecord& record = pool_.unwrap(chain);
  if (pool_.is_abandoned()) return;
  VMSG_INVARIANT(written <= record.writable_length);
  record.written = written;
  written_ += written;
  record.is_completed = true;
  if (!in_order_) done_.push_back(&record);
}

bool DeviceQueue::publish() {
  // VIRTIO_F_IN_ORDER: used in the order in which they were made available.
  while (order_count_ != 0 && order_[order_first_]->is_completed) {
    done_.push_back(order_[order_first_]);
    order_first_ = (order_first_ + 1) % order_.size();
    --order_count_;
  }
  if (done_.empty()) return false;
  const bool notify = write_used(done_);
  for (ChainRecord* record : done_) {
    is_head_busy_[record->head] = 0;
    ring_entries_busy_ -= record->descriptors;
    pool_.give_back(*record);
  }
  in_flight_ -= done_.size();
  done_.clear();
  return notify;
}

void DeviceQueue::disable_notifications() {
  if (!pool_.is_abandoned()) suppress_notifications();
}

bool DeviceQueue::enable_notifications() {
  // A queue with an error takes nothing, so nothing is worth a notification.
  if (error_) return false;
  return ask_for_notification();
}

void DeviceQueue::abandon() {
  drop_turn();
  pool_.abandon();
  error_ = QueueError{QueueFault::kAbandoned, in_flight_};
  done_.clear();
  order_count_ = 0;
  in_flight_ = 0;
}

QueueError DeviceQueue::fail(QueueError error) {
  error_ = error;
  drop_turn();
  return error;
}

void DeviceQueue::drop_turn() {
  for (Chain& chain : turn_) {
    if (chain.is_empty()) continue;
    static_cast<void>(pool_.unwrap(chain));
    --in_flight_;
  }
  tables_.clear();
}

}  // namespace vmsg
