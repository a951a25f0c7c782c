// Faults by script: what the kernel would answer to some attempts of a call.
#pragma once

#include <functional>
#include <list>
#include <mutex>

namespace unit {

// While it lives, attempts are answered by its rules; the first rule that fits an attempt decides. Attempts are counted
// from 1, by the number of the system call that is attempted, which may be another than the one that was called:
// read(2) attempts recvfrom(2) first.
class fault_plan {
 public:
  class rule {
   public:
    // Fits the n-th attempt only, or those from the n-th to the m-th; without either, all.
    rule& call(int n) { return calls(n, n); }
    rule& calls(int first, int last);
    // Fits one attempt of `period`: the n-th, counted from 0, and each `period` after it.
    rule& every(int period, int n);

    // What the attempt answers, in place of the kernel.
    rule& fail_with(int error) { return answer(-error); }
    rule& answer(long value);
    // The kernel is asked for so many bytes (messages, for the plural calls) at most.
    rule& at_most(long count);
    // Called before the attempt is answered: a delay, or what another does meanwhile. May park, where a fiber makes the attempt.
    rule& first(std::function<void()> action);

   private:
    friend class fault_plan;
    explicit rule(long nr) : nr_(nr) {}
    long nr_;
    int from_ = 1, to_ = 1 << 30, period_ = 1, phase_ = 0;
    bool answers_ = false;
    long answer_ = 0, most_ = -1;
    std::function<void()> action_;
  };

  fault_plan();
  ~fault_plan();
  fault_plan(const fault_plan&) = delete;
  fault_plan& operator=(const fault_plan&) = delete;

  rule& on(long nr);

  // How often it was attempted.
  int calls(long nr) const;
  // How often a rule decided.
  int faults() const;

 private:
  static bool observe(long nr, const long (&arguments)[6], long& answer);

  mutable std::mutex lock_;
  std::list<rule> rules_;   // guarded by lock_
  int counts_[512] = {};    // guarded by lock_
  int faults_ = 0;          // guarded by lock_
};

}  // namespace unit
