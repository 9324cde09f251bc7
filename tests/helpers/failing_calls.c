/* Counts the calls of the C library that write below a folder, of any thread and of any
   library, and lets some of them fail. Loaded by LD_PRELOAD, set by failing_calls.py. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long seen, first, last;
static int error_number;

/* The calls numbered first to last, from 1, fail with an error. */
void fail_calls(const char *below, long from, long to, int error) {
  snprintf(folder, sizeof folder, "%s", below);
  seen = 0, first = from, last = to, error_number = error;
}

long calls_seen(void) { return seen; }

static int fails(const char *path) {
  size_t length = strlen(folder);
  if (!length || !path || strncmp(path, folder, length)) return 0;
  long number = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
  if (number < first || number > last) return 0;
  errno = error_number;
  return 1;
}

static int fails_at(int file) {
  char link[64], path[PATH_MAX];
  if (!folder[0]) return 0;
  int kept = errno;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  errno = kept;
  if (length < 0) return 0;
  path[length] = 0;
  return fails(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define BY_FILE(type, name, arguments, values)                 \
  type name arguments {                                        \
    return fails_at(file) ? -1 : REAL(name) values;            \
  }
#define BY_PATH(name, arguments, values)                       \
  int name arguments { return fails(path) ? -1 : REAL(name) values; }
#define OPENED(name, arguments, ...)                           \
  int name arguments {                                         \
    mode_t mode = 0;                                           \
    if (flags & (O_CREAT | __O_TMPFILE)) {                     \
      va_list more;                                            \
      va_start(more, flags);                                   \
      mode = va_arg(more, mode_t);                             \
      va_end(more);                                            \
    }                                                          \
    if (flags & (O_CREAT | O_WRONLY | O_RDWR) && fails(path)) return -1; \
    return REAL(name)(__VA_ARGS__, mode);                      \
  }

OPENED(open, (const char *path, int flags, ...), path, flags)
OPENED(open64, (const char *path, int flags, ...), path, flags)
OPENED(openat, (int at, const char *path, int flags, ...), at, path, flags)
OPENED(openat64, (int at, const char *path, int flags, ...), at, path, flags)
BY_FILE(ssize_t, write, (int file, const void *bytes, size_t n), (file, bytes, n))
BY_FILE(ssize_t, pwrite, (int file, const void *bytes, size_t n, off_t at),
        (file, bytes, n, at))
BY_FILE(ssize_t, pwrite64, (int file, const void *bytes, size_t n, off64_t at),
        (file, bytes, n, at))
BY_FILE(int, fsync, (int file), (file))
BY_FILE(int, fdatasync, (int file), (file))
BY_FILE(int, ftruncate, (int file, off_t n), (file, n))
BY_FILE(int, ftruncate64, (int file, off64_t n), (file, n))
BY_PATH(mkdir, (const char *path, mode_t mode), (path, mode))
BY_PATH(rmdir, (const char *path), (path))
BY_PATH(unlink, (const char *path), (path))
BY_PATH(rename, (const char *path, const char *to), (path, to))

struct iovec;
BY_FILE(ssize_t, writev, (int file, const struct iovec *parts, int n),
        (file, parts, n))
BY_FILE(ssize_t, pwritev, (int file, const struct iovec *parts, int n, off_t at),
        (file, parts, n, at))

int mkdirat(int at, const char *path, mode_t mode) {
  return fails(path) ? -1 : REAL(mkdirat)(at, path, mode);
}
int unlinkat(int at, const char *path, int flags) {
  return fails_at(at) || fails(path) ? -1 : REAL(unlinkat)(at, path, flags);
}
int renameat(int at, const char *path, int there, const char *to) {
  return fails(path) ? -1 : REAL(renameat)(at, path, there, to);
}
