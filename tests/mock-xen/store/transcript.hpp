// Conversations with a store, written down: what each domain asks and what it is told. The same
// files are played to the engine and to Debian's xenstored, so that the two can be compared.
//
// A file has sections, each played to a fresh store:
//
//   == RemovalTellsWatchersBelow                  the name of the test
//   # why
//   introduce 3                                   domain 3 begins to exist; also: release 3
//   0    WRITE /a/b x            -> OK            domain 0 writes; the reply
//   3    READ /a/b               -> EACCES        domain 3 reads; an errno by its name
//   0    WATCH /a t              -> OK
//        event 0 /a t                             who was told what by the step above
//   0@1  READ /a/b               -> x             in transaction 1
//   0b   READ /a/b               -> x             a second connection of domain 0
//   repeat 9 3 WRITE /c/# x      -> OK            nine times with # = 1 to 9; events are not listed
//
// Arguments are separated by blanks and each is terminated by a NUL, but the value of a WRITE is
// not; with "!" behind the operation nothing is terminated but what says \0 itself. '' is the empty
// string, [x*9] nine x. In a reply NUL is \0 and the acknowledgement is OK.
#pragma once

#include <xenstore.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vmsg::mock::store {

struct Transcript {
  std::string name;
  std::vector<std::string> lines;
};

struct StoreMessage {
  xsd_sockmsg header{};
  std::string payload;
};

/// A store to play to: the engine or a real one.
class StoreUnderTest {
 public:
  StoreUnderTest() = default;
  virtual ~StoreUnderTest() = default;
  StoreUnderTest(const StoreUnderTest&) = delete;
  StoreUnderTest& operator=(const StoreUnderTest&) = delete;

  virtual void introduce(std::uint16_t domid) = 0;
  virtual void release(std::uint16_t domid) = 0;

  /// Connections are opened by their first use: "3" is the one of domain 3, "0b" another of
  /// domain 0.
  virtual void send(const std::string& connection, const StoreMessage& message) = 0;
  /// The next message for the connection. Ends the test if none comes.
  virtual StoreMessage next(const std::string& connection) = 0;
  virtual void close(const std::string& connection) = 0;
};

[[nodiscard]] std::vector<Transcript> parse_transcripts(std::string_view text);

/// All transcripts of the files in a directory.
[[nodiscard]] std::vector<Transcript> load_transcripts(const std::string& directory);

/// The lines as they ought to be if the store answers what the transcript says, in normal form.
[[nodiscard]] std::string expected_text(const Transcript& transcript);

/// Plays it and writes down what the store really said, in the same form.
[[nodiscard]] std::string play(const Transcript& transcript, StoreUnderTest& store);

}  // namespace vmsg::mock::store
