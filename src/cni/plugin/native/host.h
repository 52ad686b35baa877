/* The functions of the plugin's `Host` (../host.ts, which says what each does), and what they share. */
#ifndef KPROXY_CNI_HOST_H
#define KPROXY_CNI_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "quickjs.h"

typedef JSValue HostFunction(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv);

HostFunction host_read_stdin, host_write_stdout, host_write_stderr;
HostFunction host_exchange;
HostFunction host_netns_identity, host_loopback;
HostFunction host_is_executable, host_execute;
HostFunction host_write_durably;
HostFunction host_is_ending, host_shield;

/* Writes all of it to the standard output. False, with errno, when that can't be done. */
bool write_stdout(const char *text, size_t length);
/* Whether a byte has gone there: what comes then would be a second document. */
bool has_written_stdout(void);

/* `{failure: kind, message}`; the message is that of the errno `number`. */
JSValue failed(JSContext *ctx, const char *kind, int number);
/* Throws an Error: "WHAT SUBJECT: the words of errno `number`". */
JSValue throw_system_error(JSContext *ctx, const char *what, const char *subject, int number);

/* From here on, a signal that ends the program only sets what is_ending() tells; the program's own children begin with the defaults. */
void handle_signals(void);
/* Whether the runtime wants an end, and nothing is being undone. */
bool is_ending(void);
/* Signals of that kind so far, whatever is being done. */
int signals_received(void);

/* Milliseconds of the monotonic clock. */
int64_t now_ms(void);
/* What is left to `deadline`, as poll(2) has it: never negative, but -1 for ever where the deadline is negative. */
int milliseconds_to(int64_t deadline);
/* poll(2) of one descriptor until `deadline` (of now_ms; negative: for ever). As poll: 0 at the deadline; -1 with EINTR only when is_ending(). */
int wait_for(int fd, short events, int64_t deadline);

/* Bytes that grow. Zeroed: empty. */
typedef struct {
  char *bytes;
  size_t length, capacity;
} Buffer;

/* Reads once, to the end of the buffer. As read(2): 0 at the end, -1 with errno (ENOMEM too). Never returns EINTR. */
ssize_t buffer_read(Buffer *buffer, int fd);
void buffer_free(Buffer *buffer);
/* As a string; bytes that are no UTF-8 become U+FFFD. */
JSValue buffer_string(JSContext *ctx, const Buffer *buffer, size_t length);

#endif
