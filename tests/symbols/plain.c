#include <bide/bide.h>

#include <errno.h>
#include <stdio.h>

static void *twice(void *half) { return (void *)(2 * (intptr_t)half); }

static void *sleeps(void *unused) {
  (void)unused;
  return (void *)(intptr_t)bide_sleep_ns(INT64_C(3600000000000));
}

static int first(void *unused) {
  bide_task *t, *sleeper;
  void *answer = NULL, *ended = NULL;
  (void)unused;
  if (bide_spawn(&t, NULL, twice, (void *)(intptr_t)21) || bide_spawn(&sleeper, NULL, sleeps, NULL)) return -1;
  if (bide_task_join(t, BIDE_NEVER, &answer)) return -1;
  if (bide_task_cancel(sleeper) || bide_task_join(sleeper, BIDE_NEVER, &ended)) return -1;
  bide_task_free(t);
  bide_task_free(sleeper);
  return (intptr_t)ended == -ECANCELED ? (int)(intptr_t)answer : -1;
}

int main(void) {
  int answer = 0;
  if (bide_run(NULL, first, NULL, &answer)) return 1;
  printf("spawned %d, then cancelled; outside it is %s\n", answer,
         bide_spawn(NULL, NULL, twice, NULL) == -EPERM ? "refused" : "not refused");
  return 0;
}
