// Grant addresses and the walk over pages, against the same arithmetic in 128 bits.
#include "transport/grant_address.hpp"

#include <cstdlib>
#include <vector>

#include "tests/fuzz/fuzz_input.hpp"
#include "transport/chain.hpp"

namespace vmsg::fuzz {
namespace {

// NOLINTNEXTLINE(bugprone-reserved-identifier): the compilers' own type.
__extension__ using Wide = unsigned __int128;
constexpr Wide kSpan = Wide{1} << 44;

void require(bool condition) {
  if (!condition) std::abort();
}

void check_pieces(GrantAddress address, std::uint32_t length) {
  Wide position = address.raw() & ~(std::uint64_t{1} << 63);
  std::uint64_t left = length;
  std::uint32_t count = 0;
  for (PagePieces pieces(address, length); const auto piece = pieces.next(); ++count) {
    require(piece->length != 0 && piece->offset + piece->length <= kGrantPageSize);
    require(Wide{piece->reference} * kGrantPageSize + piece->offset == position);
    position += piece->length;
    require(piece->length <= left);
    left -= piece->length;
  }
  require(left == 0);
  require(count == address.pages(length));
}

/// Writes down what add_copies() asks for and compares it with the range as a whole.
class Recorder final : public CopyBatch {
 public:
  void add(const GuestRef&, GrantAddress address, std::span<std::byte> local,
           CopyOutcome&) override {
    require(!local.empty() && address.holds(local.size()));
    for (std::size_t i = 0; i < local.size(); ++i) {
      seen.push_back(address.raw() + i);
      local[i] = std::byte{1};
    }
  }
  void run() override {}
  [[nodiscard]] CopyDirection direction() const override { return CopyDirection::kFromGuest; }

  std::vector<std::uint64_t> seen;
};

void check_copies(FuzzInput& input) {
  std::vector<Segment> segments;
  std::vector<std::uint64_t> all;
  for (std::uint32_t n = input.below(6); n != 0; --n) {
    const auto address = GrantAddress::parse(input.take<std::uint64_t>());
    const std::uint32_t length = input.below(70) + 1;
    if (!address || !address->holds(length)) continue;
    segments.push_back({*address, length});
    for (std::uint32_t i = 0; i < length; ++i) all.push_back(address->raw() + i);
  }
  const std::uint32_t offset = input.below(static_cast<std::uint32_t>(all.size()) + 1);
  const std::uint32_t size = input.below(static_cast<std::uint32_t>(all.size()) - offset + 1);
  std::vector<std::byte> local(size);
  CopyOutcome outcome = CopyOutcome::kOk;
  Recorder recorder;

  add_copies(recorder, GuestRef{}, segments, offset, local, outcome);

  const auto first = all.begin() + offset;
  require(recorder.seen == std::vector<std::uint64_t>(first, first + size));
  for (const std::byte byte : local) require(byte == std::byte{1});
}

void check(FuzzInput& input) {
  const auto raw = input.take<std::uint64_t>();
  const auto bytes = input.take<std::uint64_t>();
  const bool is_valid = raw >> 44 == std::uint64_t{1} << 19;
  const auto address = GrantAddress::parse(raw);
  require(address.has_value() == is_valid);
  if (!address) return;

  const Wide position = raw & (static_cast<std::uint64_t>(kSpan) - 1);
  require(address->raw() == raw);
  require(GrantAddress::of(address->reference(), address->offset()) == *address);
  require(address->holds(bytes) == (position + bytes <= kSpan));
  const auto moved = address->checked_add(bytes);
  require(moved.has_value() == (position + bytes < kSpan));
  if (moved) require(Wide{moved->raw()} == Wide{raw} + bytes);

  const auto length = static_cast<std::uint32_t>(bytes % (std::uint64_t{1} << 20));
  if (address->holds(length)) check_pieces(*address, length);
}

}  // namespace
}  // namespace vmsg::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vmsg::fuzz::FuzzInput input(data, size);
  while (!input.is_empty()) {
    vmsg::fuzz::check(input);
    if (input.flag()) vmsg::fuzz::check_copies(input);
  }
  return 0;
}
