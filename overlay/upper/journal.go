package upper

import (
	"fmt"
	"os"
)

// Journal is the file beside a layer that is there while its changes are taken
// over to the host, and after that was killed.
func (l *Layer) Journal(dir string) string { return Path(dir, l.Upper+".journal") }

// Applied says that the overlay in dir may be used: nothing was interrupted while
// its changes were taken over to the host. The caller holds the lock.
func Applied(dir string, r *Record) error {
	for i := range r.Layers {
		if _, err := os.Lstat(r.Layers[i].Journal(dir)); err == nil {
			return fmt.Errorf("taking the changes of %s over to %s was interrupted; sbx apply --abort %s puts the host's files in order", r.Name, r.Layers[i].Lower[0], r.Name)
		}
	}
	return nil
}
