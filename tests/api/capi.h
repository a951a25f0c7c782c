#pragma once

#ifdef __cplusplus
extern "C" {
#endif
int capi_tasks(void);
int capi_timeouts(void);
int capi_groups(void);
int capi_channels(void);
int capi_locks(void);
int capi_wraps(void);
int capi_runtimes(void);
int capi_bad_input(void);
int capi_timeout_outside(void);
#ifdef __cplusplus
}
#endif
