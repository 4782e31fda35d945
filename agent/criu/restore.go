package criu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	restoreLog    = "restore.log"  // runc's choice
	restoreMarker = "restore.json" // the options, for OpenRestore
	gateVariable  = "DROVER_GATE"  // tells the gate where the work directory is
	gateFifo      = "verdict"      // FIFO: from us to the gate
	gateBell      = "bell"         // FIFO: from the gate, when it has made one of the files below
	gateRestored  = "restored"     // exists when everything waits for the verdict
	gateResuming  = "resuming"     // exists when the pod may run, from before its first instruction on
	gateResumed   = "resumed"      // exists when the pod runs
)

// maxRestoreLog is the size in bytes from which a log is that of a CRIU that runs in circles, as it does when its images of
// memory pages are too short. It would fill the disk. A log has a line of some 60 bytes for each mapping, file and socket.
const maxRestoreLog = 32 << 20

// RestoreOptions say what is restored, and how its monitor is started. Directories are absolute and exist.
type RestoreOptions struct {
	Images     string            // directory with all images
	Work       string            // directory for the log and the state of the gate; empty
	Gate       string            // file for the gate's script, where programs may be executed (in /run they often may not); in Work when empty
	Command    []string          // starts conmon; the options that make it restore are appended
	Env        []string          // its environment
	MonitorPid string            // file in which conmon's process id is found once Command has ended
	CRIUConfig string            // file of CRIU options that runc passes on; it is written here
	Cgroup     string            // directory of the cgroup in which all of the restore happens
	RuntimeLog string            // where runc complains, a JSON object a line
	Tmpfs      map[string]string // mount points whose content was dumped apart -> the directory outside
	LeaveIPC   bool              // another restore into the same IPC namespace brings its System V objects
}

// Restore is a restore under way. All of it lies in its work directory: whoever opens that has the same restore in hand.
type Restore struct {
	options RestoreOptions
}

// gate is run by CRIU at every stage. It lets all pass but post-restore: there everything has been restored and nothing runs,
// and it waits. It never decides by itself; without a live agent it waits for one. CRIU below 4.2 reads
// its configuration twice and runs what that names as often: the second run answers as the first did.
const gate = `#!/bin/sh
cd "$DROVER_GATE" || exit 1
case "$CRTOOLS_SCRIPT_ACTION" in
post-restore)
	if [ -e verdict-given ]; then exit "$(cat verdict-given)"; fi
	: > restored; echo 1<> bell ;;
pre-resume) : > resuming; exit 0 ;;
post-resume) : > resumed; echo 1<> bell; exit 0 ;;
*) exit 0 ;;
esac
while :; do
	verdict=
	read -r verdict < verdict
	case "$verdict" in
	resume) echo 0 > verdict-given; exit 0 ;;
	cancel) echo 1 > verdict-given; exit 1 ;;
	*) sleep 1 ;;
	esac
done
`

// ErrRan says that a restored pod runs or has run, so that its images are not its state any more.
var ErrRan = errors.New("the pod runs already")

// StartRestore begins a restore and returns while it goes on.
func StartRestore(_ context.Context, o RestoreOptions) (*Restore, error) {
	if o.Gate == "" {
		o.Gate = filepath.Join(o.Work, "gate.sh")
	}
	r := &Restore{options: o}
	if err := r.start(); err != nil {
		return nil, fmt.Errorf("starting the restore: %w", err)
	}
	return r, nil
}

// OpenRestore finds the restore that a process before this one has started in that work directory. Without one the error is
// os.ErrNotExist.
func OpenRestore(work string) (*Restore, error) {
	data, err := os.ReadFile(filepath.Join(work, restoreMarker))
	if err != nil {
		return nil, fmt.Errorf("looking for a restore: %w", err)
	}
	if len(data) == 0 { // whoever wrote it died, and had started nothing yet
		return nil, fmt.Errorf("looking for a restore: %w", os.ErrNotExist)
	}
	r := &Restore{}
	if err := json.Unmarshal(data, &r.options); err != nil {
		return nil, fmt.Errorf("looking for a restore in %s: %w", work, err)
	}
	return r, nil
}

func (r *Restore) start() error {
	o := r.options
	if strings.ContainsAny(o.Gate, " \t\"'\\\n") {
		return fmt.Errorf("CRIU's configuration can't hold the path %q", o.Gate)
	}
	if err := unpackTmpfs(o.Images, o.Tmpfs); err != nil {
		return err
	}
	if err := relativeTimers(o.Images); err != nil {
		return err
	}
	if o.LeaveIPC {
		if err := dropIPC(o.Images); err != nil {
			return err
		}
	}
	// Not all of this can be said to every runc. How the network is locked must not stand here: CRIU takes it from the images
	// (the dump says that nothing is locked), and below 4.2.1 it crashes over that word in this file. runc places CRIU, and with
	// it all that it makes, into the pod's cgroup.
	config := "tcp-established\nfile-locks\nmanage-cgroups=ignore\naction-script " + o.Gate + "\n"
	if err := os.WriteFile(o.CRIUConfig, []byte(config), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(o.Gate, []byte(gate), 0o700); err != nil {
		return err
	}
	for _, fifo := range []string{gateFifo, gateBell} {
		if err := unix.Mkfifo(r.path(fifo), 0o600); err != nil {
			return fmt.Errorf("making %s: %w", r.path(fifo), err)
		}
	}
	marker, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if err := os.WriteFile(r.path(restoreMarker), marker, 0o600); err != nil {
		return err
	}
	args := append([]string{}, o.Command[1:]...)
	args = append(args, "--restore", o.Images,
		// conmon names a work directory too; the last one counts.
		"--runtime-opt=--work-path", "--runtime-opt="+o.Work,
		"--runtime-opt=--tcp-established", "--runtime-opt=--file-locks", "--runtime-opt=--no-subreaper")
	cmd := exec.Command(o.Command[0], args...)
	cmd.Env, cmd.Dir = append(append([]string{}, o.Env...), gateVariable+"="+o.Work), "/"
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(o.Command[0]), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (r *Restore) path(name string) string { return filepath.Join(r.options.Work, name) }

// Restored returns when everything has been restored and waits for Resume or Cancel. An error other than ctx's is the reason
// for which the restore failed; it has to be cancelled then too, for what it has left.
func (r *Restore) Restored(ctx context.Context) error {
	if err := r.await(ctx, gateRestored); err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	return nil
}

// Resume lets the restored pod run and returns when it does. Done again it does nothing.
func (r *Restore) Resume(ctx context.Context) error {
	verdict, err := r.decide("resume")
	if err == nil {
		defer verdict.Close() // a FIFO forgets what was written once nobody holds it
		err = r.await(ctx, gateResumed)
	}
	if err != nil {
		return fmt.Errorf("resuming: %w", err)
	}
	return nil
}

// Cancel ends a restore at whatever point it is, or cleans up after one that failed: nothing that was restored has run, and
// no packet tells of its end. A pod that may run already is left alone, and the error is ErrRan. Done again it does nothing.
// The runtime's own record of the pod is left for the runtime to remove.
func (r *Restore) Cancel(ctx context.Context) error {
	if err := r.cancel(ctx); err != nil {
		return fmt.Errorf("cancelling the restore: %w", err)
	}
	return nil
}

func (r *Restore) cancel(ctx context.Context) error {
	if r.ran() {
		return ErrRan
	}
	if exists(r.path(gateRestored)) { // CRIU can back out by itself, which leaves least
		if verdict, err := r.decide("cancel"); err == nil {
			limit, cancel := context.WithTimeout(ctx, 2*time.Second)
			_ = r.monitorGone(limit)
			cancel()
			verdict.Close()
		}
	}
	if r.ran() { // another verdict was there first
		return ErrRan
	}
	if err := r.slay(ctx); err != nil {
		return err
	}
	if err := r.sweep(); err != nil {
		return err
	}
	if r.ran() { // it began in the midst of that: it is gone, and was more than its images
		return ErrRan
	}
	return nil
}

// ran says whether the pod runs or has run, or may have.
func (r *Restore) ran() bool { return exists(r.path(gateResuming)) || exists(r.path(gateResumed)) }

// decide puts a verdict where the gate finds it.
func (r *Restore) decide(verdict string) (*os.File, error) {
	// Opened for both it neither blocks nor fails when the gate isn't there yet.
	f, err := os.OpenFile(r.path(gateFifo), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteString(verdict + "\n"); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// await waits until the gate has made that file, or the restore has failed.
func (r *Restore) await(ctx context.Context, name string) error {
	// A FIFO, since an inotify instance takes 10 to 20 ms to close. Opened for both it never blocks and never ends.
	bell, err := os.OpenFile(r.path(gateBell), os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer bell.Close()
	monitor, err := r.openMonitor()
	if err != nil {
		return err
	}
	if monitor >= 0 {
		defer unix.Close(monitor)
	}
	rung := make([]byte, 16)
	for {
		ended := monitor < 0 || readable(monitor)
		if exists(r.path(name)) {
			return nil
		}
		if ended {
			return errors.New(r.reason())
		}
		if log, err := os.Stat(r.path(restoreLog)); err == nil && log.Size() > maxRestoreLog {
			return fmt.Errorf("CRIU repeats itself without end: %s", lastLine(r.path(restoreLog)))
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := bell.SetReadDeadline(time.Now().Add(look * time.Millisecond)); err != nil {
			return err
		}
		if _, err := bell.Read(rung); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("waiting for the gate: %w", err)
		}
	}
}

// openMonitor gives a pidfd of conmon, -1 when it has ended.
func (r *Restore) openMonitor() (int, error) {
	var pid int
	data, err := os.ReadFile(r.options.MonitorPid)
	if errors.Is(err, os.ErrNotExist) {
		return -1, nil
	}
	if err == nil {
		_, err = fmt.Sscan(string(data), &pid)
	}
	if err != nil {
		return -1, fmt.Errorf("looking for the monitor: %w", err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("looking for the monitor: %w", err)
	}
	// The id may be another process's by now.
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(line), r.options.Work) {
		unix.Close(fd)
		return -1, nil
	}
	return fd, nil
}

// monitorGone waits until the monitor has ended, or the pod may run.
func (r *Restore) monitorGone(ctx context.Context) error {
	monitor, err := r.openMonitor()
	if err != nil || monitor < 0 {
		return err
	}
	defer unix.Close(monitor)
	for !readable(monitor) && !r.ran() {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(monitor), Events: unix.POLLIN}}, look)
	}
	return nil
}

// reason is why the restore failed.
func (r *Restore) reason() string {
	if reason := DecisiveError(r.path(restoreLog)); reason != "" {
		return reason
	}
	data, _ := os.ReadFile(r.options.RuntimeLog)
	for _, line := range strings.Split(string(data), "\n") {
		var entry struct{ Level, Msg string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Level == "error" {
			return entry.Msg
		}
	}
	return "the pod's monitor ended, and neither CRIU nor runc says why"
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func readable(fd int) bool {
	n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return n > 0
}
