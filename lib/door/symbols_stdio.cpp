// stdio on pipes, sockets and terminals: libc reads and writes there past every name, with the stream's lock held. What is
// printed is formatted first, which tells how long it is.
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "lib/door/stream.hpp"

extern "C" {
int __vsnprintf_chk(char* to, size_t size, int level, size_t room, const char* format, va_list arguments);
[[noreturn]] void __chk_fail();
}

namespace {

using namespace bide;
using namespace bide::door;

BIDE_NAME(fread);
BIDE_NAME(fgets);
BIDE_NAME(fgetc);
BIDE_NAME(getdelim);
BIDE_NAME(fwrite);
BIDE_NAME(fputc);
BIDE_NAME(fputs);
BIDE_NAME(fflush);
BIDE_NAME(fclose);
BIDE_NAME(puts);
BIDE_NAME(flockfile);
BIDE_NAME(__vfprintf_chk);
BIDE_NAME(vfscanf);
BIDE_NAME(__isoc99_vfscanf);
BIDE_NAME(__isoc23_vfscanf);

std::size_t unread(FILE* f) noexcept { return static_cast<std::size_t>(f->_IO_read_end - f->_IO_read_ptr); }
bool has(FILE* f, char end) noexcept { return unread(f) && memchr(f->_IO_read_ptr, end, unread(f)); }

// Has its buffer room, and is there no end of a line among these?
bool fits(FILE* f, const void* from, std::size_t bytes) noexcept {
  if (!f->_IO_write_base || __fbufsize(f) <= 1) return false;
  return bytes <= static_cast<std::size_t>(f->_IO_buf_end - f->_IO_write_ptr) && !(__flbf(f) && memchr(from, '\n', bytes));
}

bool takes(FILE* f, const void* from, std::size_t bytes) noexcept { return fits(f, from, bytes) || drains(f, bytes); }

std::size_t read_all(void* to, std::size_t size, std::size_t count, FILE* f) {
  const auto libc = libcs<size_t(void*, size_t, size_t, FILE*)>(fread_name);
  if (!door::on_fiber()) return libc(to, size, count, f);
  std::size_t got = 0, bytes;
  const bool countable = !__builtin_mul_overflow(size, count, &bytes);
  tell(carefully(f, [&] { return countable && bytes <= unread(f); }, [&] { got = libc(to, size, count, f); }), got > 0);
  return got;
}

// Elsewhere, with the stream locked. libc forgets what its buffer has when a write fails, and says of a line that it went when it
// has not; so these write themselves. Returns how much went; what is left is not lost when a signal ends it.
std::size_t put(FILE* f, const char* from, std::size_t bytes) noexcept {
  std::size_t done = 0;
  while (done < bytes) {
    const long n = door::with_errno(door::raw(SYS_write, fileno_unlocked(f), from + done, bytes - done));
    if (n < 0) {
      set_error(f);
      break;
    }
    done += static_cast<std::size_t>(n);
  }
  return done;
}

// What its buffer has.
[[gnu::no_sanitize("thread")]] bool put_pending(FILE* f) noexcept {
  const std::size_t pending = __fpending(f), done = put(f, f->_IO_write_base, pending);
  std::size_t kept = 0;
  if (done < pending && errno == EINTR) {
    for (; done + kept < pending; ++kept) f->_IO_write_base[kept] = f->_IO_write_base[done + kept];
  }
  f->_IO_write_ptr = f->_IO_write_base + kept;
  return done == pending;
}

// As fwrite of bytes: what libc would keep in the buffer stays there, and the rest goes.
std::size_t write_away(FILE* f, const char* from, std::size_t bytes) noexcept {
  const auto libc = libcs<size_t(const void*, size_t, size_t, FILE*)>(fwrite_name);
  if (!__fwritable(f) || fwide(f, -1) > 0) return libc(from, 1, bytes, f);
  if (!f->_IO_write_base) __overflow(f, EOF);  // makes the buffer
  if (fits(f, from, bytes)) return libc(from, 1, bytes, f);
  if (!put_pending(f)) return 0;
  const std::size_t room = __fbufsize(f);
  std::size_t now = bytes;
  if (__flbf(f)) {
    const void* const end = memrchr(from, '\n', bytes);
    if (end) now = static_cast<std::size_t>(static_cast<const char*>(end) + 1 - from);
    if (bytes - now > room) now = bytes;
  } else if (room > 1) {
    now -= bytes % room;
  }
  const std::size_t done = put(f, from, now);
  return done == now && now < bytes ? done + libc(from + now, 1, bytes - now, f) : done;
}

std::size_t write_all(const void* from, std::size_t size, std::size_t count, FILE* f) {
  const auto libc = libcs<size_t(const void*, size_t, size_t, FILE*)>(fwrite_name);
  if (!door::on_fiber()) return libc(from, size, count, f);
  std::size_t done = 0, bytes;
  const bool countable = !__builtin_mul_overflow(size, count, &bytes);
  const auto work = [&] { done = libc(from, size, count, f); };
  tell(carefully(f, [&] { return countable && takes(f, from, bytes); }, work, [&] {
    if (countable && bytes) done = write_away(f, static_cast<const char*>(from), bytes) / size;
    else work();
  }), done > 0);
  return done;
}

// As fgets, which would eat what has come of a line when the rest is cut off: this delivers it, as fgets does after EAGAIN.
char* part_of_line(char* to, int size, FILE* f) noexcept {
  int bytes = 0, c = 0;
  while (bytes < size - 1 && c != '\n' && (c = getc_unlocked(f)) != EOF) to[bytes++] = static_cast<char>(c);
  if (!bytes || (c == EOF && ferror_unlocked(f) && errno && errno != EAGAIN && errno != EINTR)) return nullptr;
  to[bytes] = '\0';
  return to;
}

char* read_line(char* to, int size, FILE* f) {
  const auto libc = libcs<char*(char*, int, FILE*)>(fgets_name);
  if (!door::on_fiber()) return libc(to, size, f);
  char* got = nullptr;
  tell(carefully(f, [=] { return size < 2 || static_cast<std::size_t>(size - 1) <= unread(f) || has(f, '\n'); },
                 [&] { got = libc(to, size, f); }, [&] { got = size < 2 ? libc(to, size, f) : part_of_line(to, size, f); }), got);
  return got;
}

ssize_t read_until(char** to, size_t* room, int end, FILE* f) {
  const auto libc = libcs<ssize_t(char**, size_t*, int, FILE*)>(getdelim_name);
  if (!door::on_fiber()) return libc(to, room, end, f);
  ssize_t got = -1;
  tell(carefully(f, [=] { return has(f, static_cast<char>(end)); }, [&] { got = libc(to, room, end, f); }), got > 0);
  return got;
}

int read_one(FILE* f) {
  const auto libc = libcs<int(FILE*)>(fgetc_name);
  if (!door::on_fiber()) return libc(f);
  int got = EOF;
  tell(carefully(f, [=] { return unread(f) > 0; }, [&] { got = libc(f); }), got != EOF);
  return got;
}

int write_one(int c, FILE* f) {
  const auto libc = libcs<int(int, FILE*)>(fputc_name);
  if (!door::on_fiber()) return libc(c, f);
  const auto byte = static_cast<char>(c);
  int put = EOF;
  tell(carefully(f, [&] { return takes(f, &byte, 1); }, [&] { put = libc(c, f); }, [&] {
    if (write_away(f, &byte, 1) == 1) put = static_cast<unsigned char>(c);
  }), put != EOF);
  return put;
}

int read_word(FILE* f) {
  int word;
  return read_all(&word, sizeof word, 1, f) == 1 ? word : EOF;
}

int write_text(const char* text, FILE* f) {
  if (!door::on_fiber()) return libcs<int(const char*, FILE*)>(fputs_name)(text, f);
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

int print(FILE* f, int level, const char* format, va_list arguments) {
  if (!door::on_fiber() || fwide(f, 0) > 0)
    return libcs<int(FILE*, int, const char*, va_list)>(__vfprintf_chk_name)(f, level, format, arguments);
  const formatted made(level, format, arguments);
  if (made.bytes < 0) return -1;
  const auto bytes = static_cast<std::size_t>(made.bytes);
  return write_all(made.text, 1, bytes, f) == bytes ? made.bytes : -1;
}

int print_to(int fd, int level, const char* format, va_list arguments) {
  const formatted made(level, format, arguments);
  for (ssize_t done = 0, n; done < made.bytes; done += n) {
    if ((n = write(fd, made.text + done, static_cast<std::size_t>(made.bytes - done))) < 0) return -1;
  }
  return made.bytes;
}

int scan(door::name& n, FILE* f, const char* format, va_list arguments) {
  auto* libc = libcs<int(FILE*, const char*, va_list)>(n);
  if (!libc) libc = libcs<int(FILE*, const char*, va_list)>(__isoc99_vfscanf_name);
  int got = EOF;
  va_list copy;
  va_copy(copy, arguments);
  const long end = carefully(f, [] { return false; }, [&] { got = libc(f, format, copy); });
  va_end(copy);
  tell(end, got > 0);
  return got;
}

}  // namespace

#undef getc
#undef putc
#undef getchar
#undef putchar

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
BIDE_STREAM(int, getw, (FILE* f), read_word(f))
BIDE_STREAM(int, putw, (int word, FILE* f), write_all(&word, sizeof word, 1, f) == 1 ? 0 : EOF)

// A fortified program's reads have their room checked before.
BIDE_STREAM(size_t, __fread_chk, (void* to, size_t room, size_t size, size_t count, FILE* f),
            size && count > room / size ? (__chk_fail(), size_t{}) : read_all(to, size, count, f))
BIDE_STREAM(char*, __fgets_chk, (char* to, size_t room, int size, FILE* f),
            size > 0 && static_cast<size_t>(size) > room ? (__chk_fail(), to) : read_line(to, size, f))

extern "C" BIDE_API int bide_door_puts(const char* text) __asm__("puts");
extern "C" BIDE_API int bide_door_puts(const char* text) {
  if (!door::on_fiber()) return libcs<int(const char*)>(puts_name)(text);
  const std::size_t bytes = strlen(text);
  int answer = EOF;
  const auto work = [&] { answer = libcs<int(const char*)>(puts_name)(text); };
  tell(carefully(stdout, [=] { return __flbf(stdout) ? drains(stdout, bytes + 1) : takes(stdout, text, bytes + 1); }, work, [&] {
    if (write_away(stdout, text, bytes) == bytes && write_away(stdout, "\n", 1)) answer = static_cast<int>(bytes + 1);
  }), answer >= 0);
  return answer;
}

namespace {
// Returns what ended it.
long flush(FILE* f, int& answer) noexcept {
  const auto libc = libcs<int(FILE*)>(fflush_name);
  answer = EOF;
  return carefully(f, [=] { return __fpending(f) == 0 || drains(f, 0); }, [&] { answer = libc(f); }, [&] {
    if (fwide(f, 0) > 0 || put_pending(f)) answer = libc(f);
  });
}
}  // namespace

extern "C" BIDE_API int bide_door_fflush(FILE* f) __asm__("fflush");
extern "C" BIDE_API int bide_door_fflush(FILE* f) {
  if (!f) return libcs<int(FILE*)>(fflush_name)(f);
  if (!door::on_fiber()) return libcs<int(FILE*)>(fflush_name)(f);
  int answer;
  const long end = flush(f, answer);
  tell(end, answer == 0);
  return answer;
}

// Flushes beside others, and closes past every symbol, where whoever waits on the descriptor is told. The stream is closed
// however the flush ends, and so the fiber that unwinds does so at its next wait.
extern "C" BIDE_API int bide_door_fclose(FILE* f) __asm__("fclose");
extern "C" BIDE_API int bide_door_fclose(FILE* f) {
  const auto libc = libcs<int(FILE*)>(fclose_name);
  int flushed = 0;
  if (door::on_fiber() && __fpending(f)) tell(flush(f, flushed), true);
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
  door::lock_beside_others(f);
}

// What prints and scans.
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
