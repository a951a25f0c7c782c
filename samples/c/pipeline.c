/* A pipeline in C: each stage is a fiber between two channels; prints the first 50 primes.
 *
 *   build/samples/c-pipeline
 *
 * The first stage sends 2, 3, 4, ... What comes first out of a stage is a prime; the next stage drops its multiples. At
 * the end the group cancels all stages: the send or receive that each is in ends with -ECANCELED. */
#include <bide/bide.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { primes = 50 };

struct stage {
  bide_channel *in, *out;
  intptr_t prime;
};

static int count(void *p) {
  bide_channel *out = p;
  int error = 0;
  for (intptr_t n = 2; !error; ++n) error = bide_channel_send(out, (void *)n, BIDE_NEVER);
  return error == -ECANCELED ? 0 : error;
}

static int drop_multiples(void *p) {
  const struct stage s = *(const struct stage *)p;
  void *n;
  int error;
  while (!(error = bide_channel_receive(s.in, &n, BIDE_NEVER)))
    if ((intptr_t)n % s.prime && (error = bide_channel_send(s.out, n, BIDE_NEVER))) break;
  return error == -ECANCELED ? 0 : error;
}

static int print_primes(void *unused) {
  static struct stage stages[primes];
  bide_channel *channels[primes + 1];
  bide_group *g;
  int error = bide_group_new(&g, 0);
  (void)unused;
  for (int i = 0; !error && i <= primes; ++i) error = bide_channel_new(&channels[i], 0);
  if (!error) error = bide_group_spawn(g, count, channels[0]);
  for (int i = 0; !error && i < primes; ++i) {
    void *prime;
    if ((error = bide_channel_receive(channels[i], &prime, BIDE_NEVER))) break;
    printf("%d%c", (int)(intptr_t)prime, (i + 1) % 10 ? ' ' : '\n');
    stages[i] = (struct stage){channels[i], channels[i + 1], (intptr_t)prime};
    error = bide_group_spawn(g, drop_multiples, &stages[i]);
  }
  bide_group_free(g); /* cancels the stages and waits for them */
  for (int i = 0; i <= primes; ++i) bide_channel_free(channels[i]);
  return error;
}

int main(void) {
  int result = 0, error = bide_run(NULL, print_primes, NULL, &result);
  if (error || (error = result)) fprintf(stderr, "pipeline: %s\n", strerror(-error));
  return error != 0;
}
