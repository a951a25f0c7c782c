// Calls by libc's own functions, behind whose names no door stands: so they come by their patched sites.
// Built with -fnon-call-exceptions: a handler may throw out of a call.
#include "program.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>

#include <stdexcept>

namespace {

template <class F>
F *libc(const char *name, F *) {
  static void *const library = dlopen("libc.so.6", RTLD_NOW);
  return reinterpret_cast<F *>(dlsym(library, name));
}
#define LIBC(name) libc(#name, ::name)

void *nothing(void *) { return nullptr; }
// From here on there has been a second thread: the sites are patched.
void begin() { join(start(nothing, nullptr)); }

struct registers {
  unsigned char vectors[16][64];
  unsigned long general[12];  // rdi rsi rdx r8 r9 r10 rbx rbp r12 r13 r14 r15
  unsigned long below[16];    // the red zone of the function that is called
  unsigned long flags;
};
static_assert(offsetof(registers, general) == 1024 && offsetof(registers, below) == 1120 &&
              offsetof(registers, flags) == 1248);

}  // namespace

// Calls f, which is a syscall instruction and little else, with all registers from `in`, and stores to `out` what they
// are behind it. width: of the vector registers, in bytes.
extern "C" void call_with(void *f, const registers *in, registers *out, long width);
asm(R"(
        .text
call_with:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        pushq   %rcx
        pushq   %rdi
        pushq   %rdx
        movq    %rsi, %rax
        .macro  each_vector store
        cmpq    $32, %rcx
        ja      1f
        je      2f
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        .if     \store
        movups  %xmm\n, \n*64(%rax)
        .else
        movups  \n*64(%rax), %xmm\n
        .endif
        .endr
        jmp     3f
2:      .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        .if     \store
        vmovups %ymm\n, \n*64(%rax)
        .else
        vmovups \n*64(%rax), %ymm\n
        .endif
        .endr
        jmp     3f
1:      .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        .if     \store
        vmovups %zmm\n, \n*64(%rax)
        .else
        vmovups \n*64(%rax), %zmm\n
        .endif
        .endr
3:
        .endm
        each_vector 0
        leaq    1120(%rax), %rsi
        leaq    -136(%rsp), %rdi
        movl    $16, %ecx
        rep movsq
        movq    1024(%rax), %rdi
        movq    1032(%rax), %rsi
        movq    1040(%rax), %rdx
        movq    1048(%rax), %r8
        movq    1056(%rax), %r9
        movq    1064(%rax), %r10
        movq    1072(%rax), %rbx
        movq    1080(%rax), %rbp
        movq    1088(%rax), %r12
        movq    1096(%rax), %r13
        movq    1104(%rax), %r14
        movq    1112(%rax), %r15
        stc
        call    *8(%rsp)
        movq    (%rsp), %rax
        leaq    -256(%rsp), %rsp
        pushfq
        popq    1248(%rax)
        leaq    256(%rsp), %rsp
        movq    %rdi, 1024(%rax)
        movq    %rsi, 1032(%rax)
        movq    %rdx, 1040(%rax)
        movq    %r8, 1048(%rax)
        movq    %r9, 1056(%rax)
        movq    %r10, 1064(%rax)
        movq    %rbx, 1072(%rax)
        movq    %rbp, 1080(%rax)
        movq    %r12, 1088(%rax)
        movq    %r13, 1096(%rax)
        movq    %r14, 1104(%rax)
        movq    %r15, 1112(%rax)
        leaq    1120(%rax), %rdi
        leaq    -136(%rsp), %rsi
        movl    $16, %ecx
        rep movsq
        movq    16(%rsp), %rcx
        each_vector 1
        addq    $24, %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret
)");

namespace {

long vector_width() {
  return __builtin_cpu_supports("avx512f") ? 64 : __builtin_cpu_supports("avx") ? 32 : 16;
}

registers filled_with(unsigned seed) {
  registers r;
  auto *at = reinterpret_cast<unsigned char *>(&r);
  for (std::size_t i = 0; i < sizeof r; ++i) at[i] = static_cast<unsigned char>(seed = seed * 1103515245 + 12345 + (seed >> 16));
  return r;
}

// The processor tells that a register's upper part is in use until it is cleared.
void begin_with_narrow_vectors() {
  if (vector_width() > 16) asm volatile("vzeroupper" ::: "memory");
}

void say_what_is_kept(const char *name, void *f, unsigned seed, long width = vector_width()) {
  int vectors = 0, general = 0, below = 0, carry = 0;
  constexpr int rounds = 50;
  for (int round = 0; round < rounds; ++round) {
    const registers in = filled_with(seed + static_cast<unsigned>(round));
    registers out;
    if (width == 16) begin_with_narrow_vectors();
    call_with(f, &in, &out, width);
    for (int i = 0; i < 16; ++i) vectors += !memcmp(in.vectors[i], out.vectors[i], static_cast<std::size_t>(width));
    for (int i = 0; i < 12; ++i) general += in.general[i] == out.general[i];
    for (int i = 0; i < 16; ++i) below += in.below[i] == out.below[i];
    carry += out.flags & 1;
  }
  say("%s keeps %d vectors, %d registers, %d words below, carry %d", name, vectors, general, below, carry);
  if (width > 16) say_what_is_kept(name, f, seed + rounds, 16);
}

void *scribble(void *) {
  const registers mine = filled_with(4711);
  registers after;
  for (int i = 0; i < 100; ++i) call_with(reinterpret_cast<void *>(LIBC(sched_yield)), &mine, &after, vector_width());
  return nullptr;
}

int pipe_ends[2];
sem_t waits;

// A frame of its own at any level of optimisation: it is looked for.
__attribute__((noinline)) ssize_t read_from_pipe() {
  char byte;
  sem_post(&waits);
  return LIBC(read)(pipe_ends[0], &byte, 1);
}

// Runs a thread until it waits in the pipe, then lets `interrupt` have it.
void *interrupt_read(void *(*thread)(void *), void (*interrupt)(pthread_t)) {
  begin();
  if (pipe(pipe_ends)) _exit(97);
  sem_init(&waits, 0, 0);
  const pthread_t t = start(thread, nullptr);
  sem_wait(&waits);
  nap(50);
  interrupt(t);
  return join(t);
}

struct witness {
  const char *name;
  ~witness() { say("%s is destroyed", name); }
};

void *read_and_be_cancelled(void *) {
  const witness outer{"a local of the cancelled thread"};
  pthread_cleanup_push([](void *) { say("cleanup"); }, nullptr);
  say("read gave %zd", read_from_pipe());
  pthread_cleanup_pop(0);
  return nullptr;
}

void throw_from_handler(int) { throw std::runtime_error("from the handler"); }

void *read_and_catch(void *) {
  try {
    const witness inner{"a local of the try block"};
    say("read gave %zd", read_from_pipe());
  } catch (const std::exception &e) {
    say("caught: %s", e.what());
  }
  return nullptr;
}

extern "C" __attribute__((noinline)) void *thread_that_reads(void *) {
  const ssize_t answer = read_from_pipe();
  say("read gave %zd: %s", answer, error_name(errno));
  return nullptr;
}

void say_backtrace(int) {
  void *frames[64];
  const int count = backtrace(frames, 64);
  // What of it is the program's, and where it ends.
  bool thread = false, libc_read = false;
  Dl_info last = {};
  for (int i = 0; i < count; ++i) {
    Dl_info info;
    if (!dladdr(frames[i], &info)) continue;
    last = info;
    const auto from = reinterpret_cast<std::uintptr_t>(LIBC(read)), at = reinterpret_cast<std::uintptr_t>(frames[i]);
    libc_read |= at > from && at < from + 256;
    thread |= libc_read && info.dli_sname && !strcmp(info.dli_sname, "thread_that_reads");
  }
  const char *slash = last.dli_fname ? strrchr(last.dli_fname, '/') : nullptr;
  say("backtrace: read %s, the thread's function %s, ends in %s", libc_read ? "there" : "missing",
      thread ? "there" : "missing", slash ? slash + 1 : "nothing");
}

struct text {
  unsigned char *from = nullptr;
  std::size_t bytes = 0;
};

}  // namespace

CASE(registers_are_kept) {
  begin();
  say_what_is_kept("getppid", reinterpret_cast<void *>(LIBC(getppid)), 1);
  const pthread_t other = start(scribble, nullptr);
  say_what_is_kept("sched_yield", reinterpret_cast<void *>(LIBC(sched_yield)), 2);
  join(other);
}

CASE(answers_and_errors) {
  begin();
  char bytes[8] = "";
  say("read of -1: %s", outcome(LIBC(read)(-1, bytes, 1)));
  say("read to nowhere: %s", outcome(LIBC(read)(open("/dev/zero", O_RDONLY), nullptr, 1)));
  if (pipe(pipe_ends)) _exit(97);
  say("write %zd", LIBC(write)(pipe_ends[1], "12345", 5));
  say("read %zd %s", LIBC(read)(pipe_ends[0], bytes, 8), bytes);
  say("ids %d %d", getpid() == syscall(SYS_getpid), LIBC(getppid)() == syscall(SYS_getppid));
  say("no such call: %s", outcome(syscall(1000)));
  say("bad mask: %s", outcome(syscall(SYS_rt_sigprocmask, 77, bytes, nullptr, 8)));
}

CASE(children_by_syscall) {
  begin();
  const long child = syscall(SYS_fork);
  if (!child) _exit(7);
  int status = 0;
  waitpid(static_cast<pid_t>(child), &status, 0);
  say_end("fork", status);
  const long clone = syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (!clone) _exit(8);
  waitpid(static_cast<pid_t>(clone), &status, 0);
  say_end("clone", status);
}

CASE(cancelled_in_a_read) {
  void *end = interrupt_read(read_and_be_cancelled, [](pthread_t t) { pthread_cancel(t); });
  say("%s", end == PTHREAD_CANCELED ? "cancelled" : "not cancelled");
}

CASE(an_exception_leaves_a_read) {
  handle(SIGUSR1, throw_from_handler, 0);
  interrupt_read(read_and_catch, [](pthread_t t) { pthread_kill(t, SIGUSR1); });
}

CASE(a_backtrace_passes_a_read) {
  void *frame;
  backtrace(&frame, 1);  // loads what it needs
  handle(SIGUSR1, say_backtrace, 0);
  interrupt_read(thread_that_reads, [](pthread_t t) { pthread_kill(t, SIGUSR1); });
}

// Not compared: for patch_test.py.

CASE(show_patched) {
  begin();
  text t;
  dl_iterate_phdr([](dl_phdr_info *m, std::size_t, void *to) {
    if (!strstr(m->dlpi_name, "libc.so")) return 0;
    for (int i = 0; i < m->dlpi_phnum; ++i) {
      const ElfW(Phdr) &part = m->dlpi_phdr[i];
      if (part.p_type == PT_LOAD && part.p_flags & PF_X) {
        *static_cast<text *>(to) = {reinterpret_cast<unsigned char *>(m->dlpi_addr + part.p_vaddr), part.p_filesz};
        printf("%s %zx %zx\n", m->dlpi_name, static_cast<std::size_t>(part.p_vaddr), static_cast<std::size_t>(part.p_offset));
      }
    }
    return 0;
  }, &t);
  for (std::size_t i = 0; i < t.bytes; ++i) printf("%02x", t.from[i]);
  puts("");
}

extern "C" __attribute__((noinline)) void now_reads() { asm volatile(""); }

CASE(read_for_ever) {
  begin();
  if (pipe(pipe_ends)) _exit(97);
  sem_init(&waits, 0, 0);
  LIBC(read)(-1, nullptr, 0);  // loads what it needs
  now_reads();
  if (read_from_pipe() < 0) _exit(96);
}
