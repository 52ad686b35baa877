/* What the functions of the host share: failures, time, bytes that grow. */
#include "host.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

JSValue failed(JSContext *ctx, const char *kind, int number) {
  JSValue failure = JS_NewObject(ctx);
  if (JS_IsException(failure)) return failure;
  JS_SetPropertyStr(ctx, failure, "failure", JS_NewString(ctx, kind));
  JS_SetPropertyStr(ctx, failure, "message", JS_NewString(ctx, strerror(number)));
  return failure;
}

JSValue throw_system_error(JSContext *ctx, const char *what, const char *subject, int number) {
  return JS_ThrowError(ctx, "native", 0, "%s %s: %s", what, subject, strerror(number));
}

int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int milliseconds_to(int64_t deadline) {
  if (deadline < 0) return -1;
  int64_t left = deadline - now_ms();
  return left < 0 ? 0 : left > 1000000000 ? 1000000000 : (int)left;
}

int wait_for(int fd, short events, int64_t deadline) {
  struct pollfd polled = {.fd = fd, .events = events};
  for (;;) {
    if (is_ending()) return errno = EINTR, -1;
    int count = poll(&polled, 1, milliseconds_to(deadline));
    if (count >= 0 || errno != EINTR) return count;
  }
}

/* What one read asks for at least; the buffer doubles, so that a large text is copied few times. */
#define FIRST_CAPACITY 4096

ssize_t buffer_read(Buffer *buffer, int fd) {
  if (buffer->length == buffer->capacity) {
    size_t capacity = buffer->capacity == 0 ? FIRST_CAPACITY : buffer->capacity * 2;
    char *bytes = realloc(buffer->bytes, capacity);
    if (bytes == NULL) return -1;
    buffer->bytes = bytes;
    buffer->capacity = capacity;
  }
  ssize_t count;
  do count = read(fd, buffer->bytes + buffer->length, buffer->capacity - buffer->length);
  while (count < 0 && errno == EINTR);
  if (count > 0) buffer->length += (size_t)count;
  return count;
}

void buffer_free(Buffer *buffer) {
  free(buffer->bytes);
  *buffer = (Buffer){0};
}

JSValue buffer_string(JSContext *ctx, const Buffer *buffer, size_t length) {
  return JS_NewStringLen(ctx, length == 0 ? "" : buffer->bytes, length);
}
