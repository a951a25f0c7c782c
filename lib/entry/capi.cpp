// The C API over the C++ one: handles are objects on the heap, exceptions become -errno at the border.
#include <bide/bide.h>
#include <bide/bide.hpp>

#include <errno.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <new>
#include <optional>
#include <vector>

#include "lib/base/clock.hpp"

struct bide_task {
  bide::shared_task<void*> it;
};
struct bide_runtime {
  template <class... How>
  explicit bide_runtime(How&&... how) : it(std::forward<How>(how)...) {}
  bide::runtime it;
};
struct bide_timeout {
  explicit bide_timeout(bide::deadline until) : it(until) {}
  bide::timeout it;
};
struct bide_group {
  explicit bide_group(std::size_t most) : it({.max_concurrency = most}) {}
  bide::group it;
};
struct bide_channel {
  explicit bide_channel(std::size_t capacity) : it(capacity) {}
  bide::channel<void*> it;
};
struct bide_mutex {
  bide::mutex it;
};
struct bide_cond {
  bide::condition_variable it;
};
struct bide_semaphore {
  explicit bide_semaphore(std::ptrdiff_t permits) : it(permits) {}
  bide::semaphore it;
};
struct bide_event {
  bide::event it;
};

namespace {

using bide::deadline;
using bide::wait_result;

// How a child of a group says that it has failed.
struct failure {
  int code;
};

int error_of(wait_result how) noexcept {
  switch (how) {
    case wait_result::ready: return 0;
    case wait_result::cancelled: return -ECANCELED;
    case wait_result::closed: return -EPIPE;
    default: return -ETIMEDOUT;
  }
}

// Calls `f`, which returns an int; nothing gets past.
template <class F>
int guarded(F f) noexcept {
  try {
    return f();
  } catch (const bide::cancelled&) {
    return -ECANCELED;
  } catch (const failure& e) {
    return e.code;
  } catch (const std::system_error& e) {
    return e.code().value() > 0 ? -e.code().value() : -EIO;
  } catch (const std::bad_alloc&) {
    return -ENOMEM;
  } catch (...) {
    return -EIO;
  }
}

template <class T, class... Args>
int make(T** out, Args&&... args) noexcept {
  if (!out) return -EINVAL;
  *out = nullptr;
  return guarded([&] {
    *out = new T(std::forward<Args>(args)...);
    return 0;
  });
}

bide::options options_of(const bide_options* how) noexcept {
  bide::options o;
  if (!how) return o;
  if (how->workers) o.workers = how->workers;
  if (how->stack_size) o.stack_size = how->stack_size;
  if (how->offload_threads) o.offload_threads = how->offload_threads;
  o.seed = how->seed;
  if (how->trap) o.trap = how->trap > 0 ? bide::trap_door::on : bide::trap_door::off;
  if (how->files) o.files = bide::file_calls::offloaded;
  return o;
}

bide::spawn_options options_of(const bide_spawn_options* how) noexcept {
  bide::spawn_options o;
  o.where = {};
  if (how && how->name) o.name = how->name;
  if (how) o.stack_size = how->stack_size;
  return o;
}

// `spawn(how, f, argument)`: a fiber's or a runtime's.
template <class Spawn>
int spawn_task(bide_task** out, const bide_spawn_options* how, void* (*f)(void*), void* argument, Spawn spawn) noexcept {
  if (out) *out = nullptr;
  if (!f) return -EINVAL;
  return guarded([&] {
    auto handle = out ? std::make_unique<bide_task>() : nullptr;
    bide::task<void*> t = spawn(options_of(how), f, argument);
    if (!out) return 0;
    handle->it = std::move(t);
    *out = handle.release();
    return 0;
  });
}

struct nothing {
  void operator()() const noexcept {}
};

struct timer : bide::detail::plain_case<nothing> {
  explicit timer(deadline at) : plain_case(kind::time, {}) { until = at; }
};

// One case of a C select; each kind is a class of its own.
struct c_case {
  struct store {
    void** to;
    void operator()(void* value) const noexcept { *to = value; }
  };
  struct watched : bide::detail::plain_case<nothing> {
    watched(kind k, int number, bide::detail::frame* frame) : plain_case(k, {}) {
      fd = number;
      its = frame;
    }
  };

  // Returns false for what is no case.
  bool take(bide_select_case& c) {
    using kind = bide::detail::select_case::kind;
    switch (c.kind) {
      case BIDE_RECEIVE:
        if (c.channel) it = &receive.emplace(c.channel->it, store{&c.value});
        break;
      case BIDE_SEND:
        if (c.channel) it = &send.emplace(c.channel->it, c.value, nothing{});
        break;
      case BIDE_READABLE: it = &other.emplace(kind::readable, c.fd, nullptr); break;
      case BIDE_WRITABLE: it = &other.emplace(kind::writable, c.fd, nullptr); break;
      case BIDE_TASK:
        if (c.task) it = &other.emplace(kind::task, -1, bide::detail::task_access::frame_of(c.task->it));
        break;
    }
    return it;
  }
  void call() {
    if (receive) receive->call();
    if (send) send->call();
  }

  std::optional<bide::receive_case<void*, store>> receive;
  std::optional<bide::send_case<void*, nothing>> send;
  std::optional<watched> other;
  bide::detail::select_case* it = nullptr;
};

}  // namespace

extern "C" {

int bide_run(const bide_options* how, int (*f)(void*), void* argument, int* result) {
  if (!f) return -EINVAL;
  return guarded([&] {
    const int returned = bide::run([&] { return f(argument); }, options_of(how));
    if (result) *result = returned;
    return 0;
  });
}

int bide_runtime_start(bide_runtime** out, const bide_options* how) { return make(out, options_of(how)); }
int bide_runtime_stepped(bide_runtime** out, const bide_options* how) { return make(out, bide::stepped, options_of(how)); }
void bide_runtime_free(bide_runtime* rt) { delete rt; }
int bide_runtime_fd(bide_runtime* rt) {
  return rt ? guarded([&] { return rt->it.fd(); }) : -EINVAL;
}
int bide_runtime_poll(bide_runtime* rt, int64_t* again_ns) {
  if (!rt) return -EINVAL;
  return guarded([&] {
    const deadline again = rt->it.poll();
    if (again_ns) *again_ns = again.ns();
    return 0;
  });
}

int bide_spawn(bide_task** out, const bide_spawn_options* how, void* (*f)(void*), void* argument) {
  return spawn_task(out, how, f, argument, [](auto... what) { return bide::spawn(what...); });
}
int bide_runtime_spawn(bide_runtime* rt, bide_task** out, const bide_spawn_options* how, void* (*f)(void*), void* argument) {
  if (!rt) return -EINVAL;
  return spawn_task(out, how, f, argument, [rt](auto... what) { return rt->it.spawn(what...); });
}

int bide_task_join(bide_task* t, int64_t until_ns, void** result) {
  if (!t) return -EINVAL;
  return guarded([&] {
    const wait_result how = t->it.join(deadline::from_ns(until_ns));
    if (how != wait_result::ready) return how == wait_result::closed ? -ECHILD : error_of(how);
    if (t->it.state() == bide::task_state::failed) {
      (void)t->it.exception();
      return -EIO;
    }
    void* const value = t->it.get();
    if (result) *result = value;
    return 0;
  });
}
int bide_task_cancel(bide_task* t) {
  if (!t) return -EINVAL;
  t->it.cancel();
  return 0;
}
int bide_task_state(bide_task* t) {
  return t ? guarded([&] { return static_cast<int>(t->it.state()); }) : -EINVAL;
}
uint64_t bide_task_id(bide_task* t) { return t ? t->it.id() : 0; }
int bide_task_on_done(bide_task* t, void (*call)(void*, int), void* argument) {
  if (!t || !call) return -EINVAL;
  return guarded([&] {
    t->it.on_done([=](bide::task_state how) { call(argument, static_cast<int>(how)); });
    return 0;
  });
}
void bide_task_free(bide_task* t) { delete t; }

int bide_first_of(bide_task* const* tasks, size_t count) {
  if (!tasks || !count || std::find(tasks, tasks + count, nullptr) != tasks + count) return -EINVAL;
  return guarded([&] {
    std::vector<bide::shared_task<void*>> all;
    for (size_t i = 0; i < count; ++i) all.push_back(tasks[i]->it);
    return static_cast<int>(bide::first_of(all));
  });
}

uint64_t bide_fiber_id(void) { return bide::this_fiber::id(); }
int bide_fiber_name(char* to, size_t size) {
  if (!to && size) return -EINVAL;
  return guarded([&] {
    const std::string name = bide::this_fiber::name();
    if (size) {
      const size_t fits = std::min(size - 1, name.size());
      std::memcpy(to, name.data(), fits);
      to[fits] = '\0';
    }
    return static_cast<int>(name.size());
  });
}
void bide_yield(void) { bide::yield(); }
int64_t bide_now_ns(void) { return bide::base::now(); }
int64_t bide_deadline_ns(int64_t length_ns) { return bide::base::after(bide::base::now(), length_ns); }
int bide_sleep_ns(int64_t length_ns) {
  return guarded([&] {
    bide::sleep_for(std::chrono::nanoseconds(length_ns));
    return 0;
  });
}

int bide_timeout_begin(bide_timeout** out, int64_t length_ns) { return make(out, deadline::from_ns(bide_deadline_ns(length_ns))); }
int bide_timeout_expired(const bide_timeout* t) { return t ? t->it.expired() : -EINVAL; }
void bide_timeout_end(bide_timeout* t) { delete t; }
int bide_shield(void (*f)(void*), void* argument) {
  if (!f) return -EINVAL;
  return guarded([&] {
    bide::shield([&] { f(argument); });
    return 0;
  });
}

int bide_group_new(bide_group** out, size_t max_concurrency) { return make(out, max_concurrency); }
int bide_group_spawn(bide_group* g, int (*f)(void*), void* argument) {
  if (!g || !f) return -EINVAL;
  return guarded([&] {
    g->it.spawn([](int (*run)(void*), void* with) {
      if (const int code = run(with); code < 0) throw failure{code};
    }, f, argument);
    return 0;
  });
}
int bide_group_cancel(bide_group* g) {
  if (!g) return -EINVAL;
  g->it.cancel();
  return 0;
}
int bide_group_wait(bide_group* g) {
  if (!g) return -EINVAL;
  return guarded([&] {
    g->it.wait();
    return 0;
  });
}
void bide_group_free(bide_group* g) {
  if (!g) return;
  g->it.cancel();
  (void)bide_group_wait(g);
  delete g;
}

int bide_channel_new(bide_channel** out, size_t capacity) { return make(out, capacity); }
int bide_channel_send(bide_channel* c, void* value, int64_t until_ns) {
  if (!c) return -EINVAL;
  return guarded([&] {
    return error_of(until_ns <= 0 ? c->it.try_send(value) : c->it.send_until(value, deadline::from_ns(until_ns)));
  });
}
int bide_channel_receive(bide_channel* c, void** value, int64_t until_ns) {
  if (!c || !value) return -EINVAL;
  return guarded([&] {
    std::optional<void*> got;
    const wait_result how = c->it.receive_until(got, deadline::from_ns(until_ns));
    if (got) *value = *got;
    return error_of(how);
  });
}
int bide_channel_close(bide_channel* c) {
  if (!c) return -EINVAL;
  return guarded([&] {
    c->it.close();
    return 0;
  });
}
void bide_channel_free(bide_channel* c) { delete c; }

int bide_select(bide_select_case* cases, size_t count, int64_t until_ns, size_t* place) {
  if (!cases || !count) return -EINVAL;
  return guarded([&] {
    std::deque<c_case> held;
    std::vector<bide::detail::select_case*> all;
    for (size_t i = 0; i < count; ++i) {
      if (!held.emplace_back().take(cases[i])) return -EINVAL;
      all.push_back(held.back().it);
    }
    timer limit(deadline::from_ns(until_ns));
    all.push_back(&limit);
    const size_t came = bide::detail::select(all.data(), all.size());
    if (came == count) return -ETIMEDOUT;
    if (place) *place = came;
    held[came].call();
    return static_cast<int>(came);
  });
}

int bide_mutex_new(bide_mutex** out) { return make(out); }
int bide_mutex_lock(bide_mutex* m, int64_t until_ns) {
  if (!m) return -EINVAL;
  return guarded([&] { return error_of(m->it.lock_until(deadline::from_ns(until_ns))); });
}
int bide_mutex_unlock(bide_mutex* m) {
  if (!m) return -EINVAL;
  m->it.unlock();
  return 0;
}
void bide_mutex_free(bide_mutex* m) { delete m; }

int bide_cond_new(bide_cond** out) { return make(out); }
int bide_cond_wait(bide_cond* c, bide_mutex* m, int64_t until_ns) {
  if (!c || !m) return -EINVAL;
  return guarded([&] { return error_of(c->it.wait_until(m->it, deadline::from_ns(until_ns))); });
}
int bide_cond_signal(bide_cond* c) {
  if (!c) return -EINVAL;
  c->it.notify_one();
  return 0;
}
int bide_cond_broadcast(bide_cond* c) {
  if (!c) return -EINVAL;
  c->it.notify_all();
  return 0;
}
void bide_cond_free(bide_cond* c) { delete c; }

int bide_semaphore_new(bide_semaphore** out, ptrdiff_t permits) { return permits < 0 ? -EINVAL : make(out, permits); }
int bide_semaphore_acquire(bide_semaphore* s, int64_t until_ns) {
  if (!s) return -EINVAL;
  return guarded([&] { return error_of(s->it.acquire_until(deadline::from_ns(until_ns))); });
}
int bide_semaphore_release(bide_semaphore* s, ptrdiff_t permits) {
  if (!s || permits < 0) return -EINVAL;
  s->it.release(permits);
  return 0;
}
void bide_semaphore_free(bide_semaphore* s) { delete s; }

int bide_event_new(bide_event** out) { return make(out); }
int bide_event_set(bide_event* e) {
  if (!e) return -EINVAL;
  e->it.set();
  return 0;
}
int bide_event_clear(bide_event* e) {
  if (!e) return -EINVAL;
  e->it.clear();
  return 0;
}
int bide_event_wait(bide_event* e, int64_t until_ns) {
  if (!e) return -EINVAL;
  return guarded([&] { return error_of(e->it.wait_until(deadline::from_ns(until_ns))); });
}
void bide_event_free(bide_event* e) { delete e; }

}  // extern "C"
