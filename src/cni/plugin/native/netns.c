/* Network namespaces: which one a path is, and the state of one's `lo`. */
#define _GNU_SOURCE
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* linux/magic.h and linux/nsfs.h, which musl's headers don't come with. */
#define NSFS_MAGIC 0x6e736673
#define NS_GET_NSTYPE _IO(0xb7, 0x3)

static bool is_in_nsfs(int fd) {
  struct statfs file_system;
  return fstatfs(fd, &file_system) == 0 && file_system.f_type == NSFS_MAGIC;
}

/* Linux before 4.11 can't tell the kind; setns(2) will. */
static bool is_network(int fd) {
  int type = ioctl(fd, NS_GET_NSTYPE);
  return type == CLONE_NEWNET || (type < 0 && errno == ENOTTY);
}

/* Only a namespace is opened: opening another thing (a device, a pipe) may do something. Returns -1 with errno; EINVAL: no namespace. */
static int open_netns(const char *path) {
  int place = open(path, O_PATH | O_CLOEXEC);
  if (place < 0) return -1;
  bool is_namespace = is_in_nsfs(place);
  close(place);
  if (!is_namespace) return errno = EINVAL, -1;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 || (is_in_nsfs(fd) && is_network(fd))) return fd;
  close(fd);
  errno = EINVAL;
  return -1;
}

static bool is_missing(int number) { return number == ENOENT || number == ENOTDIR || number == ESRCH; }

static JSValue identity(JSContext *ctx, const char *path) {
  int fd = open_netns(path);
  if (fd < 0) return failed(ctx, is_missing(errno) ? "missing" : "not-a-namespace", errno);
  struct stat status;
  int result = fstat(fd, &status);
  int number = errno;
  close(fd);
  if (result < 0) return failed(ctx, "not-a-namespace", number);
  char text[48];
  snprintf(text, sizeof text, "%llu:%llu", (unsigned long long)status.st_dev, (unsigned long long)status.st_ino);
  return JS_NewString(ctx, text);
}

JSValue host_netns_identity(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv) {
  (void)self, (void)argc;
  const char *path = JS_ToCString(ctx, argv[0]);
  if (path == NULL) return JS_EXCEPTION;
  JSValue result = identity(ctx, path);
  JS_FreeCString(ctx, path);
  return result;
}

/* proc(5): a line an address, the interface's name last. Without IPv6 there is no such file. */
static bool has_ipv6(void) {
  FILE *addresses = fopen("/proc/self/net/if_inet6", "re");
  if (addresses == NULL) return false;
  char name[IFNAMSIZ + 1];
  bool is_found = false;
  while (!is_found && fscanf(addresses, "%*s %*s %*s %*s %*s %16s", name) == 1) is_found = strcmp(name, "lo") == 0;
  fclose(addresses);
  return is_found;
}

/* netdevice(7). `want`: 1 up, 0 down, -1 as it is. */
static bool set_flags(int control, int want, struct ifreq *request) {
  if (ioctl(control, SIOCGIFFLAGS, request) < 0) return false;
  bool is_up = (request->ifr_flags & IFF_UP) != 0;
  if (want < 0 || is_up == (want == 1)) return true;
  request->ifr_flags ^= IFF_UP;
  return ioctl(control, SIOCSIFFLAGS, request) == 0 && ioctl(control, SIOCGIFFLAGS, request) == 0;
}

static JSValue loopback(JSContext *ctx, const char *path, int want) {
  int fd = open_netns(path);
  if (fd < 0) return throw_system_error(ctx, "cannot open the network namespace", path, errno);
  int entered = setns(fd, CLONE_NEWNET);
  int number = errno;
  close(fd);
  if (entered < 0) return throw_system_error(ctx, "cannot enter the network namespace", path, number);
  int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (control < 0) return throw_system_error(ctx, "cannot make a socket in", path, errno);
  struct ifreq request = {.ifr_name = "lo"};
  bool is_done = set_flags(control, want, &request);
  number = errno;
  close(control);
  if (!is_done) return throw_system_error(ctx, "cannot read or set lo of", path, number);
  JSValue state = JS_NewObject(ctx);
  if (JS_IsException(state)) return state;
  JS_SetPropertyStr(ctx, state, "isUp", JS_NewBool(ctx, (request.ifr_flags & IFF_UP) != 0));
  JS_SetPropertyStr(ctx, state, "hasIPv6", JS_NewBool(ctx, has_ipv6()));
  return state;
}

JSValue host_loopback(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv) {
  (void)self, (void)argc;
  const char *path = JS_ToCString(ctx, argv[0]);
  if (path == NULL) return JS_EXCEPTION;
  int want = JS_IsUndefined(argv[1]) ? -1 : JS_ToBool(ctx, argv[1]);
  JSValue result = loopback(ctx, path, want);
  JS_FreeCString(ctx, path);
  return result;
}
