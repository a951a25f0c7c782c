// stdio on pipes, sockets and terminals: libc reads and writes there past every name, with the stream's lock held.
//
// What the stream's buffer has, or has room for, is done at once. Else libc's function runs on an offload thread, which then
// is the one that holds the lock: by libc's lights fibers of one worker are one thread and would be let in together.
// Regular files are never waited for here. What is printed is formatted first, which tells how long it is.
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include <algorithm>

#include "lib/call/border.hpp"
#include "lib/door/elsewhere.hpp"
#include "lib/door/locks.hpp"

extern "C" {
int __vsnprintf_chk(char* to, size_t size, int level, size_t room, const char* format, va_list arguments);
[[noreturn]] void __chk_fail();
}

namespace {

using namespace bide;

BIDE_NAME(fread);
BIDE_NAME(fgets);
BIDE_NAME(fgetc);
BIDE_NAME(getdelim);
BIDE_NAME(fwrite);
BIDE_NAME(fflush);
BIDE_NAME(fclose);
BIDE_NAME(puts);
BIDE_NAME(flockfile);
BIDE_NAME(__vfprintf_chk);
BIDE_NAME(vfscanf);
BIDE_NAME(__isoc99_vfscanf);
BIDE_NAME(__isoc23_vfscanf);

template <class Function>
Function* libcs(door::name& n) noexcept {
  door::find_libc(n);
  return door::real<Function>(n);
}

// glibc's _IO_lock_t, which has not changed from 2.31 to 2.42: a word, a count, the holder's pthread_t.
bool is_held_by_caller(FILE* f) noexcept {
  struct lock { int word, count; const void* holder; };
  const auto* l = reinterpret_cast<const lock*>(f->_lock);
  return l && __atomic_load_n(&l->holder, __ATOMIC_RELAXED) == reinterpret_cast<const void*>(pthread_self());
}

bool may_wait(FILE* f) noexcept {
  struct stat s;
  const int fd = fileno_unlocked(f);
  return fd >= 0 && fstat(fd, &s) == 0 && (S_ISFIFO(s.st_mode) || S_ISSOCK(s.st_mode) || S_ISCHR(s.st_mode));
}

// Does `work` here if it doesn't wait, else elsewhere. Who holds the stream already, by flockfile, does it as ever.
template <class Ready, class Work>
void carefully(FILE* f, Ready ready, Work work) noexcept {
  if (!door::on_fiber() || (f->_flags & _IO_USER_LOCK) || is_held_by_caller(f)) return work();
  const int error = errno;
  if (ftrylockfile(f) == 0) {
    const bool here = ready() || !may_wait(f);
    errno = error;
    if (here) work();
    funlockfile(f);
    if (here) return;
  }
  errno = error;
  if (!door::elsewhere("stdio", work, bide_await_elsewhere)) work();
}

std::size_t unread(FILE* f) noexcept { return static_cast<std::size_t>(f->_IO_read_end - f->_IO_read_ptr); }
bool has(FILE* f, char end) noexcept { return unread(f) && memchr(f->_IO_read_ptr, end, unread(f)); }

// Can what its buffer has, and so much more, be written? A pipe that can be written takes a page: pipe(7), PIPE_BUF. A socket
// takes more than that.
bool drains(FILE* f, std::size_t more) noexcept {
  if (__fpending(f) + more > 4096) return false;
  pollfd room{fileno_unlocked(f), POLLOUT, 0};
  return door::raw(SYS_poll, &room, 1, 0) == 1;
}

bool takes(FILE* f, std::size_t bytes) noexcept {
  if (f->_IO_write_end > f->_IO_write_ptr && bytes <= static_cast<std::size_t>(f->_IO_write_end - f->_IO_write_ptr)) return true;
  return drains(f, bytes);
}

std::size_t read_all(void* to, std::size_t size, std::size_t count, FILE* f) noexcept {
  const auto libc = libcs<size_t(void*, size_t, size_t, FILE*)>(fread_name);
  std::size_t got = 0;
  carefully(f, [=] { return size * count <= unread(f); }, [&] { got = libc(to, size, count, f); });
  return got;
}

std::size_t write_all(const void* from, std::size_t size, std::size_t count, FILE* f) noexcept {
  const auto libc = libcs<size_t(const void*, size_t, size_t, FILE*)>(fwrite_name);
  std::size_t put = 0;
  carefully(f, [=] { return takes(f, size * count); }, [&] { put = libc(from, size, count, f); });
  return put;
}

char* read_line(char* to, int size, FILE* f) noexcept {
  const auto libc = libcs<char*(char*, int, FILE*)>(fgets_name);
  char* got = nullptr;
  carefully(f, [=] { return size < 2 || static_cast<std::size_t>(size - 1) <= unread(f) || has(f, '\n'); },
            [&] { got = libc(to, size, f); });
  return got;
}

ssize_t read_until(char** to, size_t* room, int end, FILE* f) noexcept {
  const auto libc = libcs<ssize_t(char**, size_t*, int, FILE*)>(getdelim_name);
  ssize_t got = -1;
  carefully(f, [=] { return has(f, static_cast<char>(end)); }, [&] { got = libc(to, room, end, f); });
  return got;
}

int read_one(FILE* f) noexcept {
  const auto libc = libcs<int(FILE*)>(fgetc_name);
  int got = EOF;
  carefully(f, [=] { return unread(f) > 0; }, [&] { got = libc(f); });
  return got;
}

int write_one(int c, FILE* f) noexcept {
  const auto byte = static_cast<unsigned char>(c);
  return write_all(&byte, 1, 1, f) == 1 ? byte : EOF;
}

int write_text(const char* text, FILE* f) noexcept {
  const std::size_t bytes = strlen(text);
  return write_all(text, 1, bytes, f) == bytes ? 1 : EOF;
}

// A format's text, on the stack or, if long, in memory of its own.
class formatted {
 public:
  formatted(int level, const char* format, va_list arguments) noexcept {
    va_list copy;
    va_copy(copy, arguments);
    bytes = __vsnprintf_chk(short_, sizeof short_, level, sizeof short_, format, copy);
    va_end(copy);
    if (bytes < static_cast<int>(sizeof short_)) return;
    const std::size_t room = static_cast<std::size_t>(bytes) + 1;
    text = static_cast<char*>(malloc(room));
    if (!text) bytes = -1;
    else bytes = __vsnprintf_chk(text, room, level, room, format, arguments);
  }
  ~formatted() {
    if (text != short_) free(text);
  }
  formatted(const formatted&) = delete;
  int bytes;

 private:
  char short_[512];

 public:
  char* text = short_;
};

int print(FILE* f, int level, const char* format, va_list arguments) noexcept {
  if (!door::on_fiber() || fwide(f, 0) > 0)
    return libcs<int(FILE*, int, const char*, va_list)>(__vfprintf_chk_name)(f, level, format, arguments);
  const formatted made(level, format, arguments);
  if (made.bytes < 0) return -1;
  const auto bytes = static_cast<std::size_t>(made.bytes);
  return write_all(made.text, 1, bytes, f) == bytes ? made.bytes : -1;
}

int print_to(int fd, int level, const char* format, va_list arguments) noexcept {
  const formatted made(level, format, arguments);
  for (ssize_t done = 0, n; done < made.bytes; done += n) {
    if ((n = write(fd, made.text + done, static_cast<std::size_t>(made.bytes - done))) < 0) return -1;
  }
  return made.bytes;
}

int scan(door::name& n, FILE* f, const char* format, va_list arguments) noexcept {
  auto* libc = libcs<int(FILE*, const char*, va_list)>(n);
  if (!libc) libc = libcs<int(FILE*, const char*, va_list)>(__isoc99_vfscanf_name);
  int got = EOF;
  va_list copy;
  va_copy(copy, arguments);
  carefully(f, [] { return false; }, [&] { got = libc(f, format, copy); });
  va_end(copy);
  return got;
}

}  // namespace

#undef getc
#undef putc
#undef getchar
#undef putchar

// A name of libc's and how it is done.
#define BIDE_STREAM(result, n, parameters, ...)              \
  extern "C" BIDE_API result bide_door_##n parameters __asm__(#n); \
  extern "C" BIDE_API result bide_door_##n parameters { return __VA_ARGS__; }

BIDE_STREAM(size_t, fread, (void* to, size_t size, size_t count, FILE* f), read_all(to, size, count, f))
BIDE_STREAM(size_t, fwrite, (const void* from, size_t size, size_t count, FILE* f), write_all(from, size, count, f))
BIDE_STREAM(char*, fgets, (char* to, int size, FILE* f), read_line(to, size, f))
BIDE_STREAM(ssize_t, getdelim, (char** to, size_t* room, int end, FILE* f), read_until(to, room, end, f))
BIDE_STREAM(ssize_t, __getdelim, (char** to, size_t* room, int end, FILE* f), read_until(to, room, end, f))
BIDE_STREAM(ssize_t, getline, (char** to, size_t* room, FILE* f), read_until(to, room, '\n', f))
BIDE_STREAM(int, fgetc, (FILE* f), read_one(f))
BIDE_STREAM(int, getc, (FILE* f), read_one(f))
BIDE_STREAM(int, _IO_getc, (FILE* f), read_one(f))
BIDE_STREAM(int, getchar, (), read_one(stdin))
BIDE_STREAM(int, fputc, (int c, FILE* f), write_one(c, f))
BIDE_STREAM(int, putc, (int c, FILE* f), write_one(c, f))
BIDE_STREAM(int, _IO_putc, (int c, FILE* f), write_one(c, f))
BIDE_STREAM(int, putchar, (int c), write_one(c, stdout))
BIDE_STREAM(int, fputs, (const char* text, FILE* f), write_text(text, f))

// A fortified program's reads have their room checked before.
BIDE_STREAM(size_t, __fread_chk, (void* to, size_t room, size_t size, size_t count, FILE* f),
            size && count > room / size ? (__chk_fail(), size_t{}) : read_all(to, size, count, f))
BIDE_STREAM(char*, __fgets_chk, (char* to, size_t room, int size, FILE* f),
            size > 0 && static_cast<size_t>(size) > room ? (__chk_fail(), to) : read_line(to, size, f))

extern "C" BIDE_API int bide_door_puts(const char* text) __asm__("puts");
extern "C" BIDE_API int bide_door_puts(const char* text) {
  const std::size_t bytes = strlen(text);
  int put = EOF;
  carefully(stdout, [=] { return takes(stdout, bytes + 1); }, [&] { put = libcs<int(const char*)>(puts_name)(text); });
  return put;
}

extern "C" BIDE_API int bide_door_fflush(FILE* f) __asm__("fflush");
extern "C" BIDE_API int bide_door_fflush(FILE* f) {
  const auto libc = libcs<int(FILE*)>(fflush_name);
  if (!f) return libc(f);
  int answer = EOF;
  carefully(f, [=] { return __fpending(f) == 0 || drains(f, 0); }, [&] { answer = libc(f); });
  return answer;
}

// Flushes beside others, and closes past every symbol, where whoever waits on the descriptor is told.
extern "C" BIDE_API int bide_door_fclose(FILE* f) __asm__("fclose");
extern "C" BIDE_API int bide_door_fclose(FILE* f) {
  const auto libc = libcs<int(FILE*)>(fclose_name);
  int flushed = 0;
  if (door::on_fiber() && __fpending(f)) flushed = bide_door_fflush(f);
  const int error = errno;
  if (flushed != 0) __fpurge(f);  // it is told once
  const int fd = bide_runtimes() ? fileno(f) : -1;
  if (fd >= 0) bide_leaving(fd);
  errno = error;
  const int closed = libc(f);
  if (flushed != 0) errno = error;
  return flushed != 0 ? flushed : closed;
}

extern "C" BIDE_API void bide_door_flockfile(FILE* f) __asm__("flockfile");
extern "C" BIDE_API void bide_door_flockfile(FILE* f) {
  if (!door::on_fiber()) return libcs<void(FILE*)>(flockfile_name)(f);
  for (door::naps waits; ftrylockfile(f) != 0;) waits.take();
}

// What prints and scans.
#define BIDE_LISTED(n, parameters, ...) BIDE_STREAM(int, n, parameters, __VA_ARGS__)
#define BIDE_VARIADIC(n, parameters, ...)                                              \
  extern "C" BIDE_API int bide_door_##n parameters __asm__(#n);                        \
  extern "C" BIDE_API int bide_door_##n parameters {                                   \
    va_list list;                                                                      \
    va_start(list, format);                                                            \
    const int answer = __VA_ARGS__;                                                    \
    va_end(list);                                                                      \
    return answer;                                                                     \
  }

BIDE_LISTED(vfprintf, (FILE * f, const char* format, va_list list), print(f, 0, format, list))
BIDE_LISTED(vprintf, (const char* format, va_list list), print(stdout, 0, format, list))
BIDE_LISTED(vdprintf, (int fd, const char* format, va_list list), print_to(fd, 0, format, list))
BIDE_LISTED(__vfprintf_chk, (FILE * f, int level, const char* format, va_list list), print(f, level, format, list))
BIDE_LISTED(__vprintf_chk, (int level, const char* format, va_list list), print(stdout, level, format, list))
BIDE_LISTED(__vdprintf_chk, (int fd, int level, const char* format, va_list list), print_to(fd, level, format, list))
BIDE_VARIADIC(fprintf, (FILE * f, const char* format, ...), print(f, 0, format, list))
BIDE_VARIADIC(printf, (const char* format, ...), print(stdout, 0, format, list))
BIDE_VARIADIC(dprintf, (int fd, const char* format, ...), print_to(fd, 0, format, list))
BIDE_VARIADIC(__fprintf_chk, (FILE * f, int level, const char* format, ...), print(f, level, format, list))
BIDE_VARIADIC(__printf_chk, (int level, const char* format, ...), print(stdout, level, format, list))
BIDE_VARIADIC(__dprintf_chk, (int fd, int level, const char* format, ...), print_to(fd, level, format, list))

#define BIDE_SCAN(prefix, n)                                                                                           \
  BIDE_LISTED(prefix##vfscanf, (FILE * f, const char* format, va_list list), scan(n, f, format, list))                 \
  BIDE_LISTED(prefix##vscanf, (const char* format, va_list list), scan(n, stdin, format, list))                        \
  BIDE_VARIADIC(prefix##fscanf, (FILE * f, const char* format, ...), scan(n, f, format, list))                         \
  BIDE_VARIADIC(prefix##scanf, (const char* format, ...), scan(n, stdin, format, list))
BIDE_SCAN(, vfscanf_name)
BIDE_SCAN(__isoc99_, __isoc99_vfscanf_name)
BIDE_SCAN(__isoc23_, __isoc23_vfscanf_name)
