package state

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func open(t *testing.T) *Store {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	s, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func add(t *testing.T, s *Store, r Record) Record {
	t.Helper()
	if err := s.New(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

// dead is a process that has ended.
func dead(t *testing.T) Process {
	t.Helper()
	c := exec.Command("sleep", "60")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := Look(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Process.Kill()
	_ = c.Wait()
	return p
}

func TestNewAndFind(t *testing.T) {
	s := open(t)
	a := add(t, s, Record{Name: "web", Status: Running, Profile: "build", Command: []string{"true"}})
	b := add(t, s, Record{Status: Running, Profile: "my own/profile"})
	if !ValidID(a.ID) || b.Name != "run-"+b.ID[:6] || CheckName(b.Name) != nil {
		t.Fatalf("ids and names: %+v, %+v", a, b)
	}
	for _, word := range []string{"web", a.ID, a.ID[:11]} {
		if r, err := s.Find(word); err != nil || r.ID != a.ID {
			t.Errorf("Find(%q) = %s, %v", word, r.ID, err)
		}
	}
	if r, err := s.Find(b.Name); err != nil || r.ID != b.ID {
		t.Errorf("Find(%q) = %s, %v", b.Name, r.ID, err)
	}
	for _, word := range []string{"", "webb", "we", "../" + a.ID, "A" + a.ID[1:], "zzzzzzzzzzzz"} {
		var none *NotFoundError
		if r, err := s.Find(word); !errors.As(err, &none) {
			t.Errorf("Find(%q) = %s, %v", word, r.ID, err)
		}
	}
	list, err := s.List()
	if err != nil || len(list) != 2 || list[0].ID != b.ID {
		t.Errorf("List: %v, %v", list, err)
	}
	if err := s.Remove(&a); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(s.Path(), "names", "web")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the name is still there: %v", err)
	}
	add(t, s, Record{Name: "web", Status: Running})
}

func TestPrefix(t *testing.T) {
	s := open(t)
	for _, id := range []string{"aaaa00000000", "aaaa00000001", "bbbb00000000"} {
		add(t, s, Record{ID: id, Status: Running})
	}
	var many *AmbiguousError
	if _, err := s.Find("aaaa"); !errors.As(err, &many) || len(many.IDs) != 2 {
		t.Errorf("an ambiguous prefix: %v", err)
	}
	if r, err := s.Find("b"); err != nil || r.ID != "bbbb00000000" {
		t.Errorf("a prefix: %s, %v", r.ID, err)
	}
	// An exact name is stronger than a prefix.
	add(t, s, Record{Name: "bbbb", ID: "cccc00000000", Status: Running})
	if r, err := s.Find("bbbb"); err != nil || r.ID != "cccc00000000" {
		t.Errorf("a name: %s, %v", r.ID, err)
	}
}

func TestOneName(t *testing.T) {
	s := open(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won, taken := 0, 0
	for range 50 {
		wg.Go(func() {
			err := s.New(&Record{Name: "one", Status: Running})
			var e *TakenError
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case errors.As(err, &e):
				taken++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 || taken != 49 {
		t.Errorf("%d have the name, %d were told that it is taken", won, taken)
	}
	if list, err := s.List(); err != nil || len(list) != 1 {
		t.Errorf("left: %v, %v", list, err)
	}
}

func TestDeadSupervisor(t *testing.T) {
	s := open(t)
	gone := dead(t)
	kill := func(r Record) {
		r.Supervisor = gone
		if err := s.Save(&r); err != nil {
			t.Fatal(err)
		}
	}
	a := add(t, s, Record{Name: "kept", Keep: true, Status: Running})
	b := add(t, s, Record{Name: "temporary", Status: Running})
	kill(a)
	kill(b)
	// Its name is free at once, even if nobody has looked.
	add(t, s, Record{Name: "temporary", Status: Running})
	r, err := s.Find("kept")
	if err != nil || r.Status != Exited || r.ExitCode != 137 || r.Error == "" {
		t.Errorf("a record to keep: %+v, %v", r, err)
	}
	if err := s.New(&Record{Name: "kept", Status: Running}); err == nil {
		t.Error("the name of a record that is kept was given away")
	}
	if _, err := s.Load(b.ID); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a record not to keep: %v", err)
	}
	if _, err := os.Lstat(Dir(b.ID)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its directory: %v", err)
	}
}

// A number that another process has now, another boot, another PID namespace.
func TestForged(t *testing.T) {
	s := open(t)
	for _, c := range []struct {
		name  string
		forge func(*Record)
		want  Status
	}{
		{"as it is", func(*Record) {}, Running},
		{"reused pid", func(r *Record) { r.Supervisor.Start++ }, Exited},
		{"pid of init", func(r *Record) { r.Supervisor.PID = 1 }, Exited},
		{"no pid", func(r *Record) { r.Supervisor.PID = 0 }, Exited},
		{"negative pid", func(r *Record) { r.Supervisor.PID = -1 }, Exited},
		{"other boot", func(r *Record) { r.Boot = "00000000-0000-0000-0000-000000000000" }, Exited},
		{"other PID namespace", func(r *Record) { r.PIDNS++; r.Supervisor.PID = 1 }, Running},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := add(t, s, Record{Keep: true, Status: Running})
			c.forge(&r)
			if err := s.Save(&r); err != nil {
				t.Fatal(err)
			}
			got, err := s.Load(r.ID)
			if err != nil || got.Status != c.want {
				t.Errorf("%s, %v; want %s", got.Status, err, c.want)
			}
			if fd, err := r.Supervisor.Open(); (err == nil) != (c.name == "as it is" || c.name == "other boot") {
				t.Errorf("Open gives %d, %v", fd, err)
			}
		})
	}
}

func TestBadRecords(t *testing.T) {
	s := open(t)
	good := add(t, s, Record{Status: Running})
	for _, text := range []string{"", "{", "null", "[]", `{"version":1}`, `{"version":2,"id":"` + good.ID + `"}`,
		`{"version":1,"id":"bbbbbbbbbbbb"}`, strings.Repeat("[", 1<<16)} {
		if err := s.WriteFile(good.ID, recordFile, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Load(good.ID); err == nil {
			t.Errorf("%.40q was taken for %+v", text, r)
		}
	}
	other := add(t, s, Record{Status: Running})
	list, err := s.List()
	if len(list) != 1 || list[0].ID != other.ID || err == nil {
		t.Errorf("beside a bad one: %v, %v", list, err)
	}
}

// Others may have made the directory, or a link in its place.
func TestPrivate(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	elsewhere := t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(dir, "sbx")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(); err == nil || !strings.Contains(err.Error(), "mode 0700") {
		t.Errorf("a link: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "sbx")); err != nil {
		t.Fatal(err)
	}
	if s, err := OpenExisting(); s != nil || err != nil {
		t.Errorf("none: %v, %v", s, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "sbx"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(); err == nil {
		t.Error("one that others can read was taken")
	}
	if err := os.Chmod(filepath.Join(dir, "sbx"), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	r := add(t, s, Record{Status: Running})
	// The sandbox's own directory, too.
	if err := os.Rename(Dir(r.ID), filepath.Join(elsewhere, "x")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(elsewhere, "x"), Dir(r.ID)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(r.ID); err == nil {
		t.Error("a link in place of a sandbox's directory was followed")
	}
}

func TestRename(t *testing.T) {
	s := open(t)
	a := add(t, s, Record{Name: "xa", Status: Running})
	add(t, s, Record{Name: "xb", Status: Running})
	for _, bad := range []string{"", "xa", "xb", "-x", "x/y", "..", "é", strings.Repeat("x", 65), "x\n"} {
		if err := s.Rename(&a, bad); err == nil || a.Name != "xa" {
			t.Errorf("Rename to %q: %v, %s", bad, err, a.Name)
		}
	}
	if err := s.Rename(&a, "xc"); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Find("xc"); err != nil || r.ID != a.ID {
		t.Errorf("by its new name: %v", err)
	}
	if _, err := s.Find("xa"); err == nil {
		t.Error("the old name is still known")
	}
}

// A name that one sandbox is given while another begins with it goes to one of them.
func TestRenameRace(t *testing.T) {
	s := open(t)
	runs := 400
	if testing.Short() {
		runs = 100
	}
	for i := range runs {
		a := add(t, s, Record{Status: Running})
		b := Record{Name: fmt.Sprintf("n%d", i), Status: Running}
		var renamed, made error
		var wg sync.WaitGroup
		start := make(chan struct{})
		wg.Go(func() { <-start; renamed = s.Rename(&a, fmt.Sprintf("n%d", i)) })
		wg.Go(func() { <-start; made = s.New(&b) })
		close(start)
		wg.Wait()
		if (renamed == nil) == (made == nil) {
			t.Fatalf("run %d: renaming: %v, making: %v", i, renamed, made)
		}
	}
}

// Of several who find what a dead supervisor left, one puts it right, and all get
// the same of it.
func TestBuriedOnce(t *testing.T) {
	s := open(t)
	gone := dead(t)
	const sandboxes = 100
	for i := range sandboxes {
		r := add(t, s, Record{Keep: i%2 == 0, Name: fmt.Sprintf("n%d", i), Status: Running, Started: time.Now()})
		r.Supervisor = gone
		if err := s.Save(&r); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				got, err := s.Load(r.ID)
				if r.Keep && (err != nil || got.Status != Exited) || !r.Keep && !errors.Is(err, os.ErrNotExist) {
					t.Errorf("keep %v: %s, %v", r.Keep, got.Status, err)
				}
			})
		}
		wg.Wait()
	}
	events, err := s.Events(false)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	seen := map[Action]int{}
	for {
		e, err := events.Next()
		if err != nil {
			break
		}
		seen[e.Action]++
	}
	if seen[ActionDie] != sandboxes || seen[ActionRemove] != sandboxes/2 {
		t.Errorf("of %d sandboxes, half of them kept, there are the events %v", sandboxes, seen)
	}
}

// What a writer that was killed left does not keep a directory from going.
func TestHalfWritten(t *testing.T) {
	s := open(t)
	r := add(t, s, Record{Status: Running})
	if err := os.WriteFile(filepath.Join(Dir(r.ID), pendingFile+".abcdefabcdef"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(&r); err != nil {
		t.Error(err)
	}
}

// A directory whose maker died before it wrote a record goes after a while.
func TestUnborn(t *testing.T) {
	s := open(t)
	id := "abcdefabcdef"
	if err := os.Mkdir(Dir(id), 0o700); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(); len(list) != 0 || err != nil {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := os.Lstat(Dir(id)); err != nil {
		t.Errorf("a young one: %v", err)
	}
	old := time.Now().Add(-time.Minute)
	if err := os.Chtimes(Dir(id), old, old); err != nil {
		t.Fatal(err)
	}
	if _, err := s.List(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(Dir(id)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an old one: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"id":"0123456789ab","status":"running","supervisor":{"pid":1,"start":2}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, err := parse(text); err == nil && (!ValidID(r.ID) || r.Version > Version) {
			t.Errorf("%q gives %+v", text, r)
		}
	})
}

func FuzzStartTime(f *testing.F) {
	f.Add([]byte("1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 77 1 2"))
	f.Fuzz(func(t *testing.T, text []byte) { _, _ = startTime(text) })
}

// TestEvents: they are read in order, also across the turn of files, and a line
// that is cut is passed over.
func TestEvents(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	s, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	later, err := s.Events(true)
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close()
	r := &Record{ID: "0123456789ab", Name: "n", Profile: "p"}
	s.Note(r, ActionStart)
	f, err := os.OpenFile(s.eventsPath(), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, `{"action":"di`) // no room for the rest
	f.Close()
	const many = 3000
	long := strings.Repeat("x", 400)
	for i := range many {
		s.Note(r, ActionExec, "n", fmt.Sprint(i), "long", long)
	}
	if _, err := os.Lstat(s.eventsPath() + ".1"); err != nil {
		t.Fatal("the files were not turned: ", err)
	}
	all, err := s.Events(false)
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	for name, e := range map[string]*Events{"all": all, "later": later} {
		first, err := e.Next()
		if err != nil || first.Action != ActionStart || first.Name != "n" {
			t.Fatalf("%s: %+v, %v", name, first, err)
		}
		for i := range many {
			if v, err := e.Next(); err != nil || v.Attributes["n"] != fmt.Sprint(i) {
				t.Fatalf("%s: %+v, %v; want %d", name, v, err, i)
			}
		}
		if v, err := e.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
	s.Note(r, ActionDie)
	if err := later.Wait(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	if v, err := later.Next(); err != nil || v.Action != ActionDie {
		t.Errorf("%+v, %v", v, err)
	}
}
