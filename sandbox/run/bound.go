package run

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-sandbox/sbx/overlay/upper"
)

// bound looks, again and again, how much the layers on disk take: there is no
// quota that an ordinary user could set. Whoever is over it is killed, since
// asking would give more time to write.
type bound struct {
	s      *sandboxed
	timer  int // timerfd_create(2)
	layers []boundLayer
}

type boundLayer struct {
	dir, target string
	size        int64
}

// lookEvery is how often, unless a look itself takes long: then it takes a
// twentieth of the time at most.
const lookEvery = time.Second

// boundLayers has the sandbox's layers looked at, if any has a bound.
func (s *sandboxed) boundLayers() (*bound, error) {
	b, p := &bound{s: s}, s.plan
	for i := range p.Mounts {
		if m := &p.Mounts[i]; m.Upper != "" && m.Size > 0 {
			b.layers = append(b.layers, boundLayer{upper.Path(p.Overlay.Path(), m.Upper), m.Target, m.Size})
		}
	}
	if rt := &p.Root; rt.Upper != "" && rt.Size > 0 {
		b.layers = append(b.layers, boundLayer{upper.Path(p.Overlay.Path(), rt.Upper), "the root", rt.Size})
	}
	if len(b.layers) == 0 {
		return nil, nil
	}
	var err error
	if b.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("looking at the size of changes: %w", err)
	}
	if err := b.again(lookEvery); err != nil {
		b.close()
		return nil, fmt.Errorf("looking at the size of changes: %w", err)
	}
	s.others = append(s.others, &other{fd: b.timer, take: b.look})
	return b, nil
}

func (b *bound) again(after time.Duration) error {
	return unix.TimerfdSettime(b.timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(after))}, nil)
}

// look kills the sandbox if a layer is over its bound. In a layer of many ids
// there may be directories that sbx can't look into; what is in those is not
// counted.
func (b *bound) look() error {
	var n [8]byte
	_, _ = unix.Read(b.timer, n[:])
	start := time.Now()
	for _, l := range b.layers {
		if got, _, _ := upper.Size(l.dir); got > l.size {
			b.s.over = fmt.Sprintf("the changes to %s take %d bytes on disk, %d are allowed", l.target, got, l.size)
			b.s.send(unix.SIGKILL)
			return nil
		}
	}
	return b.again(max(lookEvery, 20*time.Since(start)))
}

func (b *bound) close() {
	if b != nil {
		unix.Close(b.timer)
	}
}
