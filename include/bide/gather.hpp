/// Waiting for several tasks: all of them, the first, or each as it ends.
#pragma once

#include <bide/detail/task_set.hpp>
#include <bide/shield.hpp>
#include <bide/task.hpp>

#include <cstddef>
#include <iterator>
#include <ranges>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

namespace bide {

namespace detail {

/// What gather gives for a task of R: nothing is std::monostate.
template <class R>
using gathered_t = std::conditional_t<std::is_void_v<R>, std::monostate, R>;

template <class T>
struct is_task : std::false_type {};
template <class R>
struct is_task<task<R>> : std::true_type {};
template <class R>
struct is_task<shared_task<R>> : std::true_type {};
template <class R>
struct is_task<shielded<R>> : std::true_type {};

template <class R>
task<R>& task_of(task<R>& t) noexcept {
  return t;
}
template <class R>
const shared_task<R>& task_of(const shared_task<R>& t) noexcept {
  return t;
}
template <class R>
task<R>& task_of(const shielded<R>& s) noexcept {
  return s.it;
}

template <class T>
void add_to(task_set& set, T& t) {
  auto& it = task_of(t);
  set.add(task_access::fiber_of(it), task_access::frame_of(it), !std::is_same_v<T, shielded<typename T::value_type>>);
}

/// A task as it is; anything else is called in a fiber.
template <class T>
decltype(auto) as_task(T&& t) {
  if constexpr (is_task<std::remove_cvref_t<T>>::value)
    return std::forward<T>(t);
  else
    return spawn(std::forward<T>(t));
}

template <class T>
auto get_gathered(T& t) {
  auto& it = task_of(t);
  if constexpr (std::is_void_v<decltype(it.get())>) {
    it.get();
    return std::monostate{};
  } else {
    return std::decay_t<decltype(it.get())>(it.get());
  }
}

template <class... Tasks>
auto gather_tasks(Tasks&&... tasks) {
  task_set set(sizeof...(Tasks));
  (add_to(set, tasks), ...);
  set.wait_for_all();
  // In braces: from left to right.
  return std::tuple{get_gathered(tasks)...};
}

}  // namespace detail

/// Waits for all tasks and returns a tuple of what they returned, in the order given: asyncio.gather(). An argument that
/// is no task is called in a fiber of its own.
///
/// The first failure, in time, is thrown at once; the other tasks go on. (asyncio drops what those throw later; here it is
/// for who holds them, or is reported on stderr.) A caller that is cancelled, or whose timeout passes, cancels all tasks
/// that are not shielded and waits for their end first.
/// Parks:    until all have ended or one has failed; on a plain thread, blocks the thread.
/// Returns:  std::monostate for a task of void; copies for a shared_task.
/// Errors:   what the task threw; `cancelled` also for a task that was; else as task::get().
template <class... Tasks>
  requires(sizeof...(Tasks) > 0 && (... && (detail::is_task<std::remove_cvref_t<Tasks>>::value ||
                                            detail::spawnable<Tasks>)))
auto gather(Tasks&&... tasks) {
  return [](auto&&... each) { return detail::gather_tasks(each...); }(detail::as_task(std::forward<Tasks>(tasks))...);
}

/// The same for a range of tasks: returns a vector, or nothing for tasks of void. An empty range has nothing to wait for.
template <std::ranges::forward_range Range>
  requires detail::is_task<std::ranges::range_value_t<Range>>::value
auto gather(Range&& tasks) {
  using R = typename std::ranges::range_value_t<Range>::value_type;
  detail::task_set set(std::ranges::distance(tasks));
  for (auto& t : tasks) detail::add_to(set, t);
  set.wait_for_all();
  if constexpr (!std::is_void_v<R>) {
    std::vector<std::decay_t<R>> all;
    all.reserve(set.size());
    for (auto& t : tasks) all.push_back(detail::get_gathered(t));
    return all;
  } else {
    for (auto& t : tasks) detail::get_gathered(t);
  }
}

/// Waits until the first of the tasks has ended, however it has, and returns its place among them, from 0; the others go
/// on: asyncio.wait(FIRST_COMPLETED).
///
/// Parks:    until then; on a plain thread, blocks the thread.
/// Errors:   `cancelled`, `timed_out`. std::system_error EINVAL for an empty handle, or no task at all.
template <class... Tasks>
  requires(sizeof...(Tasks) > 0 && (... && detail::is_task<std::remove_cvref_t<Tasks>>::value))
std::size_t first_of(Tasks&... tasks) {
  detail::task_set set(sizeof...(Tasks));
  (detail::add_to(set, tasks), ...);
  return set.wait_for_next();
}
template <std::ranges::forward_range Range>
  requires detail::is_task<std::ranges::range_value_t<Range>>::value
std::size_t first_of(Range& tasks) {
  detail::task_set set(std::ranges::distance(tasks));
  for (auto& t : tasks) detail::add_to(set, t);
  return set.wait_for_next();
}

/// The tasks of a range in the order in which they end: asyncio.as_completed().
///
///     for (bide::task<int>& t : bide::as_completed(tasks)) use(t.get());
///
/// Leaving the loop early leaves the others going on. A bide::timeout around it bounds the waits.
/// Parks:    begin() and ++ until the next has ended.
/// Errors:   as first_of; of no task at all the loop is over at once.
/// Owns:     nothing: the range outlives it and keeps its tasks in their places.
template <class Task>
class as_completed {
 public:
  template <std::ranges::forward_range Range>
  explicit as_completed(Range& tasks) : set_(std::ranges::distance(tasks)) {
    for (auto& t : tasks) {
      places_.push_back(&t);
      detail::add_to(set_, t);
    }
  }

  class iterator {
   public:
    using value_type = Task;
    using difference_type = std::ptrdiff_t;
    Task& operator*() const noexcept { return *all_->places_[now_]; }
    iterator& operator++() {
      advance();
      return *this;
    }
    void operator++(int) { advance(); }
    bool operator==(std::default_sentinel_t) const noexcept { return !all_; }

   private:
    friend as_completed;
    explicit iterator(as_completed* all) : all_(all) { advance(); }
    void advance() {
      if (all_->given_ == all_->places_.size()) {
        all_ = nullptr;
      } else {
        now_ = all_->set_.wait_for_next();
        ++all_->given_;
      }
    }
    as_completed* all_;
    std::size_t now_ = 0;
  };
  iterator begin() { return iterator(this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  detail::task_set set_;
  std::vector<Task*> places_;
  std::size_t given_ = 0;
};
template <class Range>
as_completed(Range&) -> as_completed<std::ranges::range_value_t<Range>>;

}  // namespace bide
