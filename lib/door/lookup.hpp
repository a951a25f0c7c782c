// Look-ups of records: nsswitch(5) may ask a server for any of them, and a server may be slow.
//
// A look-up has copies of what it is asked, and memory of its own for what it finds, by libc's function with _r: so a fiber
// whose wait is ended goes on at once, and what it has begun ends in its own time. What is found moves to the caller's
// memory, or to that which libc's function without _r would have used.
#pragma once

#include <aliases.h>
#include <grp.h>
#include <netdb.h>
#include <pwd.h>
#include <shadow.h>
#include <stdlib.h>
#include <string.h>

#include <new>
#include <tuple>
#include <type_traits>
#include <utility>

#include "lib/door/elsewhere.hpp"
#include "lib/door/locks.hpp"

namespace bide::door {

// A copy of an argument: of text, of an address's bytes, of a number.
class text {
 public:
  explicit text(const char* from) noexcept : copy_(from ? strdup(from) : nullptr), lost_(from && !copy_) {}
  text(text&& other) noexcept : copy_(std::exchange(other.copy_, nullptr)), lost_(other.lost_) {}
  ~text() { free(copy_); }
  const char* get() const noexcept { return copy_; }
  bool lost() const noexcept { return lost_; }  // there was no memory

 private:
  char* copy_;
  bool lost_;
};
class bytes {
 public:
  bytes(const void* from, std::size_t size) noexcept : copy_(malloc(size + 1)) {
    if (copy_ && from) memcpy(copy_, from, size);
  }
  bytes(bytes&& other) noexcept : copy_(std::exchange(other.copy_, nullptr)) {}
  ~bytes() { free(copy_); }
  const void* get() const noexcept { return copy_; }
  bool lost() const noexcept { return !copy_; }

 private:
  void* copy_;
};
template <class T>
struct plain {
  T value;
  T get() const noexcept { return value; }
  static bool lost() noexcept { return false; }
};
inline text own(const char* from) noexcept { return text(from); }
inline bytes own(bytes&& copied) noexcept { return std::move(copied); }
template <class T>
  requires std::is_integral_v<T>
plain<T> own(T value) noexcept { return {value}; }

// Moves a record's pointers along with the memory that they lead to.
class move_along {
 public:
  move_along(const char* from, char* to, std::size_t size) noexcept : from_(from), to_(to), size_(size) {}

  void operator()(passwd& r) const { all(r.pw_name, r.pw_passwd, r.pw_gecos, r.pw_dir, r.pw_shell); }
  void operator()(spwd& r) const { all(r.sp_namp, r.sp_pwdp); }
  void operator()(group& r) const { all(r.gr_name, r.gr_passwd), list(r.gr_mem); }
  void operator()(servent& r) const { all(r.s_name, r.s_proto), list(r.s_aliases); }
  void operator()(protoent& r) const { all(r.p_name), list(r.p_aliases); }
  void operator()(netent& r) const { all(r.n_name), list(r.n_aliases); }
  void operator()(hostent& r) const { all(r.h_name), list(r.h_aliases), list(r.h_addr_list); }
  void operator()(aliasent& r) const { all(r.alias_name), list(r.alias_members); }

 private:
  template <class T>
  void one(T*& p) const {
    const auto offset = reinterpret_cast<std::uintptr_t>(p) - reinterpret_cast<std::uintptr_t>(from_);
    if (p && offset < size_) p = reinterpret_cast<T*>(to_ + offset);
  }
  template <class... T>
  void all(T*&... p) const {
    (one(p), ...);
  }
  void list(char**& first) const {
    one(first);
    for (char** at = first; at && *at; ++at) one(*at);
  }

  const char* const from_;
  char* const to_;
  const std::size_t size_;
};

// libc's function of that name, asked with copies of the arguments: what a lookup calls.
template <class Record, class... Own>
auto asking(const name& n, Own... own) noexcept {
  return [&n, asked = std::tuple<Own...>(std::move(own)...)](Record* to, char* memory, std::size_t size, Record** out, int*) {
    return std::apply([&](const auto&... a) {
      if ((a.lost() || ...)) return ENOMEM;
      return real<int(decltype(a.get())..., Record*, char*, std::size_t, Record**)>(n)(a.get()..., to, memory, size, out);
    }, asked);
  };
}
template <class... Own>
auto asking_host(const name& n, Own... own) noexcept {
  return [&n, asked = std::tuple<Own...>(std::move(own)...)](auto* to, char* memory, std::size_t size, auto** out, int* error) {
    return std::apply([&](const auto&... a) {
      if ((a.lost() || ...)) return ENOMEM;
      return real<int(decltype(a.get())..., decltype(to), char*, std::size_t, decltype(out), int*)>(n)(
          a.get()..., to, memory, size, out, error);
    }, asked);
  };
}

// One that finds a Record by Call: (record, memory, size, result, h_errno) to an error number.
template <class Record, class Call>
struct lookup : lone_job {
  // Memory that begins as the other does within a line: records are aligned in it.
  lookup(Call c, std::size_t room, std::uintptr_t like) noexcept : call(std::move(c)), size(room), shift(like % line) {}
  ~lookup() { free(block); }
  lookup(const lookup&) = delete;

  void work() noexcept {
    do failed = attempt();
    while (grows && failed == ERANGE && (size *= 2) <= most);
  }
  int attempt() noexcept {
    free(block);
    if (!(block = static_cast<char*>(aligned_alloc(line, (shift + size + line) / line * line)))) return ENOMEM;
    found = nullptr;
    return call(&record, memory(), size, &found, &resolver_error_out);
  }
  char* memory() const noexcept { return block + shift; }

  // Leaves what was found in that memory, which has `size` bytes of room.
  void move_to(Record& to, char* there) noexcept {
    memcpy(there, memory(), size);
    to = record;
    // The list of pointers is followed where it is now.
    move_along(memory(), there, size)(to);
  }

  static constexpr std::size_t line = 64, most = 1 << 26;
  Call call;
  std::size_t size;
  const std::size_t shift;
  bool grows = false;
  int failed = 0, resolver_error_out = 0;
  Record record{}, *found = nullptr;
  char* block = nullptr;
};

template <class Record, class Call>
std::unique_ptr<lookup<Record, Call>> new_lookup(Call call, std::size_t room, std::uintptr_t like) noexcept {
  return std::unique_ptr<lookup<Record, Call>>(new (std::nothrow) lookup<Record, Call>(std::move(call), room, like));
}

// By a function with _r. `host_error`: null where it has none.
template <class Record, class Call>
int found_in(const char* what, Record* to, char* memory, std::size_t size, Record** out, int* host_error, Call call) {
  auto job = new_lookup<Record>(std::move(call), size, reinterpret_cast<std::uintptr_t>(memory));
  *out = nullptr;
  if (!job) return ENOMEM;
  if (host_error) job->resolver_error_out = *host_error;
  if (const long end = apart(job, what)) {
    if (host_error) *host_error = NETDB_INTERNAL;
    bide_ended(end);
    return static_cast<int>(-end);
  }
  if (host_error) *host_error = job->resolver_error_out;
  if (job->found) {
    job->move_to(*to, memory);
    *out = to;
  }
  return job->failed;
}

// What libc's function without _r has: one for each, for the whole process, overwritten by the next call.
template <class Record>
struct kept {
  std::atomic<std::uint32_t> lock{0};
  Record record{};        // guarded by lock until it is the caller's
  char* memory = nullptr;  // guarded by lock
  std::size_t size = 0;    // guarded by lock

  template <class Call>
  Record* find(const char* what, Call call) {
    auto job = new_lookup<Record>(std::move(call), 1024, 0);
    if (!job) return static_cast<void>(errno = ENOMEM), nullptr;
    job->grows = true;
    if (const long end = apart(job, what)) {
      h_errno = NETDB_INTERNAL;
      bide_ended(end);
      return nullptr;
    }
    if (job->failed) errno = job->failed;
    if (job->resolver_error_out) h_errno = job->resolver_error_out;
    if (!job->found) return nullptr;
    const list_guard guard(lock);
    if (size < job->size) {
      char* const more = static_cast<char*>(realloc(memory, job->size));
      if (!more) return static_cast<void>(errno = ENOMEM), nullptr;
      memory = more;
      size = job->size;
    }
    job->move_to(record, memory);
    return &record;
  }
};

}  // namespace bide::door

// A record in the memory of libc's own: `n`_r, or what takes its place, finds it.
#define BIDE_RECORD(type, n, parameters, arguments, ...)                                \
  namespace {                                                                           \
  BIDE_NAME(n);                                                                         \
  ::bide::door::kept<type> n##_kept;                                                    \
  }                                                                                     \
  extern "C" BIDE_API type* n parameters {                                              \
    const auto libc = ::bide::door::real<type* parameters>(n##_name);                   \
    if (!libc) return nullptr;                                                          \
    if (!::bide::door::on_fiber()) return libc arguments;                               \
    return n##_kept.find(#n, __VA_ARGS__);                                              \
  }
