#include "devices/blk/nbd_queue.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "devices/blk/nbd_disk.hpp"

namespace vmsg::blk {

namespace {

/// Whether a read would find something, be it the end.
bool is_readable(int fd) {
  pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&one, 1, 0) > 0;
}

}  // namespace

void NbdQueue::Poll::on_complete(std::int32_t, bool) {
  is_armed_ = false;
  queue_.ready(*this);
}

bool NbdQueue::Poll::arm(int fd) {
  if (is_armed_) return true;
  io_uring_sqe* const entry = queue_.io_.prepare(*this);
  if (entry == nullptr) return false;
  io_uring_prep_poll_add(entry, fd, static_cast<unsigned>(events_));
  is_armed_ = true;
  return true;
}

void NbdQueue::Deadline::on_complete(std::int32_t result, bool) {
  is_armed_ = false;
  if (result != -ECANCELED) queue_.hang_up();
}

bool NbdQueue::Deadline::arm(std::chrono::seconds patience) {
  io_uring_sqe* const entry = queue_.io_.prepare(*this);
  if (entry == nullptr) return false;
  limit_.tv_sec = patience.count();
  io_uring_prep_timeout(entry, &limit_, 0, 0);
  is_armed_ = true;
  return true;
}

void NbdQueue::Deadline::cancel() {
  if (is_armed_) queue_.io_.cancel(*this);
}

NbdQueue::NbdQueue(const Environment& environment, std::optional<NbdConnection> connection,
                   const DiskQueueContext& context)
    : environment_(environment),
      io_(context.io),
      owner_(context.owner),
      reading_(*this, POLLIN),
      writing_(*this, POLLOUT),
      mail_(*this, POLLIN),
      deadline_(*this) {
  for (std::uint32_t slot = 0; slot < context.slots; ++slot) {
    works_.push_back(Work{.queue = this, .slot = slot, .io = {}});
  }
  ended_.reserve(context.slots);
  // This is the control thread: nothing may be prepared on the worker's ring here. The connection
  // waits in the mailbox for the first turn.
  is_waiting_for_mail_ = true;
  if (connection) {
    mailbox_->put({.connection = std::move(connection), .has_given_up = false});
  } else {
    environment_.connector.connect(mailbox_);
  }
}

NbdQueue::~NbdQueue() {
  if (fd_ >= 0) close(fd_);
}

bool NbdQueue::submit(std::uint32_t slot, const DiskIo& io) {
  Work& work = works_[slot];
  work.io = io;
  work.stage = Stage::kWaiting;
  if (nbd_ != nullptr) {
    send(work);
    work_off();
  } else if (has_given_up_) {
    finish(work, EIO);
  }
  return true;
}

void NbdQueue::carry_on() {
  if (is_waiting_for_mail_ && nbd_ == nullptr && !mail_.is_armed() && !has_been_connected_) {
    read_mail();
  }
  arm();
}

bool NbdQueue::is_idle() const {
  return sent_ == 0 && nbd_ == nullptr && !reading_.is_armed() && !writing_.is_armed() &&
         !mail_.is_armed() && !deadline_.is_armed();
}

void NbdQueue::abandon() {
  is_abandoned_ = true;
  mailbox_->cancel();
  if (mail_.is_armed()) mailbox_->ring();
  for (Work& work : works_) {
    if (work.stage == Stage::kWaiting) finish(work, ECANCELED);
  }
  if (sent_ == 0) return close_connection();
  // What was sent may still be done by the server: a reset is not answered before it is, or a write
  // of before could come after one of later. But not for ever: a server that hangs would keep the
  // device, and the daemon, from ending.
  if (!deadline_.arm(environment_.patience)) hang_up();
}

/// Called by libnbd from within its functions: it may not be called back from here.
int NbdQueue::on_ended(void* work, int* error) {
  Work& ended = *static_cast<Work*>(work);
  ended.queue->ended_.push_back({&ended, *error});
  return 1;
}

void NbdQueue::send(Work& work) {
  const DiskIo& io = work.io;
  const nbd_completion_callback done{.callback = on_ended, .user_data = &work, .free = nullptr};
  const std::uint32_t fua = io.is_durable && can_fua_ ? LIBNBD_CMD_FLAG_FUA : 0;
  bool is_flush = work.stage == Stage::kSentFlush;
  std::int64_t cookie = -1;
  if (!is_flush) work.stage = Stage::kSent;
  ++sent_;
  switch (is_flush ? Operation::kFlush : io.operation) {
    case Operation::kRead:
      cookie = nbd_aio_pread(nbd_.get(), io.data.data(), io.data.size(), io.offset, done, 0);
      break;
    case Operation::kWrite:
      cookie = nbd_aio_pwrite(nbd_.get(), io.data.data(), io.data.size(), io.offset, done, fua);
      break;
    case Operation::kDiscard:
      cookie = nbd_aio_trim(nbd_.get(), io.length, io.offset, done, fua);
      break;
    case Operation::kWriteZeroes:
      cookie = nbd_aio_zero(nbd_.get(), io.length, io.offset, done,
                            fua | (io.may_unmap ? 0 : LIBNBD_CMD_FLAG_NO_HOLE));
      break;
    case Operation::kFlush:
    case Operation::kSecureErase:
    case Operation::kGetId:
    case Operation::kUnknown:
      is_flush = true;
      if (environment_.cache.take_loss()) {
        --sent_;
        return finish(work, EIO);
      }
      work.mark = environment_.cache.mark();
      cookie = nbd_aio_flush(nbd_.get(), done, 0);
      break;
  }
  if (cookie >= 0) return;
  // Not even begun. With a dead connection it waits for the next one.
  const int error = nbd_get_errno();
  ended_.push_back({&work, error == 0 ? EIO : error});
}

/// Takes note of what libnbd has ended, and asks to be told what it waits for.
void NbdQueue::work_off() {
  while (!ended_.empty()) {
    const Ended ended = ended_.back();
    ended_.pop_back();
    settle(ended);
  }
  if (nbd_ == nullptr) return;
  if (nbd_aio_is_dead(nbd_.get()) != 0 || nbd_aio_is_closed(nbd_.get()) != 0) return lose();
  if (is_abandoned_ && sent_ == 0) return close_connection();
  arm();
}

void NbdQueue::settle(const Ended& ended) {
  Work& work = *ended.work;
  --sent_;
  if (ended.error != 0) {
    const bool is_lost = nbd_aio_is_dead(nbd_.get()) != 0 || nbd_aio_is_closed(nbd_.get()) != 0;
    if (!is_lost || is_abandoned_) return finish(work, ended.error);
    work.stage = Stage::kWaiting;
    return;
  }
  if (work.io.operation == Operation::kFlush || work.stage == Stage::kSentFlush) {
    environment_.cache.flushed(work.mark);
    return finish(work, 0);
  }
  if (work.io.operation == Operation::kRead) return finish(work, 0);
  if (!work.io.is_durable) {
    environment_.cache.wrote();
    return finish(work, 0);
  }
  if (can_fua_) return finish(work, 0);
  // Durable, on a server without FUA: a flush of its own behind it.
  environment_.cache.wrote();
  work.stage = Stage::kSentFlush;
  send(work);
}

void NbdQueue::finish(Work& work, int error) {
  work.stage = Stage::kFree;
  owner_.finished(work.slot, error);
}

void NbdQueue::ready(const Poll& poll) {
  if (&poll == &mail_) return read_mail();
  if (nbd_ == nullptr) return arm();
  if (&poll == &reading_) {
    read_answers();
  } else if ((nbd_aio_get_direction(nbd_.get()) & LIBNBD_AIO_DIRECTION_WRITE) != 0) {
    static_cast<void>(nbd_aio_notify_write(nbd_.get()));
  }
  work_off();
}

/// libnbd takes one answer, or a part of one, each time that it is told to read. It must not be
/// told in vain: it would wait for an answer then, and send no command before one has come. So it
/// is asked of the socket every time, also of the first, for the poll may have been on a socket
/// that was replaced meanwhile.
void NbdQueue::read_answers() {
  for (std::size_t most = works_.size(); most > 0 && is_readable(fd_); --most) {
    if ((nbd_aio_get_direction(nbd_.get()) & LIBNBD_AIO_DIRECTION_READ) == 0) return;
    if (nbd_aio_notify_read(nbd_.get()) != 0) return;
  }
}

void NbdQueue::read_mail() {
  NbdMailbox::News news = mailbox_->take();
  if (is_abandoned_) return;
  if (news.has_given_up) {
    has_given_up_ = true;
    for (Work& work : works_) {
      if (work.stage == Stage::kWaiting) finish(work, EIO);
    }
  }
  if (news.connection) {
    adopt(std::move(*news.connection));
  } else {
    arm();
  }
}

void NbdQueue::adopt(NbdConnection connection) {
  if (std::exchange(has_been_connected_, true)) {
    environment_.counters.reconnects.fetch_add(1, std::memory_order_relaxed);
  }
  is_waiting_for_mail_ = false;
  has_given_up_ = false;
  nbd_ = std::move(connection.handle);
  can_fua_ = connection.exported.can_fua;
  fd_ = fcntl(nbd_aio_get_fd(nbd_.get()), F_DUPFD_CLOEXEC, 0);
  for (Work& work : works_) {
    if (work.stage == Stage::kWaiting) send(work);
  }
  work_off();
}

/// The connection is dead; libnbd has ended all commands with errors.
void NbdQueue::lose() {
  environment_.counters.lost_connections.fetch_add(1, std::memory_order_relaxed);
  if (environment_.cache.lost_connection()) {
    environment_.counters.lost_caches.fetch_add(1, std::memory_order_relaxed);
  }
  close_connection();
  if (is_abandoned_) return;
  is_waiting_for_mail_ = true;
  environment_.connector.connect(mailbox_);
  arm();
}

/// The end of the connection, which libnbd finds when it reads next.
void NbdQueue::hang_up() {
  if (fd_ >= 0) shutdown(fd_, SHUT_RDWR);
}

void NbdQueue::close_connection() {
  deadline_.cancel();
  if (nbd_ == nullptr) return;
  if (nbd_aio_is_ready(nbd_.get()) > 0) static_cast<void>(nbd_aio_disconnect(nbd_.get(), 0));
  // Ends the polls, which hold the socket even when it is closed.
  if (fd_ >= 0) {
    shutdown(fd_, SHUT_RDWR);
    close(std::exchange(fd_, -1));
  }
  nbd_.reset();
}

void NbdQueue::arm() {
  bool is_armed = true;
  if (is_waiting_for_mail_ && !is_abandoned_) is_armed = mail_.arm(mailbox_->fd());
  if (nbd_ != nullptr) {
    const unsigned direction = nbd_aio_get_direction(nbd_.get());
    is_armed = reading_.arm(fd_) && is_armed;
    if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0) is_armed = writing_.arm(fd_) && is_armed;
  }
  if (!is_armed) owner_.wants_turn();
}

}  // namespace vmsg::blk
