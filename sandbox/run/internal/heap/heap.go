// Package heap maps the first of the Go heap in one call, not page by page as it
// is first written: a start of sbx writes nearly all of it, and a fault costs
// several times what the kernel takes to clear a page.
//
// Like firstlimit of sandbox/host it imports nothing, so that it is initialised
// before the packages whose initialisation writes there.
package heap

// size is half of what a run of a small profile writes from here on, in bytes. More
// saved no time, and what an idle sandbox never uses counts as its memory.
const size = 512 << 10

// object is of a size that nothing before asked for, so that it begins a span: the
// first that the heap gives next. It is a variable, or the linker would place the object.
var object = 1024

var _ = populate(make([]byte, object), size)

// populate has the n bytes after object mapped, madvise(2) with
// MADV_POPULATE_WRITE of Linux 5.14. Where there are fewer, or on an older kernel,
// what it did not do is left to faults.
func populate(object []byte, n uintptr) (errno uintptr)
