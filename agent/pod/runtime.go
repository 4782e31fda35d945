package pod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	shmMount = "/dev/shm"
	// shmSize is what Docker and containerd give a container, in bytes.
	shmSize = 64 << 20
	// hierarchies is where the cgroup file systems are mounted.
	hierarchies = "/sys/fs/cgroup"
)

// ErrNotFound says that there is no such pod here.
var ErrNotFound = errors.New("no such pod on this node")

// Config says where pods live.
type Config struct {
	StateDir     string // survives a reboot: bundles, logs, exit codes
	RunDir       string // doesn't: runc's state, process ids, shared memory
	CgroupParent string // cgroup of all pods, from the root of the hierarchies, e.g. /drover
	Runc, Conmon string // programs; found in PATH when empty
	Log          *slog.Logger
}

// Runtime runs the pods of this node. Its methods may be called concurrently, for one pod one at a time.
type Runtime struct {
	config       Config
	runc, conmon string
}

// Spec is a pod to be run here.
type Spec struct {
	UID      string    // the container's id: letters, digits, - and _
	Name     string    // the pod's name
	Manifest *Manifest // what it runs
	Root     string    // its root file system, mounted and writable
	NetNS    string    // its network namespace, as a file
	Hostname string    // the manifest's when empty
}

// Open finds the runtime's programs and makes its directories. Pods that run already are left alone.
func Open(config Config) (*Runtime, error) {
	r := &Runtime{config: config, runc: config.Runc, conmon: config.Conmon}
	for name, path := range map[string]*string{"runc": &r.runc, "conmon": &r.conmon} {
		if *path != "" {
			continue
		}
		found, err := exec.LookPath(name)
		if err != nil {
			return nil, fmt.Errorf("finding %s: %w; run `drover doctor`", name, err)
		}
		*path = found
	}
	if !filepath.IsAbs(config.StateDir) || !filepath.IsAbs(config.RunDir) || !filepath.IsAbs(config.CgroupParent) {
		return nil, errors.New("opening the pod runtime: state directory, run directory and cgroup parent must be absolute paths")
	}
	for _, dir := range []string{r.bundles(), r.exits(), r.runcRoot(), filepath.Join(config.RunDir, "pods")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("opening the pod runtime: %w", err)
		}
	}
	return r, nil
}

func (r *Runtime) bundles() string  { return filepath.Join(r.config.StateDir, "pods") }
func (r *Runtime) exits() string    { return filepath.Join(r.config.StateDir, "exits") }
func (r *Runtime) runcRoot() string { return filepath.Join(r.config.RunDir, "runc") }

func (r *Runtime) cgroup(uid string) string { return filepath.Join(r.config.CgroupParent, uid) }

// paths are the places of one pod.
type paths struct{ bundle, run, exit, runc string }

func (r *Runtime) paths(uid string) paths {
	return paths{
		bundle: filepath.Join(r.bundles(), uid),
		run:    filepath.Join(r.config.RunDir, "pods", uid),
		exit:   filepath.Join(r.exits(), uid),
		runc:   filepath.Join(r.runcRoot(), uid),
	}
}

func (p paths) spec() string       { return filepath.Join(p.bundle, "spec.json") }
func (p paths) config() string     { return filepath.Join(p.bundle, "config.json") }
func (p paths) log() string        { return filepath.Join(p.bundle, "log") }
func (p paths) gate() string       { return filepath.Join(p.bundle, "gate.sh") }
func (p paths) criuConfig() string { return filepath.Join(p.run, "criu.conf") }
func (p paths) pid() string        { return filepath.Join(p.run, "pid") }
func (p paths) conmonPid() string  { return filepath.Join(p.run, "conmon.pid") }
func (p paths) runcLog() string    { return filepath.Join(p.run, "runc.log") }
func (p paths) shm() string        { return filepath.Join(p.run, "shm") }
func (p paths) runcState() string  { return filepath.Join(p.runc, "state.json") }
func (p paths) criuRoot() string   { return filepath.Join(p.runc, "criu-root") }

// Create writes the pod's bundle and makes what its container needs; nothing runs yet. Done again it replaces the bundle.
func (r *Runtime) Create(_ context.Context, s Spec) error {
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`).MatchString(s.UID) {
		return fmt.Errorf("creating pod %s: %q can't be a container's id", s.Name, s.UID)
	}
	if s.Hostname == "" {
		s.Hostname = s.Manifest.Hostname()
	}
	p := r.paths(s.UID)
	for _, dir := range []string{p.bundle, p.run, p.shm()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("creating pod %s: %w", s.Name, err)
		}
	}
	mounted, err := isMount(p.shm())
	if err == nil && !mounted {
		err = unix.Mount("shm", p.shm(), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, fmt.Sprintf("mode=1777,size=%d", shmSize))
	}
	if err != nil {
		return fmt.Errorf("creating the shared memory of pod %s: %w", s.Name, err)
	}
	if err := writeJSON(p.config(), r.bundle(s)); err != nil {
		return fmt.Errorf("creating pod %s: %w", s.Name, err)
	}
	if err := writeJSON(p.spec(), s); err != nil { // last: with it the pod exists
		return fmt.Errorf("creating pod %s: %w", s.Name, err)
	}
	return nil
}

// spec reads what Create was given.
func (r *Runtime) spec(uid string) (Spec, error) {
	var s Spec
	data, err := os.ReadFile(r.paths(uid).spec())
	if errors.Is(err, os.ErrNotExist) {
		return s, fmt.Errorf("%w: %s", ErrNotFound, uid)
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return s, fmt.Errorf("reading pod %s: %w", uid, err)
	}
	return s, nil
}

// Start runs the pod from its beginning and returns when its first process runs. A pod that has ended may be started again;
// one that runs is left alone.
func (r *Runtime) Start(ctx context.Context, uid string) error {
	status, err := r.Status(uid)
	if err != nil {
		return err
	}
	if status.Phase == Running || status.Phase == Frozen {
		return nil
	}
	if err := r.discard(ctx, uid); err != nil {
		return fmt.Errorf("starting pod %s: %w", status.Name, err)
	}
	if err := os.Remove(r.paths(uid).exit); err != nil && !errors.Is(err, os.ErrNotExist) { // of an earlier run
		return fmt.Errorf("starting pod %s: %w", status.Name, err)
	}
	if err := r.monitor(ctx, uid); err != nil {
		return fmt.Errorf("starting pod %s: %w", status.Name, err)
	}
	if err := r.run(ctx, "start", uid); err != nil {
		return errors.Join(fmt.Errorf("starting pod %s: %w", status.Name, err), r.discard(ctx, uid))
	}
	return nil
}

// run calls runc, which must come to an end soon.
func (r *Runtime) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, r.runc, append([]string{"--root", r.runcRoot()}, args...)...)
	cmd.Env = environment()
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("runc %s: %w: %s", args[0], err, lastLine(string(out)))
	}
	return nil
}

// environment is the agent's without what is meant for the agent alone: whoever holds NOTIFY_SOCKET speaks to systemd in
// the agent's name, and `runc` waits for the container to do so.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES":
		default:
			env = append(env, v)
		}
	}
	return env
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

func isMount(path string) (bool, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st); err != nil {
		return false, err
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}
