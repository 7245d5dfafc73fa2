#define _GNU_SOURCE
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "kv.h"

int main(void)
{
	char path[4096], key[16];
	const char *tmp = getenv("TMPDIR");
	int i, fd;
	struct kv *kv;

	snprintf(path, sizeof path, "%s/kv.XXXXXX", tmp ? tmp : "/tmp");
	fd = mkstemp(path);
	assert(fd >= 0 && close(fd) == 0);
	kv = kv_open(path);
	assert(kv && kv_count(kv) == 0);
	for (i = 0; i < 100; i++) {
		snprintf(key, sizeof key, "key%d", i);
		assert(kv_set(kv, key, "one") == 0);
	}
	assert(kv_set(kv, "key7", "two") == 0 && kv_close(kv) == 0);
	kv = kv_open(path);
	assert(kv && kv_count(kv) == 100 && strcmp(kv_get(kv, "key7"), "two") == 0);
	assert(!kv_get(kv, "key100") && kv_close(kv) == 0 && unlink(path) == 0);
	return 0;
}
