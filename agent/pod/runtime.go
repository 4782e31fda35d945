package pod

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	StateDir     string       // survives a reboot: bundles, logs, exit codes
	RunDir       string       // doesn't: runc's state, process ids, shared memory
	CgroupParent string       // cgroup of all pods, from the root of the hierarchies, e.g. /drover, or for systemd /drover.slice
	CgroupDriver CgroupDriver // Cgroupfs when empty
	Runc, Conmon string       // programs; found in PATH when empty
	Log          *slog.Logger
}

// Runtime runs the pods of this node. Its methods may be called concurrently, for one pod one at a time.
type Runtime struct {
	config       Config
	cgroups      cgroups
	runc, conmon string
}

// Spec is a pod to be run here.
type Spec struct {
	UID        string // names the pod on this node: letters, digits, - and _
	Name       string // the pod's name
	Epoch      uint64 // the pod's when it was made here, or was on its way to here
	Manifest   *Manifest
	NetNS      string            // its network namespace, as a file
	Address    netip.Addr        // its own, for its files and variables
	Hostname   string            // the manifest's when empty
	Containers []Container       // the manifest's, with what they are here; init containers first
	Volumes    map[string]string // directories on this host of volumes on disk, by their names in the pod
}

// Open finds the runtime's programs and makes its directories. Pods that run already are left alone.
func Open(config Config) (*Runtime, error) {
	r := &Runtime{
		config: config, runc: config.Runc, conmon: config.Conmon,
		cgroups: cgroups{driver: cmp.Or(config.CgroupDriver, Cgroupfs), parent: config.CgroupParent},
	}
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
	if !filepath.IsAbs(config.StateDir) || !filepath.IsAbs(config.RunDir) {
		return nil, errors.New("opening the pod runtime: state directory and run directory must be absolute paths")
	}
	if err := r.cgroups.check(); err != nil {
		return nil, fmt.Errorf("opening the pod runtime: %w", err)
	}
	for _, dir := range []string{r.bundles(), r.exits(), r.runcRoot(), filepath.Join(config.RunDir, "pods")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("opening the pod runtime: %w", err)
		}
	}
	if err := r.cgroups.makeMonitors(); err != nil {
		return nil, fmt.Errorf("opening the pod runtime: %w", err)
	}
	return r, nil
}

func (r *Runtime) bundles() string  { return filepath.Join(r.config.StateDir, "pods") }
func (r *Runtime) exits() string    { return filepath.Join(r.config.StateDir, "exits") }
func (r *Runtime) runcRoot() string { return filepath.Join(r.config.RunDir, "runc") }

// Create writes the bundles of the pod's containers and makes what they share; nothing runs yet. Done again it replaces the
// bundles.
func (r *Runtime) Create(_ context.Context, s Spec) error {
	if s.Hostname == "" {
		s.Hostname = s.Manifest.Hostname()
	}
	err := os.RemoveAll(r.pod(s.UID).unsettled())
	if err == nil {
		err = r.create(s, true)
	}
	if err == nil {
		err = r.ownVolumes(s)
	}
	if err != nil {
		return fmt.Errorf("creating pod %s: %w", s.Name, err)
	}
	return nil
}

// create is Create, without limits for a restore.
func (r *Runtime) create(s Spec, limited bool) error {
	for _, c := range s.Containers {
		if id := containerID(s.UID, c.Name); !validID.MatchString(id) || strings.ContainsAny(s.UID, r.cgroups.reserved()) {
			return fmt.Errorf("%q can't be a container's id", id)
		}
	}
	p := r.pod(s.UID)
	for _, dir := range []string{p.bundles, p.run} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := makeNamespaces(p, s.Hostname); err != nil {
		return err
	}
	if err := r.makeMemory(s); err != nil {
		return err
	}
	if err := r.applySysctls(s); err != nil {
		return err
	}
	if err := r.writeBundles(s, limited); err != nil {
		return err
	}
	return writeJSON(p.spec(), s) // last: with it the pod exists
}

func (r *Runtime) writeBundles(s Spec, limited bool) error {
	for _, c := range s.Containers {
		at := r.container(s.UID, c.Name)
		for _, dir := range []string{at.bundle, at.run} {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
		}
		bundle, err := r.bundle(s, c)
		if err != nil {
			return fmt.Errorf("container %s: %w", c.Name, err)
		}
		if !limited {
			bundle.Linux.Resources.CPU, bundle.Linux.Resources.Memory = nil, nil
		}
		if err := writeJSON(at.config(), bundle); err != nil {
			return err
		}
	}
	return nil
}

// makeMemory mounts what the pod shares in memory: /dev/shm and its volumes of that kind.
func (r *Runtime) makeMemory(s Spec) error {
	p := r.pod(s.UID)
	if err := mountTmpfs(p.shm(), shmSize, unix.MS_NOEXEC); err != nil {
		return fmt.Errorf("making its shared memory: %w", err)
	}
	for _, v := range s.Manifest.Volumes() {
		if v.Kind != MemoryVolume {
			continue
		}
		if err := mountTmpfs(r.volumeDir(s, v), v.Size, 0); err != nil {
			return fmt.Errorf("making volume %s: %w", v.Name, err)
		}
	}
	return nil
}

// mountTmpfs mounts a tmpfs of that many bytes, 0 for no bound of its own, unless one is there.
func mountTmpfs(dir string, size int64, flags uintptr) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if mounted, err := isMount(dir); err != nil || mounted {
		return err
	}
	options := "mode=1777"
	if size > 0 {
		options += fmt.Sprintf(",size=%d", size)
	}
	return unix.Mount("tmpfs", dir, "tmpfs", flags|unix.MS_NOSUID|unix.MS_NODEV, options)
}

// Ready says whether the pod was created since this host's last boot: what it has in memory is there.
func (r *Runtime) Ready(uid string) bool {
	if _, err := r.spec(uid); err != nil {
		return false
	}
	mounted, err := isMount(r.pod(uid).namespace("ipc"))
	return err == nil && mounted
}

// Reset forgets that the pod's containers have run: all of them begin anew, the init containers too.
func (r *Runtime) Reset(ctx context.Context, uid string) error {
	s, err := r.spec(uid)
	if err != nil {
		return err
	}
	if err := r.Kill(ctx, uid); err != nil {
		return err
	}
	for _, c := range s.Containers {
		p := r.container(uid, c.Name)
		if err := errors.Join(os.RemoveAll(p.exit), os.RemoveAll(p.starts())); err != nil {
			return err
		}
	}
	return nil
}

// spec reads what Create was given.
func (r *Runtime) spec(uid string) (Spec, error) {
	var s Spec
	data, err := os.ReadFile(r.pod(uid).spec())
	if errors.Is(err, os.ErrNotExist) {
		return s, fmt.Errorf("%w: %s", ErrNotFound, uid)
	}
	if err != nil {
		return s, fmt.Errorf("reading pod %s: %w", uid, err)
	}
	// These files aren't synced, which a restore would have to wait for: what a loss of power has taken of one that is new is of a pod
	// whose processes it has ended.
	if err := json.Unmarshal(data, &s); err != nil {
		return Spec{}, fmt.Errorf("%w: %s: its record is not whole: %w", ErrNotFound, uid, err)
	}
	return s, nil
}

// Start runs a container of the pod from its beginning and returns when its first process runs. One that has ended may be
// started again; one that runs is left alone.
func (r *Runtime) Start(ctx context.Context, uid, container string) error {
	if err := r.start(ctx, uid, container); err != nil {
		return fmt.Errorf("starting container %s: %w", container, err)
	}
	return nil
}

func (r *Runtime) start(ctx context.Context, uid, container string) error {
	s, err := r.spec(uid)
	if err != nil {
		return err
	}
	if s.container(container).Name == "" {
		return fmt.Errorf("%w: pod %s has no such container", ErrNotFound, s.Name)
	}
	status, err := r.containerStatus(s, container)
	if err != nil {
		return err
	}
	if status.Pid != 0 {
		return nil
	}
	if err := r.discard(ctx, uid, container); err != nil {
		return err
	}
	p := r.container(uid, container)
	if err := os.Remove(p.exit); err != nil && !errors.Is(err, os.ErrNotExist) { // of an earlier run
		return err
	}
	if err := writeJSON(p.starts(), status.Starts+1); err != nil {
		return err
	}
	if err := r.furnish(s, s.container(container)); err != nil {
		return err
	}
	if err := r.monitor(ctx, s, container); err != nil {
		return err
	}
	if err := r.weigh(ctx, s); err != nil {
		return errors.Join(err, r.discard(ctx, uid, container))
	}
	if err := r.run(ctx, "start", containerID(uid, container)); err != nil {
		return errors.Join(err, r.discard(ctx, uid, container))
	}
	return nil
}

// run calls runc, which must come to an end soon.
func (r *Runtime) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, r.runc, slices.Concat([]string{"--root", r.runcRoot()}, r.cgroups.runtimeOptions(), args)...)
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
