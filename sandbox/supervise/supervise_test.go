package supervise

import "testing"

// TestOutOfMemory: kills are told of one by one, thousands of them not, and at the end
// none is missing.
func TestOutOfMemory(t *testing.T) {
	var s Supervisor // without a record nothing is written
	told := 0
	for kills := int64(1); kills <= 100000; kills++ {
		was := s.oomKills
		s.outOfMemory(kills, false)
		switch {
		case s.oomKills != was:
			told++
		case kills <= 20:
			t.Errorf("kill %d is not told of", kills)
		}
	}
	if told > 80 || s.oomKills < 75000 || !s.rec.OOMKilled {
		t.Errorf("told %d times, last of %d", told, s.oomKills)
	}
	if s.outOfMemory(100000, true); s.oomKills != 100000 {
		t.Errorf("at the end %d are known", s.oomKills)
	}
}
