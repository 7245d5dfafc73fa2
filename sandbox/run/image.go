package run

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/sandbox"
)

// holdImage locks the image that is the root, so that nobody removes it while
// the sandbox lives. The lock goes with the descriptor, -1 for none.
func holdImage(root *sandbox.Root) (int, error) {
	if !root.OnImage() {
		return -1, nil
	}
	img := &root.Image
	fail := func(err error) (int, error) {
		return -1, fmt.Errorf("holding the image %s: %w; sbx image ls lists those there are", img.Name, err)
	}
	fd, err := unix.Open(img.Lock, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fail(err)
	}
	// Who removes an image holds it for a moment only, and then the file is gone.
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(fd, unix.LOCK_SH)
	}
	var st unix.Stat_t
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err == nil && st.Nlink == 0 {
		err = errors.New("it was removed just now")
	}
	if err != nil {
		unix.Close(fd)
		return fail(err)
	}
	return fd, nil
}
