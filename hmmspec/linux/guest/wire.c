/*
 * Frames: five little-endian words (magic, length, sequence, kind, CRC-32) and a payload.
 *
 * NOTE(frames): the CRC is over length, sequence, kind and payload.  Who reads something that is no frame goes on at the
 * next byte, until a frame begins; of a frame with a wrong CRC the keeper tells the sender, who sends it again with the
 * same sequence number.  A number that was answered before gets the same answer once more, and nothing is done twice.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent.h"

#define MAGIC 0x314d4d48u /* "HMM1" */
#define HEADER 20u
#define LONGEST (64u << 20)

static char *in, *out;
static size_t in_used, out_used;
static uint32_t answered, answer_kind;
static bool have_answer;

static uint32_t crc32(uint32_t crc, const void *data, size_t bytes)
{
	static uint32_t table[256];
	const unsigned char *p = data;

	if (!table[1])
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t c = i;

			for (int k = 0; k < 8; k++)
				c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
			table[i] = c;
		}
	crc = ~crc;
	while (bytes--)
		crc = table[(crc ^ *p++) & 0xff] ^ (crc >> 8);
	return ~crc;
}

static char *reserve(void)
{
	char *p = mmap(NULL, LONGEST + HEADER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static void put(int port, const char *data, size_t bytes)
{
	while (bytes) {
		ssize_t n = write(port, data, bytes);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			_exit(3);
		if (n <= 0) {
			poll(&(struct pollfd){ .fd = port, .events = POLLOUT }, 1, 100);
			continue;
		}
		data += n;
		bytes -= (size_t)n;
	}
}

/* More bytes; false where the other end is gone. */
static bool more(int port)
{
	for (;;) {
		ssize_t n = read(port, in + in_used, LONGEST + HEADER - in_used);

		if (n > 0) {
			in_used += (size_t)n;
			return true;
		}
		if (n == 0 && on_host)
			return false;
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return false;
		poll(&(struct pollfd){ .fd = port, .events = POLLIN }, 1, 100);
		if (n == 0)
			usleep(2000); /* nobody has opened the host's end yet */
	}
}

static void drop(size_t bytes)
{
	in_used -= bytes;
	memmove(in, in + bytes, in_used);
}

static void send_frame(int port, uint32_t kind, uint32_t sequence, const char *payload, size_t bytes)
{
	uint32_t head[5] = { MAGIC, (uint32_t)bytes, sequence, kind, 0 };

	head[4] = crc32(crc32(0, head + 1, 12), payload, bytes);
	put(port, (const char *)head, HEADER);
	put(port, payload, bytes);
}

/* The next whole frame.  Its payload stays until the next call.  False where the other end is gone. */
bool receive(int port, struct frame *f)
{
	static size_t last;

	if (!in) {
		in = reserve();
		out = reserve();
	}
	drop(last);
	last = 0;
	for (;;) {
		uint32_t head[5];
		const char *at = in_used ? memchr(in, MAGIC & 0xff, in_used) : NULL;

		if (at != in) {
			drop(at ? (size_t)(at - in) : in_used);
			if (!at && !more(port))
				return false;
			continue;
		}
		if (in_used < HEADER) {
			if (!more(port))
				return false;
			continue;
		}
		memcpy(head, in, HEADER);
		if (head[0] != MAGIC || head[1] > LONGEST) {
			drop(1);
			continue;
		}
		while (in_used < HEADER + head[1])
			if (!more(port))
				return false;
		if (crc32(crc32(0, head + 1, 12), in + HEADER, head[1]) != head[4]) {
			send_frame(port, BAD_FRAME, head[2], "", 0);
			drop(1);
			continue;
		}
		*f = (struct frame){ head[3], head[2], head[1], in + HEADER };
		last = HEADER + head[1];
		return true;
	}
}

void answer_begin(const struct frame *f)
{
	have_answer = false;
	answered = f->sequence;
	out_used = 0;
}

void answer_add(const void *data, size_t bytes)
{
	if (out_used + bytes > LONGEST)
		_exit(4);
	memcpy(out + out_used, data, bytes);
	out_used += bytes;
}

void answer_text(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	out_used += (size_t)vsnprintf(out + out_used, LONGEST - out_used, format, args);
	va_end(args);
}

void answer_end(int port, uint32_t kind)
{
	answer_kind = kind;
	have_answer = true;
	send_frame(port, kind, answered, out, out_used);
}

/* Whether this number was answered already; then the answer is sent again. */
bool answer_again(int port, uint32_t sequence)
{
	if (!have_answer || sequence != answered)
		return false;
	send_frame(port, answer_kind, answered, out, out_used);
	return true;
}
