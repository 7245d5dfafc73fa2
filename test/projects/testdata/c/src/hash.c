#include "config.h"
#include "kv.h"

/* FNV-1a, as wide as a long is. */
unsigned long kv_hash(const char *text)
{
#if SIZEOF_LONG == 8
	unsigned long h = 14695981039346656037ul, prime = 1099511628211ul;
#else
	unsigned long h = 2166136261ul, prime = 16777619ul;
#endif
	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * prime;
	return h;
}
