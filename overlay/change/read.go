package change

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
)

// ErrLarge is that a file is longer than what its reader wanted to have.
var ErrLarge = errors.New("it is too long to be shown")

// Read is the content of a regular file below the directory root, as it was
// looked at, of at most so many bytes.
func Read(root int, rel string, i *beneath.Info, most int64) ([]byte, error) {
	if i.Size > most {
		return nil, ErrLarge
	}
	fd, err := openAt(root, rel, i)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: rel, Err: err}
	}
	defer unix.Close(fd)
	text := make([]byte, i.Size)
	if err := full(fd, text, 0); err != nil {
		return nil, &os.PathError{Op: "read", Path: rel, Err: err}
	}
	return text, nil
}

// ReadLink is where the link rel below the directory root leads.
func ReadLink(root int, rel string) (string, error) {
	dir, name, err := beneath.Parent(root, rel)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: rel, Err: err}
	}
	defer unix.Close(dir)
	return beneath.Readlink(dir, name)
}

// named adds the path to an error.
func named(rel string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: "read", Path: rel, Err: err}
}
