#include "xenbus-glue/silent_logger.hpp"

#include <cstdarg>

namespace vmsg::xen {
namespace {

__attribute__((format(printf, 5, 0))) void discard(xentoollog_logger* /*logger*/,
                                                   xentoollog_level /*level*/, int /*error*/,
                                                   const char* /*context*/, const char* /*format*/,
                                                   va_list /*arguments*/) {}

void keep(xentoollog_logger* /*logger*/) {}

}  // namespace

xentoollog_logger* silent_logger() {
  static xentoollog_logger logger{.vmessage = discard, .progress = nullptr, .destroy = keep};
  return &logger;
}

}  // namespace vmsg::xen
