/* Copy frames of 4096 bytes between two arrays, row by row of two lists.
 *
 * Where the machine has them, stores bypass the caches: a migrated page is not read again soon, and lines that will be
 * overwritten whole need not be fetched first.  The next source row is asked for while this one is stored. */

#include <stdint.h>
#include <string.h>

enum { PAGE = 4096, LINE = 64 };

#if defined(__AVX__) || defined(__SSE2__)
#include <immintrin.h>

#if defined(__AVX__)
typedef __m256i wide;
#define LOAD(p) _mm256_loadu_si256((const wide *)(p))
#define STORE(p, x) _mm256_stream_si256((wide *)(p), (x))
#else
typedef __m128i wide;
#define LOAD(p) _mm_loadu_si128((const wide *)(p))
#define STORE(p, x) _mm_stream_si128((wide *)(p), (x))
#endif

static void copy_page(char *to, const char *from, const char *next)
{
    enum { W = sizeof(wide) };
    for (int at = 0; at < PAGE; at += 4 * W) {
        wide a = LOAD(from + at), b = LOAD(from + at + W);
        wide c = LOAD(from + at + 2 * W), d = LOAD(from + at + 3 * W);
        for (int ahead = 0; ahead < 4 * W; ahead += LINE)
            __builtin_prefetch(next + at + ahead);
        STORE(to + at, a);
        STORE(to + at + W, b);
        STORE(to + at + 2 * W, c);
        STORE(to + at + 3 * W, d);
    }
}

/* Such stores want aligned addresses, which numpy does not promise. */
static int streams(const char *to)
{
    return (uintptr_t)to % sizeof(wide) == 0;
}

static void finish(void)
{
    _mm_sfence();
}
#else
static void copy_page(char *to, const char *from, const char *next)
{
    (void)next;
    memcpy(to, from, PAGE);
}

static int streams(const char *to)
{
    (void)to;
    return 1;
}

static void finish(void)
{
}
#endif

void copy_frames(char *to, const int64_t *to_rows, const char *from, const int64_t *from_rows, int64_t count)
{
    if (!streams(to)) {
        for (int64_t i = 0; i < count; i++)
            memcpy(to + to_rows[i] * PAGE, from + from_rows[i] * PAGE, PAGE);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        const char *next = from + from_rows[i + 1 < count ? i + 1 : i] * PAGE;
        copy_page(to + to_rows[i] * PAGE, from + from_rows[i] * PAGE, next);
    }
    finish();
}
