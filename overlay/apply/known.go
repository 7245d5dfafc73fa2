package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/sbx-sandbox/sbx/overlay/beneath"
)

// known are the files of the host's that apply itself wrote or put back since the
// sandbox started: their change times say nothing about anybody else.
type known map[string]seen

type seen struct {
	Ino   uint64       `json:"ino"`
	Ctime beneath.Time `json:"ctime"`
}

// has reports whether the file at a path is still what apply left there.
func (k known) has(path string, i *beneath.Info) bool {
	s, ok := k[path]
	return ok && s.Ino == i.Ino && s.Ctime == i.Ctime
}

// remembered is a known file on disk.
type remembered struct {
	Path []byte `json:"path"`
	seen
}

// maxKnown bounds what is read, in bytes.
const maxKnown = 256 << 20

func loadKnown(file string) (known, error) {
	text, err := readOwn(file, maxKnown)
	if errors.Is(err, os.ErrNotExist) {
		return known{}, nil
	}
	if err != nil {
		return nil, err
	}
	var list []remembered
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	k := known{}
	for _, r := range list {
		k[string(r.Path)] = r.seen
	}
	return k, nil
}

// save writes k in place of what the file held.
func (k known) save(file string) error {
	if len(k) == 0 {
		return remove(file)
	}
	list := make([]remembered, 0, len(k))
	for p, s := range k {
		list = append(list, remembered{[]byte(p), s})
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return writeOwn(file, text)
}
