/* The runtime's wish that the program ends: SIGTERM, SIGINT, SIGHUP. Whatever waits then stops, and says so. */
#include "host.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>

/* Between two interruptions of what waits. */
#define NUDGE_MICROSECONDS 20000

static volatile sig_atomic_t received; /* how many */
static volatile sig_atomic_t is_shielded;

static void nudge(suseconds_t microseconds) {
  struct timeval time = {.tv_usec = microseconds};
  struct itimerval timer = {.it_interval = time, .it_value = time};
  setitimer(ITIMER_REAL, &timer, NULL);
}

/* A signal that comes just before a call that waits doesn't interrupt that call: the timer does. */
static void on_end(int signal) {
  (void)signal;
  int number = errno;
  received++;
  nudge(NUDGE_MICROSECONDS);
  errno = number;
}

static void on_nudge(int signal) { (void)signal; }

/* Without SA_RESTART: calls that wait return EINTR. */
static void handle(int signal, void (*handler)(int)) {
  struct sigaction action = {.sa_handler = handler};
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, NULL);
}

void handle_signals(void) {
  static const int ends[] = {SIGTERM, SIGINT, SIGHUP};
  handle(SIGALRM, on_nudge);
  handle(SIGPIPE, SIG_IGN);
  handle(SIGCHLD, SIG_DFL); /* ignored, it would leave nothing to wait for */
  for (size_t index = 0; index < sizeof ends / sizeof *ends; index++) {
    struct sigaction before;
    bool is_ignored = sigaction(ends[index], NULL, &before) == 0 && before.sa_handler == SIG_IGN; /* nohup(1) */
    if (!is_ignored) handle(ends[index], on_end);
  }
}

bool is_ending(void) { return received > 0 && !is_shielded; }

int signals_received(void) { return received; }

JSValue host_is_ending(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv) {
  (void)self, (void)argc, (void)argv;
  return JS_NewBool(ctx, is_ending());
}

JSValue host_shield(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv) {
  (void)ctx, (void)self, (void)argc, (void)argv;
  is_shielded = 1;
  nudge(0);
  return JS_UNDEFINED;
}
