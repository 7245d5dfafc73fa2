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
	char path[] = "/tmp/kv.XXXXXX", key[16];
	int i, fd = mkstemp(path);
	struct kv *kv;

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
