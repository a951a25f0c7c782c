// An object that a process and those it forks have in common.
#pragma once

#include <cerrno>
#include <new>
#include <system_error>

#include <sys/mman.h>

template <class T>
class shared {
 public:
  shared() : memory_(mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
    if (memory_ == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
    object_ = ::new (memory_) T;
  }
  ~shared() {
    object_->~T();
    munmap(memory_, sizeof(T));
  }
  shared(const shared&) = delete;
  shared& operator=(const shared&) = delete;

  T& operator*() const { return *object_; }

 private:
  void* memory_;
  T* object_;
};
