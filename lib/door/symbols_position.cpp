// Where a stream stands: what moves that, asks it, pushes back, changes the buffer. All of it takes the stream's lock, which
// another fiber's read or write may hold elsewhere; and some of it flushes first.
#include "lib/door/stream.hpp"

namespace {

using namespace bide;
using namespace bide::door;

BIDE_NAME(fseek);
BIDE_NAME(fseeko);
BIDE_NAME(ftell);
BIDE_NAME(ftello);
BIDE_NAME(rewind);
BIDE_NAME(fgetpos);
BIDE_NAME(fsetpos);
BIDE_NAME(ungetc);
BIDE_NAME(ungetwc);
BIDE_NAME(feof);
BIDE_NAME(ferror);
BIDE_NAME(clearerr);
BIDE_NAME(setvbuf);

// `failure`: what it answers when it is ended before it has begun.
template <class Work>
auto after_flush(FILE* f, Work work, decltype(work()) failure) {
  auto answer = failure;
  const long end = carefully(f, [=] { return __fpending(f) == 0 || drains(f, 0); }, [&] { answer = work(); });
  tell(end, answer != failure);
  return answer;
}

// Off_t is as wide under both names here.
int seek(name& n, FILE* f, off_t offset, int from) {
  return after_flush(f, [=, libc = libcs<int(FILE*, off_t, int)>(n)] { return libc(f, offset, from); }, -1);
}
off_t told(name& n, FILE* f) {
  return after_flush(f, [=, libc = libcs<off_t(FILE*)>(n)] { return libc(f); }, off_t{-1});
}
int with_position(name& n, FILE* f, void* position) {
  return after_flush(f, [=, libc = libcs<int(FILE*, void*)>(n)] { return libc(f, position); }, -1);
}
int set_buffer(FILE* f, char* buffer, int mode, size_t size) {
  return after_flush(f, [=, libc = libcs<int(FILE*, char*, int, size_t)>(setvbuf_name)] { return libc(f, buffer, mode, size); }, EOF);
}
int asked(name& n, FILE* f) noexcept {
  return held(f, [=, libc = libcs<int(FILE*)>(n)] { return libc(f); });
}
template <class Char>
Char pushed_back(name& n, Char c, FILE* f) noexcept {
  return held(f, [=, libc = libcs<Char(Char, FILE*)>(n)] { return libc(c, f); });
}

}  // namespace

static_assert(sizeof(off_t) == sizeof(off64_t) && sizeof(off_t) == sizeof(long));

BIDE_STREAM(int, fseek, (FILE * f, long offset, int from), seek(fseek_name, f, offset, from))
BIDE_STREAM(int, fseeko, (FILE * f, off_t offset, int from), seek(fseeko_name, f, offset, from))
BIDE_STREAM(int, fseeko64, (FILE * f, off_t offset, int from), seek(fseeko_name, f, offset, from))
BIDE_STREAM(long, ftell, (FILE * f), told(ftell_name, f))
BIDE_STREAM(off_t, ftello, (FILE * f), told(ftello_name, f))
BIDE_STREAM(off_t, ftello64, (FILE * f), told(ftello_name, f))
BIDE_STREAM(int, fgetpos, (FILE * f, fpos_t* position), with_position(fgetpos_name, f, position))
BIDE_STREAM(int, fgetpos64, (FILE * f, fpos_t* position), with_position(fgetpos_name, f, position))
BIDE_STREAM(int, fsetpos, (FILE * f, const fpos_t* position), with_position(fsetpos_name, f, const_cast<fpos_t*>(position)))
BIDE_STREAM(int, fsetpos64, (FILE * f, const fpos_t* position), with_position(fsetpos_name, f, const_cast<fpos_t*>(position)))
BIDE_STREAM(int, setvbuf, (FILE * f, char* buffer, int mode, size_t size), set_buffer(f, buffer, mode, size))
BIDE_STREAM(void, setbuffer, (FILE * f, char* buffer, size_t size), void(set_buffer(f, buffer, buffer ? _IOFBF : _IONBF, size)))
BIDE_STREAM(void, setbuf, (FILE * f, char* buffer), void(set_buffer(f, buffer, buffer ? _IOFBF : _IONBF, BUFSIZ)))
BIDE_STREAM(void, setlinebuf, (FILE * f), void(set_buffer(f, nullptr, _IOLBF, 0)))
BIDE_STREAM(int, ungetc, (int c, FILE* f), pushed_back(ungetc_name, c, f))
BIDE_STREAM(wint_t, ungetwc, (wint_t c, FILE* f), pushed_back(ungetwc_name, c, f))
BIDE_STREAM(int, feof, (FILE * f), asked(feof_name, f))
BIDE_STREAM(int, ferror, (FILE * f), asked(ferror_name, f))

extern "C" BIDE_API void bide_door_clearerr(FILE* f) __asm__("clearerr");
extern "C" BIDE_API void bide_door_clearerr(FILE* f) {
  held(f, [=, libc = libcs<void(FILE*)>(clearerr_name)] { return libc(f), 0; });
}

// After a flush that fails it stands where it was, as libc's does; who called is not told.
extern "C" BIDE_API void bide_door_rewind(FILE* f) __asm__("rewind");
extern "C" BIDE_API void bide_door_rewind(FILE* f) {
  after_flush(f, [=, libc = libcs<void(FILE*)>(rewind_name)] { return libc(f), 0; }, -1);
}
