/* Data as stamps: word i of a page with stamp s is s * (K + 2 i), so that 0 is the zero page. */
#include "agent.h"

#define K 0x9E3779B97F4A7C15ull
#define INVERSE 0xF1DE83E19937733Dull /* K * INVERSE = 1 modulo 2^64 */
#define STAMPS (1ull << 48)

uint64_t factor(unsigned word)
{
	return K + 2 * (uint64_t)word;
}

void fill(uint64_t *page, uint64_t stamp)
{
	volatile uint64_t *to = page;
	uint64_t value = stamp * K;

	for (unsigned i = 0; i < WORDS; i++, value += 2 * stamp)
		to[i] = value;
}

/* The stamp of a page, or -1 where its words fit none. */
int64_t stamp_of(const uint64_t *page)
{
	uint64_t stamp = page[0] * INVERSE, value = page[0];

	if (stamp >= STAMPS)
		return -1;
	for (unsigned i = 0; i < WORDS; i++, value += 2 * stamp)
		if (page[i] != value)
			return -1;
	return (int64_t)stamp;
}
