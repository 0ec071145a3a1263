// What `vmsg create` and `vmsg watch` have to know of each other, so that each guest gets its
// devices once.
//
//   RUN/guests/NAME   RUN is /run/vmsg-toolstack. Locked while `vmsg create` makes a guest of that
//                     name; holds the path of its configuration, for the day when the guest reboots
//
// The other half is the mark of the guest (guest_mark.hpp).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "devices/file_descriptor.hpp"
#include "transport/result.hpp"

namespace vmsg::tool {

constexpr const char* kDefaultRunFolder = "/run/vmsg-toolstack";

class CreatedGuests {
 public:
  /// Held while a guest is being created.
  class Claim {
   public:
    /// Remembers the configuration; without it nothing of the guest is remembered.
    [[nodiscard]] Result<void, std::string> keep(std::string_view config);
    Claim(Claim&&) = default;
    Claim& operator=(Claim&&) = default;
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;
    ~Claim();

   private:
    friend class CreatedGuests;
    Claim(std::string file, FileDescriptor fd) : file_(std::move(file)), fd_(std::move(fd)) {}

    std::string file_;
    FileDescriptor fd_;
    bool is_kept_ = false;
  };

  explicit CreatedGuests(const std::string& run_folder) : folder_(run_folder + "/guests") {}

  /// Fails when somebody else creates a guest of that name at this moment.
  [[nodiscard]] Result<Claim, std::string> claim(std::string_view name);
  [[nodiscard]] bool is_claimed(std::string_view name) const;
  /// The configuration of the guest that was last created under this name.
  [[nodiscard]] std::optional<std::string> config_of(std::string_view name) const;

 private:
  [[nodiscard]] std::string file_of(std::string_view name) const;

  std::string folder_;
};

}  // namespace vmsg::tool
