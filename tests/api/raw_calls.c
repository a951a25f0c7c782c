#define _GNU_SOURCE
#include "raw_calls.h"

#include <sched.h>
#include <sys/syscall.h>
#include <time.h>

long raw_call(long nr, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  long answer;
  __asm__ volatile("syscall"
                   : "=a"(answer)
                   : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return answer;
}

int raw_sleep_keeps_registers(long nanoseconds) {
  struct timespec length = {nanoseconds / 1000000000, nanoseconds % 1000000000};
  long good;
  __asm__ volatile(
      "pushq %%rbx\n\t"
      "pushq %%rbp\n\t"
      "subq $16, %%rsp\n\t"
      "stmxcsr (%%rsp)\n\t"
      "movl (%%rsp), %%ebx\n\t"
      "movl %%ebx, 4(%%rsp)\n\t"
      "orl $0x6000, 4(%%rsp)\n\t"
      "ldmxcsr 4(%%rsp)\n\t" /* rounds towards zero */
      "movq $0x1111, %%rbx\n\t"
      "movq $0x2222, %%rbp\n\t"
      "movq $0x3333, %%r12\n\t"
      "movq $0x4444, %%r13\n\t"
      "movq $0x5555, %%r14\n\t"
      "movq $0x6666, %%r15\n\t"
      "movq $0x7777, %%rdx\n\t"
      "movq $0x8888, %%r8\n\t"
      "movq $0x9999, %%r9\n\t"
      "movq $0xaaaa, %%r10\n\t"
      "movq %%rbx, %%xmm8\n\t"
      "movq %%r12, %%xmm15\n\t"
      "xorl %%esi, %%esi\n\t"
      "movl $35, %%eax\n\t"
      "syscall\n\t"
      "movl $0, %%ecx\n\t"
      "testq %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "cmpq $0x1111, %%rbx\n\tjne 1f\n\t"
      "cmpq $0x2222, %%rbp\n\tjne 1f\n\t"
      "cmpq $0x3333, %%r12\n\tjne 1f\n\t"
      "cmpq $0x4444, %%r13\n\tjne 1f\n\t"
      "cmpq $0x5555, %%r14\n\tjne 1f\n\t"
      "cmpq $0x6666, %%r15\n\tjne 1f\n\t"
      "cmpq $0x7777, %%rdx\n\tjne 1f\n\t"
      "cmpq $0x8888, %%r8\n\tjne 1f\n\t"
      "cmpq $0x9999, %%r9\n\tjne 1f\n\t"
      "cmpq $0xaaaa, %%r10\n\tjne 1f\n\t"
      "movq %%xmm8, %%rax\n\tcmpq %%rax, %%rbx\n\tjne 1f\n\t"
      "movq %%xmm15, %%rax\n\tcmpq %%rax, %%r12\n\tjne 1f\n\t"
      "stmxcsr 8(%%rsp)\n\t"
      "movl 8(%%rsp), %%eax\n\tandl $0x6000, %%eax\n\tcmpl $0x6000, %%eax\n\tjne 1f\n\t"
      "movl $1, %%ecx\n"
      "1:\n\t"
      "ldmxcsr (%%rsp)\n\t"
      "addq $16, %%rsp\n\t"
      "popq %%rbp\n\t"
      "popq %%rbx"
      : "=&c"(good)
      : "D"(&length)
      : "rax", "rsi", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm8", "xmm15", "memory", "cc");
  return (int)good;
}

/* The child overwrites what is below its stack pointer. */
__asm__(
    ".text\n"
    ".globl raw_vfork_and_exit\n"
    ".type raw_vfork_and_exit, @function\n"
    "raw_vfork_and_exit:\n\t"
    "movl $58, %eax\n\t"
    "syscall\n\t"
    "testq %rax, %rax\n\t"
    "jz 1f\n\t"
    "ret\n"
    "1:\n\t"
    "subq $4096, %rsp\n\t"
    "movl $512, %ecx\n"
    "2:\n\t"
    "movq $-1, -8(%rsp,%rcx,8)\n\t"
    "loop 2b\n\t"
    "movl $60, %eax\n\t"
    "syscall\n\t"
    "ud2\n\t"
    ".size raw_vfork_and_exit, . - raw_vfork_and_exit\n");

long raw_thread_that_writes(void *stack_top, int fd, int byte) {
  const long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  long answer;
  register long r12 __asm__("r12") = fd;
  register long r13 __asm__("r13") = byte;
  register long r10 __asm__("r10") = 0;
  register long r8 __asm__("r8") = 0;
  __asm__ volatile(
      "syscall\n\t"
      "testq %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "pushq %%r13\n\t"
      "movl $1, %%eax\n\t"
      "movq %%r12, %%rdi\n\t"
      "movq %%rsp, %%rsi\n\t"
      "movl $1, %%edx\n\t"
      "syscall\n\t"
      "movl $60, %%eax\n\t"
      "xorl %%edi, %%edi\n\t"
      "syscall\n\t"
      "ud2\n"
      "1:"
      : "=a"(answer)
      : "a"(SYS_clone), "D"(flags), "S"(stack_top), "d"(0), "r"(r10), "r"(r8), "r"(r12), "r"(r13)
      : "rcx", "r11", "memory", "cc");
  return answer;
}
