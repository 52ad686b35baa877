/* Other programs: whether they are there, and running one. */
#define _GNU_SOURCE
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

JSValue host_is_executable(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv) {
  (void)self, (void)argc;
  const char *path = JS_ToCString(ctx, argv[0]);
  if (path == NULL) return JS_EXCEPTION;
  struct stat status;
  bool is_executable = stat(path, &status) == 0 && S_ISREG(status.st_mode) && faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0;
  JS_FreeCString(ctx, path);
  return JS_NewBool(ctx, is_executable);
}

/* Sets variables of our own environment, which the program inherits; nothing else here reads them after the start. */
static int set_variables(JSContext *ctx, JSValueConst overrides) {
  if (!JS_IsObject(overrides)) return 0;
  JSPropertyEnum *names;
  uint32_t count;
  if (JS_GetOwnPropertyNames(ctx, &names, &count, overrides, JS_GPN_STRING_MASK | JS_GPN_ENUM_ONLY) < 0) return -1;
  int result = 0;
  for (uint32_t index = 0; index < count && result == 0; index++) {
    JSValue property = JS_GetProperty(ctx, overrides, names[index].atom);
    const char *name = JS_AtomToCString(ctx, names[index].atom);
    const char *value = JS_IsException(property) ? NULL : JS_ToCString(ctx, property);
    if (name == NULL || value == NULL) {
      result = -1;
    } else if (setenv(name, value, 1) < 0) {
      throw_system_error(ctx, "cannot set the variable", name, errno);
      result = -1;
    }
    if (name != NULL) JS_FreeCString(ctx, name);
    if (value != NULL) JS_FreeCString(ctx, value);
    JS_FreeValue(ctx, property);
  }
  JS_FreePropertyEnum(ctx, names, count);
  return result;
}

/* Our ends of its standard input and output, and what it is: the leader of a process group. */
typedef struct {
  pid_t pid;
  int input, output;
} Child;

/* From the end of what it was given to the end that it isn't asked about. */
#define GRACE_MS 1000

/* It gets the signals as they were before we had our way with them, and a group of its own, to be ended with all that it started. Returns an errno. */
static int spawn_with(const char *path, int input, int output, const sigset_t *mask, pid_t *pid) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setsigmask(&attributes, mask);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  char *const arguments[] = {(char *)path, NULL};
  int number = posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
  if (number == 0) number = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  if (number == 0) number = posix_spawn(pid, path, &actions, &attributes, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  return number;
}

/* Returns an errno. The descriptors are above 2, since main() sees to it that those are taken. */
static int start(const char *path, const sigset_t *mask, Child *child) {
  int input[2], output[2];
  if (pipe2(input, O_CLOEXEC) < 0) return errno;
  if (pipe2(output, O_CLOEXEC) < 0) {
    int number = errno;
    close(input[0]), close(input[1]);
    return number;
  }
  int number = spawn_with(path, input[0], output[1], mask, &child->pid);
  close(input[0]), close(output[1]);
  if (number != 0) {
    close(input[1]), close(output[0]);
    return number;
  }
  fcntl(input[1], F_SETFL, O_NONBLOCK);
  child->input = input[1];
  child->output = output[0];
  return 0;
}

static void close_input(Child *child) {
  if (child->input >= 0) close(child->input);
  child->input = -1;
}

/*
 * Feeds and reads at once, until it closes its output. A program that doesn't read all of its input is its own affair. Returns an errno:
 * ETIMEDOUT at the deadline, EINTR when the runtime wants an end.
 */
static int feed_and_read(Child *child, const char *text, size_t length, Buffer *said, int64_t deadline) {
  for (;;) {
    if (length == 0) close_input(child);
    if (is_ending()) return EINTR;
    struct pollfd polled[2] = {{.fd = child->output, .events = POLLIN}, {.fd = child->input, .events = POLLOUT}};
    int ready = poll(polled, 2, milliseconds_to(deadline));
    if (ready == 0) return ETIMEDOUT;
    if (ready < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    if (polled[1].revents != 0) {
      ssize_t count = write(child->input, text, length);
      if (count > 0) text += count, length -= (size_t)count;
      else if (errno != EAGAIN && errno != EINTR) close_input(child), length = 0;
    }
    if (polled[0].revents != 0) {
      ssize_t count = buffer_read(said, child->output);
      if (count <= 0) return count == 0 ? 0 : errno;
    }
  }
}

/* Until it has ended: its number is its own as long as nobody has reaped it. SIGCHLD is blocked, and so waits for us. Returns an errno, as above. */
static int wait_for_end(pid_t pid, int64_t deadline, bool has_to_end) {
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  for (;;) {
    siginfo_t ended = {0};
    if (waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) < 0 && errno != EINTR) return errno;
    if (ended.si_pid == pid) return 0;
    if (is_ending() && !has_to_end) return EINTR;
    int left = milliseconds_to(deadline);
    if (left == 0) return ETIMEDOUT;
    struct timespec time = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};
    (void)sigtimedwait(&children, NULL, &time); /* whatever it was, we look */
  }
}

/* Once to each: a second SIGTERM may mean more to a program than the first. */
static void signal_group(pid_t pid, int signal) {
  kill(-pid, signal);
  if (getpgid(pid) != pid) kill(pid, signal); /* it has gone to another group */
}

/* Its group is asked to end, and then made to. */
static void end_group(pid_t pid) {
  signal_group(pid, SIGTERM);
  (void)wait_for_end(pid, now_ms() + GRACE_MS, true);
  signal_group(pid, SIGKILL);
  (void)wait_for_end(pid, now_ms() + GRACE_MS, true); /* one that hangs in the kernel is left to it */
}

static JSValue ended(JSContext *ctx, int status, const Buffer *said) {
  JSValue executed = JS_NewObject(ctx);
  if (JS_IsException(executed)) return executed;
  int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  JS_SetPropertyStr(ctx, executed, "status", JS_NewInt32(ctx, code));
  JS_SetPropertyStr(ctx, executed, "stdout", buffer_string(ctx, said, said->length));
  return executed;
}

/* Returns an errno, as feed_and_read(); the status where it is 0. */
static int run_to_end(Child *child, const char *text, size_t length, Buffer *said, int64_t deadline, int *status) {
  int number = feed_and_read(child, text, length, said, deadline);
  close_input(child);
  close(child->output);
  if (number == 0) number = wait_for_end(child->pid, deadline, false);
  if (number != 0) end_group(child->pid);
  if (waitpid(child->pid, status, WNOHANG) != child->pid && number == 0) number = ECHILD;
  return number;
}

static JSValue execute(JSContext *ctx, const char *path, const char *text, size_t length, int64_t timeout_ms) {
  int64_t deadline = now_ms() + timeout_ms;
  if (is_ending()) return failed(ctx, "ended", EINTR);
  sigset_t children, mask;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  sigprocmask(SIG_BLOCK, &children, &mask);
  Child child;
  Buffer said = {0};
  int status = 0;
  int number = start(path, &mask, &child);
  if (number == 0) number = run_to_end(&child, text, length, &said, deadline, &status);
  sigprocmask(SIG_SETMASK, &mask, NULL);
  const char *kind = number == ETIMEDOUT ? "timeout" : number == EINTR ? "ended" : "io";
  JSValue result = number == 0 ? ended(ctx, status, &said) : failed(ctx, kind, number);
  buffer_free(&said);
  return result;
}

JSValue host_execute(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv) {
  (void)self, (void)argc;
  int64_t timeout_ms;
  if (JS_ToInt64(ctx, &timeout_ms, argv[2])) return JS_EXCEPTION;
  if (set_variables(ctx, argv[3]) < 0) return JS_EXCEPTION;
  size_t length;
  const char *path = JS_ToCString(ctx, argv[0]);
  const char *text = path == NULL ? NULL : JS_ToCStringLen(ctx, &length, argv[1]);
  JSValue result = text == NULL ? JS_EXCEPTION : execute(ctx, path, text, length, timeout_ms);
  if (text != NULL) JS_FreeCString(ctx, text);
  if (path != NULL) JS_FreeCString(ctx, path);
  return result;
}
