package broken

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build builds the package at path, from the sources of the module in root, with the break in it, as the program out. What else it
// needs it writes to dir, which the caller removes.
func (b Break) Build(ctx context.Context, root, dir, path, out string) error {
	root, err := filepath.Abs(root) // as an overlay wants it
	if err != nil {
		return fmt.Errorf("breaking %q: %w", b.Rule, err)
	}
	replace := map[string]string{}
	for _, e := range b.Edits {
		text, err := e.apply(root, replace)
		if err != nil {
			return fmt.Errorf("breaking %q: %w", b.Rule, err)
		}
		edited := filepath.Join(dir, strings.ReplaceAll(e.File, "/", "-"))
		if err := os.WriteFile(edited, []byte(text), 0o600); err != nil {
			return fmt.Errorf("breaking %q: %w", b.Rule, err)
		}
		replace[filepath.Join(root, filepath.FromSlash(e.File))] = edited
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return fmt.Errorf("breaking %q: %w", b.Rule, err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return fmt.Errorf("breaking %q: %w", b.Rule, err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-overlay", list, "-o", out, path)
	build.Dir = root
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("breaking %q: the broken sources don't build: %w\n%s", b.Rule, err, text)
	}
	return nil
}

// apply returns the text of the file as it is after the edit.
func (e Edit) apply(root string, edited map[string]string) (string, error) {
	name := filepath.Join(root, filepath.FromSlash(e.File))
	if before, ok := edited[name]; ok {
		name = before
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), e.Old); n != 1 {
		return "", fmt.Errorf("%s has this text %d times, and must have it once; has it been rewritten? Then change test/sim/broken/breaks.go:\n%s", e.File, n, e.Old)
	}
	return strings.Replace(string(text), e.Old, e.New, 1), nil
}
