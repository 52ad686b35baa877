/* The standard input, output and error. */
#include "host.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

static bool property_int64(JSContext *ctx, JSValueConst object, const char *name, int64_t *value) {
  JSValue property = JS_GetPropertyStr(ctx, object, name);
  if (JS_IsException(property)) return false;
  int result = JS_ToInt64(ctx, value, property);
  JS_FreeValue(ctx, property);
  return result == 0;
}

JSValue host_read_stdin(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv) {
  (void)self, (void)argc;
  int64_t max_bytes, timeout_ms;
  if (!property_int64(ctx, argv[0], "maxBytes", &max_bytes)) return JS_EXCEPTION;
  if (!property_int64(ctx, argv[0], "timeoutMs", &timeout_ms)) return JS_EXCEPTION;
  int64_t deadline = now_ms() + timeout_ms;
  Buffer buffer = {0};
  JSValue result = JS_UNDEFINED;
  while (JS_IsUndefined(result)) {
    int ready = wait_for(STDIN_FILENO, POLLIN, deadline);
    ssize_t count = ready > 0 ? buffer_read(&buffer, STDIN_FILENO) : -1;
    if (ready == 0) result = failed(ctx, "timeout", ETIMEDOUT);
    else if (count < 0 && ready > 0 && errno == EAGAIN) continue;
    else if (count < 0) result = failed(ctx, errno == EINTR ? "ended" : "io", errno);
    else if (buffer.length > (size_t)max_bytes) result = failed(ctx, "too-large", EFBIG);
    else if (count == 0) result = buffer_string(ctx, &buffer, buffer.length);
  }
  buffer_free(&buffer);
  return result;
}

/* Ends with a signal that comes meanwhile: nobody else could make an end where nobody reads. */
static bool write_all(int fd, const char *text, size_t length) {
  int before = signals_received();
  while (length > 0) {
    if (signals_received() != before) return errno = EINTR, false;
    ssize_t count = write(fd, text, length);
    if (count > 0) {
      text += count;
      length -= (size_t)count;
    } else if (count < 0 && errno == EAGAIN) {
      struct pollfd polled = {.fd = fd, .events = POLLOUT};
      if (poll(&polled, 1, -1) < 0 && errno != EINTR) return false;
    } else if (count == 0 || errno != EINTR) {
      return false;
    }
  }
  return true;
}

static bool has_written;

bool has_written_stdout(void) { return has_written; }

bool write_stdout(const char *text, size_t length) {
  if (length > 0) has_written = true;
  return write_all(STDOUT_FILENO, text, length);
}

JSValue host_write_stdout(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv) {
  (void)self, (void)argc;
  size_t length;
  const char *text = JS_ToCStringLen(ctx, &length, argv[0]);
  if (text == NULL) return JS_EXCEPTION;
  bool is_written = write_stdout(text, length);
  JS_FreeCString(ctx, text);
  return JS_NewBool(ctx, is_written);
}

/* What nobody reads on the standard error is lost: there is no other place to say so. */
JSValue host_write_stderr(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv) {
  (void)self, (void)argc;
  size_t length;
  const char *text = JS_ToCStringLen(ctx, &length, argv[0]);
  if (text == NULL) return JS_EXCEPTION;
  (void)write_all(STDERR_FILENO, text, length);
  JS_FreeCString(ctx, text);
  return JS_UNDEFINED;
}
