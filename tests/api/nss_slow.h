#pragma once

#ifdef __cplusplus
extern "C" {
#endif
/* Called in each look-up by the service "slow". */
extern void (*nss_slow_asked)(void);
#ifdef __cplusplus
}
#endif
