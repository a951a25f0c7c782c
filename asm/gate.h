/*
 * The gate: the only place where this project's code executes the syscall instruction.
 */
#ifndef BIDE_ASM_GATE_H
#define BIDE_ASM_GATE_H

#ifdef __cplusplus
extern "C" {
#endif

/* Asks the kernel. Returns what it returns: a value or -errno. Touches neither errno nor any lock. */
long bide_gate(long nr, long a, long b, long c, long d, long e, long f);

/* Where signal handlers that are ours return to: sigaction(2), SA_RESTORER. */
void bide_gate_restorer(void) __asm__("__restore_rt");

/* The range of addresses that holds the gate's syscall instruction and the one after it. */
extern const char bide_gate_begin[], bide_gate_end[];

#ifdef __cplusplus
}
#endif

#endif
