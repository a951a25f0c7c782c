// stdio of wide characters, as symbols_stdio.cpp has that of bytes. What is printed is not measured first: to what may wait it is
// printed elsewhere, unless its buffer has room. A write that is ended fails as libc's does, with what the buffer had.
#include <stdarg.h>
#include <wchar.h>

#include "lib/door/stream.hpp"

extern "C" [[noreturn]] void __chk_fail();

namespace {

using namespace bide;
using namespace bide::door;

BIDE_NAME(fgetwc);
BIDE_NAME(fgetws);
BIDE_NAME(fputwc);
BIDE_NAME(fputws);
BIDE_NAME(__vfwprintf_chk);
BIDE_NAME(vfwscanf);
BIDE_NAME(__isoc99_vfwscanf);
BIDE_NAME(__isoc23_vfwscanf);

// The beginning of glibc's _IO_wide_data, which has not changed from 2.31 to 2.42.
struct wide {
  const wchar_t *read, *read_end, *read_base, *write_base, *write, *write_end, *base, *end;
};
const wide* wides(FILE* f) noexcept { return fwide(f, 0) > 0 ? reinterpret_cast<const wide*>(f->_wide_data) : nullptr; }

std::size_t unread(FILE* f) noexcept {
  const wide* w = wides(f);
  return w ? static_cast<std::size_t>(w->read_end - w->read) : 0;
}
bool has_line(FILE* f) noexcept { return unread(f) && wmemchr(wides(f)->read, L'\n', unread(f)); }

// Has its buffer room, and is there no end of a line among these?
bool fits(FILE* f, const wchar_t* from, std::size_t count) noexcept {
  const wide* w = wides(f);
  return w && w->write_base && w->base != w->end && count <= static_cast<std::size_t>(w->end - w->write) &&
         !(__flbf(f) && wmemchr(from, L'\n', count));
}

wint_t read_one(FILE* f) {
  const auto libc = libcs<wint_t(FILE*)>(fgetwc_name);
  if (!on_fiber()) return libc(f);
  wint_t got = WEOF;
  tell(carefully(f, [=] { return unread(f) > 0; }, [&] { got = libc(f); }), got != WEOF);
  return got;
}

// As fgetws, which would eat what has come of a line when the rest is cut off.
wchar_t* part_of_line(wchar_t* to, int size, FILE* f) noexcept {
  int count = 0;
  for (wint_t c = 0; count < size - 1 && c != L'\n' && (c = getwc_unlocked(f)) != WEOF;) to[count++] = static_cast<wchar_t>(c);
  if (!count || (ferror_unlocked(f) && errno && errno != EAGAIN && errno != EINTR)) return nullptr;
  to[count] = L'\0';
  return to;
}

wchar_t* read_line(wchar_t* to, int size, FILE* f) {
  const auto libc = libcs<wchar_t*(wchar_t*, int, FILE*)>(fgetws_name);
  if (!on_fiber()) return libc(to, size, f);
  wchar_t* got = nullptr;
  const auto here = [&] { got = libc(to, size, f); };
  tell(carefully(f, [=] { return size < 2 || static_cast<std::size_t>(size - 1) <= unread(f) || has_line(f); }, here,
                 [&] { got = size < 2 ? libc(to, size, f) : part_of_line(to, size, f); }), got);
  return got;
}

wint_t write_one(wchar_t c, FILE* f) {
  const auto libc = libcs<wint_t(wchar_t, FILE*)>(fputwc_name);
  if (!on_fiber()) return libc(c, f);
  wint_t put = WEOF;
  tell(carefully(f, [=] { return fits(f, &c, 1); }, [&] { put = libc(c, f); }), put != WEOF);
  return put;
}

int write_text(const wchar_t* text, FILE* f) {
  const auto libc = libcs<int(const wchar_t*, FILE*)>(fputws_name);
  if (!on_fiber()) return libc(text, f);
  int put = EOF;
  tell(carefully(f, [=] { return fits(f, text, wcslen(text)); }, [&] { put = libc(text, f); }), put >= 0);
  return put;
}

// Both may run on another thread, which then reads the arguments where they are.
template <class Libc>
int elsewhere_listed(FILE* f, va_list arguments, Libc libc) {
  int answer = EOF;
  va_list copy;
  va_copy(copy, arguments);
  const long end = carefully(f, [] { return false; }, [&] { answer = libc(copy); });
  va_end(copy);
  tell(end, answer > 0);
  return answer;
}

int print(FILE* f, int level, const wchar_t* format, va_list arguments) {
  const auto libc = libcs<int(FILE*, int, const wchar_t*, va_list)>(__vfwprintf_chk_name);
  return elsewhere_listed(f, arguments, [=](va_list list) { return libc(f, level, format, list); });
}

int scan(name& n, FILE* f, const wchar_t* format, va_list arguments) {
  auto* libc = libcs<int(FILE*, const wchar_t*, va_list)>(n);
  if (!libc) libc = libcs<int(FILE*, const wchar_t*, va_list)>(__isoc99_vfwscanf_name);
  return elsewhere_listed(f, arguments, [=](va_list list) { return libc(f, format, list); });
}

}  // namespace

#undef getwc
#undef putwc
#undef getwchar
#undef putwchar

BIDE_STREAM(wint_t, fgetwc, (FILE * f), read_one(f))
BIDE_STREAM(wint_t, getwc, (FILE * f), read_one(f))
BIDE_STREAM(wint_t, getwchar, (), read_one(stdin))
BIDE_STREAM(wchar_t*, fgetws, (wchar_t* to, int size, FILE* f), read_line(to, size, f))
BIDE_STREAM(wchar_t*, __fgetws_chk, (wchar_t* to, size_t room, int size, FILE* f),
            size > 0 && static_cast<size_t>(size) > room ? (__chk_fail(), to) : read_line(to, size, f))
BIDE_STREAM(wint_t, fputwc, (wchar_t c, FILE* f), write_one(c, f))
BIDE_STREAM(wint_t, putwc, (wchar_t c, FILE* f), write_one(c, f))
BIDE_STREAM(wint_t, putwchar, (wchar_t c), write_one(c, stdout))
BIDE_STREAM(int, fputws, (const wchar_t* text, FILE* f), write_text(text, f))

BIDE_LISTED(vfwprintf, (FILE * f, const wchar_t* format, va_list list), print(f, 0, format, list))
BIDE_LISTED(vwprintf, (const wchar_t* format, va_list list), print(stdout, 0, format, list))
BIDE_LISTED(__vfwprintf_chk, (FILE * f, int level, const wchar_t* format, va_list list), print(f, level, format, list))
BIDE_LISTED(__vwprintf_chk, (int level, const wchar_t* format, va_list list), print(stdout, level, format, list))
BIDE_VARIADIC(fwprintf, (FILE * f, const wchar_t* format, ...), print(f, 0, format, list))
BIDE_VARIADIC(wprintf, (const wchar_t* format, ...), print(stdout, 0, format, list))
BIDE_VARIADIC(__fwprintf_chk, (FILE * f, int level, const wchar_t* format, ...), print(f, level, format, list))
BIDE_VARIADIC(__wprintf_chk, (int level, const wchar_t* format, ...), print(stdout, level, format, list))

#define BIDE_SCAN(prefix, n)                                                                                           \
  BIDE_LISTED(prefix##vfwscanf, (FILE * f, const wchar_t* format, va_list list), scan(n, f, format, list))             \
  BIDE_LISTED(prefix##vwscanf, (const wchar_t* format, va_list list), scan(n, stdin, format, list))                    \
  BIDE_VARIADIC(prefix##fwscanf, (FILE * f, const wchar_t* format, ...), scan(n, f, format, list))                     \
  BIDE_VARIADIC(prefix##wscanf, (const wchar_t* format, ...), scan(n, stdin, format, list))
BIDE_SCAN(, vfwscanf_name)
BIDE_SCAN(__isoc99_, __isoc99_vfwscanf_name)
BIDE_SCAN(__isoc23_, __isoc23_vfwscanf_name)
