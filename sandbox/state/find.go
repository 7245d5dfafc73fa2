package state

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// NotFoundError is a name or id that no sandbox has.
type NotFoundError struct{ Name string }

func (e *NotFoundError) Error() string {
	if e.Name == "" {
		return "the sandbox's name is empty; sbx ps -a lists them"
	}
	return fmt.Sprintf("no sandbox is called %s; sbx ps -a lists them", e.Name)
}

// AmbiguousError is the beginning of the ids of several sandboxes.
type AmbiguousError struct {
	Prefix string
	IDs    []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%s is the beginning of several ids: %s", e.Prefix, strings.Join(e.IDs, ", "))
}

// Named returns the sandbox that was given a name, without looking at others.
// It is os.ErrNotExist where there is none.
func (s *Store) Named(name string) (Record, error) {
	if s == nil {
		return Record{}, os.ErrNotExist
	}
	if err := CheckName(name); err != nil {
		return Record{}, err
	}
	return s.holder(name)
}

// Exclusive keeps other processes that ask for it waiting, until the returned
// function is called. It is for making what there is to be one of.
func (s *Store) Exclusive() (release func(), err error) {
	return flock(s.dir, unix.O_RDONLY|unix.O_DIRECTORY)
}

// List returns the sandboxes, the newest first: those that have a record, and
// those in the foreground. What can't be read is passed over and said in the
// error, which comes beside the others.
func (s *Store) List() ([]Record, error) {
	list, err := s.records()
	at, err2 := lookHere()
	if err2 == nil {
		var more []Record
		more, err2 = scan(at, list)
		list = append(list, more...)
	}
	slices.SortFunc(list, func(a, b Record) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list, errors.Join(err, err2)
}

// records are the sandboxes that have a record.
func (s *Store) records() ([]Record, error) {
	if s == nil {
		return nil, nil
	}
	at, err := lookHere()
	if err != nil {
		return nil, err
	}
	dir, err := os.Open(s.dir)
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return nil, err
	}
	var list []Record
	var errs []error
	for _, id := range names {
		if !ValidID(id) {
			continue
		}
		r, err := s.load(id, at)
		switch {
		case err == nil:
			list = append(list, r)
		case !errors.Is(err, os.ErrNotExist): // it went while we looked
			errs = append(errs, err)
		}
	}
	return list, errors.Join(errs...)
}

// Find returns the sandbox that a word means: by its whole name, else by its id
// or the beginning of it.
func (s *Store) Find(word string) (Record, error) {
	if s != nil && CheckName(word) == nil {
		if r, err := s.holder(word); err == nil {
			return r, nil
		}
	}
	if s != nil && ValidID(word) {
		r, err := s.Load(word)
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return r, err
		}
	}
	list, err := s.List()
	// A name that nobody gave has no link.
	if i := slices.IndexFunc(list, func(r Record) bool { return r.Name == word }); i >= 0 {
		return list[i], nil
	}
	var found []Record
	for _, r := range list {
		if word != "" && hex(word) && strings.HasPrefix(r.ID, word) {
			found = append(found, r)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		e := &AmbiguousError{Prefix: word}
		for _, r := range found {
			e.IDs = append(e.IDs, r.ID)
		}
		return Record{}, e
	case err != nil: // it may be the one that can't be read
		return Record{}, err
	}
	return Record{}, &NotFoundError{word}
}
