/* A stand-in for CUDA's driver in tests: copies are memcpy, and each takes 1 us and 1 ns for each 10 bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static uint64_t clock_ns;
static int broken;

struct event { uint64_t at; };

int cuInit(unsigned flags) { broken = getenv("FAKE_CUDA_BROKEN") != NULL; return flags ? 1 : 0; }
int cuDeviceGetCount(int *count) { *count = getenv("FAKE_CUDA_NONE") ? 0 : 1; return 0; }
int cuDeviceGet(int *device, int number) { *device = 7 + number; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)1; return device == 7 ? 0 : 101; }
int cuCtxSetCurrent(void *context) { return context == (void *)1 ? 0 : 201; }
int cuStreamCreate(void **stream, unsigned flags) { *stream = (void *)2; return flags == 1 ? 0 : 1; }
int cuDeviceGetName(char *name, int room, int device) { strncpy(name, "Fake GPU", room); return device == 7 ? 0 : 101; }
int cuMemAlloc_v2(uint64_t *address, size_t size) { *address = (uint64_t)malloc(size); return broken ? 2 : 0; }
int cuMemFree_v2(uint64_t address) { free((void *)address); return 0; }
int cuMemHostAlloc(void **address, size_t size, unsigned flags) { *address = malloc(size); return flags ? 1 : 0; }
int cuMemFreeHost(void *address) { free(address); return 0; }
static int copy(void *to, const void *from, size_t size, void *stream)
{
    memcpy(to, from, size);
    clock_ns += 1000 + size / 10;
    return stream == (void *)2 ? 0 : 400;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t size, void *s) { return copy((void *)to, from, size, s); }
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t size, void *s) { return copy(to, (void *)from, size, s); }
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t size, void *s) { return copy((void *)to, (void *)from, size, s); }
int cuStreamSynchronize(void *stream) { return stream == (void *)2 ? 0 : 400; }
int cuEventCreate(void **event, unsigned flags) { *event = calloc(1, sizeof(struct event)); return flags ? 1 : 0; }
int cuEventDestroy_v2(void *event) { free(event); return 0; }
int cuEventRecord(void *event, void *s) { ((struct event *)event)->at = clock_ns; return s == (void *)2 ? 0 : 400; }
int cuEventSynchronize(void *event) { return event ? 0 : 400; }
int cuEventElapsedTime(float *ms, void *first, void *last)
{
    *ms = (((struct event *)last)->at - ((struct event *)first)->at) / 1e6f;
    return 0;
}
