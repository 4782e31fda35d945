// Package durable writes small files so that a loss of power leaves the old one or the new one, and never takes back
// one whose writing has returned.
//
// On Linux a file's content is on disk once fsync(2) of the file has returned, and its name once fsync of the
// directory has: ext4 often does both at once, other file systems don't, and none promises it.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Draft is the suffix of a file that WriteFile has not put in its place yet. After a crash one may be left; the next
// WriteFile of that name replaces it.
const Draft = ".new"

// WriteFile replaces the file at path, or makes it. Who reads path finds the old content or all of the new, whenever
// that is; when WriteFile has returned nil, a loss of power does not bring the old one back. Two at once of the same
// path are the caller's to exclude.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	draft := path + Draft
	if err := os.Remove(draft); err != nil && !errors.Is(err, os.ErrNotExist) { // its mode may be another
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := Create(draft, data, mode); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := Rename(draft, path); err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(draft))
	}
	return nil
}

// Create makes a file that must not exist, and leaves none if it fails. Its content is durable; its name is only once its
// directory has been synced, as Rename does.
func Create(path string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// Rename is os.Rename whose outcome lasts. What is renamed must have been synced before. If only the syncing fails
// the error says so, and the new name is there, but may be lost.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	if err := SyncDir(filepath.Dir(to)); err != nil {
		return err
	}
	if filepath.Dir(from) != filepath.Dir(to) {
		return SyncDir(filepath.Dir(from))
	}
	return nil
}

// MkdirAll is os.MkdirAll whose outcome lasts, for each directory that it makes.
func MkdirAll(dir string, mode os.FileMode) error {
	var made []string
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); err == nil || at == filepath.Dir(at) {
			break
		}
		made = append(made, at)
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return err
	}
	for i := len(made) - 1; i >= 0; i-- { // those that hold others first
		if err := SyncDir(filepath.Dir(made[i])); err != nil {
			return err
		}
	}
	return nil
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("syncing directory %s: %w", dir, err)
	}
	return nil
}
