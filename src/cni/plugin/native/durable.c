/* A file that is there, whole, after a crash of the machine. */
#define _GNU_SOURCE
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool sync_directory(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  bool is_synced = fsync(fd) == 0;
  int number = errno;
  close(fd);
  errno = number;
  return is_synced;
}

/* Makes one directory below an existing one; a new one's name is on disk when this returns. */
static bool make_one(const char *path) {
  if (mkdir(path, 0700) < 0) return errno == EEXIST;
  char parent[PATH_MAX];
  snprintf(parent, sizeof parent, "%s/..", path);
  return sync_directory(parent);
}

static bool make_directories(const char *directory) {
  char path[PATH_MAX - 3]; /* with room for "/.." */
  size_t length = strlen(directory);
  if (length == 0) return errno = ENOENT, false;
  if (length >= sizeof path) return errno = ENAMETOOLONG, false;
  memcpy(path, directory, length + 1);
  struct stat status;
  if (stat(path, &status) == 0) return true; /* what else it is than a directory, open(2) will say */
  for (char *end = strchr(path + 1, '/'); end != NULL; end = strchr(end + 1, '/')) {
    *end = '\0';
    if (!make_one(path)) return false;
    *end = '/';
  }
  return make_one(path);
}

static bool write_and_sync(int fd, const char *text, size_t length) {
  while (length > 0) {
    ssize_t count = write(fd, text, length);
    if (count < 0 && errno != EINTR) return false;
    if (count > 0) text += count, length -= (size_t)count;
  }
  return fsync(fd) == 0;
}

/* Under another name first: nobody sees half of it. */
static bool replace(int place, const char *name, const char *text, size_t length) {
  char temporary[NAME_MAX + 1];
  int size = snprintf(temporary, sizeof temporary, ".%s.%d", name, (int)getpid());
  if (size < 0 || (size_t)size >= sizeof temporary || strchr(name, '/') != NULL) return errno = ENAMETOOLONG, false;
  int fd = openat(place, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  bool is_written = write_and_sync(fd, text, length);
  int number = errno;
  if (close(fd) < 0 && is_written) is_written = false, number = errno;
  if (is_written && renameat(place, temporary, place, name) < 0) is_written = false, number = errno;
  if (!is_written) {
    unlinkat(place, temporary, 0);
    errno = number;
    return false;
  }
  return fsync(place) == 0;
}

static bool write_durably(const char *directory, const char *name, const char *text, size_t length) {
  if (!make_directories(directory)) return false;
  int place = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (place < 0) return false;
  bool is_done = replace(place, name, text, length);
  int number = errno;
  close(place);
  errno = number;
  return is_done;
}

JSValue host_write_durably(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv) {
  (void)self, (void)argc;
  size_t length;
  const char *directory = JS_ToCString(ctx, argv[0]);
  const char *name = directory == NULL ? NULL : JS_ToCString(ctx, argv[1]);
  const char *text = name == NULL ? NULL : JS_ToCStringLen(ctx, &length, argv[2]);
  JSValue result = JS_EXCEPTION;
  if (text != NULL) {
    result = JS_UNDEFINED;
    if (!write_durably(directory, name, text, length)) {
      char subject[PATH_MAX];
      snprintf(subject, sizeof subject, "%s/%s", directory, name);
      result = throw_system_error(ctx, "cannot write", subject, errno);
    }
    JS_FreeCString(ctx, text);
  }
  if (name != NULL) JS_FreeCString(ctx, name);
  if (directory != NULL) JS_FreeCString(ctx, directory);
  return result;
}
