#include "backend/control_client.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "backend/control_request.hpp"
#include "backend/status_text.hpp"
#include "transport/message_text.hpp"

namespace vmsg {
namespace {

constexpr std::chrono::seconds kRequestTime{10};
constexpr std::chrono::seconds kAnswerTime{30};

std::int64_t monotonic_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string trace_line(const TracedFrame& frame) {
  const nlohmann::ordered_json line{{"t_ns", monotonic_ns()},
                                    {"guest", frame.guest},
                                    {"bus", frame.bus},
                                    {"direction", frame.is_in ? "in" : "out"},
                                    {"text", to_text(frame.bytes)}};
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

ControlClient::ControlClient(Socket socket, ControlView& view, std::function<void()> on_over)
    : socket_(std::move(socket)),
      view_(view),
      on_over_(std::move(on_over)),
      deadline_(socket_.get_executor()) {}

ControlClient::~ControlClient() {
  if (is_tracing_) view_.trace.remove(*this);
}

void ControlClient::start() {
  limit_time(kRequestTime);
  boost::asio::async_read_until(
      socket_, boost::asio::dynamic_buffer(request_, ControlRequest::kMaxLine), '\n',
      [this, weak = weak_from_this()](const boost::system::error_code& error, std::size_t bytes) {
        if (const auto self = weak.lock()) on_line(error, bytes);
      });
}

void ControlClient::turn_away(std::string_view words) { answer(error_line(words)); }

void ControlClient::on_line(const boost::system::error_code& error, std::size_t bytes) {
  if (error == boost::asio::error::not_found) {
    return answer(error_line("the request is too long: 4096 bytes are allowed"));
  }
  // A last line without its end is a line too.
  const bool is_whole = error == boost::asio::error::eof && !request_.empty();
  if (error && !is_whole) return end();
  if (is_whole) bytes = request_.size();
  const auto request = parse_control_request(std::string_view(request_).substr(0, bytes));
  if (!request) return answer(error_line(request.error()));
  switch (request->command) {
    case ControlRequest::Command::kStatus:
      return answer(status_text(view_.snapshot(), view_.version, request->guest));
    case ControlRequest::Command::kTrace:
      return start_trace(*request->guest);
  }
}

void ControlClient::answer(std::string line) {
  ends_when_written_ = true;
  limit_time(kAnswerTime);
  say(std::move(line));
}

// ---- trace --------------------------------------------------------------------------------------

void ControlClient::start_trace(std::uint16_t guest) {
  deadline_.cancel();
  is_tracing_ = true;
  view_.trace.add(guest, *this);
  watch_for_end();
}

void ControlClient::watch_for_end() {
  socket_.async_read_some(
      boost::asio::buffer(ignored_),
      [this, weak = weak_from_this()](const boost::system::error_code& error, std::size_t) {
        const auto self = weak.lock();
        if (self == nullptr) return;
        if (error) return end();
        watch_for_end();
      });
}

void ControlClient::on_traced(const TracedFrame& frame) {
  std::string line = trace_line(frame);
  if (waiting_.size() + line.size() > kMaxWaiting) {
    ++lost_;
    return;
  }
  tell_lost();
  say(std::move(line));
}

// NOLINTBEGIN(misc-no-recursion): what was written is heard of from the loop, not from here.
void ControlClient::tell_lost() {
  const std::uint64_t lost = std::exchange(lost_, 0);
  if (lost > 0) say(nlohmann::json{{"lost", lost}}.dump() + "\n");
}

// ---- writing ------------------------------------------------------------------------------------

void ControlClient::say(std::string line) {
  if (waiting_.empty()) {
    waiting_ = std::move(line);
  } else {
    waiting_ += line;
  }
  if (writing_.empty()) write();
}

void ControlClient::write() {
  writing_.swap(waiting_);
  boost::asio::async_write(
      socket_, boost::asio::buffer(writing_),
      [this, weak = weak_from_this()](const boost::system::error_code& error, std::size_t) {
        if (const auto self = weak.lock()) on_written(error);
      });
}

void ControlClient::on_written(const boost::system::error_code& error) {
  writing_.clear();
  if (error) return end();
  if (!waiting_.empty()) return write();
  if (lost_ > 0) return tell_lost();
  if (ends_when_written_) end();
}
// NOLINTEND(misc-no-recursion)

void ControlClient::limit_time(std::chrono::seconds time) {
  deadline_.expires_after(time);
  deadline_.async_wait([this, weak = weak_from_this()](const boost::system::error_code& error) {
    const auto self = weak.lock();
    if (self != nullptr && !error) end();
  });
}

void ControlClient::end() {
  // Lets go of this, so it is the last thing that a handler does.
  if (const auto on_over = std::exchange(on_over_, nullptr)) on_over();
}

}  // namespace vmsg
