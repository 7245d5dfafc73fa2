package image

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Save writes records and index so that they say the same: whoever reads while
// it runs sees the index of before or of after. Records of images that are gone
// are removed. The caller holds the lock of the directory.
func Save(dir string, records []*Record) error {
	x := Index{Version: Version, Names: map[string]string{}, IDs: []string{}, Stamp: Stamp(dir)}
	if err := os.MkdirAll(filepath.Join(dir, recordsDir), 0o700); err != nil {
		return err
	}
	for _, r := range records {
		x.IDs = append(x.IDs, r.ID)
		for _, n := range r.Names {
			x.Names[n] = r.ID
		}
		if err := writeIfNew(RecordPath(dir, r.ID), r); err != nil {
			return err
		}
		f, err := os.OpenFile(LockPath(dir, r.ID), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	slices.Sort(x.IDs)
	if err := writeIfNew(filepath.Join(dir, indexFile), x); err != nil {
		return err
	}
	names, err := os.ReadDir(filepath.Join(dir, recordsDir))
	if err != nil {
		return err
	}
	for _, n := range names {
		id, ok := strings.CutSuffix(n.Name(), ".json")
		if !ok {
			id, ok = strings.CutSuffix(n.Name(), ".lock")
		}
		if !ok || !slices.Contains(x.IDs, id) {
			if err := os.Remove(filepath.Join(dir, recordsDir, n.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// writeIfNew writes v as JSON, by rename, unless the file holds it already.
func writeIfNew(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(path); err == nil && string(old) == string(text) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
