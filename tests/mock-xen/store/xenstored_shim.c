/* Lets Debian's own xenstored run as an ordinary process on a machine without Xen, so that the
 * store engine can be held against it. Preloaded into xenstored; stands in for the few calls that
 * xenstored makes to the hypervisor. Not part of the mock: nothing of this project loads it.
 *
 * Everything is in the directory $STORE_LAB:
 *   dom<N>     domain N exists while this file does
 *   ring<N>    the page that domain N shares with xenstored (struct xenstore_domain_interface)
 *   kick       a FIFO: a byte wakes xenstored; 'v' is the hypervisor's "a domain has changed"
 *   wake<N>    a FIFO: xenstored writes a byte for each event to domain N
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xenctrl.h>
#include <xenevtchn.h>
#include <xengnttab.h>

enum { kPageSize = 4096, kVirqPort = 1, kFirstRingPort = 100 };

static int kick_fd = -1;

static void lab_path(char *path, size_t size, const char *kind, int number) {
  if (number < 0) {
    snprintf(path, size, "%s/%s", getenv("STORE_LAB"), kind);
  } else {
    snprintf(path, size, "%s/%s%d", getenv("STORE_LAB"), kind, number);
  }
}

/* Not open(): that is replaced below. */
static int real_open(const char *path, int flags, mode_t mode) {
  return openat(AT_FDCWD, path, flags, mode);
}

static int exists(uint32_t domid) {
  char path[512];
  lab_path(path, sizeof path, "dom", (int)domid);
  return domid == 0 || access(path, F_OK) == 0;
}

/* --- libxenctrl */

xc_interface *xc_interface_open(xentoollog_logger *a, xentoollog_logger *b, unsigned flags) {
  (void)a, (void)b, (void)flags;
  return (xc_interface *)&kick_fd;
}

int xc_interface_close(xc_interface *handle) {
  (void)handle;
  return 0;
}

int xc_domain_getinfo(xc_interface *handle, uint32_t first, unsigned max, xc_dominfo_t *info) {
  (void)handle, (void)max;
  for (; first < 0x7ff0; ++first) {
    if (!exists(first)) continue;
    memset(info, 0, sizeof *info);
    info->domid = first;
    info->running = 1;
    return 1;
  }
  return 0;
}

/* --- libxenevtchn */

xenevtchn_handle *xenevtchn_open(xentoollog_logger *logger, unsigned flags) {
  char path[512];
  (void)logger, (void)flags;
  lab_path(path, sizeof path, "kick", -1);
  kick_fd = real_open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC, 0);
  return kick_fd < 0 ? NULL : (xenevtchn_handle *)&kick_fd;
}

xenevtchn_handle *xenevtchn_fdopen(xentoollog_logger *logger, int fd, unsigned flags) {
  (void)fd;
  return xenevtchn_open(logger, flags);
}

int xenevtchn_close(xenevtchn_handle *handle) {
  (void)handle;
  return close(kick_fd);
}

int xenevtchn_fd(xenevtchn_handle *handle) {
  (void)handle;
  return kick_fd;
}

int xenevtchn_notify(xenevtchn_handle *handle, evtchn_port_t port) {
  char path[512];
  int fd;
  (void)handle;
  lab_path(path, sizeof path, "wake", (int)port - kFirstRingPort);
  fd = real_open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC, 0);
  if (fd < 0) return 0; /* nobody listens */
  if (write(fd, "", 1) != 1) { /* full: the peer is awake anyway */
  }
  close(fd);
  return 0;
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *handle, uint32_t domid,
                                                     evtchn_port_t port) {
  (void)handle, (void)port;
  return kFirstRingPort + (int)domid;
}

xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle *handle, unsigned virq) {
  (void)handle, (void)virq;
  return kVirqPort;
}

int xenevtchn_unbind(xenevtchn_handle *handle, evtchn_port_t port) {
  (void)handle, (void)port;
  return 0;
}

int xenevtchn_unmask(xenevtchn_handle *handle, evtchn_port_t port) {
  (void)handle, (void)port;
  return 0;
}

/* All kicks at once: xenstored looks at every ring anyway. */
xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *handle) {
  char bytes[4096];
  ssize_t n;
  (void)handle;
  n = read(kick_fd, bytes, sizeof bytes);
  if (n <= 0) return -1;
  return memchr(bytes, 'v', (size_t)n) != NULL ? kVirqPort : kFirstRingPort;
}

/* --- libxengnttab */

xengnttab_handle *xengnttab_open(xentoollog_logger *logger, unsigned flags) {
  (void)logger, (void)flags;
  return (xengnttab_handle *)&kick_fd;
}

int xengnttab_close(xengnttab_handle *handle) {
  (void)handle;
  return 0;
}

int xengnttab_set_max_grants(xengnttab_handle *handle, uint32_t count) {
  (void)handle, (void)count;
  return 0;
}

void *xengnttab_map_grant_ref(xengnttab_handle *handle, uint32_t domid, uint32_t ref, int prot) {
  char path[512];
  void *page;
  int fd;
  (void)handle, (void)ref;
  lab_path(path, sizeof path, "ring", (int)domid);
  fd = real_open(path, O_RDWR | O_CLOEXEC, 0);
  if (fd < 0) return NULL;
  page = mmap(NULL, kPageSize, prot, MAP_SHARED, fd, 0);
  close(fd);
  return page == MAP_FAILED ? NULL : page;
}

int xengnttab_unmap(xengnttab_handle *handle, void *page, uint32_t count) {
  (void)handle;
  return munmap(page, (size_t)count * kPageSize);
}

/* --- The two files by which a kernel tells xenstored where domain 0's ring is. */

int open(const char *path, int flags, ...) {
  mode_t mode = 0;
  int fd;
  if (flags & (O_CREAT | O_TMPFILE)) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  if (strcmp(path, "/proc/xen/xsd_port") != 0 && strcmp(path, "/proc/xen/xsd_kva") != 0) {
    return real_open(path, flags, mode);
  }
  fd = memfd_create("xsd", 0);
  if (fd < 0) return -1;
  if (strcmp(path, "/proc/xen/xsd_kva") == 0) {
    if (ftruncate(fd, kPageSize) != 0) return -1;
  } else if (write(fd, "1\n", 2) != 2 || lseek(fd, 0, SEEK_SET) != 0) {
    return -1;
  }
  return fd;
}
