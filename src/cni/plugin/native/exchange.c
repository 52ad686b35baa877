/* One line to the agent's socket, one line back. */
#include "host.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static const char *kind_of(int number) {
  switch (number) {
  case EACCES:
  case EPERM: return "denied";
  case EAGAIN:
  case ETIMEDOUT: return "timeout";
  case EINTR: return "ended";
  case EPIPE:
  case ECONNRESET: return "closed";
  default: return "absent"; /* ENOENT, ECONNREFUSED, and all that is no socket of ours */
  }
}

/*
 * Waits in connect(2), in the kernel's queue, while the listener's backlog is full: a socket that doesn't block would be told EAGAIN, and had
 * to try again and again. Returns the socket, or -1 with errno.
 */
static int connect_until(const char *path, int64_t deadline) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) return errno = ENAMETOOLONG, -1;
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  for (;;) {
    int64_t left = deadline - now_ms();
    if (left < 1) left = 1; /* zero would mean no limit */
    struct timeval limit = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    if (errno != EINTR || is_ending()) break;
  }
  int number = errno == EAGAIN ? ETIMEDOUT : errno;
  close(fd);
  errno = number;
  return -1;
}

/* What is left to send: the line, and then its end. */
typedef struct {
  const char *bytes;
  size_t length;
  bool has_end;
} Sending;

/* Sends what fits. False with errno when nothing can be sent any more. */
static bool send_some(int fd, Sending *sending) {
  const char *bytes = sending->length > 0 ? sending->bytes : "\n";
  size_t length = sending->length > 0 ? sending->length : 1;
  ssize_t count = send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (count < 0) return errno == EAGAIN || errno == EINTR;
  if (sending->length == 0) sending->has_end = true;
  else sending->bytes += count, sending->length -= (size_t)count;
  return true;
}

/*
 * Sends and receives at once: an agent that answers before it has read everything is understood. Returns the length of the line, or -1 with
 * errno.
 */
static ssize_t talk(int fd, Sending sending, Buffer *reply, int64_t deadline) {
  bool can_send = true;
  size_t searched = 0;
  for (;;) {
    bool is_sending = can_send && !sending.has_end;
    int ready = wait_for(fd, is_sending ? POLLIN | POLLOUT : POLLIN, deadline);
    if (ready == 0) errno = ETIMEDOUT;
    if (ready <= 0) return -1;
    /* Nobody reads, but there may be an answer. */
    if (is_sending) can_send = send_some(fd, &sending);
    if (wait_for(fd, POLLIN, 0) <= 0) continue;
    ssize_t count = buffer_read(reply, fd);
    if (count == 0) errno = ECONNRESET;
    if (count <= 0) return -1;
    const char *end = memchr(reply->bytes + searched, '\n', reply->length - searched);
    if (end != NULL) return end - reply->bytes;
    searched = reply->length;
  }
}

static JSValue exchange(JSContext *ctx, const char *path, const char *line, size_t length, int64_t timeout_ms) {
  int64_t deadline = now_ms() + timeout_ms;
  int fd = connect_until(path, deadline);
  if (fd < 0) return failed(ctx, kind_of(errno), errno);
  Buffer reply = {0};
  ssize_t end = talk(fd, (Sending){.bytes = line, .length = length}, &reply, deadline);
  /* Whatever broke after the connection was made (memory, too), the agent may have done what was asked. */
  JSValue result = end >= 0 ? buffer_string(ctx, &reply, (size_t)end)
                            : failed(ctx, errno == ETIMEDOUT ? "timeout" : errno == EINTR ? "ended" : "closed", errno);
  buffer_free(&reply);
  close(fd);
  return result;
}

JSValue host_exchange(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv) {
  (void)self, (void)argc;
  int64_t timeout_ms;
  if (JS_ToInt64(ctx, &timeout_ms, argv[2])) return JS_EXCEPTION;
  size_t length;
  const char *path = JS_ToCString(ctx, argv[0]);
  const char *line = path == NULL ? NULL : JS_ToCStringLen(ctx, &length, argv[1]);
  JSValue result = line == NULL ? JS_EXCEPTION : exchange(ctx, path, line, length, timeout_ms);
  if (line != NULL) JS_FreeCString(ctx, line);
  if (path != NULL) JS_FreeCString(ctx, path);
  return result;
}
