/*
 * Where registers stand in mcontext_t, which is the kernel's struct sigcontext: sys/ucontext.h.
 */
#ifndef BIDE_ASM_REGISTERS_H
#define BIDE_ASM_REGISTERS_H

#define R8 0
#define R9 8
#define R10 16
#define R11 24
#define R12 32
#define R13 40
#define R14 48
#define R15 56
#define RDI 64
#define RSI 72
#define RBP 80
#define RBX 88
#define RDX 96
#define RAX 104
#define RCX 112
#define RSP 120
#define RIP 128
#define EFL 136
#define REGISTERS 184                   /* 23 words */

#endif
